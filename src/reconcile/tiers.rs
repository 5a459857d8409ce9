//! Tiers from groups: which groups give which tier, and what a person's groups amount to.

use std::collections::BTreeMap;

use crate::model::{Dn, Guid, Tier};

/// What happens to people in none of the configured groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WithoutGroup {
    /// They are suspended, and not provisioned in the first place.
    #[default]
    Suspend,
    /// They keep their tier; newcomers are basic.
    Keep,
    /// They are basic.
    Basic,
}

impl WithoutGroup {
    /// As it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Keep => "keep",
            Self::Basic => "basic",
        }
    }
}

/// How groups become tiers in one directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierRules {
    /// Whether any group is configured; otherwise everybody has the default tier.
    pub grouped: bool,
    /// For people in none of the groups.
    pub without_group: WithoutGroup,
    /// For everybody, when no group is configured.
    pub default_tier: Tier,
}

/// One group whose members have a tier: a configured one, or one nested in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClosureGroup {
    /// Its objectGUID.
    pub guid: Guid,
    /// Where it stood when the closure was read.
    pub dn: Dn,
    /// The last subauthority of its SID, by which `primaryGroupID` names it.
    pub rid: Option<u32>,
    /// The best tier it gives.
    pub gives: Tier,
}

/// All groups that give a tier, directly or nested; cycles are no matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Closure(BTreeMap<Guid, ClosureGroup>);

impl Closure {
    /// Adds a group; one that is already there keeps the better tier. Says whether anything was learned.
    pub fn add(&mut self, group: ClosureGroup) -> bool {
        match self.0.get_mut(&group.guid) {
            None => {
                self.0.insert(group.guid, group);
                true
            }
            Some(known) if known.gives < group.gives => {
                known.gives = group.gives;
                true
            }
            Some(_) => false,
        }
    }

    /// The groups, by GUID.
    pub fn groups(&self) -> impl Iterator<Item = &ClosureGroup> {
        self.0.values()
    }

    /// How many groups.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The best tier these groups give, and the group that gives it.
    pub fn best(&self, groups: &[Guid]) -> Option<(Tier, Guid)> {
        groups
            .iter()
            .filter_map(|g| self.0.get(g))
            .map(|g| (g.gives, g.guid))
            .max_by_key(|(tier, guid)| (*tier, std::cmp::Reverse(*guid)))
    }

    /// Whether another reading of the same groups, made later, shows them all at the same place.
    pub fn stands_as(&self, later: &Self) -> bool {
        self.0.len() == later.0.len()
            && self
                .0
                .values()
                .all(|g| later.0.get(&g.guid).is_some_and(|l| l.dn.as_str() == g.dn.as_str()))
    }
}

/// What a person's groups amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TierWish {
    /// A tier, by this group (none when no group is configured).
    Entitled {
        /// The tier.
        tier: Tier,
        /// The group that gives it.
        by: Option<Guid>,
    },
    /// In none of the groups.
    Without,
    /// Could not be told; whatever stands stays.
    Unknown,
}

/// What the groups themselves answered about one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// These groups hold the person as a member.
    In(Vec<Guid>),
    /// All groups of the closure were asked, and none does.
    NotIn,
    /// Some group could not be asked, or shows no member at all although it had some.
    Unknown,
}

impl TierRules {
    /// What the person's known groups amount to.
    pub fn wish(&self, closure: &Closure, groups: &[Guid], primary_group_known: bool) -> TierWish {
        if !self.grouped {
            return TierWish::Entitled { tier: self.default_tier, by: None };
        }
        match closure.best(groups) {
            Some((tier, by)) => TierWish::Entitled { tier, by: Some(by) },
            None if primary_group_known => TierWish::Without,
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
    fn pro_wins_over_basic_and_nobody_is_told_apart_from_unknown() {
        let rules = TierRules {
            grouped: true,
            without_group: WithoutGroup::Suspend,
            default_tier: Tier::Pro,
        };
        let mut closure = Closure::default();
        assert!(closure.add(group(1, Tier::Basic)));
        assert!(closure.add(group(2, Tier::Pro)));
        assert!(
            !closure.add(group(2, Tier::Basic)),
            "a cycle through a lesser group teaches nothing"
        );
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
    }
}
