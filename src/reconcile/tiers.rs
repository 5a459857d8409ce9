//! Tiers from groups: the closure of the configured groups, and the tier that a person gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::HighWaterMark;
use super::ou_rules::OuTier;
use crate::model::{DirectoryName, Dn, Guid, Sid, Tier, words};

words! {
    /// The treatment of people in none of the configured groups.
    #[derive(Default)]
    pub enum WithoutGroup {
        /// They are suspended, and joiners are not provisioned.
        #[default]
        Suspend = "suspend",
        /// They keep their tier; joiners are basic.
        Keep = "keep",
        Basic = "basic",
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierRules {
    /// Whether any group is configured; otherwise all people have the default tier.
    pub grouped: bool,
    pub without_group: WithoutGroup,
    pub default_tier: Tier,
}

/// A group whose members have a tier: a configured one, or one nested in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClosureGroup {
    pub guid: Guid,
    /// The DN when the closure was read.
    pub dn: Dn,
    /// The last subauthority of its SID, by which `primaryGroupID` names it.
    pub rid: Option<u32>,
    pub gives: Tier,
}

/// All groups that give a tier, directly or nested. Cycles are allowed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Closure {
    groups: BTreeMap<Guid, ClosureGroup>,
    /// Whether a configured group is missing, so that a person in none of the others may be in it.
    is_partial: bool,
    /// The highest `uSNChanged` of the groups, on the server that showed them.
    last_change: Option<u64>,
    /// The groups of other directories, and their members who may be people of this one.
    elsewhere: GroupsElsewhere,
    /// The entries of this directory that groups of other directories list, and that are no stored people.
    pub strangers: BTreeSet<Guid>,
}

/// Groups of other directories of the account. Their domain names members of this one by SID or by DN.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupsElsewhere {
    groups: BTreeMap<Guid, GroupElsewhere>,
    by_sid: BTreeMap<Sid, BTreeSet<Guid>>,
    by_dn: BTreeMap<Dn, BTreeSet<Guid>>,
    /// The last change of the groups of each directory, on the server that showed them.
    last_changes: BTreeMap<DirectoryName, HighWaterMark>,
}

/// A group of another directory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct GroupElsewhere {
    /// The server that showed it.
    server: String,
    /// Whether it lists any member.
    has_members: bool,
}

/// A member of a group that is no entry of the group's domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ForeignMember {
    /// A foreign security principal, which is named by the SID of the member.
    Sid(Sid),
    /// An entry of another domain of the forest.
    Name(Dn),
}

impl fmt::Display for ForeignMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sid(sid) => sid.fmt(f),
            Self::Name(dn) => f.write_str(dn.as_str()),
        }
    }
}

/// Most members that a sentence names.
const NAMES_SHOWN: usize = 5;

/// Returns the sentence about members of a group that are of other domains.
pub fn foreign_members(group: &str, names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let members = match names.len() {
        1 => format!("1 member of {group} is of another domain"),
        n => format!("{n} members of {group} are of other domains"),
    };
    format!("{members}, and this directory gives them no tier: {shown}{more}")
}

/// The members of a group, as the group lists them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupMembers {
    pub total: u64,
    pub foreign: BTreeSet<ForeignMember>,
}

impl Closure {
    /// Returns the closure of groups that could not be read.
    pub fn unread() -> Self {
        Self::default().partial()
    }

    /// Marks that a configured group is missing.
    #[must_use]
    pub fn partial(self) -> Self {
        Self { is_partial: true, ..self }
    }

    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Notes the `uSNChanged` of a group.
    pub fn note_change(&mut self, usn: Option<u64>) {
        self.last_change = self.last_change.max(usn);
    }

    pub fn last_change(&self) -> Option<u64> {
        self.last_change
    }

    /// Adds a group; a known one keeps the better tier. Returns whether the closure changed.
    pub fn add(&mut self, group: ClosureGroup) -> bool {
        match self.groups.get_mut(&group.guid) {
            None => {
                self.groups.insert(group.guid, group);
                true
            }
            Some(known) if known.gives < group.gives => {
                known.gives = group.gives;
                true
            }
            Some(_) => false,
        }
    }

    pub fn groups(&self) -> impl Iterator<Item = &ClosureGroup> {
        self.groups.values()
    }

    /// Returns the groups of this directory.
    pub fn own_groups(&self) -> impl Iterator<Item = &ClosureGroup> {
        self.groups.values().filter(|group| !self.is_elsewhere(group.guid))
    }

    /// Returns whether the group is one of another directory.
    pub fn is_elsewhere(&self, group: Guid) -> bool {
        self.elsewhere.groups.contains_key(&group)
    }

    /// Returns the server that showed the group, if it is one of another directory.
    pub fn server_elsewhere(&self, group: Guid) -> Option<&str> {
        self.elsewhere.groups.get(&group).map(|group| group.server.as_str())
    }

    /// Adds a group of another directory with the members that it lists.
    pub fn add_elsewhere(&mut self, group: ClosureGroup, members: GroupMembers, server: &str) {
        let (guid, server) = (group.guid, server.to_owned());
        let has_members = members.total > 0;
        self.elsewhere.groups.insert(guid, GroupElsewhere { server, has_members });
        for member in members.foreign {
            match member {
                ForeignMember::Sid(sid) => {
                    self.elsewhere.by_sid.entry(sid).or_default().insert(guid)
                }
                ForeignMember::Name(dn) => self.elsewhere.by_dn.entry(dn).or_default().insert(guid),
            };
        }
        // A RID means nothing outside its domain.
        self.add(ClosureGroup { rid: None, ..group });
    }

    /// Notes the last change of the groups of another directory.
    pub fn note_change_elsewhere(&mut self, directory: DirectoryName, change: HighWaterMark) {
        self.elsewhere.last_changes.insert(directory, change);
    }

    /// Returns the last changes of the groups of other directories.
    pub fn changes_elsewhere(&self) -> impl Iterator<Item = (DirectoryName, HighWaterMark)> {
        self.elsewhere.last_changes.iter().map(|(name, change)| (name.clone(), *change))
    }

    /// Returns the groups of other directories that list a person, by SID or DN.
    pub fn listing(&self, sid: Option<&Sid>, dn: &Dn) -> impl Iterator<Item = Guid> {
        let by_sid = sid.and_then(|sid| self.elsewhere.by_sid.get(sid));
        // Most companies have no such group, and a full read asks for each person.
        let by_dn =
            if self.elsewhere.by_dn.is_empty() { None } else { self.elsewhere.by_dn.get(dn) };
        by_sid.into_iter().chain(by_dn).flatten().copied()
    }

    /// Returns the members that groups of other directories list.
    pub fn members_elsewhere(&self) -> (impl Iterator<Item = &Sid>, impl Iterator<Item = &Dn>) {
        (self.elsewhere.by_sid.keys(), self.elsewhere.by_dn.keys())
    }

    /// Returns the groups of other directories.
    pub fn groups_elsewhere(&self) -> impl Iterator<Item = Guid> {
        self.elsewhere.groups.keys().copied()
    }

    /// Returns the groups of other directories that list no member: empty, or no longer readable.
    pub fn silent_elsewhere(&self) -> impl Iterator<Item = Guid> {
        self.elsewhere.groups.iter().filter(|(_, group)| !group.has_members).map(|(guid, _)| *guid)
    }

    /// Returns the tier that a group gives.
    pub fn tier_of(&self, group: Guid) -> Option<Tier> {
        self.groups.get(&group).map(|group| group.gives)
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Returns the best tier of these groups, and the group that gives it.
    pub fn best(&self, groups: &[Guid]) -> Option<(Tier, Guid)> {
        groups
            .iter()
            .filter_map(|g| self.groups.get(g))
            .map(|g| (g.gives, g.guid))
            .max_by_key(|(tier, guid)| (*tier, std::cmp::Reverse(*guid)))
    }

    /// Returns whether a later read of the groups of this directory shows all with the same DN.
    pub fn is_same_as(&self, later: &Self) -> bool {
        self.own_groups().count() == later.groups.len()
            && self
                .own_groups()
                .all(|g| later.groups.get(&g.guid).is_some_and(|l| l.dn.as_str() == g.dn.as_str()))
    }
}

/// The tier of a person by the groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TierWish {
    /// `by` is `None` when no group is configured.
    Entitled { tier: Tier, by: Option<Guid> },
    /// A member of none of the groups, below an OU whose rule gives this tier.
    OfOu(Tier),
    /// A member of none of the groups.
    Without,
    /// Not known; the present tier stays.
    Unknown,
}

impl TierWish {
    /// Returns the tier that groups, OU or configuration give.
    pub fn given(self) -> Option<Tier> {
        match self {
            Self::Entitled { tier, .. } | Self::OfOu(tier) => Some(tier),
            Self::Without | Self::Unknown => None,
        }
    }
}

/// The answer of the groups about one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// The person is a member of these groups.
    In(Vec<Guid>),
    /// No group of the closure has the person as a member.
    NotIn,
    /// A group could not be asked, or shows no member although it had some.
    Unknown,
}

impl TierRules {
    /// Returns the tier of a person who is a member of these groups, below an OU with this rule.
    pub fn wish(
        &self,
        closure: &Closure,
        groups: &[Guid],
        primary_group_known: bool,
        ou: OuTier,
    ) -> TierWish {
        if !self.grouped {
            return match ou {
                OuTier::Given(tier) => TierWish::OfOu(tier),
                OuTier::NoRule => TierWish::Entitled { tier: self.default_tier, by: None },
                OuTier::Unknown => TierWish::Unknown,
            };
        }
        match (closure.best(groups), ou) {
            (Some((tier, by)), _) => TierWish::Entitled { tier, by: Some(by) },
            (None, _) if !primary_group_known || closure.is_partial => TierWish::Unknown,
            (None, OuTier::Given(tier)) => TierWish::OfOu(tier),
            (None, OuTier::NoRule) => TierWish::Without,
            (None, OuTier::Unknown) => TierWish::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: u8, gives: Tier) -> ClosureGroup {
        ClosureGroup {
            guid: Guid([n; 16]),
            dn: Dn::new(format!("CN=g{n},DC=corp")),
            rid: None,
            gives,
        }
    }

    #[test]
    fn pro_wins_over_basic_and_no_group_differs_from_unknown_groups() {
        let rules = TierRules {
            grouped: true,
            without_group: WithoutGroup::Suspend,
            default_tier: Tier::Pro,
        };
        let mut closure = Closure::default();
        assert!(closure.add(group(1, Tier::Basic)));
        assert!(closure.add(group(2, Tier::Pro)));
        assert!(!closure.add(group(2, Tier::Basic)), "a cycle through a group of a lower tier");
        let (basic, pro) = (Guid([1; 16]), Guid([2; 16]));
        let by = |tier, by| TierWish::Entitled { tier, by: Some(by) };
        let given = OuTier::Given(Tier::Pro);
        let table = [
            (&[basic, pro][..], true, OuTier::NoRule, by(Tier::Pro, pro)),
            (&[basic], true, OuTier::NoRule, by(Tier::Basic, basic)),
            (&[basic], true, given, by(Tier::Basic, basic)),
            (&[basic], true, OuTier::Unknown, by(Tier::Basic, basic)),
            (&[], true, OuTier::NoRule, TierWish::Without),
            (&[], true, given, TierWish::OfOu(Tier::Pro)),
            (&[], true, OuTier::Unknown, TierWish::Unknown),
            (&[], false, given, TierWish::Unknown),
        ];
        for (groups, is_known, ou, wish) in table {
            assert_eq!(rules.wish(&closure, groups, is_known, ou), wish, "{groups:?} {ou:?}");
        }
        assert_eq!(rules.wish(&closure.clone().partial(), &[], true, given), TierWish::Unknown);
        let ungrouped = TierRules { grouped: false, ..rules };
        let default = TierWish::Entitled { tier: Tier::Pro, by: None };
        assert_eq!(ungrouped.wish(&closure, &[], true, OuTier::NoRule), default);
        let basic = OuTier::Given(Tier::Basic);
        assert_eq!(ungrouped.wish(&closure, &[], true, basic), TierWish::OfOu(Tier::Basic));
    }
}
