//! The promises of the design, checked after every step of every history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rosterd::model::{
    ChangeClass, Dn, Guid, Reason, RunMode, RunState, Status, Timestamp, Trigger, UserId,
};
use rosterd::reconcile::WithoutGroup;
use rosterd::store::Run;

use super::books::{Books, Told, Written};
use super::history::{Do, Step};
use super::memory::Memory;
use super::office::Rulebook;
use super::sequences::{
    contested_addresses_stay, counts_match_changes, leavers_leave_in_time, losses_are_noticed,
    people_are_one_user, reactivations_are_true, rejections_stand, slices_are_held,
};
use super::truth::{Facts, Truth};
use crate::world::Life;

/// One step, observed from outside.
pub(super) struct Seen<'a> {
    pub(super) step: &'a Step,
    pub(super) rulebook: &'a Rulebook,
    pub(super) before: &'a Books,
    pub(super) after: &'a Books,
    /// The truth at the beginning, after each edit, and at the end.
    pub(super) truths: &'a [Truth],
    /// The number of active managed users of each directory, since the beginning.
    pub(super) actives: &'a [(Timestamp, BTreeMap<String, u64>)],
    /// Whether the server may have lied in this step ...
    pub(super) lied: bool,
    /// ... and at least once more.
    pub(super) lied_again: bool,
    /// The directories whose runs only plan until an approval: after a restore, a changed scope or
    /// a rebaseline.
    pub(super) only_plans: &'a BTreeSet<String>,
    /// Whether every server answered truthfully.
    pub(super) is_clear: bool,
    /// The configured directories.
    pub(super) directories: &'a [String],
    /// The rejected changes that were not reopened, at the beginning of the step.
    pub(super) rejected: &'a BTreeMap<String, UserId>,
    /// The remarks in the status of all directories.
    pub(super) attention: &'a str,
    /// The memory of earlier steps.
    pub(super) memory: &'a Memory,
}

/// The broken promises, in sentences.
pub(super) type Wrong = Vec<String>;

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

impl Seen<'_> {
    /// Returns the changes that runs of the directory wrote in this step.
    pub(super) fn by_directory(&self) -> impl Iterator<Item = &Written> {
        self.after.fresh().iter().filter(|w| w.by_directory)
    }

    /// Returns the directories with a complete scheduled run in this step.
    pub(super) fn readings(&self) -> impl Iterator<Item = String> {
        let is_reading = |run: &&Run| {
            self.is_clear
                && matches!(run.mode, RunMode::Full | RunMode::Incremental)
                && run.server.is_some()
        };
        let is_over = |run: &&Run| !matches!(run.state, RunState::Running | RunState::Cancelled);
        self.runs()
            .filter(is_reading)
            .filter(is_over)
            .filter_map(|run| run.directory.as_ref().map(ToString::to_string))
    }

    /// Returns the directories with a complete full read in this step.
    pub(super) fn whole_reads(&self) -> impl Iterator<Item = &str> {
        let is_whole = |r: &&Run| {
            !self.lied
                && r.mode == RunMode::Full
                && r.complete
                && r.error.is_none()
                && r.finished_at.is_some()
        };
        self.runs().filter(is_whole).filter_map(|r| r.directory.as_ref().map(|name| name.as_str()))
    }

    /// Returns the truth about a person in this step, moment by moment.
    pub(super) fn facts(&self, who: Guid) -> impl Iterator<Item = (&Truth, &Facts)> {
        self.truths.iter().filter_map(move |t| Some((t, t.people.get(&who)?)))
    }

    /// Returns the runs that ended in this step.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.after.runs.iter().filter(|run| !self.before.runs.iter().any(|r| r.id == run.id))
    }

    pub(super) fn does(&self, is: impl Fn(&Do) -> bool) -> bool {
        self.step.deeds().any(is)
    }
}

/// Returns whether the reason is true of the person, at a time of the directory's clock.
pub(super) fn holds(
    reason: Reason,
    facts: &Facts,
    truth: &Truth,
    at: Timestamp,
    rulebook: &Rulebook,
) -> bool {
    let is_alive = facts.life == Life::Alive;
    match reason {
        Reason::Operator => false,
        Reason::Disabled => is_alive && facts.is_disabled,
        Reason::Expired => is_alive && facts.expires.is_some_and(|end| end <= at),
        Reason::Deleted => facts.life == Life::Tombstone && facts.is_visible,
        // Independent of the directory, because the person may be in another one.
        Reason::OutOfScope => {
            is_alive && (!truth.covers(&facts.dn) || (rulebook.filtered && facts.is_robot))
        }
        Reason::NoGroup => {
            is_alive && rulebook.without_group == WithoutGroup::Suspend && facts.tier.is_none()
        }
        Reason::Vanished => {
            facts.life == Life::Purged || (facts.life == Life::Tombstone && !facts.is_visible)
        }
    }
}

/// ML: a suspension by a run is true at some moment of that run.
fn suspensions_are_true(seen: &Seen<'_>) -> Wrong {
    let mut wrong = Vec::new();
    for change in seen.by_directory().filter(|w| w.kind == "suspend" || w.kind == "link") {
        let Some(guid) = change.guid else { continue };
        let reasons: Vec<Reason> = match change.kind.as_str() {
            "suspend" => change.reason.into_iter().collect(),
            _ => change.after["causes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|r| Reason::parse(r.as_str()?))
                .collect(),
        };
        for reason in reasons {
            let is_true = seen
                .facts(guid)
                .any(|(truth, facts)| holds(reason, facts, truth, truth.at, seen.rulebook));
            if is_true || (reason == Reason::Vanished && may_count_as_vanished(seen, change, guid))
            {
                continue;
            }
            // A recheck does not help if the server lies at both reads.
            if seen.lied && seen.lied_again && reason.class() == Some(ChangeClass::Gone) {
                continue;
            }
            let facts: Vec<&Facts> = seen.facts(guid).map(|(_, f)| f).collect();
            wrong.push(format!("{guid} is suspended as {reason}, which was never true: {facts:?}"));
        }
    }
    wrong
}

/// An invisible person counts as vanished in three cases: a visible colleague at the last known place,
/// an operator's approval, or a deletion in another domain.
fn may_count_as_vanished(seen: &Seen<'_>, change: &Written, guid: Guid) -> bool {
    let stood = seen
        .before
        .users
        .get(&change.user)
        .and_then(|u| u.link.as_ref())
        .and_then(|l| l.dn.parent());
    let Some(parent) = stood else { return false };
    seen.facts(guid).any(|(truth, facts)| {
        // With readable tombstones, a person without one is invisible rather than gone. A tombstone
        // of another domain is no proof, because each domain grants the right separately.
        let domain = domain_of(&facts.dn);
        let is_shown =
            |f: &Facts| f.life == Life::Tombstone && f.is_visible && domain_of(&f.dn) == domain;
        let shows_tombstones = truth.people.values().any(is_shown);
        let is_hidden = facts.life == Life::Alive && !facts.is_visible && !shows_tombstones;
        let witness = truth
            .people
            .iter()
            .any(|(other, f)| *other != guid && f.is_visible && f.dn.is_within(&parent));
        // A person who moved to another domain and was deleted there is not seen in the former one.
        let is_elsewhere = facts.life == Life::Tombstone && domain != domain_of(&parent);
        is_elsewhere || (is_hidden && witness) || (change.approved && !facts.is_visible)
    })
}

/// Returns the domain of an entry.
fn domain_of(dn: &Dn) -> &str {
    dn.key().find("dc=").map_or("", |at| &dn.key()[at..])
}

/// LA: after a complete run, no visible disabled or expired user is active, unless the suspension
/// is held.
fn leavers_leave(seen: &Seen<'_>) -> Wrong {
    let ended_well = |r: &&Run| {
        r.mode == RunMode::Full
            && r.complete
            && r.error.is_none()
            && !matches!(r.state, RunState::Running)
    };
    // Two concurrent runs may drop each other's changes.
    if matches!(seen.step, Step::Kill(..) | Step::Both(..)) || seen.lied {
        return Vec::new();
    }
    let read: BTreeSet<&str> = seen
        .runs()
        .filter(ended_well)
        .filter_map(|r| r.directory.as_ref().map(|name| name.as_str()))
        .collect();
    let mut wrong = Vec::new();
    let begun = seen.truths[0].at.minus(Duration::from_secs(2));
    for user in seen.after.users.values().filter(|u| u.status() == Status::Active) {
        let Some(link) = user.link.as_ref().filter(|l| read.contains(l.directory.as_str())) else {
            continue;
        };
        let is_of = |truth: &Truth, facts: &Facts| {
            facts.life == Life::Tombstone
                || truth.is_of(link.directory.as_str(), &facts.dn)
                || !truth.covers(&facts.dn)
        };
        // The cause was true before the run and during all of it.
        let throughout = |reason, attribute: &str| {
            seen.facts(link.guid).next().is_some()
                && seen.facts(link.guid).all(|(t, f)| {
                    let is_frozen = t.dark.contains(attribute)
                        || (reason == Reason::Expired && t.skew > Duration::from_mins(4));
                    !is_frozen
                        && f.is_visible
                        && is_of(t, f)
                        && holds(reason, f, t, begun, seen.rulebook)
                })
        };
        for (reason, attribute) in [
            (Reason::Disabled, "userAccountControl"),
            (Reason::Expired, "accountExpires"),
            (Reason::Deleted, "isDeleted"),
        ] {
            if throughout(reason, attribute) && !seen.after.is_held(user.id) {
                wrong.push(format!("{} is {reason}, was readable, and is active", link.guid));
            }
        }
    }
    wrong
}

/// An absence must hold at a recheck, after the grace period.
fn rechecks_are_taken(seen: &Seen<'_>) -> Wrong {
    let settle = seen.rulebook.config.limits.grace_period;
    let is_hasty = |w: &&Written| {
        let Some(class @ (ChangeClass::Gone | ChangeClass::Downgrade)) =
            w.class.filter(|_| !w.approved && !settle.is_zero())
        else {
            return false;
        };
        let is_young =
            |first: Option<&Timestamp>| first.is_none_or(|first| first.plus(settle) > w.at);
        // For the same reason as well, if no server lied.
        let of_reason = || w.guid.zip(w.reason).filter(|_| seen.is_clear && w.kind == "suspend");
        is_young(seen.memory.grace_periods.get(&(w.user, class)))
            || of_reason()
                .is_some_and(|(guid, reason)| is_young(seen.memory.since.get(&(guid, reason))))
    };
    let hasty = seen.by_directory().filter(is_hasty);
    hasty
        .map(|w| {
            let first = w.class.and_then(|class| seen.memory.grace_periods.get(&(w.user, class)));
            let since = w.guid.zip(w.reason).and_then(|key| seen.memory.since.get(&key));
            format!(
                "{} of {} ({:?}) at {:?}, first seen {first:?}, so since {since:?}",
                w.kind, w.user, w.reason, w.at
            )
        })
        .collect()
}

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

fn suspensions_have_evidence(seen: &Seen<'_>) -> Wrong {
    let is_bare = |w: &&Written| {
        let shows = |e: &serde_json::Value| {
            ["server", "attribute", "value", "seen_at"]
                .iter()
                .all(|key| e[key].as_str().is_some_and(|text| !text.is_empty()))
                && e["object"].as_str() == w.guid.map(|g| g.to_string()).as_deref()
        };
        !w.evidence.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(shows))
    };
    let suspensions = seen.by_directory().filter(|w| w.kind == "suspend");
    let mut wrong: Wrong = suspensions
        .filter(is_bare)
        .map(|w| format!("{:?} of {} on {}", w.reason, w.user, w.evidence))
        .collect();
    // Counted by its class, because otherwise no limit would hold it.
    for change in
        seen.by_directory().filter(|w| w.kind == "suspend" && w.before["status"] == "active")
    {
        if change.class != change.reason.and_then(Reason::class) {
            wrong.push(format!(
                "{:?} of {} counts as {:?}",
                change.reason, change.user, change.class
            ));
        }
    }
    wrong
}

fn suspended_is_who_has_a_cause(seen: &Seen<'_>) -> Wrong {
    let expected =
        |user: &rosterd::model::User| match (user.standing.as_str(), user.causes.is_empty()) {
            ("released", _) => "released",
            (_, false) => "suspended",
            (standing, true) => {
                if standing == "invited" {
                    "invited"
                } else {
                    "active"
                }
            }
        };
    let listed = |id: &UserId| seen.after.statuses.get(id).map(String::as_str);
    let wrong = seen.after.users.values().filter(|u| listed(&u.id) != Some(expected(u)));
    wrong
        .map(|u| format!("{} is listed as {:?} with {:?}", u.id, listed(&u.id), u.causes))
        .collect()
}

fn operators_causes_stay(seen: &Seen<'_>) -> Wrong {
    if matches!(seen.step, Step::Restore)
        || seen.does(|d| matches!(d, Do::Activate(_) | Do::Undo(_)))
    {
        return Vec::new();
    }
    let had = seen.before.users.values().filter(|u| u.causes.has(Reason::Operator));
    let lost = had.filter(|u| {
        seen.after.users.get(&u.id).is_none_or(|now| !now.causes.has(Reason::Operator))
    });
    lost.map(|u| format!("{} was suspended by an operator", u.id)).collect()
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

fn one_plan_is_held(seen: &Seen<'_>) -> Wrong {
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
fn limits_hold(seen: &Seen<'_>) -> Wrong {
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
fn clusters_are_held(seen: &Seen<'_>) -> Wrong {
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
fn restored_stores_only_plan(seen: &Seen<'_>) -> Wrong {
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

fn protected_people_stay(seen: &Seen<'_>) -> Wrong {
    let protected = |w: &&Written| w.guid.is_some_and(|g| seen.before.protected.contains(&g));
    let takes = |w: &&Written| w.kind == "suspend" && w.before["status"] == "active";
    seen.by_directory()
        .filter(takes)
        .filter(protected)
        .filter(|w| !w.approved)
        .map(|w| format!("{:?}", w.guid))
        .collect()
}

fn approved_is_what_was_shown(seen: &Seen<'_>) -> Wrong {
    let marked = seen.by_directory().filter(|w| w.marked_approved && !w.approved);
    marked.map(|w| format!("{} of {} to {}", w.kind, w.user, w.after)).collect()
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
