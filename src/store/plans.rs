//! Held plans. Their changes are rows of `changes` with the outcome `held`, recognised from run to
//! run by their digests.

use std::collections::BTreeSet;

use super::database::Store;
use super::directories::lenient_default;
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, row};
use super::sql::{Db, Sql};
use crate::model::{
    Actor, ChangeClass, ChangeVerb, Digest, DirectoryName, GivenApproval, Guid, HoldReason, Names,
    PlanId, PlanState, Reason, RunId, Timestamp, UserId,
};
use crate::reconcile::Waiting;

/// A plan that is, or was, held.
#[derive(Debug, Clone)]
pub struct HeldPlan {
    pub id: PlanId,
    pub directory: DirectoryName,
    /// The run that created the plan.
    pub run: RunId,
    pub digest: Digest,
    pub state: PlanState,
    pub created_at: Timestamp,
    /// The operator who approved or rejected the plan.
    pub actor: Option<Actor>,
    pub comment: Option<String>,
    /// The time of the last approval of the plan or a part.
    pub approved_at: Option<Timestamp>,
    /// The time of the last reminder.
    pub announced_at: Option<Timestamp>,
    /// The number of changes.
    pub count: u64,
    /// The number of changes when the plan was made.
    pub size: u64,
    /// The scope of the last run. An approval accepts this scope, and no later one.
    pub scope_hash: Option<String>,
    /// The output of the gate that holds the plan.
    pub note: Option<String>,
    /// Rises with every update. Each update compares it.
    pub version: i64,
}

/// A held change, as selections need it.
#[derive(Debug, Clone)]
pub struct HeldRow {
    pub digest: Digest,
    pub user: UserId,
    pub guid: Option<Guid>,
    pub email: Option<String>,
    pub names: Names,
    pub key: String,
    pub approved: bool,
    /// The approvals that operators gave, until they expire.
    pub approvals: Vec<GivenApproval>,
}

/// Returns the key by which operators select changes: the cluster, or class and reason.
pub fn cause_key(
    class: Option<ChangeClass>,
    reason: Option<Reason>,
    cluster: Option<&str>,
) -> String {
    match (cluster, reason) {
        (Some(cluster), _) => cluster.to_owned(),
        (None, Some(reason)) => format!("{}:{reason}", class.map_or("other", ChangeClass::as_str)),
        (None, None) => class.map_or("other", ChangeClass::as_str).to_owned(),
    }
}

/// A line of the summary of a held plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSummary {
    pub kind: ChangeVerb,
    /// `None` has no limit.
    pub class: Option<ChangeClass>,
    pub hold: Option<HoldReason>,
    pub cluster: Option<String>,
    pub reason: Option<Reason>,
    pub count: u64,
    /// The number of approved changes among them.
    pub approved: u64,
}

pub(super) const WAITING: &str = " WHERE p.state IN ('open', 'approved') AND p.directory = ";
row! {
    HeldPlan {
        id: "p.id",
        directory: "p.directory",
        run: "p.run_id",
        digest: "p.digest",
        state: "p.state",
        created_at: "p.created_at",
        actor: "p.actor",
        comment: "p.comment",
        approved_at: "p.approved_at",
        announced_at: "p.announced_at",
        count: "p.size, (SELECT COUNT(*) FROM changes c WHERE c.plan_id = p.id)" as size,
        size: "p.size",
        scope_hash: "p.scope_hash",
        note: "p.note",
        version: "p.version",
    }
}

/// The number of changes: of those still held, or the original number if none is.
mod size {
    use super::{Columns, StoreError};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<u64, StoreError> {
        let (size, held): (u64, u64) = (columns.read()?, columns.read()?);
        Ok(if held == 0 { size } else { held })
    }
}

/// Starts the selection of plans, with the alias `p`.
pub(super) fn select() -> Sql {
    Sql::select::<HeldPlan>().push(" FROM plans p")
}

/// Returns the query for the held changes of a plan, in order.
pub(super) fn held_of(id: PlanId) -> Sql {
    Sql::select::<HeldRow>()
        .push(" FROM changes WHERE outcome = 'held' AND plan_id = ")
        .bind(id.0)
        .push(" ORDER BY run_id, seq")
}

/// Returns the summary of a plan, also inside the transaction that writes it.
pub(super) async fn summary_of<'e>(
    db: impl Db<'e>,
    id: PlanId,
) -> Result<Vec<HeldSummary>, StoreError> {
    let sql = Sql::select::<HeldSummary>().push(" FROM changes WHERE plan_id = ").bind(id.0);
    let rows = sql
        .push(" GROUP BY kind, class, hold, cluster, reason ORDER BY 6 DESC, 1, 2, 3, 4")
        .all(db)
        .await
        .doing("summarise a plan")?;
    rows.iter().map(HeldSummary::of).collect()
}

impl Store {
    /// Returns the open or approved plan of a directory. There is never more than one.
    pub async fn current_plan(
        &self,
        directory: &DirectoryName,
    ) -> Result<Option<HeldPlan>, StoreError> {
        let sql = select().push(WAITING).bind(directory.as_str());
        sql.first(&self.readers)
            .await
            .doing("read the held plan")?
            .as_ref()
            .map(HeldPlan::of)
            .transpose()
    }

    /// Returns a plan by its id, in any state.
    pub async fn plan(&self, id: PlanId) -> Result<Option<HeldPlan>, StoreError> {
        let sql = select().push(" WHERE p.id = ").bind(id.0);
        sql.first(&self.readers).await.doing("read a plan")?.as_ref().map(HeldPlan::of).transpose()
    }

    /// Returns the open and approved plans, newest first; with `closed`, the newest of the others, too.
    pub async fn plans(&self, closed: bool) -> Result<Vec<HeldPlan>, StoreError> {
        let sql = select().push(if closed { "" } else { " WHERE p.state IN ('open', 'approved')" });
        let rows = sql
            .push(" ORDER BY p.created_at DESC, p.id DESC LIMIT 200")
            .all(&self.readers)
            .await
            .doing("list plans")?;
        rows.iter().map(HeldPlan::of).collect()
    }

    /// Returns the summary of a plan by class, hold, cluster and reason.
    pub async fn plan_summary(&self, id: PlanId) -> Result<Vec<HeldSummary>, StoreError> {
        summary_of(&self.readers, id).await
    }

    /// Returns when the first change of a plan was held, in this plan or one before.
    pub async fn held_since(&self, id: PlanId) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new("SELECT MIN(at) FROM changes WHERE plan_id = ").bind(id.0);
        let row = sql.first(&self.readers).await.doing("read the age of a plan")?;
        row.map_or(Ok(None), |row| Columns::of(&row).maybe_time())
    }

    /// Returns the approvals of a plan's held changes, each with the number of changes.
    pub async fn plan_approvals(
        &self,
        id: PlanId,
    ) -> Result<Vec<(GivenApproval, u64)>, StoreError> {
        let sql = Sql::new(
            "SELECT approvals, COUNT(*) FROM changes WHERE outcome = 'held' AND approvals IS NOT NULL AND plan_id = ",
        );
        let rows = sql.bind(id.0).push(" GROUP BY approvals").all(&self.readers).await;
        let mut found: Vec<(GivenApproval, u64)> = Vec::new();
        for row in rows.doing("read approvals")? {
            let mut c = Columns::of(&row);
            let given: Vec<GivenApproval> = lenient_default::read(&mut c)?;
            let changes: u64 = c.read()?;
            for approval in given {
                match found.iter_mut().find(|(known, _)| *known == approval) {
                    Some((_, count)) => *count += changes,
                    None => found.push((approval, changes)),
                }
            }
        }
        found.sort_by_key(|(approval, _)| approval.at);
        Ok(found)
    }

    /// Returns the held changes of a plan, in order.
    pub async fn held_rows(&self, id: PlanId) -> Result<Vec<HeldRow>, StoreError> {
        held_of(id).read(&self.readers, "read held changes").await
    }

    /// Returns the digests of the approved changes of a plan.
    pub async fn approved_changes(&self, id: PlanId) -> Result<BTreeSet<Digest>, StoreError> {
        let sql = Sql::new(
            "SELECT digest FROM changes WHERE outcome = 'held' AND approved = 1 AND plan_id = ",
        );
        let mut approved = BTreeSet::new();
        let keep = |c: &mut Columns<'_>| {
            approved.insert(c.read()?);
            Ok(())
        };
        sql.bind(id.0).each(&self.readers, "read approved changes", keep).await?;
        Ok(approved)
    }

    /// Returns the number of held changes of a plan about a person.
    pub async fn held_about(&self, id: PlanId, person: Guid) -> Result<u64, StoreError> {
        let sql = Sql::new("SELECT COUNT(*) FROM changes WHERE outcome = 'held' AND plan_id = ")
            .bind(id.0)
            .push(" AND guid = ")
            .bind(person);
        sql.count(&self.readers).await.doing("count held changes")
    }

    /// Returns the held changes with a class in the open plan of a directory, by GUID.
    pub async fn waiting(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<(Option<Guid>, Waiting)>, StoreError> {
        let sql = Sql::new("SELECT c.guid, c.user_id, c.class, c.cluster, c.home, c.digest FROM changes c JOIN plans p ON p.id = c.plan_id WHERE c.outcome = 'held' AND c.class IS NOT NULL \
             AND p.state IN ('open', 'approved') AND p.directory = ").bind(directory.as_str());
        let mut waiting = Vec::new();
        let keep = |c: &mut Columns<'_>| {
            let guid = c.read()?;
            let (user, class) = (c.read()?, c.read()?);
            let (cluster, home) = (c.read()?, c.read()?);
            waiting.push((guid, Waiting { user, class, cluster, home, digest: c.read()? }));
            Ok(())
        };
        sql.each(&self.readers, "load held changes", keep).await?;
        Ok(waiting)
    }
}

row! {
    HeldSummary {
        kind: "kind",
        class: "class",
        hold: "hold",
        cluster: "cluster",
        reason: "reason",
        count: "COUNT(*)",
        approved: "COUNT(CASE WHEN outcome = 'held' AND approved = 1 THEN 1 END)",
    }
}

row! {
    HeldRow {
        digest: "digest",
        user: "user_id",
        guid: "guid",
        email: "email",
        names: "names" as lenient_default,
        key: "class, reason, cluster" as key,
        approved: "approved",
        approvals: "approvals" as lenient_default,
    }
}

mod key {
    use super::{Columns, StoreError, cause_key};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<String, StoreError> {
        let (class, reason) = (columns.read()?, columns.read()?);
        let cluster: Option<String> = columns.read()?;
        Ok(cause_key(class, reason, cluster.as_deref()))
    }
}
