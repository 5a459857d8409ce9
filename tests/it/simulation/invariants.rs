//! The promises of the design, checked after every step of every history.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::{RunMode, RunState, Status, Trigger, UserId};
use rosterd::store::Run;

use super::books::{Books, Told};
use super::brakes::{
    approved_is_what_was_shown, clusters_are_held, limits_hold, one_plan_is_held,
    restored_stores_only_plan,
};
use super::history::{Do, Step};
use super::seen::{Seen, Wrong};
use super::sequences::{
    contested_addresses_stay, counts_match_changes, leavers_leave_in_time, losses_are_noticed,
    people_are_one_user, reactivations_are_true, rejections_stand, slices_are_held,
};
use super::suspensions::{
    leavers_leave, operators_causes_stay, protected_people_stay, rechecks_are_taken,
    suspended_is_who_has_a_cause, suspensions_are_true, suspensions_have_evidence,
};
use super::truth::{Facts, Truth};
use crate::world::Life;

/// Checks one promise.
type Check = fn(&Seen<'_>) -> Wrong;

/// Every check, with its promise.
pub(super) const CHECKS: [(&str, Check); 20] = [
    ("no user is suspended without a true reason", suspensions_are_true),
    ("a disabled or expired user is suspended by the next complete run, or held", leavers_leave),
    ("an absence and a downgrade need two observations", rechecks_are_taken),
    ("a complete run has read all people", complete_runs_have_read_everybody),
    ("every automatic suspension carries evidence", suspensions_have_evidence),
    ("a user is suspended exactly while it has a cause", suspended_is_who_has_a_cause),
    ("only an operator lifts an operator's suspension", operators_causes_stay),
    ("an unmanaged user changes only by a link", unmanaged_people_stay),
    ("a user becomes another person only by an operator's relink", links_stay),
    ("no address has two holders", addresses_are_held_once),
    ("a directory has at most one held plan", one_plan_is_held),
    ("no limit is exceeded in any window", limits_hold),
    ("a mass event of one cause is held", clusters_are_held),
    ("a restored store only plans until an approval", restored_stores_only_plan),
    ("protected people are suspended by an operator only", protected_people_stay),
    ("an approved change was shown to an operator", approved_is_what_was_shown),
    ("the event log verifies", the_log_is_whole),
    ("users match their events", users_match_events),
    ("changes and events match", changes_have_events),
    ("no run breaks on the store", runs_do_not_break),
];

/// The promises about several steps.
pub(super) const SEQUENCES: [(&str, Check); 8] = [
    ("a visible leaver is suspended after a few runs, or held", leavers_leave_in_time),
    ("an invisible user is reported after a few runs", losses_are_noticed),
    ("a rejected change is not applied", rejections_stand),
    ("a person has one user", people_are_one_user),
    ("a mass event of one cause is held, in any slices", slices_are_held),
    ("no run decides a contested address", contested_addresses_stay),
    ("the counts of a run are its changes", counts_match_changes),
    ("a reactivation has evidence", reactivations_are_true),
];

fn complete_runs_have_read_everybody(seen: &Seen<'_>) -> Wrong {
    // An edit during the run may hide the person before and show it after.
    if seen.lied || matches!(seen.step, Step::During(..) | Step::Meanwhile(..)) {
        return Vec::new();
    }
    let least = |directory: &str| {
        let in_filter = |t: &Truth, f: &Facts| {
            f.life == Life::Alive
                && f.is_visible
                && t.is_of(directory, &f.dn)
                && !(seen.rulebook.filtered && f.is_robot)
        };
        seen.truths
            .iter()
            .map(|t| t.people.values().filter(|f| in_filter(t, f)).count() as u64)
            .min()
            .unwrap_or(0)
    };
    let short = seen.runs().filter(|r| {
        r.mode == RunMode::Full
            && r.complete
            && r.state != RunState::Running
            && r.entries < least(r.directory.as_ref().map_or("", |name| name.as_str()))
    });
    short
        .map(|r| {
            let name = r.directory.as_ref().map_or("", |name| name.as_str());
            format!("{} of {} people", r.entries, least(name))
        })
        .collect()
}

fn unmanaged_people_stay(seen: &Seen<'_>) -> Wrong {
    let was_unmanaged = |id: &UserId| seen.before.users.get(id).is_some_and(|u| u.link.is_none());
    let touched = seen.by_directory().filter(|w| was_unmanaged(&w.user) && w.kind != "link");
    // A user that is linked and then changed by a second run of the same step is managed by then.
    let linked: BTreeSet<UserId> =
        seen.by_directory().filter(|w| w.kind == "link").map(|w| w.user).collect();
    touched
        .filter(|w| !linked.contains(&w.user))
        .map(|w| format!("{} is unmanaged, and a run made {} of it", w.user, w.kind))
        .collect()
}

fn links_stay(seen: &Seen<'_>) -> Wrong {
    if matches!(seen.step, Step::Restore) || seen.does(|d| matches!(d, Do::Relink(_) | Do::Undo(_)))
    {
        return Vec::new();
    }
    let guid = |books: &Books, id: &UserId| {
        books.users.get(id).and_then(|u| u.link.as_ref()).map(|l| l.guid)
    };
    // A released user is unmanaged, and may be invited like any other.
    let is_asked_anew = |id: &UserId| {
        seen.before.users[id].status() == Status::Released
            && seen.does(|d| matches!(d, Do::Invite(_)))
    };
    // A removed user is not another person.
    let is_removed = |id: &UserId| {
        !seen.after.users.contains_key(id) && seen.does(|d| matches!(d, Do::Remove(_) | Do::Forget))
    };
    let is_another = |id: &&UserId| {
        guid(seen.before, id).is_some()
            && guid(seen.before, id) != guid(seen.after, id)
            && !is_removed(id)
    };
    let moved = seen.before.users.keys().filter(is_another).filter(|id| !is_asked_anew(id));
    moved
        .map(|id| format!("{id} was {:?}, is {:?}", guid(seen.before, id), guid(seen.after, id)))
        .collect()
}

fn addresses_are_held_once(seen: &Seen<'_>) -> Wrong {
    let mut wrong = Vec::new();
    let mut holders: BTreeMap<String, UserId> = BTreeMap::new();
    for user in seen.after.users.values().filter(|u| u.status() != Status::Released) {
        for key in user.addresses.keys() {
            if let Some(other) = holders.insert(key.0.clone(), user.id) {
                wrong.push(format!("{} is of {other} and of {}", key.0, user.id));
            }
        }
    }
    if holders != seen.after.holders {
        wrong.push(format!("the users hold {holders:?}, the index says {:?}", seen.after.holders));
    }
    wrong
}

fn the_log_is_whole(seen: &Seen<'_>) -> Wrong {
    seen.after.broken_chain.clone().into_iter().collect()
}

fn users_match_events(seen: &Seen<'_>) -> Wrong {
    let ids: BTreeSet<&UserId> = seen.after.users.keys().chain(seen.after.told.keys()).collect();
    let differs = |id: &UserId| {
        let (is, told) = (seen.after.users.get(id).map(Told::of), seen.after.told.get(id));
        (is.as_ref() != told).then(|| format!("{id} is {is:?}, but {told:?} by its events"))
    };
    ids.into_iter().filter_map(differs).collect()
}

fn changes_have_events(seen: &Seen<'_>) -> Wrong {
    let mut changes: BTreeMap<(rosterd::model::RunId, UserId), u64> = BTreeMap::new();
    for change in &seen.after.written {
        // A transfer is an event of both accounts.
        *changes.entry((change.run, change.user)).or_default() +=
            if change.kind == "transfer" { 2 } else { 1 };
    }
    let keys: BTreeSet<_> = changes.keys().chain(seen.after.events.keys()).collect();
    let differs = keys.into_iter().filter(|key| changes.get(key) != seen.after.events.get(key));
    differs
        .map(|key| {
            format!(
                "{key:?}: {:?} changes, {:?} events",
                changes.get(key),
                seen.after.events.get(key)
            )
        })
        .collect()
}

fn runs_do_not_break(seen: &Seen<'_>) -> Wrong {
    let broken = |run: &&Run| run.error.as_ref().is_some_and(|e| e.contains("the store"));
    let mut wrong: Wrong =
        seen.runs().filter(broken).map(|run| format!("{:?}", run.error)).collect();
    let is_cut = |run: &&Run| run.state == RunState::Running && run.trigger != Trigger::Operator;
    wrong.extend(
        seen.after.runs.iter().filter(is_cut).map(|run| format!("{} is still running", run.id)),
    );
    wrong
}
