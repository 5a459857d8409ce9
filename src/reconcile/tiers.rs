//! Tiers from groups: the closure of the configured groups, and the tier that a person gets.

use std::collections::BTreeMap;

use crate::model::{Dn, Guid, Tier, words};

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

    /// Returns whether a later read of the groups shows all of them with the same DN.
    pub fn is_same_as(&self, later: &Self) -> bool {
        self.groups.len() == later.groups.len()
            && self
                .groups
                .values()
                .all(|g| later.groups.get(&g.guid).is_some_and(|l| l.dn.as_str() == g.dn.as_str()))
    }
}

/// The tier of a person by the groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TierWish {
    /// `by` is `None` when no group is configured.
    Entitled { tier: Tier, by: Option<Guid> },
    /// A member of none of the groups.
    Without,
    /// Not known; the present tier stays.
    Unknown,
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
    /// Returns the tier of a person who is a member of these groups.
    pub fn wish(&self, closure: &Closure, groups: &[Guid], primary_group_known: bool) -> TierWish {
        if !self.grouped {
            return TierWish::Entitled { tier: self.default_tier, by: None };
        }
        match closure.best(groups) {
            Some((tier, by)) => TierWish::Entitled { tier, by: Some(by) },
            None if primary_group_known && !closure.is_partial => TierWish::Without,
            None => TierWish::Unknown,
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
        assert_eq!(
            rules.wish(&closure, &[basic, pro], true),
            TierWish::Entitled { tier: Tier::Pro, by: Some(pro) }
        );
        assert_eq!(
            rules.wish(&closure, &[basic], true),
            TierWish::Entitled { tier: Tier::Basic, by: Some(basic) }
        );
        assert_eq!(rules.wish(&closure, &[], true), TierWish::Without);
        assert_eq!(rules.wish(&closure, &[], false), TierWish::Unknown);
        assert_eq!(rules.wish(&closure.partial(), &[], true), TierWish::Unknown);
    }
}
