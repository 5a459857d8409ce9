//! `[safety]`: how much may happen unasked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::table::Table;
use super::values::{duration, duration_or_zero};
use crate::model::Class;

/// How much of one class of changes goes through unasked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Percent of the directory's active managed users, 0 to 100.
    pub percent: u32,
    /// Never fewer changes than this; not more than `at_most`.
    pub at_least: u64,
    /// Never more changes than this.
    pub at_most: Option<u64>,
}

/// The limits of one directory: `[safety]`, overridden key by key in `[directory.safety]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Safety {
    /// The time over which changes add up; more than zero.
    pub window: Duration,
    /// How long "gone" and "downgrade" must still hold; zero for no recheck.
    pub grace_period: Duration,
    /// How long an approval may wait to be carried out; more than zero.
    pub approval_expires: Duration,
    /// By class; every class has one.
    pub classes: BTreeMap<Class, Limit>,
}

impl Default for Safety {
    fn default() -> Self {
        let limit = |class| {
            let (percent, at_least, at_most) = match class {
                Class::Confirmed => (20, 10, None),
                Class::Deleted => (10, 5, Some(100)),
                Class::Gone => (5, 5, Some(50)),
                Class::Downgrade | Class::Readdress => (10, 10, Some(200)),
                Class::Upgrade | Class::Create => (20, 50, Some(1000)),
                Class::Reactivate => (20, 10, Some(200)),
            };
            (class, Limit { percent, at_least, at_most })
        };
        Self {
            window: Duration::from_hours(24),
            grace_period: Duration::from_mins(10),
            approval_expires: Duration::from_hours(24),
            classes: Class::ALL.into_iter().map(limit).collect(),
        }
    }
}

/// Reads the limits over those that hold where nothing is said.
pub(super) fn read(mut table: Table<'_>, general: &Safety) -> Safety {
    let safety = Safety {
        window: table.text("window", duration).unwrap_or(general.window),
        grace_period: table.text("grace-period", duration_or_zero).unwrap_or(general.grace_period),
        classes: general
            .classes
            .iter()
            .map(|(class, limit)| (*class, read_limit(table.table(class.as_str()), *limit)))
            .collect(),
        approval_expires: table
            .text("approval-expires", duration)
            .unwrap_or(general.approval_expires),
    };
    table.finish();
    safety
}

fn read_limit(mut table: Table<'_>, general: Limit) -> Limit {
    let percent = table.integer("percent", &(0..=100)).and_then(|n| u32::try_from(n).ok());
    // As many people as there can be.
    let people = 0..=1_000_000_000;
    let limit = Limit {
        percent: percent.unwrap_or(general.percent),
        at_least: table.integer("at-least", &people).unwrap_or(general.at_least),
        at_most: table.integer("at-most", &people).or(general.at_most),
    };
    if let Limit { at_least, at_most: Some(at_most), .. } = limit
        && at_least > at_most
        && table.is_present()
    {
        let inherited = if table.has("at-least") && table.has("at-most") {
            ""
        } else {
            " (what is not written here keeps its general value)"
        };
        table.problem(format!("at-least {at_least} is more than at-most {at_most}{inherited}: raise at-most, or lower at-least"));
    }
    table.finish();
    limit
}
