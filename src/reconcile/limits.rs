//! The limits of changes that are applied without an approval (`[safety]`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Approvals;
use crate::model::ChangeClass;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Percent of the directory's active managed users.
    pub percent: u32,
    pub at_least: u64,
    pub at_most: Option<u64>,
}

impl Limit {
    /// Returns the number of changes per window, for so many active users when it began.
    pub(super) fn allowed(self, class: ChangeClass, active: u64) -> u64 {
        let share = (u64::from(self.percent) * active).div_ceil(100);
        let allowed = share.max(self.at_least).min(self.at_most.unwrap_or(u64::MAX));
        match class {
            // At most a quarter, because five leavers are ordinary among a thousand users and not among twelve.
            ChangeClass::Deleted | ChangeClass::Gone | ChangeClass::Downgrade => {
                allowed.min((active / 4).max(2))
            }
            _ => allowed,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The time over which changes add up.
    pub window: Duration,
    /// The time between the two observations of an absence; zero for no recheck.
    pub grace_period: Duration,
    /// The time after which an approval that could not be applied expires.
    pub approval_expires: Duration,
    pub approvals: Approvals,
    /// By class; every class has one.
    pub classes: BTreeMap<ChangeClass, Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |percent, at_least, at_most| Limit { percent, at_least, at_most };
        Self {
            window: Duration::from_hours(24),
            grace_period: Duration::from_mins(10),
            approval_expires: Duration::from_hours(24),
            approvals: Approvals::default(),
            classes: [
                (ChangeClass::Confirmed, limit(20, 10, None)),
                (ChangeClass::Deleted, limit(10, 5, Some(100))),
                (ChangeClass::Gone, limit(5, 5, Some(50))),
                (ChangeClass::Downgrade, limit(10, 10, Some(200))),
                (ChangeClass::Upgrade, limit(20, 50, Some(1000))),
                (ChangeClass::Create, limit(20, 50, Some(1000))),
                (ChangeClass::Readdress, limit(10, 10, Some(200))),
                (ChangeClass::Reactivate, limit(20, 10, Some(200))),
            ]
            .into(),
        }
    }
}

impl Limits {
    /// Returns the number of changes per window, for so many active users when it began.
    pub fn allowed(&self, class: ChangeClass, active: u64) -> u64 {
        self.classes.get(&class).map_or(0, |limit| limit.allowed(class, active))
    }

    /// Returns the number of changes that every hour allows, even when the window is used up. Only
    /// confirmed leavers have such an allowance.
    pub fn hourly(&self, class: ChangeClass) -> u64 {
        if class == ChangeClass::Confirmed {
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
            (ChangeClass::Gone, 4, 2),
            (ChangeClass::Gone, 12, 3),
            (ChangeClass::Gone, 1_000, 50),
            (ChangeClass::Gone, 150, 8),
            (ChangeClass::Deleted, 100, 10),
            (ChangeClass::Deleted, 100_000, 100),
            (ChangeClass::Confirmed, 10, 10),
            (ChangeClass::Confirmed, 1_001, 201),
            (ChangeClass::Create, 0, 50),
            (ChangeClass::Create, 1_000_000, 1_000),
        ];
        for (class, active, allowed) in table {
            assert_eq!(limits.allowed(class, active), allowed, "{class} of {active}");
        }
    }
}
