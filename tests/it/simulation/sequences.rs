//! The promises about several steps: leavers, rejections, slices, contested addresses.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::{
    Address, AddressKey, ChangeClass, Guid, Override, Reason, RunMode, RunState, Status, User,
    UserId,
};
use rosterd::store::Run;

use super::books::Written;
use super::brakes::WINDOW;
use super::history::{Do, Step};
use super::memory::{TICKS, wanted};
use super::seen::{Seen, Wrong, holds};
use super::truth::{Facts, Truth};
use crate::world::Life;

/// Returns whether each directory was read this often. A restored store has forgotten those reads.
fn is_time(seen: &Seen<'_>, counts: &BTreeMap<String, u32>) -> bool {
    if matches!(seen.step, Step::Restore) {
        return false;
    }
    let read: BTreeSet<String> = seen.readings().collect();
    seen.directories.iter().all(|name| {
        counts.get(name).copied().unwrap_or(0) + u32::from(read.contains(name)) >= TICKS
    })
}

/// LA: a visible disabled, expired or deleted user is suspended or held in time.
pub(super) fn leavers_leave_in_time(seen: &Seen<'_>) -> Wrong {
    let mut wrong = Vec::new();
    for ((guid, reason), counts) in &seen.memory.leavers {
        let is_still = seen
            .facts(*guid)
            .all(|(t, f)| f.is_visible && holds(*reason, f, t, t.at, seen.rulebook));
        let user =
            seen.after.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == *guid));
        let Some(user) = user.filter(|u| u.status() == Status::Active && is_still) else {
            continue;
        };
        if is_time(seen, counts) && !seen.after.is_held(user.id) {
            wrong.push(format!(
                "{guid} of {} is {reason} and in sight since {counts:?}, and active",
                user.id
            ));
        }
    }
    wrong
}

/// LA: no invisible user stays active without a report.
pub(super) fn losses_are_noticed(seen: &Seen<'_>) -> Wrong {
    let mut wrong = Vec::new();
    // Runs report it, so a step without a run is exempt.
    if seen.readings().next().is_none() {
        return wrong;
    }
    for (guid, counts) in &seen.memory.unseen {
        if !seen.facts(*guid).all(|(_, f)| !f.is_visible) || !is_time(seen, counts) {
            continue;
        }
        let user =
            seen.after.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == *guid));
        let Some(user) = user.filter(|u| u.status() == Status::Active) else { continue };
        let has_grace_period = seen.after.grace_periods.keys().any(|(id, _)| *id == user.id);
        let pinned = user.overrides.iter().any(|pin| matches!(pin, Override::Reason(_)));
        if !has_grace_period && !pinned && !seen.after.is_held(user.id) && !is_reported(seen, user)
        {
            wrong.push(format!(
                "{guid} of {} is invisible since {counts:?}, active, and not reported",
                user.id
            ));
        }
    }
    wrong
}

/// Returns whether the last run of the user's directory reports a problem. If that directory was
/// removed, the run of any directory counts, and so does a status that names it.
///
/// The run of that directory may fail or warn. A later run of another directory has nothing to
/// report about it.
fn is_reported(seen: &Seen<'_>, user: &User) -> bool {
    let own = user
        .link
        .as_ref()
        .map(|l| l.directory.as_str())
        .filter(|own| seen.directories.iter().any(|name| name == own));
    let former = user.link.as_ref().map(|l| l.directory.as_str()).filter(|_| own.is_none());
    if former.is_some_and(|name| seen.attention.contains(&format!("linked to {name},"))) {
        return true;
    }
    let mut reports = seen.memory.reports.clone();
    note_reports(seen, &mut reports);
    let is_chosen = |name: &&String| own.is_none_or(|own| own == name.as_str());
    let chosen = seen.directories.iter().filter(is_chosen);
    chosen.into_iter().any(|name| reports.get(name).copied().unwrap_or(false))
}

/// Notes of each directory that was read in this step whether its last run reports something. Runs are listed by a clock
/// that may have been set back, so those of earlier steps are remembered.
pub(super) fn note_reports(seen: &Seen<'_>, reports: &mut BTreeMap<String, bool>) {
    let is_over = |run: &&Run| !matches!(run.state, RunState::Running | RunState::Cancelled);
    let runs: Vec<&Run> =
        seen.runs().filter(is_over).filter(|run| run.mode != RunMode::Scoped).collect();
    for run in runs.into_iter().rev() {
        if let Some(directory) = &run.directory {
            let reported = run.error.is_some() || !run.warnings.is_empty();
            reports.insert(directory.to_string(), reported);
        }
    }
}

/// A rejected change is never applied, until it is reopened or differs.
pub(super) fn rejections_stand(seen: &Seen<'_>) -> Wrong {
    if seen.does(|what| matches!(what, Do::Undo(_))) || matches!(seen.step, Step::Restore) {
        return Vec::new();
    }
    let is_rejected = |w: &&Written| !w.approved && seen.rejected.contains_key(&w.recognised());
    seen.by_directory()
        .filter(is_rejected)
        .map(|w| format!("{} {} of {} to {}", w.directory, w.kind, w.user, w.after))
        .collect()
}

/// Each person of the account has one user, under any names of directories.
pub(super) fn people_are_one_user(seen: &Seen<'_>) -> Wrong {
    let mut users: BTreeMap<(String, Guid), UserId> = BTreeMap::new();
    let mut wrong = Vec::new();
    for user in seen.after.users.values() {
        let Some(link) = &user.link else { continue };
        if let Some(other) = users.insert((user.account.to_string(), link.guid), user.id) {
            wrong.push(format!("{} is {other} and {}", link.guid, user.id));
        }
    }
    wrong
}

/// In no window a cause takes five people who are 30 % of it, in any sequence of runs.
pub(super) fn slices_are_held(seen: &Seen<'_>) -> Wrong {
    let counts = |w: &&Written| {
        let loses = matches!(
            w.class,
            Some(ChangeClass::Deleted | ChangeClass::Gone | ChangeClass::Downgrade)
        );
        w.by_directory && !w.approved && loses && w.cluster.is_some()
    };
    let mut wrong = Vec::new();
    let Some(last) = seen.after.fresh().iter().filter(counts).map(|w| w.at).max() else {
        return wrong;
    };
    let since = last.minus(WINDOW);
    let mut lost: BTreeMap<&str, BTreeSet<UserId>> = BTreeMap::new();
    for change in seen.after.written.iter().filter(counts).filter(|w| w.at > since) {
        lost.entry(change.cluster.as_deref().unwrap_or_default()).or_default().insert(change.user);
    }
    for change in seen.after.fresh().iter().filter(counts) {
        let cluster = change.cluster.as_deref().unwrap_or_default();
        let users = lost.remove(cluster).unwrap_or_default();
        let size =
            seen.memory.size(since, seen.before, |(home, group)| match cluster.split_once(':') {
                Some(("ou", place)) => home == place,
                Some(("group", is)) => group.is_some_and(|g| g.to_string() == is),
                _ => true,
            });
        if users.len() >= 5 && users.len() as u64 * 100 >= 30 * size {
            wrong.push(format!("{} of the {size} of {cluster} in one window", users.len()));
        }
    }
    wrong.extend(group_slices(seen, since));
    wrong
}

/// The same, by the entitling groups at the beginning of the window. Held changes do not change the
/// place of a user.
fn group_slices(seen: &Seen<'_>, since: rosterd::model::Timestamp) -> Wrong {
    let Some((_, start)) = seen
        .memory
        .belonged
        .iter()
        .rev()
        .find(|(at, _)| *at <= since)
        .or(seen.memory.belonged.first())
    else {
        return Vec::new();
    };
    let loses = |w: &&Written| {
        w.by_directory
            && !w.approved
            && w.at > since
            && (w.class == Some(ChangeClass::Downgrade) || w.reason == Some(Reason::NoGroup))
    };
    let mut lost: BTreeMap<Guid, BTreeSet<UserId>> = BTreeMap::new();
    for change in seen.after.written.iter().filter(loses).filter(|w| w.class.is_some()) {
        if let Some((_, Some(group))) = start.get(&change.user) {
            lost.entry(*group).or_default().insert(change.user);
        }
    }
    let size = |group: Guid| start.values().filter(|(_, is)| *is == Some(group)).count();
    let is_event = |(group, users): &(Guid, BTreeSet<UserId>)| {
        users.len() >= 5 && users.len() * 100 >= 30 * size(*group)
    };
    let is_fresh = |users: &BTreeSet<UserId>| {
        seen.after.fresh().iter().filter(loses).any(|w| users.contains(&w.user))
    };
    let events = lost.into_iter().filter(is_event).filter(|(_, users)| is_fresh(users));
    events
        .map(|(group, users)| {
            let losses = seen.after.written.iter().filter(loses);
            let losses: Vec<String> = losses
                .filter(|w| users.contains(&w.user))
                .map(|w| {
                    let mut groups: Vec<Option<Guid>> = seen
                        .memory
                        .belonged
                        .iter()
                        .filter_map(|(_, b)| Some(b.get(&w.user)?.1))
                        .collect();
                    groups.dedup();
                    let cluster = &w.cluster;
                    format!("{} {} by {cluster:?} at {}, once in {groups:?}", w.user, w.kind, w.at)
                })
                .collect();
            format!("{} of the {} whom {group} entitled: {losses:#?}", users.len(), size(group))
        })
        .collect()
}

/// No run gives an address to either of two people who want it and do not have it.
pub(super) fn contested_addresses_stay(seen: &Seen<'_>) -> Wrong {
    if seen.lied
        || matches!(seen.step, Step::Restore)
        || seen.does(|what| matches!(what, Do::Undo(_)))
    {
        return Vec::new();
    }
    let primary = |change: &Written| {
        let text = change.after["primary_email"].as_str()?;
        let was = change.before["primary_email"].as_str();
        was.is_none_or(|was| !was.eq_ignore_ascii_case(text))
            .then(|| Address::parse(text).ok().map(|a| a.key()))?
    };
    let takes = |w: &&Written| matches!(w.kind.as_str(), "create" | "link" | "update");
    let mut wrong = Vec::new();
    for change in seen.by_directory().filter(takes) {
        let (Some(key), Some(guid)) = (primary(change), change.guid) else { continue };
        // An unlinked user may have had the address all the time.
        if seen.before.holders.contains_key(&key.0) {
            continue;
        }
        let is_read =
            |t: &Truth, f: &Facts| seen.whole_reads().any(|directory| t.is_of(directory, &f.dn));
        let is_known = |other: &Guid, t: &Truth, f: &Facts| {
            seen.memory.wants.get(other).is_some_and(|keys| keys.contains(&key)) || is_read(t, f)
        };
        let wants_all_along = |other: &&Guid| {
            seen.facts(**other)
                .all(|(t, f)| is_known(other, t, f) && is_contender(seen, **other, t, f, &key))
        };
        let rivals: Vec<&Guid> = seen.truths[0]
            .people
            .keys()
            .filter(|other| **other != guid)
            .filter(wants_all_along)
            .collect();
        let wanted_all_along = seen.facts(guid).all(|(_, f)| wanted(f).as_ref() == Some(&key));
        if !rivals.is_empty() && wanted_all_along {
            wrong.push(format!(
                "{guid} got {}, which {rivals:?} want, too: {} {}",
                key.0, change.kind, change.after
            ));
        }
    }
    wrong
}

/// Returns whether a person would get the address if no other wanted it.
fn is_contender(
    seen: &Seen<'_>,
    guid: Guid,
    truth: &Truth,
    facts: &Facts,
    key: &AddressKey,
) -> bool {
    let user = seen.before.users.values().find(|u| {
        u.status() != Status::Released && u.link.as_ref().is_some_and(|l| l.guid == guid)
    });
    // An overridden value does not show the wish of the directory.
    let is_overruled = |u: &User| !u.overrides.is_empty();
    if user.is_some_and(is_overruled)
        || seen.before.users.values().any(|u| u.link.is_none() && is_overruled(u))
    {
        return false;
    }
    // A released user that an undo keeps away wants nothing.
    let is_kept_away = |u: &User| {
        u.link.as_ref().is_some_and(|l| l.guid == guid) && u.overrides.contains(&Override::Return)
    };
    if seen.before.users.values().any(is_kept_away) {
        return false;
    }
    let has_user = user.is_some();
    let reasons = [Reason::Disabled, Reason::Expired, Reason::OutOfScope, Reason::NoGroup];
    let is_welcome = reasons.iter().all(|r| !holds(*r, facts, truth, truth.at, seen.rulebook));
    let is_shown = facts.life == Life::Alive
        && facts.shows(&["mail", "userAccountControl", "accountExpires", "memberOf"]);
    is_shown && truth.is_open && wanted(facts).as_ref() == Some(key) && (has_user || is_welcome)
}

/// The counts of a run are those of its stored changes, in any outcome.
pub(super) fn counts_match_changes(seen: &Seen<'_>) -> Wrong {
    let mut wrong = Vec::new();
    // A killed run has no counts yet.
    for run in
        seen.runs().filter(|r| r.state != RunState::Running && !matches!(seen.step, Step::Kill(..)))
    {
        let written = seen.after.written.iter().filter(|w| w.run == run.id).count() as u64;
        if run.counts.total() != written {
            wrong.push(format!(
                "{:?} {:?} {:?} says {:?}, and {written} changes are written down",
                run.directory, run.state, run.error, run.counts
            ));
        }
    }
    wrong
}

/// A cause is lifted on positive evidence, and a user with another possible cause stays suspended.
pub(super) fn reactivations_are_true(seen: &Seen<'_>) -> Wrong {
    if seen.lied || seen.does(|what| matches!(what, Do::Undo(_) | Do::Activate(_))) {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for change in seen
        .by_directory()
        .filter(|w| !w.approved && w.kind == "reactivate" && w.after["status"] == "active")
    {
        let Some(guid) = change.guid else { continue };
        let was = seen.before.users.get(&change.user);
        let pins: Vec<Reason> = was
            .into_iter()
            .flat_map(|u| &u.overrides)
            .filter_map(|pin| if let Override::Reason(reason) = pin { Some(*reason) } else { None })
            .collect();
        let reasons = [Reason::Disabled, Reason::Expired, Reason::OutOfScope, Reason::NoGroup];
        let in_order = |truth: &Truth, facts: &Facts| {
            facts.life == Life::Alive
                && facts.shows(&["userAccountControl", "accountExpires"])
                && reasons
                    .iter()
                    .filter(|r| !pins.contains(r))
                    .all(|r| !holds(*r, facts, truth, truth.at, seen.rulebook))
        };
        if !seen.facts(guid).any(|(truth, facts)| in_order(truth, facts)) {
            let facts: Vec<&Facts> = seen.facts(guid).map(|(_, f)| f).collect();
            wrong.push(format!(
                "{guid} is active again ({}), without evidence of it: {facts:?}",
                change.before
            ));
        }
    }
    wrong
}
