//! Changes: one row for each applied, dropped or held change of a run.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::database::Store;
use super::directories::lenient_default;
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, as_json, row};
use super::sql::{Fields, Sql};
use super::value::json;
use crate::model::{
    ChangeClass, ChangeOutcome, Digest, DirectoryName, GivenApproval, HoldReason, PlanId, Reason,
    RunId, Shown, Timestamp, UserId, WrittenChange,
};

row! {
    WrittenChange {
        user: "user_id",
        guid: "guid",
        email: "email",
        names: "names" as lenient_default,
        kind: "kind",
        class: "class",
        reason: "reason",
        before: "before" as as_json,
        after: "after" as as_json,
        evidence: "evidence" as as_json,
        cluster: "cluster",
        hold: "hold",
        outcome: "outcome",
        at: "at",
    }
}

/// The place of a change among those of a plan: its run and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangePlace {
    run: RunId,
    seq: u64,
}

impl fmt::Display for ChangePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.seq)
    }
}

impl FromStr for ChangePlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, seq) = text.split_once('.').ok_or(())?;
        Ok(Self { run: run.parse().map_err(|_| ())?, seq: seq.parse().map_err(|_| ())? })
    }
}

/// The columns of a change that a run adds to it.
pub(super) struct Recorded<'a> {
    pub(super) run: RunId,
    pub(super) seq: u64,
    pub(super) plan: Option<PlanId>,
    pub(super) directory: Option<&'a DirectoryName>,
    pub(super) hold: Option<HoldReason>,
    pub(super) outcome: ChangeOutcome,
    pub(super) approved: bool,
    /// The approvals of a held change.
    pub(super) approvals: &'a [GivenApproval],
    pub(super) at: Timestamp,
}

impl Recorded<'_> {
    pub(super) fn fields(&self, shown: &Shown) -> Fields {
        let Self { run, seq, plan, directory, hold, outcome, approved, approvals, at } = self;
        let approvals = (!approvals.is_empty()).then(|| json(approvals));
        vec![
            ("run_id", run.0.into()),
            ("seq", (*seq).into()),
            ("plan_id", plan.map(|plan| plan.0).into()),
            ("directory", directory.map_or("", DirectoryName::as_str).into()),
            ("kind", shown.kind.as_str().into()),
            ("class", shown.class.map(ChangeClass::as_str).into()),
            ("user_id", shown.user.0.into()),
            ("guid", shown.guid.into()),
            ("email", shown.email.as_deref().into()),
            ("names", json(&shown.names).into()),
            ("reason", shown.reason.map(Reason::as_str).into()),
            ("before", shown.before.text().into()),
            ("after", shown.after.text().into()),
            ("evidence", shown.evidence.text().into()),
            ("digest", shown.digest.0.into()),
            ("cluster", shown.cluster.as_deref().into()),
            ("home", shown.home.as_deref().into()),
            ("hold", hold.map(HoldReason::as_str).into()),
            ("outcome", outcome.as_str().into()),
            ("approved", (*approved).into()),
            ("approvals", approvals.into()),
            ("at", (*at).into()),
        ]
    }
}

/// Returns the query for the changes of a plan after a place, with their places.
pub(super) fn of_plan(id: PlanId, after: Option<ChangePlace>, limit: Option<u64>) -> Sql {
    let mut sql = Sql::select::<WrittenChange>()
        .push(", run_id, seq FROM changes WHERE plan_id = ")
        .bind(id.0);
    if let Some(ChangePlace { run, seq }) = after {
        sql = sql.push(" AND (run_id, seq) > (").bind(run.0).push(", ").bind(seq).push(")");
    }
    sql = sql.push(" ORDER BY run_id, seq");
    match limit {
        Some(limit) => sql.push(" LIMIT ").bind(limit),
        None => sql,
    }
}

impl Store {
    /// Returns the changes of a plan, in order.
    pub async fn plan_changes(&self, id: PlanId) -> Result<Vec<WrittenChange>, StoreError> {
        let all = self.page_of_plan(id, None, None).await?;
        Ok(all.into_iter().map(|(_, change)| change).collect())
    }

    /// Returns the changes of a plan after a place, in order; all of them without a limit.
    pub async fn page_of_plan(
        &self,
        id: PlanId,
        after: Option<ChangePlace>,
        limit: Option<u64>,
    ) -> Result<Vec<(ChangePlace, WrittenChange)>, StoreError> {
        let mut changes = Vec::new();
        let keep = |c: &mut Columns<'_>| {
            let change = WrittenChange::next(c)?;
            changes.push((ChangePlace { run: c.read()?, seq: c.read()? }, change));
            Ok(())
        };
        of_plan(id, after, limit).each(&self.readers, "read a plan's changes", keep).await?;
        Ok(changes)
    }

    /// Returns the links that a run made.
    pub async fn links_of_run(&self, id: RunId) -> Result<Vec<WrittenChange>, StoreError> {
        let sql = Sql::select::<WrittenChange>()
            .push(" FROM changes WHERE outcome = 'applied' AND kind = 'link' AND run_id = ")
            .bind(id.0)
            .push(" ORDER BY seq");
        sql.read(&self.readers, "read a run's changes").await
    }

    /// Returns the changes of a run, in order.
    pub async fn run_changes(&self, id: RunId) -> Result<Vec<WrittenChange>, StoreError> {
        let all = self.page_of_run(id, None, None).await?;
        Ok(all.into_iter().map(|(_, change)| change).collect())
    }

    /// Returns the changes of a run after a number, in order; all of them without a limit.
    pub async fn page_of_run(
        &self,
        id: RunId,
        after: Option<u64>,
        limit: Option<u64>,
    ) -> Result<Vec<(u64, WrittenChange)>, StoreError> {
        let mut sql =
            Sql::select::<WrittenChange>().push(", seq FROM changes WHERE run_id = ").bind(id.0);
        if let Some(after) = after {
            sql = sql.push(" AND seq > ").bind(after);
        }
        sql = sql.push(" ORDER BY seq");
        if let Some(limit) = limit {
            sql = sql.push(" LIMIT ").bind(limit);
        }
        let mut changes = Vec::new();
        let keep = |c: &mut Columns<'_>| {
            let change = WrittenChange::next(c)?;
            changes.push((c.read()?, change));
            Ok(())
        };
        sql.each(&self.readers, "read a run's changes", keep).await?;
        Ok(changes)
    }

    /// Returns the applied changes of a user since its creation, newest first, with their runs.
    pub async fn history(
        &self,
        id: UserId,
        limit: u64,
    ) -> Result<Vec<(RunId, WrittenChange)>, StoreError> {
        let sql = Sql::select::<WrittenChange>()
            .push(", run_id FROM changes WHERE outcome = 'applied' AND former = 0 AND directory NOT IN (SELECT name FROM targets) AND user_id = ")
            .bind(id.0);
        let sql = sql.push(" ORDER BY at DESC, seq DESC LIMIT ").bind(limit);
        let rows = sql.all(&self.readers).await.doing("read a user's changes")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                let change = WrittenChange::next(&mut c)?;
                Ok((c.read()?, change))
            })
            .collect()
    }

    /// Returns the users of a run that were removed since. A user with such an id is another one.
    pub async fn former_users(&self, id: RunId) -> Result<BTreeSet<UserId>, StoreError> {
        let sql = Sql::new("SELECT DISTINCT user_id FROM changes WHERE former = 1 AND run_id = ")
            .bind(id.0);
        let rows = sql.all(&self.readers).await.doing("read a run's changes")?;
        rows.iter().map(|row| Columns::of(row).read()).collect()
    }

    /// Returns the digests of the applied changes of a run.
    pub(super) async fn applied_by(&self, run: RunId) -> Result<BTreeSet<Digest>, StoreError> {
        let sql = Sql::new("SELECT digest FROM changes WHERE outcome = 'applied' AND run_id = ")
            .bind(run.0);
        let mut applied = BTreeSet::new();
        let keep = |c: &mut Columns<'_>| {
            applied.insert(c.read()?);
            Ok(())
        };
        sql.each(&self.readers, "read the changes of a run", keep).await?;
        Ok(applied)
    }
}
