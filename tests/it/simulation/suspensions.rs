//! The promises about suspensions: true, in time, observed twice, and with evidence.

use std::collections::BTreeSet;
use std::time::Duration;

use rosterd::model::{ChangeClass, Dn, Guid, Reason, RunMode, RunState, Status, Timestamp, UserId};
use rosterd::store::Run;

use super::books::Written;
use super::history::{Do, Step};
use super::seen::{Seen, Wrong, holds};
use super::truth::{Facts, Truth};
use crate::world::Life;

/// ML: a suspension by a run is true at some moment of that run.
pub(super) fn suspensions_are_true(seen: &Seen<'_>) -> Wrong {
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
pub(super) fn leavers_leave(seen: &Seen<'_>) -> Wrong {
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
pub(super) fn rechecks_are_taken(seen: &Seen<'_>) -> Wrong {
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

pub(super) fn suspensions_have_evidence(seen: &Seen<'_>) -> Wrong {
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

pub(super) fn suspended_is_who_has_a_cause(seen: &Seen<'_>) -> Wrong {
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

pub(super) fn operators_causes_stay(seen: &Seen<'_>) -> Wrong {
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

pub(super) fn protected_people_stay(seen: &Seen<'_>) -> Wrong {
    let protected = |w: &&Written| w.guid.is_some_and(|g| seen.before.protected.contains(&g));
    let takes = |w: &&Written| w.kind == "suspend" && w.before["status"] == "active";
    seen.by_directory()
        .filter(takes)
        .filter(protected)
        .filter(|w| !w.approved)
        .map(|w| format!("{:?}", w.guid))
        .collect()
}
