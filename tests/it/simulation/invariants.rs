//! What holds after every step of every history: DESIGN's promises, each a small check with a name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rosterd::model::{Class, Guid, Reason, RunState, Status, Timestamp, Trigger, UserId};
use rosterd::reconcile::WithoutGroup;
use rosterd::store::Run;

use super::books::{Books, Told, Written};
use super::history::{Do, Step};
use super::office::Rulebook;
use super::truth::{Facts, Truth};
use crate::world::Life;

/// One step, as those see it who were not part of it.
pub(super) struct Seen<'a> {
    pub(super) step: &'a Step,
    pub(super) rulebook: &'a Rulebook,
    pub(super) before: &'a Books,
    pub(super) after: &'a Books,
    /// What was true when it began, after each edit in it, and when it ended.
    pub(super) truths: &'a [Truth],
    /// How many managed users were active, since the beginning.
    pub(super) actives: &'a [(Timestamp, u64)],
    /// Whether the server may have lied in this step ...
    pub(super) lied: bool,
    /// ... and at least once more.
    pub(super) lied_again: bool,
    /// Whether runs only plan: the store was restored, or what is so was accepted, and nobody has approved what follows.
    pub(super) only_plans: bool,
}

/// What is wrong, in sentences.
type Wrong = Vec<String>;

/// Finds what is wrong.
type Check = fn(&Seen<'_>) -> Wrong;

/// Every check, with what it promises.
pub(super) const CHECKS: [(&str, Check); 20] = [
    ("nobody is suspended without a reason that is true", suspensions_are_true),
    ("whoever is disabled or expired is suspended by the next complete run, or held", leavers_leave),
    ("who is gone, or gets less, is seen so twice", second_looks_are_taken),
    ("a run that calls itself complete has read everybody", complete_runs_have_read_everybody),
    ("every automatic suspension carries evidence", suspensions_have_evidence),
    ("suspended is who has a cause", suspended_is_who_has_a_cause),
    ("only an operator lifts what an operator did", operators_causes_stay),
    ("nothing but a link changes who is unmanaged", unmanaged_people_stay),
    ("nobody becomes another person but by an operator's relink", links_stay),
    ("no address is held by two", addresses_are_held_once),
    ("a directory has at most one plan that waits", one_plan_waits),
    ("no limit is exceeded in any window", limits_hold),
    ("a mass event of one cause waits", clusters_wait),
    ("a restored store only plans until somebody approves", restored_stores_only_plan),
    ("protected people are suspended by hand only", protected_people_stay),
    ("what counts as approved was shown to an operator and approved", approved_is_what_was_shown),
    ("the log is whole", the_log_is_whole),
    ("everybody is what the events say", everybody_is_what_was_told),
    ("every change has its events and no event comes without", changes_have_events),
    ("no run breaks on the store", runs_do_not_break),
];

impl Seen<'_> {
    /// What a run of the directory wrote in this step.
    fn by_directory(&self) -> impl Iterator<Item = &Written> {
        self.after.fresh().iter().filter(|w| w.by_directory)
    }

    /// What was true of a person in this step, moment by moment.
    fn facts(&self, who: Guid) -> impl Iterator<Item = (&Truth, &Facts)> {
        self.truths.iter().filter_map(move |t| Some((t, t.people.get(&who)?)))
    }

    /// The runs that ended in this step.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.after.runs.iter().filter(|run| !self.before.runs.iter().any(|r| r.id == run.id))
    }

    pub(super) fn does(&self, is: impl Fn(&Do) -> bool) -> bool {
        match self.step {
            Step::Do(what) | Step::During(_, _, what) | Step::Kill(what, _) => is(what),
            Step::Both(one, other) => is(one) || is(other),
            _ => false,
        }
    }
}

/// Whether the reason is true of the person at this moment.
pub(super) fn holds(reason: Reason, facts: &Facts, at: Timestamp, tombstones: bool, rulebook: &Rulebook) -> bool {
    let is_alive = facts.life == Life::Alive;
    match reason {
        Reason::Operator => false,
        Reason::Disabled => is_alive && facts.is_disabled,
        Reason::Expired => is_alive && facts.expires.is_some_and(|end| end <= at),
        Reason::Deleted => facts.life == Life::Tombstone && tombstones,
        Reason::OutOfScope => is_alive && (!facts.dn.is_within(&rulebook.base) || (rulebook.filtered && facts.is_robot)),
        Reason::NoGroup => is_alive && rulebook.without_group == WithoutGroup::Suspend && facts.tier.is_none(),
        Reason::Vanished => facts.life == Life::Purged || (facts.life == Life::Tombstone && !tombstones),
    }
}

/// ML: a suspension by a run is justified by what was true at some moment of that run.
fn suspensions_are_true(seen: &Seen<'_>) -> Wrong {
    let mut wrong = Vec::new();
    for change in seen.by_directory().filter(|w| w.kind == "suspend" || w.kind == "link") {
        let Some(guid) = change.guid else { continue };
        let reasons: Vec<Reason> = match change.kind.as_str() {
            "suspend" => change.reason.into_iter().collect(),
            _ => change.after["causes"].as_array().into_iter().flatten().filter_map(|r| Reason::parse(r.as_str()?)).collect(),
        };
        for reason in reasons {
            let is_true = seen.facts(guid).any(|(truth, facts)| holds(reason, facts, truth.at, truth.tombstones, seen.rulebook));
            if is_true || (reason == Reason::Vanished && may_count_as_vanished(seen, change, guid)) {
                continue;
            }
            // A second look does not help against a server that lies at both.
            if seen.lied && seen.lied_again && reason.class() == Some(Class::Gone) {
                continue;
            }
            let facts: Vec<&Facts> = seen.facts(guid).map(|(_, f)| f).collect();
            wrong.push(format!("{guid} is suspended as {reason}, and it was never so: {facts:?}"));
        }
    }
    wrong
}

/// Who is there and cannot be seen counts as vanished where a colleague at the last known place can be seen, or an operator says so.
fn may_count_as_vanished(seen: &Seen<'_>, change: &Written, guid: Guid) -> bool {
    let stood = seen.before.users.get(&change.user).and_then(|u| u.link.as_ref()).and_then(|l| l.dn.parent());
    let Some(parent) = stood else { return false };
    seen.facts(guid).any(|(truth, facts)| {
        // Where a tombstone can be read, whoever has none is invisible rather than gone.
        let shows_tombstones = truth.tombstones && truth.people.values().any(|f| f.life == Life::Tombstone);
        let is_hidden = facts.life == Life::Alive && !facts.is_visible && !shows_tombstones;
        let witness = truth.people.iter().any(|(other, f)| *other != guid && f.is_visible && f.dn.is_within(&parent));
        (is_hidden && witness) || (change.approved && !facts.is_visible)
    })
}

/// LA: after a run that read everything, nobody who is disabled or has expired can sign in unless that is held in sight.
fn leavers_leave(seen: &Seen<'_>) -> Wrong {
    let ended_well = |r: &Run| r.mode == "full" && r.complete && r.error.is_none() && r.dropped == 0 && r.state != RunState::Running;
    let is_blind = seen.lied || seen.truths.iter().any(|t| !t.is_readable);
    if matches!(seen.step, Step::Kill(..)) || !seen.runs().any(ended_well) || is_blind {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let begun = seen.truths[0].at;
    for user in seen.after.users.values().filter(|u| u.status() == Status::Active) {
        let Some(link) = &user.link else { continue };
        // Since before the run, and for as long as it took.
        let throughout = |reason| {
            seen.facts(link.guid).next().is_some()
                && seen.facts(link.guid).all(|(t, f)| {
                    let at = begun.minus(Duration::from_secs(2));
                    f.is_visible && holds(reason, f, at, t.tombstones, seen.rulebook)
                })
        };
        for reason in [Reason::Disabled, Reason::Expired] {
            if throughout(reason) && !seen.after.is_held(user.id) {
                wrong.push(format!("{} is {reason}, was readable, and is active", link.guid));
            }
        }
        let is_tombstone = seen.facts(link.guid).all(|(t, f)| f.life == Life::Tombstone && t.tombstones);
        if is_tombstone && seen.facts(link.guid).next().is_some() && !seen.after.is_held(user.id) {
            wrong.push(format!("{} was deleted, its tombstone readable, and is active", link.guid));
        }
    }
    wrong
}

/// What is not seen positively has to hold at a second look, a settled time after the first.
fn second_looks_are_taken(seen: &Seen<'_>) -> Wrong {
    let settle = seen.rulebook.config.limits.settle;
    let is_hasty = |w: &&Written| {
        let Some(class @ (Class::Gone | Class::Downgrade)) = w.class.filter(|_| !w.approved && !settle.is_zero()) else { return false };
        seen.before.settling.get(&(w.user, class)).is_none_or(|first| first.plus(settle) > w.at)
    };
    let hasty = seen.by_directory().filter(is_hasty);
    hasty.map(|w| format!("{} of {} ({:?}), first seen {:?}", w.kind, w.user, w.reason, seen.before.settling)).collect()
}

fn complete_runs_have_read_everybody(seen: &Seen<'_>) -> Wrong {
    let in_filter = |f: &&Facts| f.is_visible && f.dn.is_within(&seen.rulebook.base) && !(seen.rulebook.filtered && f.is_robot);
    let least = seen.truths.iter().map(|t| t.people.values().filter(in_filter).count() as u64).min().unwrap_or(0);
    // An edit on the way may move somebody out of sight before, and into sight after.
    if seen.lied || matches!(seen.step, Step::During(..)) {
        return Vec::new();
    }
    let short = seen.runs().filter(|r| r.mode == "full" && r.complete && r.state != RunState::Running && r.entries < least);
    short.map(|r| format!("{} of {least} people", r.entries)).collect()
}

fn suspensions_have_evidence(seen: &Seen<'_>) -> Wrong {
    let is_bare = |w: &&Written| {
        let shows = |e: &serde_json::Value| {
            ["server", "attribute", "value", "seen_at"].iter().all(|key| e[key].as_str().is_some_and(|text| !text.is_empty()))
                && e["object"].as_str() == w.guid.map(|g| g.to_string()).as_deref()
        };
        !w.evidence.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(shows))
    };
    let suspensions = seen.by_directory().filter(|w| w.kind == "suspend");
    let mut wrong: Wrong = suspensions.filter(is_bare).map(|w| format!("{:?} of {} on {}", w.reason, w.user, w.evidence)).collect();
    // Counted as what it is: else no limit would hold it.
    for change in seen.by_directory().filter(|w| w.kind == "suspend" && w.before["status"] == "active") {
        if change.class != change.reason.and_then(Reason::class) {
            wrong.push(format!("{:?} of {} counts as {:?}", change.reason, change.user, change.class));
        }
    }
    wrong
}

fn suspended_is_who_has_a_cause(seen: &Seen<'_>) -> Wrong {
    let expected = |user: &rosterd::model::User| match (user.standing.as_str(), user.causes.is_empty()) {
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
    wrong.map(|u| format!("{} is listed as {:?} with {:?}", u.id, listed(&u.id), u.causes)).collect()
}

fn operators_causes_stay(seen: &Seen<'_>) -> Wrong {
    if matches!(seen.step, Step::Restore) || seen.does(|d| matches!(d, Do::Activate(_) | Do::Undo(_))) {
        return Vec::new();
    }
    let had = seen.before.users.values().filter(|u| u.causes.has(Reason::Operator));
    let lost = had.filter(|u| seen.after.users.get(&u.id).is_none_or(|now| !now.causes.has(Reason::Operator)));
    lost.map(|u| format!("{} was suspended by an operator", u.id)).collect()
}

fn unmanaged_people_stay(seen: &Seen<'_>) -> Wrong {
    let was_unmanaged = |id: &UserId| seen.before.users.get(id).is_some_and(|u| u.link.is_none());
    let touched = seen.by_directory().filter(|w| was_unmanaged(&w.user) && w.kind != "link");
    // Whoever is linked first, and changed by a second run of the same step, is managed by then.
    let linked: BTreeSet<UserId> = seen.by_directory().filter(|w| w.kind == "link").map(|w| w.user).collect();
    touched.filter(|w| !linked.contains(&w.user)).map(|w| format!("{} is unmanaged, and a run made {} of it", w.user, w.kind)).collect()
}

fn links_stay(seen: &Seen<'_>) -> Wrong {
    if matches!(seen.step, Step::Restore) || seen.does(|d| matches!(d, Do::Relink(_) | Do::Undo(_))) {
        return Vec::new();
    }
    let guid = |books: &Books, id: &UserId| books.users.get(id).and_then(|u| u.link.as_ref()).map(|l| l.guid);
    // Whoever was released is nobody's, and may be asked to join like anybody else.
    let is_asked_anew = |id: &UserId| seen.before.users[id].status() == Status::Released && seen.does(|d| matches!(d, Do::Invite(_)));
    let is_another = |id: &&UserId| guid(seen.before, id).is_some() && guid(seen.before, id) != guid(seen.after, id);
    let moved = seen.before.users.keys().filter(is_another).filter(|id| !is_asked_anew(id));
    moved.map(|id| format!("{id} was {:?}, is {:?}", guid(seen.before, id), guid(seen.after, id))).collect()
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

fn one_plan_waits(seen: &Seen<'_>) -> Wrong {
    if seen.after.plans.len() > 1 { vec![format!("{:?}", seen.after.plans)] } else { Vec::new() }
}

/// What one window allows of a class, by DESIGN 5 and 8.
pub(super) fn allowed(class: Class, active: u64) -> u64 {
    let (percent, at_least, at_most) = match class {
        Class::Confirmed => (20, 10, u64::MAX),
        Class::Deleted => (10, 5, 100),
        Class::Gone => (5, 5, 50),
        Class::Downgrade | Class::Readdress => (10, 10, 200),
        Class::Upgrade | Class::Create => (20, 50, 1000),
        Class::Reactivate => (20, 10, 200),
    };
    let allowed = (active * percent).div_ceil(100).clamp(at_least, at_most);
    match class {
        Class::Deleted | Class::Gone | Class::Downgrade => allowed.min((active / 4).max(2)),
        _ => allowed,
    }
}

const WINDOW: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// Whatever the runs were, and whoever asked for them: no window has more of a class than it allows.
fn limits_hold(seen: &Seen<'_>) -> Wrong {
    let counts = |w: &&Written| w.by_directory && !w.approved;
    let mut wrong = Vec::new();
    for change in seen.after.fresh().iter().filter(counts) {
        let Some(class) = change.class else { continue };
        let within = |span: Duration| {
            let since = change.at.minus(span);
            let of_class = seen.after.written.iter().filter(counts).filter(|w| w.class == Some(class));
            of_class.filter(|w| w.at > since && w.at <= change.at).count() as u64
        };
        // Those who were active when the window began, or as the first day began.
        let start = change.at.minus(WINDOW);
        let last = seen.actives.iter().rev().find(|(at, active)| *at <= start && *active > 0);
        let active = last.or(seen.actives.first()).map_or(0, |(_, active)| *active);
        let limit = allowed(class, active);
        let is_let_through = class == Class::Confirmed && within(HOUR) <= 10;
        if within(WINDOW) > limit && !is_let_through {
            wrong.push(format!("{class}: {} in one window of {active} active users, which allows {limit}", within(WINDOW)));
        }
    }
    wrong
}

/// Five or more, and 30 % of those whom the cause could concern, are an event that nobody lets through unasked.
fn clusters_wait(seen: &Seen<'_>) -> Wrong {
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
    let is_event = |(cluster, count): (&str, u64)| count >= 5 && count * 100 >= 30 * belonged(cluster);
    let events = sizes.iter().filter(|((_, cluster), count)| is_event((cluster, **count)));
    events.map(|((_, cluster), count)| format!("{count} of the {} of {cluster}", belonged(cluster))).collect()
}

/// Positive suspensions excepted.
fn restored_stores_only_plan(seen: &Seen<'_>) -> Wrong {
    // The run of an approval goes by the scope that was approved.
    if !seen.only_plans || matches!(seen.step, Step::Both(..)) || seen.does(Do::approves) {
        return Vec::new();
    }
    let is_positive =
        |w: &&Written| matches!(w.reason, Some(Reason::Disabled | Reason::Expired | Reason::Deleted)) && w.kind != "reactivate";
    let applied = seen.by_directory().filter(|w| !w.approved && !is_positive(w));
    applied.map(|w| format!("{} of {} to {}", w.kind, w.user, w.after)).collect()
}

fn protected_people_stay(seen: &Seen<'_>) -> Wrong {
    let protected = |w: &&Written| w.guid.is_some_and(|g| seen.before.protected.contains(&g));
    let takes = |w: &&Written| w.kind == "suspend" && w.before["status"] == "active";
    seen.by_directory().filter(takes).filter(protected).filter(|w| !w.approved).map(|w| format!("{:?}", w.guid)).collect()
}

fn approved_is_what_was_shown(seen: &Seen<'_>) -> Wrong {
    let marked = seen.by_directory().filter(|w| w.marked_approved && !w.approved);
    marked.map(|w| format!("{} of {} to {}", w.kind, w.user, w.after)).collect()
}

fn the_log_is_whole(seen: &Seen<'_>) -> Wrong {
    seen.after.broken_chain.clone().into_iter().collect()
}

fn everybody_is_what_was_told(seen: &Seen<'_>) -> Wrong {
    let ids: BTreeSet<&UserId> = seen.after.users.keys().chain(seen.after.told.keys()).collect();
    let differs = |id: &UserId| {
        let (is, told) = (seen.after.users.get(id).map(Told::of), seen.after.told.get(id));
        (is.as_ref() != told).then(|| format!("{id} is {is:?}, and was told to be {told:?}"))
    };
    ids.into_iter().filter_map(differs).collect()
}

fn changes_have_events(seen: &Seen<'_>) -> Wrong {
    let mut changes: BTreeMap<(rosterd::model::RunId, UserId), u64> = BTreeMap::new();
    for change in &seen.after.written {
        // A transfer is told to both accounts.
        *changes.entry((change.run, change.user)).or_default() += if change.kind == "transfer" { 2 } else { 1 };
    }
    let keys: BTreeSet<_> = changes.keys().chain(seen.after.events.keys()).collect();
    let differs = keys.into_iter().filter(|key| changes.get(key) != seen.after.events.get(key));
    differs.map(|key| format!("{key:?}: {:?} changes, {:?} events", changes.get(key), seen.after.events.get(key))).collect()
}

fn runs_do_not_break(seen: &Seen<'_>) -> Wrong {
    let broken = |run: &&Run| run.error.as_ref().is_some_and(|e| e.contains("the store"));
    let mut wrong: Wrong = seen.runs().filter(broken).map(|run| format!("{:?}", run.error)).collect();
    let is_cut = |run: &&Run| run.state == RunState::Running && run.trigger != Trigger::Operator;
    wrong.extend(seen.after.runs.iter().filter(is_cut).map(|run| format!("{} is still under way", run.id)));
    wrong
}
