//! Runs, plans and what is held.

use std::collections::BTreeMap;

use serde_json::json;

use super::{class, guid, hold, time};
use crate::control::api;
use crate::engine::Undone;
use crate::engine::sync::Proposed;
use crate::model::{Change, ChangeCounts, Guid, HoldReason, Timestamp, WrittenChange};
use crate::reconcile::Left;
use crate::store::{HeldPlan, HeldSummary, Run, cause_key};

fn counts(counts: ChangeCounts) -> api::Changes {
    let ChangeCounts { create, update, suspend, reactivate, tier, link, release } = counts;
    api::Changes { create, update, suspend, reactivate, tier, link, release }
}

/// A run.
pub(in crate::control) fn run(run: Run) -> api::Run {
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
        full_read_reason,
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
        full_read_reason,
    }
}

/// A change that was written down.
pub(in crate::control) fn stored_change(change: WrittenChange) -> api::Change {
    let WrittenChange {
        user,
        guid,
        email,
        kind,
        class: counted,
        reason,
        before,
        after,
        evidence,
        cluster,
        hold: held,
        outcome,
        at: _,
    } = change;
    let key =
        (outcome == "held").then(|| cause_key(counted, reason.as_deref(), cluster.as_deref()));
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

pub(super) fn planned(change: &Change, held: Option<HoldReason>) -> api::Change {
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
pub(in crate::control) fn plan(directory: &str, proposed: Proposed) -> api::Plan {
    let Proposed { sight, judged } = proposed;
    let verdict = judged.verdict;
    let admitted = verdict.admitted.changes().map(|(change, _)| planned(change, None));
    let changes =
        admitted.chain(verdict.held.iter().map(|h| planned(&h.change, Some(h.hold)))).collect();
    let quarantined = verdict.quarantined.into_iter().map(|q| api::Quarantined {
        object_guid: guid(q.object_guid),
        dn: q.dn,
        reason: q.reason.as_str().to_owned(),
    });
    let warnings = sight.warnings.into_iter().chain(judged.warnings).collect();
    api::Plan {
        id: None,
        directory: directory.to_owned(),
        changes,
        quarantined: quarantined.collect(),
        error: sight.failure,
        warnings,
    }
}

/// What is known of a held plan beside itself.
#[derive(Debug, Default)]
pub(in crate::control) struct About {
    /// What it amounts to.
    pub(in crate::control) summary: Vec<HeldSummary>,
    /// The names of the groups that are configured.
    pub(in crate::control) groups: BTreeMap<Guid, String>,
    /// Until when what was approved is tried again.
    pub(in crate::control) approval_expires: Option<Timestamp>,
}

/// A held plan; with its changes where they were asked for.
pub(in crate::control) fn held(
    plan: HeldPlan,
    about: About,
    changes: Option<Vec<WrittenChange>>,
) -> api::HeldPlan {
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
        version: _,
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
    let guid: Option<Guid> = cluster
        .as_deref()
        .and_then(|c| c.strip_prefix("group:"))
        .and_then(|guid| guid.parse().ok());
    let name = guid.and_then(|guid| groups.get(&guid).cloned());
    api::HeldGroup {
        class: counted.map(class),
        reason,
        cause: cluster,
        key,
        name,
        held: held.map(hold),
        count,
        approved,
    }
}

/// What taking a run back came to.
pub(in crate::control) fn undone(
    undone: Undone,
    dry_run: bool,
    waiting: Option<api::HeldPlan>,
) -> api::Undo {
    let Undone { of, run: did, changes, left, read, waiting: _ } = undone;
    let alone = |Left { user, email, kind, why }| api::LeftAlone {
        user_id: user.to_string(),
        email,
        kind,
        why,
    };
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
