//! Rules for the people below one OU: their tier outside of groups, and limits of their own.

use std::collections::BTreeMap;

use super::exclude::Ou;
use super::limits::Limit;
use crate::model::{ChangeClass, Dn, Tier};

/// A rule for the people below one OU.
#[derive(Clone, PartialEq, Debug)]
pub struct OuRule {
    pub ou: Ou,
    /// The tier of people in none of the groups.
    pub tier: Option<Tier>,
    /// The limits of changes below the OU, beside those of the directory. Suspensions as disabled,
    /// expired or deleted have none.
    pub limits: BTreeMap<ChangeClass, Limit>,
}

/// The tier that an OU gives to people in none of the groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OuTier {
    Given(Tier),
    NoRule,
    /// The OU of a rule was not found, so the person may be below it.
    Unknown,
}

/// The rules of a directory.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OuRules(pub Vec<OuRule>);

impl OuRules {
    /// Returns the tier of an entry outside of the groups. The rule of the innermost OU decides.
    pub fn tier(&self, dn: &Dn) -> OuTier {
        match self.giving(dn).and_then(|rule| rule.tier) {
            _ if self.0.iter().any(|rule| rule.tier.is_some() && rule.ou.present.is_none()) => {
                OuTier::Unknown
            }
            Some(tier) => OuTier::Given(tier),
            None => OuTier::NoRule,
        }
    }

    /// Returns the rule that gives an entry its tier outside of the groups.
    pub(super) fn giving(&self, dn: &Dn) -> Option<&OuRule> {
        let above =
            self.0.iter().filter(|rule| rule.tier.is_some() && rule.ou.holds(dn) == Some(true));
        above.max_by_key(|rule| rule.ou.present.as_ref().map_or(0, |ou| ou.key().len()))
    }

    /// Returns whether a rule has limits.
    pub fn have_limits(&self) -> bool {
        self.0.iter().any(|rule| !rule.limits.is_empty())
    }

    /// Returns the limits of each OU, with the changes of the window that count against them.
    pub fn bounds(&self, window: &HomeCounts) -> Vec<OuBounds> {
        let limited = self.0.iter().filter(|rule| !rule.limits.is_empty());
        limited.map(|rule| OuBounds::of(rule, window)).collect()
    }
}

/// Users and changes of the window by home: the parent of the entry, in normal form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HomeCounts {
    /// The active managed users now.
    pub active: BTreeMap<String, u64>,
    pub applied: Vec<AppliedAtHome>,
}

/// Changes of one home that runs applied within the window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppliedAtHome {
    pub home: String,
    pub class: ChangeClass,
    /// Whether an operator approved them.
    pub approved: bool,
    pub count: u64,
}

/// The limits of an OU, and what counts against them.
#[derive(Clone, PartialEq, Debug)]
pub struct OuBounds {
    /// The present and the configured DN. Homes may still have the one that the OU had before.
    names: Vec<Dn>,
    pub(super) limits: BTreeMap<ChangeClass, Limit>,
    /// Active users below the OU when the window began.
    active: u64,
    used: BTreeMap<ChangeClass, u64>,
}

impl OuBounds {
    fn of(rule: &OuRule, window: &HomeCounts) -> Self {
        let names = rule.ou.present.iter().chain([&rule.ou.configured]).cloned().collect();
        let mut bounds =
            Self { names, limits: rule.limits.clone(), active: 0, used: BTreeMap::new() };
        let active = window.active.iter().filter(|(home, _)| bounds.hold(Some(home.as_str())));
        let active: u64 = active.map(|(_, users)| users).sum();
        let here = |applied: &&AppliedAtHome| bounds.hold(Some(applied.home.as_str()));
        let (mut left, mut came, mut used) = (0, 0, BTreeMap::new());
        for AppliedAtHome { class, approved, count, .. } in window.applied.iter().filter(here) {
            match class {
                ChangeClass::Confirmed | ChangeClass::Deleted | ChangeClass::Gone => left += count,
                // Approved joiners count as present when the window began, a first import above all.
                ChangeClass::Create | ChangeClass::Reactivate if !approved => came += count,
                _ => {}
            }
            if !approved {
                *used.entry(*class).or_default() += count;
            }
        }
        bounds.active = (active + left).saturating_sub(came);
        bounds.used = used;
        bounds
    }

    /// Returns whether a home is below the OU.
    pub(super) fn hold(&self, home: Option<&str>) -> bool {
        home.is_some_and(|home| {
            let home = Dn::new(home);
            self.names.iter().any(|ou| home.is_within(ou))
        })
    }

    /// Returns whether so many further changes of a class exceed the limit.
    pub(super) fn are_exceeded(&self, class: ChangeClass, limit: Limit, pending: u64) -> bool {
        let used = self.used.get(&class).copied().unwrap_or(0);
        used + pending > limit.allowed(class, self.active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAFF: &str = "OU=Staff,DC=corp";
    const INTERNS: &str = "OU=Interns,OU=Staff,DC=corp";

    fn rule(configured: &str, present: Option<&str>, tier: Option<Tier>) -> OuRule {
        let ou = Ou { configured: Dn::new(configured), present: present.map(Dn::new) };
        OuRule { ou, tier, limits: BTreeMap::new() }
    }

    #[test]
    fn the_rule_of_the_innermost_ou_gives_the_tier() {
        let staff = rule(STAFF, Some(STAFF), Some(Tier::Pro));
        let interns = rule(INTERNS, Some(INTERNS), Some(Tier::Basic));
        let untiered = rule(INTERNS, Some(INTERNS), None);
        let lost = rule("OU=Lost,DC=corp", None, Some(Tier::Basic));
        let table = [
            (vec![staff.clone(), interns.clone()], INTERNS, OuTier::Given(Tier::Basic)),
            (vec![interns.clone(), staff.clone()], INTERNS, OuTier::Given(Tier::Basic)),
            (vec![staff.clone(), interns], STAFF, OuTier::Given(Tier::Pro)),
            (vec![staff.clone(), untiered], INTERNS, OuTier::Given(Tier::Pro)),
            (vec![staff.clone()], "OU=Sales,DC=corp", OuTier::NoRule),
            (vec![staff, lost], INTERNS, OuTier::Unknown),
        ];
        for (rules, parent, tier) in table {
            let dn = Dn::new(format!("CN=Ann,{parent}"));
            assert_eq!(OuRules(rules.clone()).tier(&dn), tier, "{rules:?}");
        }
    }

    #[test]
    fn the_limit_of_an_ou_counts_its_people_when_the_window_began() {
        let limit = Limit { percent: 10, at_least: 0, at_most: None };
        let renamed = "OU=Team,DC=corp";
        let mut rule = rule(STAFF, Some(renamed), None);
        rule.limits.insert(ChangeClass::Create, limit);
        let applied = |home: &str, class, approved, count| AppliedAtHome {
            home: Dn::new(home).key().to_owned(),
            class,
            approved,
            count,
        };
        let home = |dn: &str| Dn::new(dn).key().to_owned();
        let window = HomeCounts {
            active: [(home(renamed), 90), (home(INTERNS), 20), (home("OU=Sales,DC=corp"), 500)]
                .into(),
            applied: vec![
                applied(INTERNS, ChangeClass::Confirmed, true, 5),
                applied(STAFF, ChangeClass::Create, false, 7),
                applied(STAFF, ChangeClass::Create, true, 50),
                applied("OU=Sales,DC=corp", ChangeClass::Create, false, 9),
            ],
        };
        let [bounds] = <[OuBounds; 1]>::try_from(OuRules(vec![rule]).bounds(&window)).unwrap();
        assert_eq!(bounds.active, 108);
        assert!(!bounds.are_exceeded(ChangeClass::Create, limit, 4));
        assert!(bounds.are_exceeded(ChangeClass::Create, limit, 5));
    }
}
