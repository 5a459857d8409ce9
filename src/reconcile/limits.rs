//! The limits of changes that are applied without an approval (`[safety]`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Class;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Percent of the directory's active managed users.
    pub percent: u32,
    pub at_least: u64,
    pub at_most: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The time over which changes add up.
    pub window: Duration,
    /// The time between the two observations of an absence; zero for no recheck.
    pub grace_period: Duration,
    /// The time after which an approval that could not be applied expires.
    pub approval_expires: Duration,
    /// By class; every class has one.
    pub classes: BTreeMap<Class, Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |percent, at_least, at_most| Limit { percent, at_least, at_most };
        Self {
            window: Duration::from_hours(24),
            grace_period: Duration::from_mins(10),
            approval_expires: Duration::from_hours(24),
            classes: [
                (Class::Confirmed, limit(20, 10, None)),
                (Class::Deleted, limit(10, 5, Some(100))),
                (Class::Gone, limit(5, 5, Some(50))),
                (Class::Downgrade, limit(10, 10, Some(200))),
                (Class::Upgrade, limit(20, 50, Some(1000))),
                (Class::Create, limit(20, 50, Some(1000))),
                (Class::Readdress, limit(10, 10, Some(200))),
                (Class::Reactivate, limit(20, 10, Some(200))),
            ]
            .into(),
        }
    }
}

impl Limits {
    /// Returns the number of changes per window, for so many active users when it began.
    pub fn allowed(&self, class: Class, active: u64) -> u64 {
        let Some(limit) = self.classes.get(&class) else { return 0 };
        let share = (u64::from(limit.percent) * active).div_ceil(100);
        let allowed = share.max(limit.at_least).min(limit.at_most.unwrap_or(u64::MAX));
        match class {
            // At most a quarter, because five leavers are ordinary among a thousand users and not among twelve.
            Class::Deleted | Class::Gone | Class::Downgrade => allowed.min((active / 4).max(2)),
            _ => allowed,
        }
    }

    /// Returns the number of changes that every hour allows, even when the window is used up. Only
    /// confirmed leavers have such an allowance.
    pub fn hourly(&self, class: Class) -> u64 {
        if class == Class::Confirmed {
            self.classes.get(&class).map_or(0, |l| l.at_least)
        } else {
            0
        }
    }
}

/// The changes of one class that runs applied without an approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Used {
    pub window: u64,
    pub hour: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_companies_are_protected_by_a_quarter_and_large_ones_by_the_ceiling() {
        let limits = Limits::default();
        let table = [
            (Class::Gone, 4, 2),
            (Class::Gone, 12, 3),
            (Class::Gone, 1_000, 50),
            (Class::Gone, 150, 8),
            (Class::Deleted, 100, 10),
            (Class::Deleted, 100_000, 100),
            (Class::Confirmed, 10, 10),
            (Class::Confirmed, 1_001, 201),
            (Class::Create, 0, 50),
            (Class::Create, 1_000_000, 1_000),
        ];
        for (class, active, allowed) in table {
            assert_eq!(limits.allowed(class, active), allowed, "{class} of {active}");
        }
    }
}
