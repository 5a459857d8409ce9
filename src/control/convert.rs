//! The engine's values as the wire shows them. Pure: asks nobody, decides nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Reloaded, api};
use crate::engine::run::Proposed;
use crate::engine::{
    Attempt, Decision, DirectoryStatus, Ended, Examination, HookStatus, Invitation, Outcome, Progress, Release, Sampled, Step, Touched,
    Undone,
};
use crate::model::{
    Account, Cause, Causes, Change, ChangeCounts, Claim, Class, Digest, Guid, Handle, HoldReason, Link, QuarantineReason, Status,
    Timestamp, User, WrittenChange,
};
use crate::reconcile::Left;
use crate::store::{ChainBreak, Delivery, HeldPlan, HeldSummary, HookStanding, LogHead, Quarantined, Run, StoredEvent, cause_key};

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
    let Reloaded { directories, needs_restart } = reloaded;
    let one = |(name, outcome): (crate::model::DirectoryName, Outcome)| api::ReloadedDirectory {
        name: name.to_string(),
        outcome: outcome.as_str().to_owned(),
    };
    api::Reloaded {
        directories: directories.into_iter().map(one).collect(),
        needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
    }
}

/// How everything stands.
pub(super) fn status(started_at: Timestamp, directories: Vec<api::DirectoryStatus>, hooks: &[HookStatus]) -> api::Status {
    let count = |of: fn(&HookStanding) -> u64| hooks.iter().map(|hook| of(&hook.standing)).sum();
    let hooks = api::HookCounts { pending: count(|s| s.pending), failed: count(|s| s.failed) };
    api::Status { version: env!("CARGO_PKG_VERSION").to_owned(), started_at: time(started_at), directories, hooks }
}

/// How far a run has come.
pub(super) fn progress(progress: &Progress) -> api::Progress {
    let Progress { entries, expected, phase } = *progress;
    api::Progress { entries, expected, phase: phase.to_owned() }
}

fn counts(counts: ChangeCounts) -> api::Changes {
    let ChangeCounts { create, update, suspend, reactivate, tier, link, release } = counts;
    api::Changes { create, update, suspend, reactivate, tier, link, release }
}

/// A run.
pub(super) fn run(run: Run) -> api::Run {
    let Run {
        id,
        directory,
        trigger,
        mode,
        state,
        actor,
        started_at,
        finished_at,
        entries,
        complete,
        server,
        counts: applied,
        held,
        quarantined,
        dropped,
        error,
        warnings,
        active_after: _,
        approves: _,
        undoes,
    } = run;
    api::Run {
        id: id.to_string(),
        directory: Some(directory).filter(|d| !d.is_empty()),
        trigger: trigger.as_str().to_owned(),
        mode,
        state: state.as_str().to_owned(),
        actor: actor.map(|a| a.0),
        started_at: time(started_at),
        finished_at: finished_at.map(time),
        read: api::Read { entries, complete, server },
        changes: counts(applied),
        held,
        quarantined,
        dropped,
        error,
        warnings,
        undoes: undoes.map(|run| run.to_string()),
    }
}

/// What following the chain of the log came to.
pub(super) fn log_check(outcome: Result<LogHead, ChainBreak>) -> api::LogCheck {
    match outcome {
        Ok(LogHead { seq, hash }) => {
            let head = format!("{seq}:{}", Digest(hash));
            api::LogCheck { intact: true, entries: seq, broken_at: None, finding: None, head: Some(head) }
        }
        Err(ChainBreak { seq, finding }) => {
            let entries = seq.saturating_sub(1);
            api::LogCheck { intact: false, entries, broken_at: Some(seq), finding: Some(finding.to_owned()), head: None }
        }
    }
}

/// How a hook does.
pub(super) fn hook(status: HookStatus) -> api::Hook {
    let HookStatus { name, events, target, state, standing, lag } = status;
    let HookStanding { pending, failed, delivered, oldest: _, delivered_at, error, error_at, gone: _ } = standing;
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
    }
}

/// One event on its way to a hook.
pub(super) fn delivery(delivery: Delivery) -> api::Delivery {
    let Delivery { seq, event, kind, subject, state, attempts, first_at, next_at, done_at, error, output } = delivery;
    let (since, next_at, done_at) = (time(first_at), next_at.map(time), done_at.map(time));
    api::Delivery { seq, event: event.to_string(), kind, subject, state, attempts, since, next_at, done_at, error, output }
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
    api::Sample { hook: hook.to_owned(), event: event.to_string(), kind, delivered: error.is_none(), error, output, took_ms }
}

/// A change that was written down.
pub(super) fn stored_change(change: WrittenChange) -> api::Change {
    let WrittenChange { user, guid, email, kind, class: counted, reason, before, after, evidence, cluster, hold: held, outcome, at: _ } =
        change;
    let key = (outcome == "held").then(|| cause_key(counted, reason.as_deref(), cluster.as_deref()));
    api::Change {
        kind,
        class: counted.map(class),
        user_id: user.to_string(),
        email,
        object_guid: guid.map(|g| g.to_string()),
        reason,
        evidence,
        held: held.map(hold),
        before,
        after,
        outcome: Some(outcome),
        key,
    }
}

fn planned(change: &Change, held: Option<HoldReason>) -> api::Change {
    api::Change {
        kind: change.kind.as_str().to_owned(),
        class: change.class.map(class),
        user_id: change.user.to_string(),
        email: change.email.as_ref().map(|e| e.as_str().to_owned()),
        object_guid: change.guid.map(|g| g.to_string()),
        reason: change.reason().map(|r| r.as_str().to_owned()),
        evidence: json!(change.evidence()),
        held: held.map(hold),
        before: change.before(),
        after: change.after(),
        outcome: None,
        key: None,
    }
}

/// What a run would do: first what would be applied, then what would wait.
pub(super) fn plan(directory: &str, proposed: Proposed) -> api::Plan {
    let Proposed { sight, judged } = proposed;
    let verdict = judged.verdict;
    let admitted = verdict.admitted.changes().map(|(change, _)| planned(change, None));
    let changes = admitted.chain(verdict.held.iter().map(|h| planned(&h.change, Some(h.hold)))).collect();
    let quarantined = verdict.quarantined.into_iter().map(|q| api::Quarantined {
        object_guid: guid(q.object_guid),
        dn: q.dn,
        reason: q.reason.as_str().to_owned(),
    });
    let warnings = sight.warnings.into_iter().chain(judged.warnings).collect();
    api::Plan { id: None, directory: directory.to_owned(), changes, quarantined: quarantined.collect(), error: sight.failure, warnings }
}

fn guid(guid: Guid) -> String {
    guid.to_string()
}

/// What is known of a held plan beside itself.
#[derive(Debug, Default)]
pub(super) struct About {
    /// What it amounts to.
    pub(super) summary: Vec<HeldSummary>,
    /// The names of the groups that are configured.
    pub(super) groups: BTreeMap<Guid, String>,
    /// Until when what was approved is tried again.
    pub(super) approval_expires: Option<Timestamp>,
}

/// A held plan; with its changes where they were asked for.
pub(super) fn held(plan: HeldPlan, about: About, changes: Option<Vec<WrittenChange>>) -> api::HeldPlan {
    let HeldPlan {
        id,
        directory,
        run,
        digest,
        state,
        created_at,
        actor,
        comment,
        approved_at,
        announced_at: _,
        count,
        scope_hash: _,
        note,
    } = plan;
    let About { summary, groups, approval_expires } = about;
    api::HeldPlan {
        id: id.to_string(),
        directory,
        run: run.to_string(),
        digest: digest.to_string(),
        state: state.as_str().to_owned(),
        created_at: time(created_at),
        actor: actor.map(|a| a.0),
        comment,
        approved_at: approved_at.map(time),
        approval_expires: approval_expires.map(time),
        note: note.iter().flat_map(|note| note.lines()).map(str::to_owned).collect(),
        count,
        by: summary.into_iter().map(|line| group(line, &groups)).collect(),
        changes: changes.map(|c| c.into_iter().map(stored_change).collect()),
    }
}

fn group(summary: HeldSummary, groups: &BTreeMap<Guid, String>) -> api::HeldGroup {
    let HeldSummary { class: counted, hold: held, cluster, reason, count, approved } = summary;
    let key = cause_key(counted, reason.as_deref(), cluster.as_deref());
    let guid: Option<Guid> = cluster.as_deref().and_then(|c| c.strip_prefix("group:")).and_then(|guid| guid.parse().ok());
    let name = guid.and_then(|guid| groups.get(&guid).cloned());
    api::HeldGroup { class: counted.map(class), reason, cause: cluster, key, name, held: held.map(hold), count, approved }
}

/// What taking a run back came to.
pub(super) fn undone(undone: Undone, dry_run: bool, waiting: Option<api::HeldPlan>) -> api::Undo {
    let Undone { of, run: did, changes, left, read, waiting: _ } = undone;
    let alone = |Left { user, email, kind, why }| api::LeftAlone { user_id: user.to_string(), email, kind, why };
    api::Undo {
        undoes: of.to_string(),
        dry_run,
        run: did.map(run),
        changes: changes.iter().map(|change| planned(change, None)).collect(),
        left: left.into_iter().map(alone).collect(),
        read: read.map(run),
        waiting,
    }
}

/// An account, with the claims and the directories that are its own.
pub(super) fn account(account: Account, domains: Vec<api::Domain>, directories: Vec<String>) -> api::Account {
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
    let Claim { id, account: _, domain, state, token: _, claimed_at, verified_at, checked_at, finding, misses: _ } = claim;
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

/// What came of an invitation.
pub(super) fn invitation(address: String, invitation: Invitation) -> api::Invitation {
    let (outcome, user, detail) = match invitation {
        Invitation::Invited(id) => ("invited", Some(id), None),
        Invitation::AlreadyHere(id) => ("already-here", Some(id), None),
        Invitation::Elsewhere => ("elsewhere", None, Some("the address belongs to another account".to_owned())),
        Invitation::OtherDomain => {
            ("other-domain", None, Some("an enterprise invites people of its own domains: claim this one first".to_owned()))
        }
        Invitation::Malformed(why) => ("malformed", None, Some(why)),
    };
    api::Invitation { address, outcome: outcome.to_owned(), user: user.map(|id| id.to_string()), detail }
}

/// An entry that cannot be used as it is.
pub(super) fn quarantined(entry: Quarantined) -> api::QuarantinedEntry {
    let Quarantined { directory, person, dn, reason, since, user } = entry;
    api::QuarantinedEntry {
        directory: directory.to_string(),
        object_guid: guid(person),
        dn: dn.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        since: since.map(time),
        user: user.map(|id| id.to_string()),
        remedy: reason.remedy().to_owned(),
    }
}

/// A colleague.
pub(super) fn contact(user: User) -> api::Contact {
    let User { id, addresses, mut profile, .. } = user;
    let (display_name, given_name, surname) = (profile.display_name.take(), profile.given_name.take(), profile.surname.take());
    // Where somebody stands in the directory, and under which number, is nobody's business.
    (profile.manager, profile.employee_id) = (None, None);
    let primary_email = addresses.primary.map(|a| a.as_str().to_owned());
    api::Contact { id: id.to_string(), display_name, given_name, surname, primary_email, profile: json!(profile) }
}

/// Whether somebody may sign in.
pub(super) fn decision(decision: &Decision) -> api::SignInDecision {
    let word = decision.as_str().to_owned();
    let none = api::SignInDecision { decision: word, reason: None, account: None, user: None, tier: None, policies: None };
    match decision {
        Decision::Allow { account, user } => api::SignInDecision {
            account: Some(account.handle.to_string()),
            user: Some(user.id.to_string()),
            tier: Some(user.tier.as_str().to_owned()),
            policies: Some(json!(account.policies)),
            ..none
        },
        Decision::Deny(denied) => api::SignInDecision { reason: Some(denied.as_str().to_owned()), ..none },
        Decision::Redirect | Decision::Unavailable => none,
    }
}

/// A user of the account with this handle.
pub(super) fn user(user: User, account: &Handle, quarantine: &[QuarantineReason]) -> api::User {
    let status = user.status();
    let User {
        id,
        account: _,
        standing: _,
        tier,
        addresses,
        mut profile,
        link,
        causes,
        pins,
        version: _,
        observed_from: _,
        invited_at,
        joined_at,
        created_at,
        updated_at,
    } = user;
    let (display_name, given_name, surname) = (profile.display_name.take(), profile.given_name.take(), profile.surname.take());
    api::User {
        id: id.to_string(),
        account: account.to_string(),
        status: status.as_str().to_owned(),
        tier: tier.as_str().to_owned(),
        primary_email: addresses.primary.map(|a| a.as_str().to_owned()),
        secondary_emails: addresses.secondary.iter().map(|a| a.as_str().to_owned()).collect(),
        display_name,
        given_name,
        surname,
        // Names have fields of their own.
        profile: json!(profile),
        directory: link.map(|Link { directory, guid, dn }| api::UserLink {
            name: directory.to_string(),
            object_guid: guid.to_string(),
            dn: dn.as_str().to_owned(),
        }),
        suspension: suspension(&causes),
        quarantine: quarantine.iter().map(|q| q.as_str().to_owned()).collect(),
        pinned: pins.iter().map(ToString::to_string).collect(),
        invited_at: invited_at.map(time),
        joined_at: joined_at.map(time),
        created_at: time(created_at),
        updated_at: time(updated_at),
    }
}

fn suspension(causes: &Causes) -> Option<api::UserSuspension> {
    let reason = causes.weightiest()?.reason.as_str().to_owned();
    // Suspended since the first of the causes that still hold.
    let since = causes.iter().map(|c| c.since).min()?;
    Some(api::UserSuspension { reason, since: time(since), causes: causes.iter().map(cause).collect() })
}

fn cause(cause: &Cause) -> api::UserCause {
    let Cause { reason, since, by, evidence } = cause;
    api::UserCause { reason: reason.as_str().to_owned(), since: time(*since), by: by.to_string(), evidence: json!(evidence) }
}

/// An event.
pub(super) fn event(event: StoredEvent) -> api::Event {
    let StoredEvent { seq, document } = event;
    api::Event { seq, document: if document.is_object() { document } else { Value::Object(serde_json::Map::new()) } }
}

/// What a check of a directory found.
pub fn check(directory: &str, found: Examination) -> api::Check {
    let ok = found.is_well();
    let step = |step: Step| {
        let Step { name, server, outcome, finding, remedy } = step;
        api::CheckStep { name: name.to_owned(), server, outcome: outcome.as_str().to_owned(), finding, remedy }
    };
    api::Check { directory: directory.to_owned(), ok, steps: found.steps.into_iter().map(step).collect() }
}
