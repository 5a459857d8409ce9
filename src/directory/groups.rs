//! The groups that give a tier: found by name, followed by GUID, nested ones with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ldap3::Scope;

use super::session::{Query, rid};
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Dn, GroupName, Guid, Tier};
use crate::reconcile::{Closure, ClosureGroup, Membership};

/// Names in one filter.
const CHUNK: usize = 50;
/// Deeper nesting than this is a mistake that would take a search for every level.
const MAX_LEVELS: usize = 100;

/// Why a configured group does not say anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupTrouble {
    /// Nothing has that name.
    NotFound(String),
    /// More than one thing has it.
    Ambiguous(String, Vec<String>),
    /// The group that the name was pinned to is gone.
    Gone(String, Guid),
}

impl GroupTrouble {
    /// What is wrong.
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

    /// What to do about it.
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

impl fmt::Display for GroupTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.finding(), self.remedy())
    }
}

fn attributes() -> [String; 2] {
    ["objectGUID".to_owned(), "objectSid".to_owned()]
}

impl Session {
    /// Finds one configured group: by the GUID it is pinned to, else by its name.
    pub async fn resolve_group(
        &mut self,
        name: &GroupName,
        pinned: Option<Guid>,
    ) -> Result<Result<Object, GroupTrouble>, DirectoryError> {
        let attributes = attributes();
        if let Some(guid) = pinned {
            let found = self.object(&format!("<GUID={guid}>"), &attributes).await?;
            return Ok(found.ok_or_else(|| GroupTrouble::Gone(name.as_str().to_owned(), guid)));
        }
        let by_dn = match name {
            GroupName::Dn(dn) => self.object(dn, &attributes).await?,
            GroupName::Name(_) => None,
        };
        match (by_dn, name) {
            (Some(group), _) => Ok(Ok(group)),
            (None, GroupName::Name(text) | GroupName::Dn(text)) => {
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
                            return Ok(Err(GroupTrouble::Ambiguous(text.clone(), dns)));
                        }
                    }
                }
                Ok(Err(GroupTrouble::NotFound(text.clone())))
            }
        }
    }

    /// The closure of these groups: level by level, the groups that are members of one known already.
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

    /// Where the groups of a closure stand now.
    pub async fn reread_closure(&mut self, closure: &Closure) -> Result<Closure, DirectoryError> {
        let mut now = Closure::default();
        let groups: Vec<&ClosureGroup> = closure.groups().collect();
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

    /// Returns which of these groups show no member at all: emptied, or no longer readable. A group that is somebody's primary
    /// group does not list that member (MS-ADTS 3.1.1.4.5.31), and is heard by it all the same.
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

    /// Returns which of these groups list a member.
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

    /// Returns whether some person that can be read has the group as its primary group.
    async fn is_primary_group(&mut self, group: Guid) -> Result<bool, DirectoryError> {
        let found = self.object(&format!("<GUID={group}>"), &attributes()).await?;
        let Some(rid) = found.and_then(|group| group.bytes("objectSid").and_then(rid)) else {
            return Ok(false);
        };
        let base = self.root.default_naming_context.clone();
        let people = Assertion::all([
            Assertion::raw(PERSON_FILTER),
            Assertion::equals("primaryGroupID", &rid.to_string()),
        ]);
        self.finds(&base, Scope::Subtree, &people, false, |_| true).await
    }

    /// Which of these groups are still nested below the closure, by `member`, although the closure has them no more:
    /// the right to read their `memberOf` is lost, and with it the way down to them.
    pub async fn detached(
        &mut self,
        groups: &BTreeSet<Guid>,
        closure: &Closure,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let inside: BTreeSet<Guid> = closure.groups().map(|g| g.guid).collect();
        let base = self.root.default_naming_context.clone();
        let mut detached = BTreeSet::new();
        for guid in groups.difference(&inside) {
            let mut level: Vec<String> = self
                .object(&format!("<GUID={guid}>"), &attributes())
                .await?
                .into_iter()
                .map(|o| o.dn)
                .collect();
            let mut known = BTreeSet::from([*guid]);
            while !level.is_empty() && !detached.contains(guid) {
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
                    detached.insert(*guid);
                }
                level = above
                    .into_iter()
                    .filter(|o| o.guid().is_some_and(|g| known.insert(g)))
                    .map(|o| o.dn)
                    .collect();
            }
        }
        Ok(detached)
    }

    /// The groups of the closure that these are members of, and those of which they are, and so on: by group.
    pub async fn groups_above(
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
            // What does not show itself is not asked for again.
            let asked: BTreeSet<Guid> = level.iter().copied().collect();
            level = next.difference(&asked).copied().collect();
        }
        Ok(above)
    }

    /// Asks the groups themselves whether they hold these people.
    ///
    /// `in_use` are the groups that gave somebody a tier before: one of them that shows no member now is
    /// unknown, and so is whoever got the tier from it, or shows no group at all.
    pub async fn memberships(
        &mut self,
        people: &BTreeMap<Guid, Suspect>,
        closure: &Closure,
        silent: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Membership>, DirectoryError> {
        let groups: Vec<&ClosureGroup> = closure.groups().collect();
        let mut inside: BTreeMap<Guid, Vec<Guid>> = BTreeMap::new();
        let suspects: Vec<(&Guid, &Suspect)> = people.iter().collect();
        for piece in suspects.chunks(CHUNK) {
            // One question for fifty people; only if some group answers is each asked for on its own.
            if self.holders(&groups, piece).await?.is_empty() {
                continue;
            }
            for one in piece {
                let holders = self.holders(&groups, std::slice::from_ref(one)).await?;
                inside.insert(*one.0, holders);
            }
        }
        let answers = people.iter().map(|(guid, suspect)| {
            let mut held_by = inside.remove(guid).unwrap_or_default();
            held_by
                .extend(suspect.groups.iter().filter(|g| closure.groups().any(|c| c.guid == **g)));
            let could_be_hidden =
                !silent.is_empty() && suspect.entitled_by.is_none_or(|g| silent.contains(&g));
            let answer = match (held_by.is_empty(), could_be_hidden) {
                (_, true) => Membership::Unknown,
                (true, false) => Membership::NotIn,
                (false, false) => Membership::In(held_by),
            };
            (*guid, answer)
        });
        Ok(answers.collect())
    }

    async fn holders(
        &mut self,
        groups: &[&ClosureGroup],
        people: &[(&Guid, &Suspect)],
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

/// Somebody who seems to have lost a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspect {
    /// Where the entry stands.
    pub dn: Dn,
    /// The groups it showed itself (its primary group never lists it as a member).
    pub groups: Vec<Guid>,
    /// The group that gave the tier.
    pub entitled_by: Option<Guid>,
}

/// Adds a group to a closure; its DN if that taught anything.
fn add(closure: &mut Closure, object: &Object, gives: Tier) -> Option<String> {
    let group = ClosureGroup {
        guid: object.guid()?,
        dn: Dn::new(object.dn.clone()),
        rid: object.bytes("objectSid").and_then(rid),
        gives,
    };
    closure.add(group).then(|| object.dn.clone())
}
