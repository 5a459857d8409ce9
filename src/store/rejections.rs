//! Rejections: the changes that an operator rejected, and the people of plans that ended.
//!
//! A plan is in state `rejected` as long as one of its changes is rejected; its change rows stay for display.

use std::collections::BTreeSet;

use super::plans::{HeldPlan, PLAN_CHANGES, next_change};
use super::sql::{Columns, Sql, Value, insert, pieces};
use super::transitions::close;
use super::{Doing as _, Store, StoreError, Writing};
use crate::model::{
    Digest, DirectoryName, Guid, PlanId, PlanState, Reason, Rejection, Timestamp, UserId,
    WrittenChange,
};

/// A user belongs to the directory that it is linked to by now; one that was never created, to the one that proposed it.
pub(super) const OF_DIRECTORY: &str = " FROM rejections r LEFT JOIN users u ON u.id = r.user_id WHERE COALESCE(u.directory, r.directory) = ";

impl Store {
    /// The rejections that are in force for people of a directory.
    pub async fn rejections(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<Rejection>, StoreError> {
        let sql = Sql::new(
            "SELECT r.rejection_key, r.plan_id, r.user_id, COALESCE(u.guid, r.guid), r.kind, r.reason, r.cluster",
        );
        let rows = sql
            .push(OF_DIRECTORY)
            .bind(directory.as_str())
            .push(" ORDER BY r.rejection_key")
            .all(&self.readers)
            .await;
        rows.doing("read what was rejected")?
            .iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok(Rejection {
                    key: Digest(c.hash()?),
                    plan: PlanId(c.uuid()?),
                    user: UserId(c.uuid()?),
                    guid: c.maybe_guid()?,
                    kind: c.text()?,
                    reason: c.maybe_word("reason", Reason::parse)?,
                    cluster: c.maybe_text()?,
                })
            })
            .collect()
    }

    /// Returns whether a rejected change keeps the configured scope from being accepted.
    pub async fn is_scope_rejected(&self, directory: &DirectoryName) -> Result<bool, StoreError> {
        let sql = Sql::new("SELECT COUNT(*)")
            .push(OF_DIRECTORY)
            .bind(directory.as_str())
            .push(" AND r.scope_pending = 1");
        Ok(sql.count(&self.readers).await.doing("read what was rejected")? > 0)
    }

    /// Records that the accepted scope asks for what is still rejected: it keeps no later scope from being accepted.
    pub async fn settle_rejected_scope(&self, directory: &DirectoryName) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new(
            "UPDATE rejections SET scope_pending = 0 WHERE scope_pending = 1 AND rejection_key IN (SELECT r.rejection_key",
        );
        let sql = sql.push(OF_DIRECTORY).bind(directory.as_str()).push(")");
        sql.execute(&mut *writing.tx).await.doing("write what was rejected")?;
        writing.commit().await
    }

    /// Ends rejections of changes that the directory no longer asks for.
    pub async fn end_rejections(
        &self,
        ended: &[Rejection],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in pieces(ended.iter().map(|rejection| rejection.key.0)) {
            let sql = Sql::new("DELETE FROM rejections WHERE rejection_key IN ").list(piece);
            sql.execute(&mut *writing.tx).await.doing("end rejections")?;
        }
        tidy(&mut writing, now).await?;
        writing.commit().await
    }

    /// Forgets which people were pending because their plan ended, now that a run has judged them.
    pub async fn people_were_judged(
        &self,
        directory: &DirectoryName,
        is_judged: impl Fn(Guid) -> bool,
    ) -> Result<(), StoreError> {
        let sql =
            Sql::new("SELECT guid FROM pending_people WHERE directory = ").bind(directory.as_str());
        let rows = sql.all(&self.readers).await.doing("read who is pending")?;
        let judged: Result<Vec<Guid>, StoreError> =
            rows.iter().map(|row| Columns::of(row).guid()).collect();
        let judged: Vec<Guid> = judged?.into_iter().filter(|guid| is_judged(*guid)).collect();
        if judged.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in pieces(judged) {
            let sql = Sql::new("DELETE FROM pending_people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND guid IN ")
                .list(piece);
            sql.execute(&mut *writing.tx).await.doing("forget who is pending")?;
        }
        writing.commit().await
    }

    /// Records the rejections of plans that version 0.1.0 rejected: it remembered the plan's state alone.
    pub(super) async fn adopt_rejected_plans(&self) -> Result<(), StoreError> {
        let sql = Sql::new("SELECT p.id, p.directory, p.scope_hash FROM plans p WHERE p.state = 'rejected' AND NOT EXISTS ")
            .push("(SELECT 1 FROM rejections r WHERE r.plan_id = p.id)");
        let rows = sql.all(&self.readers).await.doing("read rejected plans")?;
        for row in &rows {
            let mut c = Columns::of(row);
            let (plan, directory, scope) = (PlanId(c.uuid()?), c.text()?, c.maybe_text()?);
            let mut writing = self.begin().await?;
            record(&mut writing, plan, &directory, scope.as_deref()).await?;
            writing.commit().await?;
        }
        Ok(())
    }
}

/// Makes rejections of all changes that a plan holds.
pub(super) async fn record(
    writing: &mut Writing<'_>,
    plan: PlanId,
    directory: &str,
    scope: Option<&str>,
) -> Result<(), StoreError> {
    let sql = Sql::new("SELECT scope_hash FROM directories WHERE name = ").bind(directory);
    let accepted = sql.first(&mut *writing.tx).await.doing("read a directory's state")?;
    let accepted = accepted.as_ref().map_or(Ok(None), |row| Columns::of(row).maybe_text())?;
    let is_pending = accepted.is_some_and(|accepted| Some(accepted.as_str()) != scope);
    let sql = Sql::new("SELECT digest, ")
        .push(PLAN_CHANGES)
        .push(" FROM changes WHERE outcome = 'held' AND plan_id = ")
        .bind(plan.0);
    let held = sql.all(&mut *writing.tx).await.doing("read what is held")?;
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for row in &held {
        let mut c = Columns::of(row);
        let (digest, change): (Digest, WrittenChange) = (Digest(c.hash()?), next_change(&mut c)?);
        rows.extend(change.rejection_keys().into_iter().map(|(key, reason)| {
            vec![
                key.0.into(),
                plan.0.into(),
                digest.0.into(),
                directory.into(),
                change.user.0.into(),
                change.guid.into(),
                change.kind.as_str().into(),
                reason.map(Reason::as_str).into(),
                change.cluster.as_deref().into(),
                is_pending.into(),
            ]
        }));
    }
    let head = "INSERT INTO rejections (rejection_key, plan_id, digest, directory, user_id, guid, kind, reason, cluster, scope_pending)";
    // Two changes of one plan never have one key; one that an earlier plan had is that plan's no longer.
    let tail = "ON CONFLICT (rejection_key) DO UPDATE SET plan_id = excluded.plan_id, digest = excluded.digest";
    insert(&mut writing.tx, head, tail, rows).await.doing("write what was rejected")
}

/// Ends the rejections of users that are removed: whoever gets their ids later is somebody else.
pub(super) async fn forget_users(
    writing: &mut Writing<'_>,
    users: &BTreeSet<UserId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        Sql::new("DELETE FROM rejections WHERE user_id IN ").list(users.iter().map(|id| id.0));
    if sql.execute(&mut *writing.tx).await.doing("forget what was rejected")? > 0 {
        tidy(writing, now).await?;
    }
    Ok(())
}

/// Ends the rejections of these changes of a plan, or of all of it; the changes themselves stay with the plan.
pub(super) async fn lift(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
    chosen: Option<&[Digest]>,
) -> Result<(), StoreError> {
    let all = || Sql::new("DELETE FROM rejections WHERE plan_id = ").bind(plan.id.0);
    let Some(chosen) = chosen else {
        all().execute(&mut *writing.tx).await.doing("reopen a plan")?;
        return Ok(());
    };
    for piece in pieces(chosen.iter().map(|digest| digest.0)) {
        all()
            .push(" AND digest IN ")
            .list(piece)
            .execute(&mut *writing.tx)
            .await
            .doing("reopen changes")?;
    }
    Ok(())
}

/// Takes off rejected plans what is rejected no longer, and closes those that are empty.
async fn tidy(writing: &mut Writing<'_>, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM changes WHERE outcome = 'held' AND plan_id IN (SELECT id FROM plans WHERE state = 'rejected') AND ")
        .push("NOT EXISTS (SELECT 1 FROM rejections r WHERE r.plan_id = changes.plan_id AND r.digest = changes.digest)");
    sql.execute(&mut *writing.tx).await.doing("take changes off rejected plans")?;
    let sql = Sql::new(
        "SELECT id FROM plans WHERE state = 'rejected' AND NOT EXISTS (SELECT 1 FROM rejections r WHERE r.plan_id = plans.id)",
    );
    for row in &sql.all(&mut *writing.tx).await.doing("read rejected plans")? {
        close(writing, PlanId(Columns::of(row).uuid()?), PlanState::Withdrawn, now).await?;
    }
    Ok(())
}
