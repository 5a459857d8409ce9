//! Held plans: rows of `changes` with outcome `held`, recognised from run to run by their digests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use sqlx::any::AnyRow;

use super::rejections::OF_DIRECTORY;
use super::sql::{Columns, Sql, Value, insert, json};
use super::transitions::{approval_of, carry, insert_plan, lose, seize, set_state, waiting_now};
use super::{Doing as _, Store, StoreError, events};
use crate::clock::Clock;
use crate::model::{
    Actor, Change, ChangeCounts, Class, Digest, DirectoryName, Event, EventCause, Guid, HeldChange,
    HoldReason, PlanId, PlanState, RunId, Timestamp, UserId, WrittenChange,
};

/// A plan that is, or was, held.
#[derive(Debug, Clone)]
pub struct HeldPlan {
    /// Its id.
    pub id: PlanId,
    /// The directory.
    pub directory: String,
    /// The run that made it.
    pub run: RunId,
    /// What it is recognised by.
    pub digest: Digest,
    /// What became of it.
    pub state: PlanState,
    /// When it was first held.
    pub created_at: Timestamp,
    /// Who approved or rejected it.
    pub actor: Option<Actor>,
    /// What they said.
    pub comment: Option<String>,
    /// When it, or a part of it, was approved.
    pub approved_at: Option<Timestamp>,
    /// When operators were last told that it waits, after the first time.
    pub announced_at: Option<Timestamp>,
    /// How many changes it has.
    pub count: u64,
    /// By which scope it was last decided: whoever approves it approves that, and no configuration that came later.
    pub scope_hash: Option<String>,
    /// What a gate said that holds it.
    pub note: Option<String>,
    /// Counts its updates; each compares it.
    pub version: i64,
}

/// By what a plan was decided, beside what was seen.
#[derive(Debug, Clone, Default)]
pub struct DecidedBy {
    /// Who is in scope.
    pub scope_hash: String,
    /// What a gate said that holds everything.
    pub note: Option<String>,
    /// What the run applied beside.
    pub applied: ChangeCounts,
}

/// One held change, as far as it takes to choose it.
#[derive(Debug, Clone)]
pub struct HeldRow {
    /// What it is recognised by.
    pub digest: Digest,
    /// Whose it is.
    pub user: UserId,
    /// The person.
    pub guid: Option<Guid>,
    /// The address it is shown by.
    pub email: Option<String>,
    /// What it has in common with others.
    pub key: String,
    /// Whether an operator has approved it.
    pub approved: bool,
}

/// What changes that belong together are called by: what they have in common, or their class and reason.
pub fn cause_key(class: Option<Class>, reason: Option<&str>, cluster: Option<&str>) -> String {
    match (cluster, reason) {
        (Some(cluster), _) => cluster.to_owned(),
        (None, Some(reason)) => format!("{}:{reason}", class.map_or("other", Class::as_str)),
        (None, None) => class.map_or("other", Class::as_str).to_owned(),
    }
}

/// One line of a held plan's summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSummary {
    /// The class of the changes; none has no limit.
    pub class: Option<Class>,
    /// Why they wait.
    pub hold: Option<HoldReason>,
    /// What they have in common.
    pub cluster: Option<String>,
    /// The suspension's reason.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
    /// How many of them are approved.
    pub approved: u64,
}

/// What became of a directory's held plan in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reheld {
    /// The plan that now waits, if one does.
    pub plan: Option<PlanId>,
    /// How many changes it has.
    pub count: u64,
    /// Whether an operator has not been told of it yet.
    pub is_new: bool,
}

/// Held changes that are made into rows at once.
const HELD_AT_ONCE: usize = 500;

pub(super) const INSERT_CHANGES: &str = "INSERT INTO changes (run_id, seq, plan_id, directory, kind, class, user_id, guid, email, reason, before, after, evidence, digest, \
     cluster, hold, outcome, approved, at)";
pub(super) const PLAN_CHANGES: &str = SHOWN;
const SHOWN: &str = "user_id, guid, email, kind, class, reason, before, after, evidence, cluster, hold, outcome, at";
pub(super) const WAITING: &str = " WHERE p.state IN ('open', 'approved') AND p.directory = ";
pub(super) const PLAN: &str = "SELECT p.id, p.directory, p.run_id, p.digest, p.state, p.created_at, p.actor, p.comment, p.approved_at, \
     p.announced_at, p.scope_hash, p.note, p.version, p.size, (SELECT COUNT(*) FROM changes c WHERE c.plan_id = p.id) FROM plans p";

#[expect(
    clippy::too_many_arguments,
    reason = "one for each column that does not come from the change itself"
)]
pub(super) fn change_row(
    change: &Change,
    run: RunId,
    seq: u64,
    plan: Option<PlanId>,
    directory: Option<&DirectoryName>,
    hold: Option<HoldReason>,
    outcome: &str,
    approved: bool,
    at: Timestamp,
) -> Vec<Value> {
    vec![
        run.0.into(),
        seq.into(),
        plan.map(|p| p.0).into(),
        directory.map_or("", |d| d.as_str()).into(),
        change.kind.as_str().into(),
        change.class.map(Class::as_str).into(),
        change.user.0.into(),
        change.guid.into(),
        change.email.as_ref().map(|e| e.as_str()).into(),
        change.reason().map(|r| r.as_str()).into(),
        change.before().to_string().into(),
        change.after().to_string().into(),
        json(&change.evidence()).into(),
        change.digest().0.into(),
        change.cluster.as_deref().into(),
        hold.map(HoldReason::as_str).into(),
        outcome.into(),
        approved.into(),
        at.into(),
    ]
}

pub(super) fn plan(row: &AnyRow) -> Result<HeldPlan, StoreError> {
    let mut c = Columns::of(row);
    Ok(HeldPlan {
        id: PlanId(c.uuid()?),
        directory: c.text()?,
        run: RunId(c.uuid()?),
        digest: Digest(c.hash()?),
        state: c.word("plan state", PlanState::parse)?,
        created_at: c.time()?,
        actor: c.maybe_text()?.map(Actor),
        comment: c.maybe_text()?,
        approved_at: c.maybe_time()?,
        announced_at: c.maybe_time()?,
        scope_hash: c.maybe_text()?,
        note: c.maybe_text()?,
        version: c.int()?,
        // What was applied or withdrawn is no longer held, but it is what the plan was about.
        count: match (c.int()? as u64, c.int()? as u64) {
            (size, 0) => size,
            (_, waiting) => waiting,
        },
    })
}

fn change(row: &AnyRow) -> Result<WrittenChange, StoreError> {
    next_change(&mut Columns::of(row))
}

pub(super) fn next_change(c: &mut Columns<'_>) -> Result<WrittenChange, StoreError> {
    Ok(WrittenChange {
        user: UserId(c.uuid()?),
        guid: c.maybe_guid()?,
        email: c.maybe_text()?,
        kind: c.text()?,
        class: c.maybe_word("class", Class::parse)?,
        reason: c.maybe_text()?,
        before: c.json("change")?,
        after: c.json("change")?,
        evidence: c.json("evidence")?,
        cluster: c.maybe_text()?,
        hold: c.maybe_word("hold", HoldReason::parse)?,
        outcome: c.text()?,
        at: c.time()?,
    })
}

impl Store {
    /// Settles what waits for an operator after a run that judged these people.
    ///
    /// A plan that loses changes keeps its id; one that gains or alters any becomes a new one; an empty
    /// one is withdrawn. Rejected changes wait in no plan.
    #[expect(clippy::too_many_arguments, reason = "what a run says of what it could not apply")]
    pub async fn rehold(
        &self,
        directory: &DirectoryName,
        run: RunId,
        first_seq: u64,
        held: &[HeldChange],
        by: &DecidedBy,
        is_judged: impl Fn(Guid) -> bool,
        clock: &Clock,
    ) -> Result<Reheld, StoreError> {
        let rejected: BTreeSet<Digest> =
            self.rejections(directory).await?.into_iter().map(|rejection| rejection.key).collect();
        let is_rejected = |h: &HeldChange| {
            h.hold == HoldReason::Rejected
                || h.change.rejection_keys().iter().any(|k| rejected.contains(k))
        };
        let held: Vec<&HeldChange> = held.iter().filter(|h| !is_rejected(h)).collect();
        let now = clock.now();
        loop {
            let current = self.current_plan(directory).await?;
            let stored = match &current {
                Some(plan) => self.held_rows(plan.id).await?,
                None => Vec::new(),
            };
            let proposed: BTreeMap<Digest, &HeldChange> =
                held.iter().map(|h| (h.change.digest(), *h)).collect();
            // An incomplete read judges hardly anybody, and applies what it saw of leavers all the same.
            let applied =
                if stored.is_empty() { BTreeSet::new() } else { self.applied_by(run).await? };
            let is_settled =
                |digest: &Digest| proposed.contains_key(digest) || applied.contains(digest);
            let is_carried =
                |row: &&HeldRow| !row.guid.is_some_and(&is_judged) && !is_settled(&row.digest);
            let carried: BTreeSet<Digest> =
                stored.iter().filter(is_carried).map(|row| row.digest).collect();
            let known: BTreeSet<Digest> = stored.iter().map(|row| row.digest).collect();
            // Approved, and not applied yet: so it stays, whatever else comes to wait.
            let approved: BTreeSet<Digest> =
                stored.iter().filter(|row| row.approved).map(|row| row.digest).collect();
            let wanted: BTreeSet<Digest> =
                proposed.keys().copied().chain(carried.iter().copied()).collect();
            let count = wanted.len() as u64;
            let is_same = |p: &HeldPlan| {
                p.scope_hash.as_deref() == Some(by.scope_hash.as_str()) && p.note == by.note
            };
            if wanted == known && current.as_ref().is_none_or(is_same) {
                return Ok(Reheld { plan: current.map(|p| p.id), count, is_new: false });
            }
            let mut writing = self.begin().await?;
            // A plan that was written since is read again.
            let seen = current.as_ref().map(|plan| (plan.id, plan.version));
            if waiting_now(&mut writing, directory.as_str())
                .await?
                .map(|plan| (plan.id, plan.version))
                != seen
            {
                continue;
            }
            if let Some(plan) = &current {
                seize(&mut writing, plan.id).await?;
            }
            let result = match current {
                Some(plan) if wanted.is_subset(&known) => {
                    let sql = Sql::new("UPDATE plans SET scope_hash = ")
                        .bind(by.scope_hash.as_str())
                        .push(", note = ")
                        .bind(by.note.as_deref());
                    let sql = sql.push(" WHERE id = ").bind(plan.id.0);
                    sql.execute(&mut *writing.tx)
                        .await
                        .doing("write what a plan was decided by")?;
                    let lost: Vec<Digest> = known.difference(&wanted).copied().collect();
                    let state = match (wanted.is_empty(), plan.approved_at) {
                        (true, Some(_)) => PlanState::Applied,
                        (true, None) => PlanState::Withdrawn,
                        (false, _) => plan.state,
                    };
                    lose(
                        &mut writing,
                        &plan,
                        &lost,
                        state,
                        Digest::of_all(wanted.into_iter().collect()),
                        now,
                    )
                    .await?;
                    Reheld { plan: state.waits().then_some(plan.id), count, is_new: false }
                }
                current => {
                    let id = PlanId(clock.new_id());
                    if let Some(old) = &current {
                        carry(&mut writing, old.id, id, &carried).await?;
                        set_state(&mut writing, old.id, PlanState::Superseded, now).await?;
                    }
                    let plan = HeldPlan {
                        id,
                        directory: directory.to_string(),
                        run,
                        digest: Digest::of_all(wanted.iter().copied().collect()),
                        state: PlanState::Open,
                        created_at: now,
                        scope_hash: Some(by.scope_hash.clone()),
                        note: by.note.clone(),
                        count,
                        version: 0,
                        announced_at: None,
                        ..approval_of(
                            current
                                .as_ref()
                                .filter(|_| wanted.iter().any(|digest| approved.contains(digest))),
                        )
                    };
                    insert_plan(&mut writing, &plan).await?;
                    // In pieces: a million rows at once would take more memory than everything that made them.
                    for (piece, seq) in
                        held.chunks(HELD_AT_ONCE).zip((first_seq..).step_by(HELD_AT_ONCE))
                    {
                        let rows = piece.iter().zip(seq..).map(|(h, seq)| {
                            let is_approved = approved.contains(&h.change.digest());
                            change_row(
                                &h.change,
                                run,
                                seq,
                                Some(id),
                                Some(directory),
                                Some(h.hold),
                                "held",
                                is_approved,
                                now,
                            )
                        });
                        insert(&mut writing.tx, INSERT_CHANGES, "", rows)
                            .await
                            .doing("hold changes")?;
                    }
                    let cause = EventCause {
                        actor: Actor::rosterd(),
                        run: Some(run),
                        account: None,
                        at: now,
                    };
                    let after = serde_json::json!({ "plan": id, "directory": directory, "count": count, "held": count, "changes": by.applied });
                    events::append(
                        &mut writing,
                        &[Event::about("run.held", run.to_string(), &cause, Json::Null, after)],
                        clock,
                    )
                    .await?;
                    Reheld { plan: Some(id), count, is_new: true }
                }
            };
            writing.commit().await?;
            return Ok(result);
        }
    }

    /// The digests of what a run has applied.
    async fn applied_by(&self, run: RunId) -> Result<BTreeSet<Digest>, StoreError> {
        let sql = Sql::new("SELECT digest FROM changes WHERE outcome = 'applied' AND run_id = ")
            .bind(run.0);
        let rows = sql.all(&self.readers).await.doing("read what a run has done")?;
        rows.iter().map(|row| Columns::of(row).hash().map(Digest)).collect()
    }

    /// The plan of a directory that waits: open or approved. There is never more than one.
    pub async fn current_plan(
        &self,
        directory: &DirectoryName,
    ) -> Result<Option<HeldPlan>, StoreError> {
        let sql = Sql::new(PLAN).push(WAITING).bind(directory.as_str());
        sql.first(&self.readers).await.doing("read the held plan")?.as_ref().map(plan).transpose()
    }

    /// A plan by its id, whatever became of it.
    pub async fn plan(&self, id: PlanId) -> Result<Option<HeldPlan>, StoreError> {
        let sql = Sql::new(PLAN).push(" WHERE p.id = ").bind(id.0);
        sql.first(&self.readers).await.doing("read a plan")?.as_ref().map(plan).transpose()
    }

    /// All plans that wait, newest first; with `closed`, the newest of the others too.
    pub async fn plans(&self, closed: bool) -> Result<Vec<HeldPlan>, StoreError> {
        let sql =
            Sql::new(PLAN).push(if closed { "" } else { " WHERE p.state IN ('open', 'approved')" });
        let rows = sql
            .push(" ORDER BY p.created_at DESC, p.id DESC LIMIT 200")
            .all(&self.readers)
            .await
            .doing("list plans")?;
        rows.iter().map(plan).collect()
    }

    /// The rejected plans of a directory, or of all, of which some change is still asked for, newest first.
    ///
    /// A rejection follows its user to another directory, and so does the plan that shows it.
    pub async fn rejected_plans(
        &self,
        directory: Option<&DirectoryName>,
    ) -> Result<Vec<HeldPlan>, StoreError> {
        let mut sql = Sql::new(PLAN).push(" WHERE p.state = 'rejected'");
        if let Some(directory) = directory {
            let of_plan = " AND r.plan_id = p.id)";
            sql = sql
                .push(" AND EXISTS (SELECT 1")
                .push(OF_DIRECTORY)
                .bind(directory.as_str())
                .push(of_plan);
        }
        let rows = sql
            .push(" ORDER BY p.created_at DESC, p.id DESC LIMIT 200")
            .all(&self.readers)
            .await
            .doing("list rejected plans")?;
        rows.iter().map(plan).collect()
    }

    /// What a plan amounts to, by class, reason and cause.
    pub async fn plan_summary(&self, id: PlanId) -> Result<Vec<HeldSummary>, StoreError> {
        let sql = Sql::new(
            "SELECT class, hold, cluster, reason, COUNT(*), COUNT(CASE WHEN outcome = 'held' AND approved = 1 THEN 1 END) ",
        );
        let sql = sql.push("FROM changes WHERE plan_id = ").bind(id.0);
        let rows = sql
            .push(" GROUP BY class, hold, cluster, reason ORDER BY 5 DESC, 1, 2, 3")
            .all(&self.readers)
            .await
            .doing("summarise a plan")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok(HeldSummary {
                    class: c.maybe_word("class", Class::parse)?,
                    hold: c.maybe_word("hold", HoldReason::parse)?,
                    cluster: c.maybe_text()?,
                    reason: c.maybe_text()?,
                    count: c.int()? as u64,
                    approved: c.int()? as u64,
                })
            })
            .collect()
    }

    /// The changes of a plan, in order.
    pub async fn plan_changes(&self, id: PlanId) -> Result<Vec<WrittenChange>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(SHOWN)
            .push(" FROM changes WHERE plan_id = ")
            .bind(id.0)
            .push(" ORDER BY run_id, seq");
        sql.all(&self.readers).await.doing("read a plan's changes")?.iter().map(change).collect()
    }

    /// The changes of a run, in order.
    pub async fn run_changes(
        &self,
        id: RunId,
        limit: u64,
    ) -> Result<Vec<WrittenChange>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(SHOWN)
            .push(" FROM changes WHERE run_id = ")
            .bind(id.0)
            .push(" ORDER BY seq LIMIT ")
            .bind(limit);
        sql.all(&self.readers).await.doing("read a run's changes")?.iter().map(change).collect()
    }

    /// What was done to a user since it was created last, newest first, each with its run.
    pub async fn history(
        &self,
        id: UserId,
        limit: u64,
    ) -> Result<Vec<(RunId, WrittenChange)>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(SHOWN)
            .push(", run_id FROM changes WHERE outcome = 'applied' AND former = 0 AND user_id = ")
            .bind(id.0);
        let sql = sql.push(" ORDER BY at DESC, seq DESC LIMIT ").bind(limit);
        let rows = sql.all(&self.readers).await.doing("read a user's changes")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                let change = next_change(&mut c)?;
                Ok((RunId(c.uuid()?), change))
            })
            .collect()
    }

    /// The users that a run changed and that were removed since: whoever has such an id now is another user.
    pub async fn former_users(&self, id: RunId) -> Result<BTreeSet<UserId>, StoreError> {
        let sql = Sql::new("SELECT DISTINCT user_id FROM changes WHERE former = 1 AND run_id = ")
            .bind(id.0);
        let rows = sql.all(&self.readers).await.doing("read a run's changes")?;
        rows.iter().map(|row| Columns::of(row).uuid().map(UserId)).collect()
    }

    /// What of a plan waits, in order.
    pub async fn held_rows(&self, id: PlanId) -> Result<Vec<HeldRow>, StoreError> {
        let sql = Sql::new(
            "SELECT digest, user_id, guid, email, class, reason, cluster, approved FROM changes WHERE outcome = 'held' AND plan_id = ",
        );
        let rows = sql
            .bind(id.0)
            .push(" ORDER BY run_id, seq")
            .all(&self.readers)
            .await
            .doing("read what is held")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                let (digest, user, guid, email) =
                    (Digest(c.hash()?), UserId(c.uuid()?), c.maybe_guid()?, c.maybe_text()?);
                let (class, reason, cluster) =
                    (c.maybe_word("class", Class::parse)?, c.maybe_text()?, c.maybe_text()?);
                let key = cause_key(class, reason.as_deref(), cluster.as_deref());
                Ok(HeldRow { digest, user, guid, email, key, approved: c.int()? != 0 })
            })
            .collect()
    }
}
