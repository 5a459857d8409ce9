//! The promises about changes without approval: limits, mass events, new scopes and held plans.

use std::collections::BTreeMap;
use std::time::Duration;

use rosterd::model::{ChangeClass, Guid, Reason, Status, Timestamp};

use super::books::Written;
use super::history::{Do, Step};
use super::seen::{Seen, Wrong};

pub(super) fn one_plan_is_held(seen: &Seen<'_>) -> Wrong {
    let mut plans: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, _, directory) in &seen.after.plans {
        *plans.entry(directory).or_default() += 1;
    }
    plans
        .into_iter()
        .filter(|(_, n)| *n > 1)
        .map(|(directory, n)| format!("{n} plans of {directory}"))
        .collect()
}

/// Returns the changes of a class that one window allows.
pub(super) fn allowed(class: ChangeClass, active: u64) -> u64 {
    let (percent, at_least, at_most) = match class {
        ChangeClass::Confirmed => (20, 10, u64::MAX),
        ChangeClass::Deleted => (10, 5, 100),
        ChangeClass::Gone => (5, 5, 50),
        ChangeClass::Downgrade | ChangeClass::Readdress => (10, 10, 200),
        ChangeClass::Upgrade | ChangeClass::Create => (20, 50, 1000),
        ChangeClass::Reactivate => (20, 10, 200),
    };
    let allowed = (active * percent).div_ceil(100).clamp(at_least, at_most);
    match class {
        ChangeClass::Deleted | ChangeClass::Gone | ChangeClass::Downgrade => {
            allowed.min((active / 4).max(2))
        }
        _ => allowed,
    }
}

pub(super) const WINDOW: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// No window has more unapproved changes of a class than its limit allows.
pub(super) fn limits_hold(seen: &Seen<'_>) -> Wrong {
    let counts = |w: &&Written| w.by_directory && !w.approved;
    let mut wrong = Vec::new();
    for change in seen.after.fresh().iter().filter(counts) {
        let Some(class) = change.class else { continue };
        let within = |span: Duration| {
            let since = change.at.minus(span);
            let of_class = seen
                .after
                .written
                .iter()
                .filter(counts)
                .filter(|w| w.class == Some(class) && w.directory == change.directory);
            of_class.filter(|w| w.at > since && w.at <= change.at).count() as u64
        };
        // The active users at the beginning of the window, or of the first day.
        let start = change.at.minus(WINDOW);
        let of = |(_, active): &(Timestamp, BTreeMap<String, u64>)| {
            active.get(&change.directory).copied().unwrap_or(0)
        };
        let last = seen.actives.iter().rev().find(|at| at.0 <= start && of(at) > 0);
        let first = seen.actives.iter().find(|at| of(at) > 0);
        let mut active = last.or(first).map_or(0, of);
        if seen.memory.upset.is_some_and(|at| at > start) {
            // The count at the exact beginning is unknown.
            active = seen.actives.iter().map(of).max().unwrap_or(active).max(active);
        }
        let limit = allowed(class, active);
        let is_let_through = class == ChangeClass::Confirmed && within(HOUR) <= 10;
        if within(WINDOW) > limit && !is_let_through {
            wrong.push(format!(
                "{class}: {} in one window of {active} active users, which allows {limit}",
                within(WINDOW)
            ));
        }
    }
    wrong
}

/// Five or more changes of a cause, and 30 % of the people it concerns, need an approval.
pub(super) fn clusters_are_held(seen: &Seen<'_>) -> Wrong {
    let mut sizes: BTreeMap<(rosterd::model::RunId, &str), u64> = BTreeMap::new();
    for change in seen.by_directory().filter(|w| !w.approved && w.class.is_some()) {
        if let Some(cluster) = &change.cluster {
            *sizes.entry((change.run, cluster)).or_default() += 1;
        }
    }
    let belonged = |cluster: &str| {
        let of = |guid: &Guid| {
            let is = seen.before.people.get(guid)?;
            Some(match cluster.split_once(':')? {
                ("ou", home) => is.home == home,
                ("group", group) => is.entitled_by.is_some_and(|g| g.to_string() == group),
                _ => true,
            })
        };
        let active = seen.before.users.values().filter(|u| u.status() == Status::Active);
        active.filter_map(|u| of(&u.link.as_ref()?.guid)).filter(|is| *is).count() as u64
    };
    let is_event =
        |(cluster, count): (&str, u64)| count >= 5 && count * 100 >= 30 * belonged(cluster);
    let events = sizes.iter().filter(|((_, cluster), count)| is_event((cluster, **count)));
    events
        .map(|((_, cluster), count)| format!("{count} of the {} of {cluster}", belonged(cluster)))
        .collect()
}

/// Positive suspensions are exempt.
pub(super) fn restored_stores_only_plan(seen: &Seen<'_>) -> Wrong {
    // The run of an approval uses the scope that was approved.
    if matches!(seen.step, Step::Both(..) | Step::Meanwhile(..)) || seen.does(Do::approves) {
        return Vec::new();
    }
    let is_positive = |w: &&Written| {
        matches!(w.reason, Some(Reason::Disabled | Reason::Expired | Reason::Deleted))
            && w.kind != "reactivate"
    };
    let is_forgotten = seen.does(|what| matches!(what, Do::Forget));
    // A run that holds no change accepts the scope, so a later one is free.
    let applied = seen
        .by_directory()
        .filter(|w| seen.only_plans.contains(&w.directory) && !w.approved && !is_positive(w));
    applied
        .filter(|_| !is_forgotten)
        .map(|w| format!("{} {} of {} to {}", w.directory, w.kind, w.user, w.after))
        .collect()
}

pub(super) fn approved_is_what_was_shown(seen: &Seen<'_>) -> Wrong {
    let marked = seen.by_directory().filter(|w| w.marked_approved && !w.approved);
    marked.map(|w| format!("{} of {} to {}", w.kind, w.user, w.after)).collect()
}
