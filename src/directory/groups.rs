//! The groups that give a tier: found by name, followed by GUID, with nested groups.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ldap3::Scope;

use super::query::Query;
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Dn, GroupAssertion, GroupName, Guid, Sid, Tier};
use crate::reconcile::{Closure, ClosureGroup, Membership};

/// DNs in one filter.
const CHUNK: usize = 50;
/// Most levels of nesting, because each level costs a search.
const MAX_LEVELS: usize = 100;

/// Reason why a configured group cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupError {
    /// No group has the name.
    NotFound(String),
    /// Several groups have the name: the name, and their DNs.
    Ambiguous(String, Vec<String>),
    /// The group of the baseline was not found.
    Gone(String, Guid),
}

impl GroupError {
    /// Returns the finding without its remedy.
    pub fn finding(&self) -> String {
        match self {
            Self::NotFound(name) => format!("there is no group \"{name}\""),
            Self::Ambiguous(name, dns) => {
                format!("several groups are called \"{name}\": {}", dns.join(" | "))
            }
            Self::Gone(name, guid) => {
                format!(
                    "the group \"{name}\" ({guid}) can no longer be found; tiers and no-group suspensions are frozen"
                )
            }
        }
    }

    /// Returns the remedy in the imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotFound(_) => {
                "check the name in pro-groups and basic-groups, and that the service account may read it"
            }
            Self::Ambiguous(..) => "write the distinguished name of one of them",
            Self::Gone(..) => {
                "restore it, or accept a successor with rosterctl directory rebaseline"
            }
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.finding(), self.remedy())
    }
}

fn attributes() -> [String; 3] {
    ["objectGUID", "objectSid", "uSNChanged"].map(str::to_owned)
}

impl Session {
    /// Finds a configured group by the GUID of the baseline, or else by name.
    pub async fn resolve_group(
        &mut self,
        name: &GroupName,
        baseline: Option<Guid>,
    ) -> Result<Result<Object, GroupError>, DirectoryError> {
        let attributes = attributes();
        if let Some(guid) = baseline {
            let found = self.object(&format!("<GUID={guid}>"), &attributes).await?;
            return Ok(found.ok_or_else(|| GroupError::Gone(name.as_str().to_owned(), guid)));
        }
        let text = name.name();
        let by_dn = if name.may_be_dn() { self.object(text, &attributes).await? } else { None };
        match by_dn {
            Some(group) => Ok(Ok(group)),
            None => {
                for attribute in ["sAMAccountName", "cn"] {
                    let filter = Assertion::all([
                        Assertion::raw("(objectCategory=group)"),
                        Assertion::equals(attribute, text),
                    ]);
                    let base = self.root.default_naming_context.clone();
                    let mut found = self
                        .objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes))
                        .await?;
                    match (found.len(), found.pop()) {
                        (_, None) => {}
                        (1, Some(group)) => return Ok(Ok(group)),
                        (_, Some(last)) => {
                            let dns = found.into_iter().chain([last]).map(|g| g.dn).collect();
                            return Ok(Err(GroupError::Ambiguous(name.as_str().to_owned(), dns)));
                        }
                    }
                }
                Ok(Err(GroupError::NotFound(name.as_str().to_owned())))
            }
        }
    }

    /// Reads the closure of these groups, one level of nesting after the other.
    pub async fn closure(&mut self, roots: &[(Tier, Object)]) -> Result<Closure, DirectoryError> {
        let mut closure = Closure::default();
        for tier in [Tier::Pro, Tier::Basic] {
            let mut level: Vec<String> = Vec::new();
            for (_, object) in roots.iter().filter(|(t, _)| *t == tier) {
                level.extend(add(&mut closure, object, tier));
            }
            let mut levels = 0;
            while !level.is_empty() && levels < MAX_LEVELS {
                levels += 1;
                let mut next = Vec::new();
                for piece in level.chunks(CHUNK) {
                    let parents =
                        Assertion::any(piece.iter().map(|dn| Assertion::equals("memberOf", dn)));
                    let filter =
                        Assertion::all([Assertion::raw("(objectCategory=group)"), parents]);
                    let base = self.root.default_naming_context.clone();
                    for object in self
                        .objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes()))
                        .await?
                    {
                        next.extend(add(&mut closure, &object, tier));
                    }
                }
                level = next;
            }
        }
        Ok(closure)
    }

    /// Notes the last change of groups that the filter names, and of the groups in them.
    pub async fn note_filter_groups(
        &mut self,
        groups: &[GroupAssertion],
        closure: &mut Closure,
    ) -> Result<(), DirectoryError> {
        for GroupAssertion { group, .. } in groups {
            if let Some(root) = self.object(group, &attributes()).await? {
                let own = self.closure(&[(Tier::Basic, root)]).await?;
                closure.note_change(own.last_change());
            }
        }
        Ok(())
    }

    /// Reads the present DNs of the groups of a closure.
    pub async fn reread_closure(&mut self, closure: &Closure) -> Result<Closure, DirectoryError> {
        let mut now = Closure::default();
        let groups: Vec<&ClosureGroup> = closure.own_groups().collect();
        for piece in groups.chunks(CHUNK) {
            let filter = Assertion::any(piece.iter().map(|g| Assertion::guid(g.guid)));
            let base = self.root.default_naming_context.clone();
            for object in self
                .objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes()))
                .await?
            {
                let gives = object
                    .guid()
                    .and_then(|guid| groups.iter().find(|g| g.guid == guid))
                    .map_or(Tier::Basic, |g| g.gives);
                add(&mut now, &object, gives);
            }
        }
        Ok(now)
    }

    /// Returns the groups without a visible member: empty or no longer readable.
    ///
    /// A primary group does not list its members (MS-ADTS 3.1.1.4.5.31). It counts as readable if a
    /// person has it as primary group.
    pub async fn groups_without_members(
        &mut self,
        groups: &BTreeSet<Guid>,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let listing = self.groups_with_members(groups).await?;
        let mut silent: BTreeSet<Guid> = groups.difference(&listing).copied().collect();
        for guid in silent.clone() {
            if self.is_primary_group(guid).await? {
                silent.remove(&guid);
            }
        }
        Ok(silent)
    }

    /// Returns the groups that list a member.
    pub async fn groups_with_members(
        &mut self,
        groups: &BTreeSet<Guid>,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let mut listing = BTreeSet::new();
        let groups: Vec<Guid> = groups.iter().copied().collect();
        for piece in groups.chunks(CHUNK) {
            let filter = Assertion::all([
                Assertion::any(piece.iter().map(|g| Assertion::guid(*g))),
                Assertion::raw("(member=*)"),
            ]);
            let base = self.root.default_naming_context.clone();
            let found = self
                .objects(&Query::new(
                    &base,
                    Scope::Subtree,
                    filter.as_str(),
                    &["objectGUID".to_owned()],
                ))
                .await?;
            listing.extend(found.iter().filter_map(Object::guid));
        }
        Ok(listing)
    }

    /// Returns whether a visible person has the group as primary group.
    async fn is_primary_group(&mut self, group: Guid) -> Result<bool, DirectoryError> {
        let found = self.object(&format!("<GUID={group}>"), &attributes()).await?;
        let Some(rid) = found.and_then(|group| {
            group.bytes("objectSid").and_then(Sid::from_ad).and_then(|sid| sid.rid())
        }) else {
            return Ok(false);
        };
        let base = self.root.default_naming_context.clone();
        let people = Assertion::all([
            Assertion::raw(PERSON_FILTER),
            Assertion::equals("primaryGroupID", &rid.to_string()),
        ]);
        self.matches_any(&base, Scope::Subtree, &people, false, |_| true).await
    }

    /// Returns the groups that are still nested in the closure by `member`, but absent from it.
    ///
    /// The closure is read by `memberOf`, so the right to read that attribute of these groups is
    /// lost.
    pub async fn hidden_nested_groups(
        &mut self,
        groups: &BTreeSet<Guid>,
        closure: &Closure,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let inside: BTreeSet<Guid> = closure.groups().map(|g| g.guid).collect();
        let base = self.root.default_naming_context.clone();
        let mut hidden = BTreeSet::new();
        for guid in groups.difference(&inside) {
            let mut level: Vec<String> = self
                .object(&format!("<GUID={guid}>"), &attributes())
                .await?
                .into_iter()
                .map(|o| o.dn)
                .collect();
            let mut known = BTreeSet::from([*guid]);
            while !level.is_empty() && !hidden.contains(guid) {
                let mut above = Vec::new();
                for piece in level.chunks(CHUNK) {
                    let members =
                        Assertion::any(piece.iter().map(|dn| Assertion::equals("member", dn)));
                    let filter =
                        Assertion::all([Assertion::raw("(objectCategory=group)"), members]);
                    above.extend(
                        self.objects(&Query::new(
                            &base,
                            Scope::Subtree,
                            filter.as_str(),
                            &attributes(),
                        ))
                        .await?,
                    );
                }
                if above.iter().filter_map(Object::guid).any(|g| inside.contains(&g)) {
                    hidden.insert(*guid);
                }
                level = above
                    .into_iter()
                    .filter(|o| o.guid().is_some_and(|g| known.insert(g)))
                    .map(|o| o.dn)
                    .collect();
            }
        }
        Ok(hidden)
    }

    /// Returns, for these groups and all their ancestors, the parents within the closure.
    pub async fn parent_groups(
        &mut self,
        of: &BTreeSet<Guid>,
        closure: &Closure,
    ) -> Result<BTreeMap<Guid, Vec<Guid>>, DirectoryError> {
        let by_dn: BTreeMap<Dn, Guid> = closure.groups().map(|g| (g.dn.clone(), g.guid)).collect();
        let base = self.root.default_naming_context.clone();
        let attributes = ["objectGUID".to_owned(), "memberOf".to_owned()];
        let mut above: BTreeMap<Guid, Vec<Guid>> = BTreeMap::new();
        let mut level: Vec<Guid> = of.iter().copied().collect();
        while !level.is_empty() {
            for piece in level.chunks(CHUNK) {
                let filter = Assertion::any(piece.iter().map(|g| Assertion::guid(*g)));
                for object in self
                    .objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes))
                    .await?
                {
                    let Some(guid) = object.guid() else { continue };
                    let values = object.attributes.get("memberof").into_iter().flatten();
                    let parents = values.filter_map(|dn| {
                        by_dn.get(&Dn::new(std::str::from_utf8(dn).ok()?)).copied()
                    });
                    above.insert(guid, parents.collect());
                }
            }
            let next: BTreeSet<Guid> = above
                .values()
                .flatten()
                .copied()
                .filter(|guid| !above.contains_key(guid))
                .collect();
            // A group that is not visible is not requested again.
            let asked: BTreeSet<Guid> = level.iter().copied().collect();
            level = next.difference(&asked).copied().collect();
        }
        Ok(above)
    }

    /// Checks memberships at the groups themselves, because a person may hide `memberOf`.
    ///
    /// `silent` are groups that gave a tier before and show no member now. The membership of a person with a
    /// tier from one of them, or without a known group, is unknown.
    pub async fn memberships(
        &mut self,
        people: &BTreeMap<Guid, MembershipQuery>,
        closure: &Closure,
        silent: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Membership>, DirectoryError> {
        let groups: Vec<&ClosureGroup> = closure.groups().collect();
        let mut inside: BTreeMap<Guid, Vec<Guid>> = BTreeMap::new();
        let queries: Vec<(&Guid, &MembershipQuery)> = people.iter().collect();
        for piece in queries.chunks(CHUNK) {
            // One search for fifty people, then one for each of them only if a group matches.
            if self.holders(&groups, piece).await?.is_empty() {
                continue;
            }
            for one in piece {
                let holders = self.holders(&groups, std::slice::from_ref(one)).await?;
                inside.insert(*one.0, holders);
            }
        }
        let answers = people.iter().map(|(guid, query)| {
            let mut held_by = inside.remove(guid).unwrap_or_default();
            held_by.extend(query.groups.iter().filter(|g| closure.groups().any(|c| c.guid == **g)));
            let could_be_hidden =
                !silent.is_empty() && query.entitled_by.is_none_or(|g| silent.contains(&g));
            let answer = match (held_by.is_empty(), could_be_hidden) {
                (_, true) => Membership::Unknown,
                (true, false) => Membership::NotIn,
                (false, false) => Membership::In(held_by),
            };
            (*guid, answer)
        });
        Ok(answers.collect())
    }

    /// Returns the groups that have one of these people as a direct member.
    async fn holders(
        &mut self,
        groups: &[&ClosureGroup],
        people: &[(&Guid, &MembershipQuery)],
    ) -> Result<Vec<Guid>, DirectoryError> {
        let mut holders = Vec::new();
        let members =
            Assertion::any(people.iter().map(|(_, s)| Assertion::equals("member", s.dn.as_str())));
        for piece in groups.chunks(CHUNK) {
            let filter = Assertion::all([
                Assertion::any(piece.iter().map(|g| Assertion::guid(g.guid))),
                members.clone(),
            ]);
            let base = self.root.default_naming_context.clone();
            let found = self
                .objects(&Query::new(
                    &base,
                    Scope::Subtree,
                    filter.as_str(),
                    &["objectGUID".to_owned()],
                ))
                .await?;
            holders.extend(found.iter().filter_map(Object::guid));
        }
        Ok(holders)
    }
}

/// A person who seems to have lost a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembershipQuery {
    pub dn: Dn,
    /// Groups visible on the entry, since a primary group does not list its members.
    pub groups: Vec<Guid>,
    /// The group that gave the tier.
    pub entitled_by: Option<Guid>,
}

/// Adds a group to a closure; returns its DN if the closure has changed.
fn add(closure: &mut Closure, object: &Object, gives: Tier) -> Option<String> {
    let group = ClosureGroup {
        guid: object.guid()?,
        dn: Dn::new(object.dn.clone()),
        rid: object.bytes("objectSid").and_then(Sid::from_ad).and_then(|sid| sid.rid()),
        gives,
    };
    closure.note_change(object.text("uSNChanged").and_then(|usn| usn.parse().ok()));
    closure.add(group).then(|| object.dn.clone())
}
