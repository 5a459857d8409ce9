//! Whether entries are in or out of scope, as AD says, and for those that are out, by what.
//!
//! AD evaluates the filter. An assertion on a group (`memberOf`) is put to the group itself: an entry that shows no
//! `memberOf` may be in no group, or may hide it, while a readable group that does not hold the person is evidence.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::confirm::{Chunk, Found, Inquiry, Questions};
use super::session::Query;
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Dn, Filter, GroupAssertion, Guid, Person, Placement, Tier, Truth};

/// Names in one filter.
const CHUNK: usize = 50;

/// Whether a group that the filter names can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupSight {
    /// It shows members, and so do the groups nested in it.
    Readable,
    /// It shows members, but a group nested in it shows none.
    PartlyReadable,
    /// It shows no member: emptied, or not readable.
    Silent,
    /// No group of that name was found.
    Missing,
}

impl Session {
    /// In or out, as AD says, and for the entries that are out, by what. An entry that is not in the map is unknown.
    pub(super) async fn place(
        &mut self,
        chunk: &Chunk,
        inquiry: &Inquiry<'_>,
        questions: &mut Questions,
        found: &mut Found,
    ) -> BTreeMap<Guid, Placement> {
        let guids: Vec<Guid> = chunk.alive.keys().copied().collect();
        if guids.is_empty() {
            return BTreeMap::new();
        }
        let filter = inquiry.settings.filter_text();
        let mut inside = BTreeSet::new();
        let mut silent: Vec<&Dn> = Vec::new();
        for base in &inquiry.bases.dns {
            let conditions: Vec<Assertion> = [Some(PERSON_FILTER), filter.as_deref()]
                .iter()
                .flatten()
                .map(|f| Assertion::raw(f))
                .collect();
            match self.which(base.as_str(), &guids, conditions).await {
                Ok(held) => inside.extend(held),
                Err(error) => {
                    silent.push(base);
                    // A base that is gone was reported when it was looked up.
                    if !matches!(error, DirectoryError::Search { code: 32, .. }) {
                        found.problems.insert(error.to_string());
                    }
                }
            }
        }
        let outside: Vec<Guid> = guids.into_iter().filter(|g| !inside.contains(g)).collect();
        let mut placements: BTreeMap<Guid, Placement> =
            inside.into_iter().map(|g| (g, Placement::Inside)).collect();
        let mut questioned = Vec::new();
        for guid in outside {
            let (person, visible) = &chunk.alive[&guid];
            if !inquiry.bases.hold(&person.dn) {
                if inquiry.bases.are_certain {
                    let value = person.dn.as_str().to_owned();
                    placements.insert(
                        guid,
                        Placement::Outside { attribute: "distinguishedName".into(), value },
                    );
                }
            } else if silent.iter().any(|base| person.dn.is_within(base)) {
                // The base did not answer, so nothing says that the entry is outside.
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
                questioned.push(guid);
            }
        }
        let mut is_answered = silent.is_empty() && inquiry.bases.are_certain;
        if let (Some((_, filter)), false) = (&inquiry.settings.filter, questioned.is_empty()) {
            is_answered &=
                self.question(filter, &questioned, chunk, &mut placements, questions, found).await;
        }
        if !is_answered {
            found.unplaced.extend(chunk.alive.keys().filter(|guid| !placements.contains_key(guid)));
        }
        placements
    }

    /// Puts each assertion of the filter to AD on its own, and finds the one that excludes. Returns whether AD answered all of them.
    async fn question(
        &mut self,
        filter: &Filter,
        guids: &[Guid],
        chunk: &Chunk,
        placements: &mut BTreeMap<Guid, Placement>,
        questions: &mut Questions,
        found: &mut Found,
    ) -> bool {
        let problems = found.problems.len();
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
                        .map(|g| &chunk.alive[g].0)
                        .collect();
                    match group {
                        Some(group) => truths
                            .extend(self.outside_group(group, &others, questions, found).await),
                        None => {
                            let shows = |person: &&&Person| {
                                chunk.alive[&person.guid]
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
                    found.problems.insert(format!("AD refuses {text} of filter: {error}"));
                    BTreeMap::new()
                }
            };
            answers.push(truths);
        }
        for guid in guids {
            let visible = &chunk.alive[guid].1;
            let answer = |n: usize| answers[n].get(guid).copied().unwrap_or(Truth::Unknown);
            if filter.value(answer) != Truth::False {
                continue;
            }
            // The assertion that excludes is the one that would let the person in, were it otherwise.
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
        found.problems.len() == problems
    }

    /// Puts to a group that the filter names whether it holds these people, whom the filter does not find by it.
    async fn outside_group(
        &mut self,
        group: &GroupAssertion,
        people: &[&Person],
        questions: &mut Questions,
        found: &mut Found,
    ) -> BTreeMap<Guid, Truth> {
        let asked = async {
            let sight = match questions.groups.get(group) {
                Some(known) => *known,
                None => {
                    let sight = self.sight_of(group).await?;
                    questions.groups.insert(group.clone(), sight);
                    sight
                }
            };
            let mut truths = BTreeMap::new();
            if matches!(sight, GroupSight::Silent | GroupSight::Missing) {
                return Ok((sight, truths));
            }
            for piece in people.chunks(CHUNK) {
                let is_none_held = !self.holds(group, piece).await?;
                for person in piece {
                    if !is_none_held && self.holds(group, &[person]).await? {
                        // The group holds the person, and the person does not show it: the filter has misled AD.
                        continue;
                    }
                    if sight == GroupSight::Readable || self.shows_groups(&person.dn).await? {
                        truths.insert(person.guid, Truth::False);
                    }
                }
            }
            Ok::<_, DirectoryError>((sight, truths))
        };
        match asked.await {
            Ok((sight, truths)) => {
                let name = &group.group;
                found.warnings.extend(match sight {
                    GroupSight::Missing => Some(format!(
                        "the filter names the group {name}, which was not found: it was deleted, renamed, or hidden from the service account; correct filter, or let the account read the group. Until then no user loses access by this filter"
                    )),
                    GroupSight::Silent => Some(format!(
                        "the filter names the group {name}, which shows no member: emptied, or no longer readable; let the service account read member, or correct filter. Until then no user loses access by this filter"
                    )),
                    GroupSight::Readable | GroupSight::PartlyReadable => None,
                });
                truths
            }
            Err(error) => {
                found.problems.insert(format!(
                    "the group {} of filter could not be asked: {error}",
                    group.group
                ));
                BTreeMap::new()
            }
        }
    }

    async fn sight_of(&mut self, group: &GroupAssertion) -> Result<GroupSight, DirectoryError> {
        let attributes = ["objectGUID".to_owned(), "objectSid".to_owned()];
        let Some(object) = self.object(&group.group, &attributes).await? else {
            return Ok(GroupSight::Missing);
        };
        let Some(guid) = object.guid() else { return Ok(GroupSight::Silent) };
        if !self.groups_without_members(&[guid].into()).await?.is_empty() {
            return Ok(GroupSight::Silent);
        }
        if !group.in_chain {
            return Ok(GroupSight::Readable);
        }
        let nested: BTreeSet<Guid> =
            self.closure(&[(Tier::Basic, object)]).await?.groups().map(|g| g.guid).collect();
        let silent = self.groups_without_members(&nested).await?;
        Ok(if silent.is_empty() { GroupSight::Readable } else { GroupSight::PartlyReadable })
    }

    /// Whether the group holds one of these people.
    async fn holds(
        &mut self,
        group: &GroupAssertion,
        people: &[&Person],
    ) -> Result<bool, DirectoryError> {
        let attribute = if group.in_chain { "member:1.2.840.113556.1.4.1941:" } else { "member" };
        let members = Assertion::any(
            people.iter().map(|person| Assertion::equals(attribute, person.dn.as_str())),
        );
        self.finds(&group.group, Scope::Base, &members, false, |_| true).await
    }

    /// Whether some person next to this one shows `memberOf`, so that the absence of it is no lack of rights.
    async fn shows_groups(&mut self, dn: &Dn) -> Result<bool, DirectoryError> {
        let Some(parent) = dn.parent() else { return Ok(false) };
        let filter =
            Assertion::all([Assertion::raw(PERSON_FILTER), Assertion::raw("(memberOf=*)")]);
        self.finds(parent.as_str(), Scope::Subtree, &filter, false, |_| true).await
    }

    /// The people among these who are below the base and meet all conditions.
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
