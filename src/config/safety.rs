//! `[safety]`: the limits of changes that need no approval.

use std::collections::BTreeMap;

use super::table::Table;
use super::values::{duration, duration_or_zero};
use crate::model::ChangeClass;
use crate::reconcile::{Approvals, Limit, Limits};

/// Reads limits. Each key that is absent has its value in `general`.
pub(super) fn read(mut table: Table<'_>, general: &Limits) -> Limits {
    let limits = Limits {
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
        approvals: Approvals {
            needed: table
                .integer("approvals", &(1..=MAX_APPROVALS))
                .unwrap_or(general.approvals.needed),
            above: table
                .integer("approvals-above", &(0..=PEOPLE))
                .unwrap_or(general.approvals.above),
        },
    };
    table.finish();
    limits
}

/// Reads the limits of an OU. A class that is absent has the limit of the directory alone.
pub(super) fn read_ou(mut table: Table<'_>, directory: &Limits) -> BTreeMap<ChangeClass, Limit> {
    let mut limits = BTreeMap::new();
    for (class, limit) in &directory.classes {
        let key = class.as_str();
        if matches!(class, ChangeClass::Confirmed | ChangeClass::Deleted) {
            if table.has(key) {
                table.note(key);
                table.problem_at(key, format!("an OU has no limit of {key}, because it would delay leavers: remove it, or write it in [directory.safety]"));
            }
        } else {
            let of_class = table.table(key);
            if of_class.is_present() {
                limits.insert(*class, read_limit(of_class, *limit));
            }
        }
    }
    table.finish();
    limits
}

/// Most operators that one change may need. More than a company has would hold it for ever.
const MAX_APPROVALS: u32 = 5;

/// Highest number of changes a limit may name: more than a directory can have people.
const PEOPLE: u64 = 1_000_000_000;

fn read_limit(mut table: Table<'_>, general: Limit) -> Limit {
    let limit = Limit {
        percent: table.integer("percent", &(0..=100)).unwrap_or(general.percent),
        at_least: table.integer("at-least", &(0..=PEOPLE)).unwrap_or(general.at_least),
        at_most: table.integer("at-most", &(0..=PEOPLE)).or(general.at_most),
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
