//! The engine's values as the wire shows them. Pure: asks nobody, decides nothing.

mod runs;
mod users;

use serde_json::{Value, json};

use super::{Reloaded, api};
use crate::engine::{
    Attempt, DirectoryStatus, Ended, Examination, HookStatus, Outcome, Progress, Release, Sampled,
    Step, Touched,
};
use crate::model::{Account, Claim, Class, Guid, Handle, HoldReason, Status, Timestamp};
use crate::store::{ChainBreak, Delivery, HookStanding, LogHead, StoredEvent, Verified};

pub(super) use runs::{About, held, plan, run, stored_change, undone};
pub(super) use users::{contact, decision, explanation, history, invitation, quarantined, user};

/// RFC 3339 has four digits for the year; "for ever" is the last instant they can tell.
const FOR_EVER: &str = "9999-12-31T23:59:59.999Z";

/// The first instant after that one, in microseconds.
const YEAR_10_000: Timestamp = Timestamp(253_402_300_800_000_000);

fn time(at: Timestamp) -> String {
    if at < YEAR_10_000 { at.to_string() } else { FOR_EVER.to_owned() }
}

fn class(class: Class) -> String {
    class.as_str().to_owned()
}

fn hold(hold: HoldReason) -> String {
    hold.as_str().to_owned()
}

/// How a directory stands.
pub(super) fn directory(status: DirectoryStatus) -> api::DirectoryStatus {
    let DirectoryStatus {
        name,
        account,
        state,
        server,
        live,
        last_attempt,
        last_success,
        last_complete_read,
        next_run,
        paused_until,
        stale: _,
        bind_refused: _,
        active,
        suspended,
        held,
        quarantined,
        attention,
    } = status;
    api::DirectoryStatus {
        name,
        account,
        state: state.to_owned(),
        server,
        live,
        last_attempt: last_attempt.map(time),
        last_success: last_success.map(time),
        last_complete_read: last_complete_read.map(time),
        next_run: next_run.map(time),
        paused_until: paused_until.map(time),
        users: api::ManagedCounts { active, suspended },
        held,
        quarantined,
        attention,
    }
}

/// The daemon, with its directories.
pub(super) fn reloaded(reloaded: Reloaded) -> api::Reloaded {
    let Reloaded { directories, hooks, needs_restart } = reloaded;
    let word = |outcome: Outcome| outcome.as_str().to_owned();
    let directory = |(name, outcome): (crate::model::DirectoryName, Outcome)| {
        api::ReloadedDirectory { name: name.to_string(), outcome: word(outcome) }
    };
    api::Reloaded {
        directories: directories.into_iter().map(directory).collect(),
        hooks: hooks
            .into_iter()
            .map(|(name, outcome)| api::ReloadedHook { name, outcome: word(outcome) })
            .collect(),
        needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
    }
}

/// How everything stands.
pub(super) fn status(
    started_at: Timestamp,
    directories: Vec<api::DirectoryStatus>,
    hooks: &[HookStatus],
    attention: Option<String>,
) -> api::Status {
    let (removed, hooks): (Vec<_>, Vec<_>) =
        hooks.iter().partition(|hook| hook.kept_until.is_some());
    let count = |of: fn(&HookStanding) -> u64, hooks: &[&HookStatus]| {
        hooks.iter().map(|hook| of(&hook.standing)).sum()
    };
    let hooks = api::HookCounts {
        pending: count(|s| s.pending, &hooks),
        failed: count(|s| s.failed, &hooks),
        removed: count(|s| s.pending, &removed),
        attention: attention.into_iter().collect(),
    };
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: time(started_at),
        directories,
        hooks,
    }
}

/// How far a run has come.
pub(super) fn progress(progress: &Progress) -> api::Progress {
    let Progress { entries, expected, phase } = *progress;
    api::Progress { entries, expected, phase: phase.to_owned() }
}

/// What following the chain of the log came to.
pub(super) fn log_check(
    outcome: Result<Verified, ChainBreak>,
    noted: Option<LogHead>,
) -> api::LogCheck {
    match outcome {
        Ok(verified) => {
            let Verified { begins_after: _, head, keyed_from } = verified;
            let (entries, proves) = (head.seq, Some(proves(&verified, noted)));
            let head = Some(head.to_string());
            api::LogCheck {
                intact: true,
                entries,
                broken_at: None,
                finding: None,
                head,
                keyed_from,
                proves,
            }
        }
        Err(ChainBreak { seq, finding }) => {
            let entries = seq.saturating_sub(1);
            let (broken_at, finding) = (Some(seq), Some(finding.to_owned()));
            api::LogCheck {
                intact: false,
                entries,
                broken_at,
                finding,
                head: None,
                keyed_from: None,
                proves: None,
            }
        }
    }
}

/// The sentence on what an unbroken chain proves, and what it does not.
fn proves(
    Verified { begins_after, head, keyed_from }: &Verified,
    noted: Option<LogHead>,
) -> String {
    let (first, last) = (begins_after + 1, head.seq);
    if last < first {
        return "The log is empty: that proves nothing.".to_owned();
    }
    let mut told = match keyed_from {
        Some(keyed) => vec![format!(
            "Entries {first} to {last} follow from each other, from {keyed} on by the key: nobody without the key edited, inserted or removed \
             any of them."
        )],
        None => vec![format!(
            "Entries {first} to {last} follow from each other. That shows edits within the log; whoever can write the database can compute \
             the whole chain anew ([events] key-file prevents that)."
        )],
    };
    told.push(match noted {
        Some(noted) if noted.seq == last => "It is the log whose head was noted, from beginning to end.".to_owned(),
        Some(noted) => format!(
            "Up to entry {} it is the log whose head was noted: that part was neither computed anew nor cut off. Of the end after it, \
             entries may have been cut off.",
            noted.seq
        ),
        None => "That no entries were cut off at the end is not proven: only a head that was noted elsewhere shows that (the journal has \
                 one for each run, webhooks one for each event)."
            .to_owned(),
    });
    told.join(" ")
}

/// How a hook does.
pub(super) fn hook(status: HookStatus) -> api::Hook {
    let HookStatus { name, events, target, state, standing, lag, kept_until } = status;
    let HookStanding {
        pending,
        failed,
        delivered,
        oldest: _,
        delivered_at,
        error,
        error_at,
        gone: _,
    } = standing;
    api::Hook {
        name,
        events,
        target,
        state: state.to_owned(),
        pending,
        failed,
        delivered,
        lag_seconds: lag.as_secs(),
        last_delivered: delivered_at.map(time),
        last_error: error,
        last_error_at: error_at.map(time),
        kept_until: kept_until.map(time),
    }
}

/// One event on its way to a hook.
pub(super) fn delivery(delivery: Delivery) -> api::Delivery {
    let Delivery {
        seq,
        event,
        kind,
        subject,
        state,
        attempts,
        first_at,
        next_at,
        done_at,
        error,
        output,
    } = delivery;
    let (since, next_at, done_at) = (time(first_at), next_at.map(time), done_at.map(time));
    api::Delivery {
        seq,
        event: event.to_string(),
        kind,
        subject,
        state,
        attempts,
        since,
        next_at,
        done_at,
        error,
        output,
    }
}

/// What a hook made of a sample.
pub(super) fn sample(hook: &str, sampled: Sampled) -> api::Sample {
    let Sampled { event, kind, attempt: Attempt { ended, output }, took } = sampled;
    let error = match ended {
        Ended::Taken => None,
        Ended::Again { why, .. } | Ended::Refused(why) => Some(why),
        Ended::Gone => Some("it answered 410 Gone".to_owned()),
    };
    let took_ms = took.as_millis() as u64;
    api::Sample {
        hook: hook.to_owned(),
        event: event.to_string(),
        kind,
        delivered: error.is_none(),
        error,
        output,
        took_ms,
    }
}

fn guid(guid: Guid) -> String {
    guid.to_string()
}

/// An account, with the claims and the directories that are its own.
pub(super) fn account(
    account: Account,
    domains: Vec<api::Domain>,
    directories: Vec<String>,
) -> api::Account {
    let Account { id, handle, name, kind, policies, users, created_at } = account;
    let count = |status| users.get(&status).copied().unwrap_or(0);
    api::Account {
        id: id.to_string(),
        handle: handle.to_string(),
        name,
        kind: kind.as_str().to_owned(),
        domains,
        directories,
        policies: json!(policies),
        users: api::UserCounts {
            active: count(Status::Active),
            suspended: count(Status::Suspended),
            invited: count(Status::Invited),
            released: count(Status::Released),
        },
        created_at: time(created_at),
    }
}

/// A claim of the account with this handle.
pub(super) fn domain(claim: Claim, account: &Handle) -> api::Domain {
    let record = api::TxtRecord { name: claim.record_name(), value: claim.record_value() };
    let Claim {
        id,
        account: _,
        domain,
        state,
        token: _,
        claimed_at,
        verified_at,
        checked_at,
        finding,
        misses: _,
    } = claim;
    api::Domain {
        id: id.to_string(),
        account: account.to_string(),
        unicode: domain.unicode(),
        domain: domain.to_string(),
        state: state.as_str().to_owned(),
        record,
        claimed_at: time(claimed_at),
        verified_at: verified_at.map(time),
        checked_at: checked_at.map(time),
        finding,
    }
}

/// The release of a domain.
pub(super) fn release(release: Release, dry_run: bool) -> api::Release {
    let Release { claim, account, is_last, people } = release;
    let user = |touched: Touched| api::ReleasedUser {
        id: touched.user.to_string(),
        primary_email: touched.email.map(|e| e.as_str().to_owned()),
        effect: touched.effect.as_str().to_owned(),
    };
    api::Release {
        domain: claim.domain.to_string(),
        account: account.handle.to_string(),
        dry_run,
        becomes_team: is_last,
        users: people.into_iter().map(user).collect(),
    }
}

/// An event.
pub(super) fn event(event: StoredEvent) -> api::Event {
    let StoredEvent { seq, document } = event;
    api::Event {
        seq,
        document: if document.is_object() {
            document
        } else {
            Value::Object(serde_json::Map::new())
        },
    }
}

/// What a check of a directory found.
pub fn check(directory: &str, found: Examination) -> api::Check {
    let ok = found.is_well();
    let step = |step: Step| {
        let Step { name, server, outcome, finding, remedy } = step;
        api::CheckStep {
            name: name.to_owned(),
            server,
            outcome: outcome.as_str().to_owned(),
            finding,
            remedy,
        }
    };
    api::Check {
        directory: directory.to_owned(),
        ok,
        steps: found.steps.into_iter().map(step).collect(),
    }
}
