//! What happens to plans inside the writer's transaction: each step compares the plan with what was read before.

use std::collections::BTreeSet;

use super::plans::{HeldPlan, PLAN, WAITING, plan};
use super::sql::{Sql, Value};
use super::{Doing as _, StoreError, Writing};
use crate::model::{Digest, PlanId, PlanState, RunId, Timestamp};

/// Takes a plan for this transaction and returns it as stored by now, with its next version written.
///
/// A writer in another process that was faster makes this fail, because the version is compared.
pub(super) async fn seize(writing: &mut Writing<'_>, id: PlanId) -> Result<HeldPlan, StoreError> {
    let sql = Sql::new(PLAN).push(" WHERE p.id = ").bind(id.0);
    let found =
        sql.first(&mut *writing.tx).await.doing("read a plan")?.as_ref().map(plan).transpose()?;
    let mut held = found.ok_or(StoreError::Corrupt { what: "plan" })?;
    let sql = Sql::new("UPDATE plans SET version = version + 1 WHERE id = ")
        .bind(id.0)
        .push(" AND version = ")
        .bind(held.version);
    if sql.execute(&mut *writing.tx).await.doing("write a plan's version")? == 0 {
        return Err(raced(&held));
    }
    held.version += 1;
    Ok(held)
}

/// The refusal for a plan that is no longer what the caller decided about.
pub(super) fn raced(plan: &HeldPlan) -> StoreError {
    let by = plan
        .actor
        .as_ref()
        .filter(|_| matches!(plan.state, PlanState::Approved | PlanState::Rejected));
    StoreError::Raced {
        plan: plan.id,
        state: plan.state,
        by: by.map(|actor| format!(" by {actor}")).unwrap_or_default(),
    }
}

/// The plan that waits of a directory, as this transaction sees it.
pub(super) async fn waiting_now(
    writing: &mut Writing<'_>,
    directory: &str,
) -> Result<Option<HeldPlan>, StoreError> {
    let sql = Sql::new(PLAN).push(WAITING).bind(directory);
    sql.first(&mut *writing.tx).await.doing("read the held plan")?.as_ref().map(plan).transpose()
}

/// A plan with what an earlier one takes along of its approval.
pub(super) fn approval_of(earlier: Option<&HeldPlan>) -> HeldPlan {
    let nothing = HeldPlan {
        id: PlanId(uuid::Uuid::nil()),
        directory: String::new(),
        run: RunId(uuid::Uuid::nil()),
        digest: Digest([0; 32]),
        state: PlanState::Open,
        created_at: Timestamp(0),
        actor: None,
        comment: None,
        approved_at: None,
        announced_at: None,
        count: 0,
        scope_hash: None,
        note: None,
        version: 0,
    };
    match earlier {
        Some(plan) => HeldPlan {
            actor: plan.actor.clone(),
            comment: plan.comment.clone(),
            approved_at: plan.approved_at,
            ..nothing
        },
        None => nothing,
    }
}

/// Writes a new plan.
pub(super) async fn insert_plan(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
) -> Result<(), StoreError> {
    let row: Vec<Value> = vec![
        plan.id.0.into(),
        plan.directory.as_str().into(),
        plan.run.0.into(),
        plan.digest.0.into(),
        plan.count.into(),
        plan.state.as_str().into(),
        plan.created_at.into(),
        plan.created_at.into(),
        plan.scope_hash.as_deref().into(),
        plan.note.as_deref().into(),
        plan.approved_at.into(),
        plan.actor.as_ref().map(|a| a.0.as_str()).into(),
        plan.comment.as_deref().into(),
    ];
    let sql = Sql::new(
        "INSERT INTO plans (id, directory, run_id, digest, size, state, created_at, updated_at, scope_hash, note, approved_at, actor, \
         comment) VALUES ",
    );
    sql.list(row).execute(&mut *writing.tx).await.doing("hold a plan")?;
    Ok(())
}

/// Ends a plan. People of whom it still holds changes are pending until a run has judged them.
pub(super) async fn close(
    writing: &mut Writing<'_>,
    plan: PlanId,
    state: PlanState,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new("INSERT INTO pending_people (directory, guid) SELECT DISTINCT p.directory, c.guid FROM changes c ")
        .push("JOIN plans p ON p.id = c.plan_id WHERE c.outcome = 'held' AND c.guid IS NOT NULL AND p.id = ")
        .bind(plan.0)
        .push(" ON CONFLICT (directory, guid) DO NOTHING");
    sql.execute(&mut *writing.tx).await.doing("note whose plan has ended")?;
    set_state(writing, plan, state, now).await
}

pub(super) async fn set_state(
    writing: &mut Writing<'_>,
    plan: PlanId,
    state: PlanState,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new("UPDATE plans SET state = ")
        .bind(state.as_str())
        .push(", updated_at = ")
        .bind(now)
        .push(" WHERE id = ")
        .bind(plan.0);
    sql.execute(&mut *writing.tx).await.doing("write what became of a plan")?;
    Ok(())
}

/// A plan loses changes: they were applied, or are no longer wanted.
pub(super) async fn lose(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
    lost: &[Digest],
    state: PlanState,
    digest: Digest,
    now: Timestamp,
) -> Result<(), StoreError> {
    if matches!(state, PlanState::Applied | PlanState::Withdrawn) {
        let sql =
            Sql::new("DELETE FROM changes WHERE outcome = 'held' AND plan_id = ").bind(plan.id.0);
        sql.execute(&mut *writing.tx).await.doing("empty a plan")?;
        return set_state(writing, plan.id, state, now).await;
    }
    for piece in lost.chunks(1_000) {
        let sql =
            Sql::new("DELETE FROM changes WHERE outcome = 'held' AND plan_id = ").bind(plan.id.0);
        sql.push(" AND digest IN ")
            .list(piece.iter().map(|d| d.0))
            .execute(&mut *writing.tx)
            .await
            .doing("take changes off a plan")?;
    }
    let sql =
        Sql::new("UPDATE plans SET digest = ").bind(digest.0).push(" WHERE id = ").bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("write a plan's digest")?;
    set_state(writing, plan.id, state, now).await
}

/// The changes of people that were not read this time go over into the new plan.
pub(super) async fn carry(
    writing: &mut Writing<'_>,
    from: PlanId,
    to: PlanId,
    carried: &BTreeSet<Digest>,
) -> Result<(), StoreError> {
    let carried: Vec<Digest> = carried.iter().copied().collect();
    for piece in carried.chunks(1_000) {
        let sql = Sql::new("UPDATE changes SET plan_id = ")
            .bind(to.0)
            .push(" WHERE plan_id = ")
            .bind(from.0);
        sql.push(" AND digest IN ")
            .list(piece.iter().map(|d| d.0))
            .execute(&mut *writing.tx)
            .await
            .doing("carry changes over")?;
    }
    Ok(())
}
