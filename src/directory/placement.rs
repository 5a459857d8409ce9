//! Placement of entries inside or outside of the scope, with the assertion that excludes an entry.
//!
//! AD evaluates the filter. An assertion on `memberOf` is checked at the group itself, because an
//! entry may hide the attribute. A readable group without the person is evidence.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::lookup::{GroupVisibility, LookupBatch, LookupContext, LookupResults, PendingLookups};
use super::query::Query;
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Dn, Filter, GroupAssertion, Guid, Person, Placement, Tier, Truth};

/// DNs in one filter.
const CHUNK: usize = 50;

impl Session {
    /// Returns the placement of each entry; an entry that is not in the map has an unknown
    /// placement.
    pub(super) async fn place_all(
        &mut self,
        entries: &LookupBatch,
        context: &LookupContext<'_>,
        pending: &mut PendingLookups,
        results: &mut LookupResults,
    ) -> BTreeMap<Guid, Placement> {
        let guids: Vec<Guid> = entries.alive.keys().copied().collect();
        if guids.is_empty() {
            return BTreeMap::new();
        }
        let filter = context.settings.filter_text();
        let mut inside = BTreeSet::new();
        let mut silent: Vec<&Dn> = Vec::new();
        for base in &context.bases.dns {
            let conditions: Vec<Assertion> = [Some(PERSON_FILTER), filter.as_deref()]
                .iter()
                .flatten()
                .map(|f| Assertion::raw(f))
                .collect();
            match self.which(base.as_str(), &guids, conditions).await {
                Ok(held) => inside.extend(held),
                Err(error) => {
                    silent.push(base);
                    // The look-up of the bases has already reported a missing base.
                    if !matches!(error, DirectoryError::Search { code: 32, .. }) {
                        results.problems.insert(error.to_string());
                    }
                }
            }
        }
        let outside: Vec<Guid> = guids.into_iter().filter(|g| !inside.contains(g)).collect();
        let mut placements: BTreeMap<Guid, Placement> =
            inside.into_iter().map(|g| (g, Placement::Inside)).collect();
        let mut undecided = Vec::new();
        for guid in outside {
            let (person, visible) = &entries.alive[&guid];
            if !context.bases.hold(&person.dn) {
                if context.bases.are_certain {
                    let value = person.dn.as_str().to_owned();
                    placements.insert(
                        guid,
                        Placement::Outside { attribute: "distinguishedName".into(), value },
                    );
                }
            } else if silent.iter().any(|base| person.dn.is_within(base)) {
                // The search below the base failed, so nothing proves that the entry is outside.
            } else if let Some(category) = visible
                .get("objectcategory")
                .filter(|c| !c.to_ascii_lowercase().starts_with("cn=person,"))
            {
                placements.insert(
                    guid,
                    Placement::Outside {
                        attribute: "objectCategory".into(),
                        value: category.clone(),
                    },
                );
            } else {
                undecided.push(guid);
            }
        }
        let mut is_answered = silent.is_empty() && context.bases.are_certain;
        if let (Some((_, filter)), false) = (&context.settings.filter, undecided.is_empty()) {
            is_answered &= self
                .evaluate_filter(filter, &undecided, entries, &mut placements, pending, results)
                .await;
        }
        if !is_answered {
            results
                .unplaced
                .extend(entries.alive.keys().filter(|guid| !placements.contains_key(guid)));
        }
        placements
    }

    /// Evaluates each assertion of the filter in AD and finds the one that excludes a person.
    ///
    /// Returns whether all searches succeeded.
    async fn evaluate_filter(
        &mut self,
        filter: &Filter,
        guids: &[Guid],
        entries: &LookupBatch,
        placements: &mut BTreeMap<Guid, Placement>,
        pending: &mut PendingLookups,
        results: &mut LookupResults,
    ) -> bool {
        let problems = results.problems.len();
        let base = self.root.default_naming_context.clone();
        let assertions = filter.assertions();
        let groups: Vec<Option<GroupAssertion>> =
            assertions.iter().map(|(_, text)| Filter::group_of(text)).collect();
        let mut answers: Vec<BTreeMap<Guid, Truth>> = Vec::with_capacity(assertions.len());
        for ((attribute, text), group) in assertions.iter().zip(&groups) {
            let truths = match self.which(&base, guids, vec![Assertion::raw(text)]).await {
                Ok(held) => {
                    let mut truths: BTreeMap<Guid, Truth> =
                        held.iter().map(|guid| (*guid, Truth::True)).collect();
                    let others: Vec<&Person> = guids
                        .iter()
                        .filter(|g| !held.contains(g))
                        .map(|g| &entries.alive[g].0)
                        .collect();
                    match group {
                        Some(group) => truths
                            .extend(self.outside_group(group, &others, pending, results).await),
                        None => {
                            let shows = |person: &&&Person| {
                                entries.alive[&person.guid]
                                    .1
                                    .contains_key(&attribute.to_ascii_lowercase())
                            };
                            truths.extend(
                                others
                                    .iter()
                                    .filter(shows)
                                    .map(|person| (person.guid, Truth::False)),
                            );
                        }
                    }
                    truths
                }
                Err(error) => {
                    results.problems.insert(format!("AD refuses {text} of filter: {error}"));
                    BTreeMap::new()
                }
            };
            answers.push(truths);
        }
        for guid in guids {
            let visible = &entries.alive[guid].1;
            let answer = |n: usize| answers[n].get(guid).copied().unwrap_or(Truth::Unknown);
            if filter.value(answer) != Truth::False {
                continue;
            }
            // An assertion excludes the person if its opposite would include the person.
            let decides = |n: usize| {
                let otherwise = if answer(n) == Truth::True { Truth::False } else { Truth::True };
                filter.value(|m| if m == n { otherwise } else { answer(m) }) != Truth::False
            };
            let seen = |n: usize| {
                let (attribute, value) =
                    (assertions[n].0, visible.get(&assertions[n].0.to_ascii_lowercase()));
                match (&groups[n], answer(n)) {
                    (Some(group), Truth::True) => Some((attribute, format!("in {}", group.group))),
                    (Some(group), Truth::False) => {
                        Some((attribute, format!("not in {}", group.group)))
                    }
                    _ => Some((attribute, value?.clone())),
                }
            };
            let all = || 0..assertions.len();
            let shown =
                all().filter(|n| decides(*n)).find_map(seen).or_else(|| all().find_map(seen));
            if let Some((attribute, value)) = shown {
                placements
                    .insert(*guid, Placement::Outside { attribute: attribute.to_owned(), value });
            }
        }
        results.problems.len() == problems
    }

    /// Confirms at a group of the filter that it does not contain these people.
    async fn outside_group(
        &mut self,
        group: &GroupAssertion,
        people: &[&Person],
        pending: &mut PendingLookups,
        results: &mut LookupResults,
    ) -> BTreeMap<Guid, Truth> {
        let checked = async {
            let visibility = match pending.groups.get(group) {
                Some(known) => *known,
                None => {
                    let visibility = self.group_visibility(group).await?;
                    pending.groups.insert(group.clone(), visibility);
                    visibility
                }
            };
            let mut truths = BTreeMap::new();
            if matches!(visibility, GroupVisibility::Silent | GroupVisibility::Missing) {
                return Ok((visibility, truths));
            }
            for batch in people.chunks(CHUNK) {
                let holds_none = !self.holds(group, batch).await?;
                for person in batch {
                    if !holds_none && self.holds(group, &[person]).await? {
                        // The person hides the membership, so the result of the filter is wrong.
                        continue;
                    }
                    if visibility == GroupVisibility::Readable
                        || self.shows_groups(&person.dn).await?
                    {
                        truths.insert(person.guid, Truth::False);
                    }
                }
            }
            Ok::<_, DirectoryError>((visibility, truths))
        };
        match checked.await {
            Ok((visibility, truths)) => {
                let name = &group.group;
                results.warnings.extend(match visibility {
                    GroupVisibility::Missing => Some(format!(
                        "the filter names the group {name}, which was not found: it was deleted, renamed, or hidden from the service account; correct filter, or let the account read the group. Until then no user loses access by this filter"
                    )),
                    GroupVisibility::Silent => Some(format!(
                        "the filter names the group {name}, which shows no member: emptied, or no longer readable; let the service account read member, or correct filter. Until then no user loses access by this filter"
                    )),
                    GroupVisibility::Readable | GroupVisibility::PartlyReadable => None,
                });
                truths
            }
            Err(error) => {
                results
                    .problems
                    .insert(format!("reading the group {} of filter failed: {error}", group.group));
                BTreeMap::new()
            }
        }
    }

    async fn group_visibility(
        &mut self,
        group: &GroupAssertion,
    ) -> Result<GroupVisibility, DirectoryError> {
        let attributes = ["objectGUID".to_owned(), "objectSid".to_owned()];
        let Some(object) = self.object(&group.group, &attributes).await? else {
            return Ok(GroupVisibility::Missing);
        };
        let Some(guid) = object.guid() else { return Ok(GroupVisibility::Silent) };
        if !self.groups_without_members(&[guid].into()).await?.is_empty() {
            return Ok(GroupVisibility::Silent);
        }
        if !group.in_chain {
            return Ok(GroupVisibility::Readable);
        }
        let nested: BTreeSet<Guid> =
            self.closure(&[(Tier::Basic, object)]).await?.groups().map(|g| g.guid).collect();
        let silent = self.groups_without_members(&nested).await?;
        Ok(if silent.is_empty() {
            GroupVisibility::Readable
        } else {
            GroupVisibility::PartlyReadable
        })
    }

    /// Returns whether one of these people is a member of the group.
    async fn holds(
        &mut self,
        group: &GroupAssertion,
        people: &[&Person],
    ) -> Result<bool, DirectoryError> {
        let attribute = if group.in_chain { "member:1.2.840.113556.1.4.1941:" } else { "member" };
        let members = Assertion::any(
            people.iter().map(|person| Assertion::equals(attribute, person.dn.as_str())),
        );
        self.matches_any(&group.group, Scope::Base, &members, false, |_| true).await
    }

    /// Returns whether `memberOf` is visible on a sibling, so that its absence is not a lack of
    /// rights.
    async fn shows_groups(&mut self, dn: &Dn) -> Result<bool, DirectoryError> {
        let Some(parent) = dn.parent() else { return Ok(false) };
        let filter =
            Assertion::all([Assertion::raw(PERSON_FILTER), Assertion::raw("(memberOf=*)")]);
        self.matches_any(parent.as_str(), Scope::Subtree, &filter, false, |_| true).await
    }

    /// Returns the people among these who are below the base and meet all conditions.
    async fn which(
        &mut self,
        base: &str,
        guids: &[Guid],
        mut conditions: Vec<Assertion>,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        conditions.push(Assertion::any(guids.iter().map(|g| Assertion::guid(*g))));
        let filter = Assertion::all(conditions);
        let objects = self
            .objects(&Query::new(base, Scope::Subtree, filter.as_str(), &["objectGUID".to_owned()]))
            .await?;
        Ok(objects.iter().filter_map(Object::guid).collect())
    }
}
