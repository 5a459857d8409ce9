//! Transitions of plans inside the write transaction. Each compares the version of the plan.

use std::collections::BTreeSet;

use super::database::Writing;
use super::error::{Doing as _, StoreError};
use super::plans::{HeldPlan, WAITING, select};
use super::rows::Row as _;
use super::sql::Sql;
use crate::model::{Digest, DirectoryName, PlanId, PlanState, Timestamp};

/// Raises the version of a plan, and returns the plan as stored.
///
/// Fails if another process has written the plan meanwhile.
pub(super) async fn seize(writing: &mut Writing<'_>, id: PlanId) -> Result<HeldPlan, StoreError> {
    let sql = select().push(" WHERE p.id = ").bind(id.0);
    let found = sql
        .first(&mut *writing.tx)
        .await
        .doing("read a plan")?
        .as_ref()
        .map(HeldPlan::of)
        .transpose()?;
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

/// Returns the error for a plan that has changed since the caller read it.
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

/// Returns the open or approved plan of a directory, as this transaction sees it.
pub(super) async fn waiting_now(
    writing: &mut Writing<'_>,
    directory: &DirectoryName,
) -> Result<Option<HeldPlan>, StoreError> {
    let sql = select().push(WAITING).bind(directory.as_str());
    sql.first(&mut *writing.tx)
        .await
        .doing("read the held plan")?
        .as_ref()
        .map(HeldPlan::of)
        .transpose()
}

pub(super) async fn insert_plan(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
) -> Result<(), StoreError> {
    let row = vec![
        ("id", plan.id.0.into()),
        ("directory", plan.directory.as_str().into()),
        ("run_id", plan.run.0.into()),
        ("digest", plan.digest.0.into()),
        ("size", plan.count.into()),
        ("state", plan.state.as_str().into()),
        ("created_at", plan.created_at.into()),
        ("updated_at", plan.created_at.into()),
        ("scope_hash", plan.scope_hash.as_deref().into()),
        ("note", plan.note.as_deref().into()),
        ("approved_at", plan.approved_at.into()),
        ("actor", plan.actor.as_ref().map(|actor| actor.0.as_str()).into()),
        ("comment", plan.comment.as_deref().into()),
    ];
    Sql::insert("plans", row).execute(&mut *writing.tx).await.doing("hold a plan")?;
    Ok(())
}

/// Ends a plan. The people of its held changes join the pending set.
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
    sql.execute(&mut *writing.tx).await.doing("add people to the pending set")?;
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
    sql.execute(&mut *writing.tx).await.doing("write the state of a plan")?;
    Ok(())
}

/// Removes changes from a plan, because they were applied or are no longer proposed.
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
            .doing("remove changes from a plan")?;
    }
    let sql =
        Sql::new("UPDATE plans SET digest = ").bind(digest.0).push(" WHERE id = ").bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("write a plan's digest")?;
    set_state(writing, plan.id, state, now).await
}

/// Moves the changes of people that the run did not cover into the new plan.
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
            .doing("move changes to a new plan")?;
    }
    Ok(())
}
