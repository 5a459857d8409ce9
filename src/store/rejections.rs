//! Rejections: changes that an operator rejected.
//!
//! A plan is in state `rejected` while one of its changes is. Its change rows stay for display.

use std::collections::BTreeSet;

use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::plans::{self, HeldPlan};
use super::rows::{Columns, Row as _, row};
use super::sql::{Fields, Sql, insert, pieces};
use super::transitions::close;
use crate::model::{
    Digest, DirectoryName, Guid, PlanId, PlanState, Reason, Rejection, Timestamp, UserId,
    WrittenChange,
};

/// A rejection belongs to the directory that its user is linked to now. Without a user, it belongs
/// to the directory that proposed the change. One of a target's step belongs to the target.
pub(super) const OF_DIRECTORY: &str = " FROM rejections r LEFT JOIN users u ON u.id = r.user_id WHERE \
    CASE WHEN r.of_target = 1 THEN r.directory ELSE COALESCE(u.directory, r.directory) END = ";

row! {
    Rejection {
        key: "r.rejection_key",
        plan: "r.plan_id",
        user: "r.user_id",
        guid: "COALESCE(u.guid, r.guid)",
        kind: "r.kind",
        reason: "r.reason",
        cluster: "r.cluster",
        attribute: "r.attribute",
    }
}

impl Store {
    /// Returns the rejections in force for people of a directory.
    pub async fn rejections(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<Rejection>, StoreError> {
        let sql = Sql::select::<Rejection>()
            .push(OF_DIRECTORY)
            .bind(directory.as_str())
            .push(" ORDER BY r.rejection_key");
        let rows = sql.all(&self.readers).await.doing("read rejections")?;
        rows.iter().map(Rejection::of).collect()
    }

    /// Returns the rejected plans of a directory, or of all, newest first.
    ///
    /// A rejection follows its user to another directory, and so does the plan that shows it.
    pub async fn rejected_plans(
        &self,
        directory: Option<&DirectoryName>,
    ) -> Result<Vec<HeldPlan>, StoreError> {
        let mut sql = plans::select().push(" WHERE p.state = 'rejected'");
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
        rows.iter().map(HeldPlan::of).collect()
    }

    /// Returns whether a rejected change keeps the configured scope from being accepted.
    pub async fn is_scope_rejected(&self, directory: &DirectoryName) -> Result<bool, StoreError> {
        let sql = Sql::new("SELECT COUNT(*)")
            .push(OF_DIRECTORY)
            .bind(directory.as_str())
            .push(" AND r.scope_pending = 1");
        Ok(sql.count(&self.readers).await.doing("read rejections")? > 0)
    }

    /// Marks the rejections as part of the accepted scope, so that they keep no later scope from being
    /// accepted.
    pub async fn accept_scope_of_rejections(
        &self,
        directory: &DirectoryName,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new(
            "UPDATE rejections SET scope_pending = 0 WHERE scope_pending = 1 AND rejection_key IN (SELECT r.rejection_key",
        );
        let sql = sql.push(OF_DIRECTORY).bind(directory.as_str()).push(")");
        sql.execute(&mut *writing.tx).await.doing("write rejections")?;
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

    /// Removes the people of ended plans from the pending set, because a run has covered them.
    pub async fn remove_pending_people(
        &self,
        directory: &DirectoryName,
        is_covered: impl Fn(Guid) -> bool,
    ) -> Result<(), StoreError> {
        let sql =
            Sql::new("SELECT guid FROM pending_people WHERE directory = ").bind(directory.as_str());
        let rows = sql.all(&self.readers).await.doing("read pending people")?;
        let covered: Result<Vec<Guid>, StoreError> =
            rows.iter().map(|row| Columns::of(row).read()).collect();
        let covered: Vec<Guid> = covered?.into_iter().filter(|guid| is_covered(*guid)).collect();
        if covered.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in pieces(covered) {
            let sql = Sql::new("DELETE FROM pending_people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND guid IN ")
                .list(piece);
            sql.execute(&mut *writing.tx).await.doing("remove pending people")?;
        }
        writing.commit().await
    }

    /// Writes the rejections of plans that version 0.1.0 rejected, which stored the plan's state alone.
    pub(super) async fn adopt_rejected_plans(&self) -> Result<(), StoreError> {
        let sql = Sql::new("SELECT p.id, p.directory, p.scope_hash FROM plans p WHERE p.state = 'rejected' AND NOT EXISTS ")
            .push("(SELECT 1 FROM rejections r WHERE r.plan_id = p.id)");
        let rows = sql.all(&self.readers).await.doing("read rejected plans")?;
        for row in &rows {
            let mut c = Columns::of(row);
            let (plan, directory, scope) =
                (c.read()?, c.read::<DirectoryName>()?, c.read::<Option<String>>()?);
            let mut writing = self.begin().await?;
            record(&mut writing, plan, &directory, scope.as_deref()).await?;
            writing.commit().await?;
        }
        Ok(())
    }
}

/// Rejects all held changes of a plan.
pub(super) async fn record(
    writing: &mut Writing<'_>,
    plan: PlanId,
    directory: &DirectoryName,
    scope: Option<&str>,
) -> Result<(), StoreError> {
    let is_target = is_target(writing, directory).await?;
    let sql = if is_target {
        Sql::new("SELECT rules_hash FROM targets WHERE name = ")
    } else {
        Sql::new("SELECT scope_hash FROM directories WHERE name = ")
    };
    let row = sql.bind(directory.as_str()).first(&mut *writing.tx).await;
    let row = row.doing("read the accepted scope")?;
    let accepted = row.as_ref().map_or(Ok(None), |row| Columns::of(row).maybe_text())?;
    let is_pending = accepted.is_some_and(|accepted| Some(accepted.as_str()) != scope);
    let sql = Sql::new("SELECT digest, ")
        .push(WrittenChange::COLUMNS)
        .push(" FROM changes WHERE outcome = 'held' AND plan_id = ")
        .bind(plan.0);
    let mut rows: Vec<Fields> = Vec::new();
    let add = |c: &mut Columns<'_>| {
        let (digest, change): (Digest, WrittenChange) = (c.read()?, WrittenChange::next(c)?);
        rows.extend(change.rejection_keys().into_iter().map(|(key, reason)| {
            vec![
                ("rejection_key", key.0.into()),
                ("plan_id", plan.0.into()),
                ("digest", digest.0.into()),
                ("directory", directory.as_str().into()),
                ("user_id", change.user.0.into()),
                ("guid", change.guid.into()),
                ("kind", change.kind.as_str().into()),
                ("reason", reason.map(Reason::as_str).into()),
                ("cluster", change.cluster.as_deref().into()),
                ("attribute", change.attribute().into()),
                ("scope_pending", is_pending.into()),
                ("of_target", is_target.into()),
            ]
        }));
        Ok(())
    };
    sql.each(&mut *writing.tx, "read held changes", add).await?;
    // Changes of one plan never share a key. A key of an earlier plan moves to this one.
    let tail = "ON CONFLICT (rejection_key) DO UPDATE SET plan_id = excluded.plan_id, digest = excluded.digest, attribute = excluded.attribute";
    insert(&mut writing.tx, "rejections", tail, rows).await.doing("write rejections")
}

/// Returns whether a name is one of a target.
async fn is_target(writing: &mut Writing<'_>, name: &DirectoryName) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT COUNT(*) FROM targets WHERE name = ").bind(name.as_str());
    Ok(sql.count(&mut *writing.tx).await.doing("read a target")? > 0)
}

/// Ends the rejections of removed users. A later user with such an id is another one.
pub(super) async fn forget_users(
    writing: &mut Writing<'_>,
    users: &BTreeSet<UserId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        Sql::new("DELETE FROM rejections WHERE user_id IN ").list(users.iter().map(|id| id.0));
    if sql.execute(&mut *writing.tx).await.doing("end rejections")? > 0 {
        tidy(writing, now).await?;
    }
    Ok(())
}

/// Ends the rejections of a plan, or of some of its changes. The changes stay with the plan.
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

/// Removes changes that are no longer rejected from rejected plans, and closes empty plans.
async fn tidy(writing: &mut Writing<'_>, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM changes WHERE outcome = 'held' AND plan_id IN (SELECT id FROM plans WHERE state = 'rejected') AND ")
        .push("NOT EXISTS (SELECT 1 FROM rejections r WHERE r.plan_id = changes.plan_id AND r.digest = changes.digest)");
    sql.execute(&mut *writing.tx).await.doing("remove changes from rejected plans")?;
    let sql = Sql::new(
        "SELECT id FROM plans WHERE state = 'rejected' AND NOT EXISTS (SELECT 1 FROM rejections r WHERE r.plan_id = plans.id)",
    );
    for row in &sql.all(&mut *writing.tx).await.doing("read rejected plans")? {
        close(writing, PlanId(Columns::of(row).uuid()?), PlanState::Withdrawn, now).await?;
    }
    Ok(())
}
