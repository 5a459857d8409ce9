//! Runs, and the budget of limits that they have used.

use std::collections::BTreeMap;
use std::time::Duration;

use super::database::{Commits, Right, Store, Writing};
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, StoredRow as _, as_json, row};
use super::sql::Sql;
use super::value::Value;
use crate::model::{
    Actor, ChangeClass, ChangeCounts, ChangeOutcome, ChangeVerb, DirectoryName, PlanId, RunId,
    RunMode, RunState, Timestamp, Trigger,
};
use crate::reconcile::Used;

#[derive(Debug, Clone)]
pub struct Run {
    /// UUID version 7: in order of time.
    pub id: RunId,
    /// `None` for an operator's write.
    pub directory: Option<DirectoryName>,
    pub trigger: Trigger,
    pub mode: RunMode,
    pub state: RunState,
    pub actor: Option<Actor>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// The number of entries read.
    pub entries: u64,
    pub complete: bool,
    pub server: Option<String>,
    pub counts: ChangeCounts,
    /// The number of held changes of the directory after the run.
    pub held: u64,
    /// The number of quarantined entries of this run.
    pub quarantined: u64,
    /// The number of changes dropped because their user had changed.
    pub dropped: u64,
    pub error: Option<String>,
    pub warnings: Vec<String>,
    /// The number of active managed users after the run.
    pub active_after: Option<u64>,
    /// The approved plan that the run applies.
    pub approves: Option<PlanId>,
    /// The run that this one undoes.
    pub undoes: Option<RunId>,
    /// The reason why an incremental run became a full one.
    pub full_read_reason: Option<String>,
}

impl Run {
    /// Returns a sentence about the changes that an interrupted run had applied.
    pub fn applied_so_far(&self) -> String {
        match self.counts.total() {
            0 => "nothing was applied, and the next run starts over".to_owned(),
            1 => "1 change had been applied and stays; the next run does the rest".to_owned(),
            n => format!("{n} changes had been applied and stay; the next run does the rest"),
        }
    }
}

/// The runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub directory: Option<String>,
    pub state: Option<RunState>,
    /// The earliest start.
    pub since: Option<Timestamp>,
    /// Only runs that are older than this one.
    pub before: Option<(Timestamp, RunId)>,
}

impl RunFilter {
    fn conditions(&self, sql: Sql) -> Sql {
        let Self { directory, state, since, before } = self;
        let mut sql = match directory {
            Some(directory) => sql.push(" WHERE directory = ").bind(directory.as_str()),
            None => sql.push(" WHERE NOT (directory = '' AND origin = 'sign-in')"),
        };
        if let Some(state) = state {
            sql = sql.push(" AND state = ").bind(state.as_str());
        }
        if let Some(since) = since {
            sql = sql.push(" AND started_at >= ").bind(*since);
        }
        if let Some((at, id)) = before {
            sql = sql.push(" AND (started_at < ").bind(*at).push(" OR started_at = ").bind(*at);
            sql = sql.push(" AND id < ").bind(id.0).push(")");
        }
        sql
    }
}

/// The base and the use of a directory's limits.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Active managed users at the beginning of the window, or after the first applied run.
    pub active: u64,
    /// The changes that runs have applied in the window without an approval.
    pub used: BTreeMap<ChangeClass, Used>,
}

row! {
    stored Run {
        id: "id",
        directory: "directory" as directory_or_empty,
        trigger: "origin",
        mode: "mode",
        state: "state",
        actor: "actor",
        started_at: "started_at",
        finished_at: "finished_at",
        entries: "entries",
        complete: "complete",
        server: "server",
        counts: "counts" as as_json,
        held: "held",
        quarantined: "quarantined",
        dropped: "dropped",
        error: "error",
        warnings: "warnings" as as_json,
        active_after: "active_after",
        approves: "approves",
        undoes: "undoes",
        full_read_reason: "full_read_reason",
    }
}

/// A directory name, empty for an operator's write.
mod directory_or_empty {
    use super::{Columns, DirectoryName, StoreError, Value};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Option<DirectoryName>, StoreError> {
        let name: String = columns.read()?;
        if name.is_empty() {
            return Ok(None);
        }
        let corrupt = StoreError::Corrupt { what: "directory name" };
        DirectoryName::parse(&name).map(Some).ok_or(corrupt)
    }

    #[expect(clippy::ref_option, reason = "`row!` passes a reference to the field")]
    pub(super) fn write(directory: &Option<DirectoryName>, values: &mut Vec<Value>) {
        values.push(directory.as_ref().map_or("", DirectoryName::as_str).into());
    }
}

/// The columns that change while a run is under way.
const PROGRESS: [&str; 12] = [
    "state",
    "finished_at",
    "entries",
    "complete",
    "server",
    "counts",
    "held",
    "quarantined",
    "dropped",
    "error",
    "warnings",
    "active_after",
];

impl Store {
    pub async fn save_run(&self, run: &Run) -> Result<(), StoreError> {
        self.save_run_as(run, Right::Leader).await
    }

    pub async fn save_run_as(&self, run: &Run, right: Right) -> Result<(), StoreError> {
        let mut writing = self.begin_as(right, Commits::Safely).await?;
        write_run(&mut writing, run).await?;
        writing.commit().await?;
        self.count_run(run);
        Ok(())
    }

    /// Returns the committed changes of a run, and the number of dropped ones.
    ///
    /// The writer reads them, so that a commit under way is counted.
    pub async fn committed(&self, id: RunId) -> Result<(ChangeCounts, u64), StoreError> {
        committed(&mut self.begin().await?, id).await
    }

    fn count_run(&self, run: &Run) {
        if let Some(finished) = run.finished_at {
            self.counters.run_ended(
                run.directory.as_ref(),
                run.trigger,
                run.state,
                run.mode,
                finished.since(run.started_at),
                run.entries,
            );
        }
    }

    /// Deletes a run without changes.
    pub async fn forget_run(&self, id: RunId) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM runs WHERE id = ").bind(id.0);
        sql.execute(&mut *writing.tx).await.doing("delete a run")?;
        writing.commit().await
    }

    /// Ends the runs that a crash interrupted, with their committed counts. The next run plans the
    /// rest.
    pub async fn cancel_cut_runs(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::select::<Run>().push(" FROM runs WHERE state = 'running'");
        let cut: Result<Vec<Run>, StoreError> = sql
            .all(&mut *writing.tx)
            .await
            .doing("read interrupted runs")?
            .iter()
            .map(Run::of)
            .collect();
        let cut = cut?;
        for mut run in cut.iter().cloned() {
            (run.counts, run.dropped) = committed(&mut writing, run.id).await?;
            (run.state, run.finished_at) = (RunState::Cancelled, Some(now));
            run.error = Some(format!(
                "rosterd stopped while this run was under way: {}",
                run.applied_so_far()
            ));
            write_run(&mut writing, &run).await?;
        }
        writing.commit().await?;
        Ok(cut.len() as u64)
    }

    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let sql = Sql::select::<Run>().push(" FROM runs WHERE id = ").bind(id.0);
        sql.first(&self.readers).await.doing("read a run")?.as_ref().map(Run::of).transpose()
    }

    /// Returns the last run that undoes this one.
    pub async fn undone_by(&self, id: RunId) -> Result<Option<RunId>, StoreError> {
        let sql = Sql::new("SELECT id FROM runs WHERE undoes = ")
            .bind(id.0)
            .push(" ORDER BY started_at DESC, id DESC LIMIT 1");
        sql.first(&self.readers)
            .await
            .doing("read a run")?
            .map(|row| Columns::of(&row).uuid().map(RunId))
            .transpose()
    }

    /// Returns the newest runs of a directory, or of all.
    pub async fn runs(&self, directory: Option<&str>, limit: u64) -> Result<Vec<Run>, StoreError> {
        let directory = directory.map(str::to_owned);
        self.find_runs(&RunFilter { directory, ..RunFilter::default() }, limit).await
    }

    /// Returns the runs of a filter, newest first. First sign-ins are left out, because there is one
    /// per person.
    pub async fn find_runs(&self, filter: &RunFilter, limit: u64) -> Result<Vec<Run>, StoreError> {
        let sql = filter.conditions(Sql::select::<Run>().push(" FROM runs"));
        let sql = sql.push(" ORDER BY started_at DESC, id DESC LIMIT ").bind(limit);
        sql.all(&self.readers).await.doing("list runs")?.iter().map(Run::of).collect()
    }

    pub async fn count_runs(&self, filter: &RunFilter) -> Result<u64, StoreError> {
        let sql = filter.conditions(Sql::new("SELECT COUNT(*) FROM runs"));
        let row = sql.first(&self.readers).await.doing("count runs")?;
        Ok(row.map_or(Ok(0), |row| Columns::of(&row).int())? as u64)
    }

    pub async fn budget(
        &self,
        directory: &DirectoryName,
        window: Duration,
        now: Timestamp,
    ) -> Result<Budget, StoreError> {
        let start = now.minus(window);
        let mut used = BTreeMap::new();
        for (since, slot) in [(start, false), (now.minus(Duration::from_hours(1)), true)] {
            let sql = Sql::new(
                "SELECT class, COUNT(*) FROM changes WHERE outcome = 'applied' AND approved = 0 AND class IS NOT NULL AND directory = ",
            )
            .bind(directory.as_str());
            for row in sql
                .push(" AND at > ")
                .bind(since)
                .push(" GROUP BY class")
                .all(&self.readers)
                .await
                .doing("read the budget")?
            {
                let mut c = Columns::of(&row);
                let entry: &mut Used =
                    used.entry(c.word("class", ChangeClass::parse)?).or_default();
                *(if slot { &mut entry.hour } else { &mut entry.window }) = c.int()? as u64;
            }
        }
        Ok(Budget { active: self.active_at(directory, start).await?, used })
    }

    /// Returns the active users at the beginning of the window, after the last run before it. In the first window of a directory,
    /// returns those after the first applied run, or after its approval.
    async fn active_at(
        &self,
        directory: &DirectoryName,
        start: Timestamp,
    ) -> Result<u64, StoreError> {
        let last_before = Sql::new(
            "SELECT active_after FROM runs WHERE active_after IS NOT NULL AND directory = ",
        )
        .bind(directory.as_str());
        let last_before = last_before
            .push(" AND finished_at <= ")
            .bind(start)
            .push(" ORDER BY COALESCE(number, 0) DESC, finished_at DESC LIMIT 1");
        if let Some(row) = last_before.first(&self.readers).await.doing("read the budget")? {
            let active = Columns::of(&row).int()? as u64;
            if active > 0 {
                return Ok(active);
            }
        }
        let first =
            Sql::new("SELECT id, active_after FROM runs WHERE active_after > 0 AND directory = ")
                .bind(directory.as_str());
        let Some(row) = first
            .push(" ORDER BY finished_at LIMIT 1")
            .first(&self.readers)
            .await
            .doing("read the budget")?
        else {
            return Ok(0);
        };
        let mut c = Columns::of(&row);
        let (id, after) = (c.uuid()?, c.int()? as u64);
        let approval = Sql::new(
            "SELECT r.active_after FROM runs r JOIN plans p ON p.id = r.approves WHERE r.active_after IS NOT NULL AND p.run_id = ",
        )
        .bind(id);
        match approval
            .push(" ORDER BY r.finished_at LIMIT 1")
            .first(&self.readers)
            .await
            .doing("read the budget")?
        {
            Some(row) => Ok((Columns::of(&row).int()? as u64).max(after)),
            None => Ok(after),
        }
    }
}

async fn write_run(writing: &mut Writing<'_>, run: &Run) -> Result<(), StoreError> {
    let progress = PROGRESS.map(|column| format!("{column} = excluded.{column}")).join(", ");
    Sql::insert("runs", run.fields())
        .push(" ON CONFLICT (id) DO UPDATE SET ")
        .push(&progress)
        .execute(&mut *writing.tx)
        .await
        .doing("write a run")?;
    // Times give no order, because a clock may have been wrong.
    let number = Sql::new("UPDATE runs SET number = (SELECT COALESCE(MAX(r.number), 0) + 1 FROM runs r WHERE r.directory = runs.directory) WHERE number IS NULL AND id = ")
        .bind(run.id.0);
    number.execute(&mut *writing.tx).await.doing("number a run")?;
    Ok(())
}

async fn committed(
    writing: &mut Writing<'_>,
    id: RunId,
) -> Result<(ChangeCounts, u64), StoreError> {
    let sql = Sql::new("SELECT kind, outcome, COUNT(*) FROM changes WHERE outcome IN ('applied', 'dropped') AND run_id = ").bind(id.0);
    let (mut counts, mut dropped) = (ChangeCounts::default(), 0);
    for row in &sql
        .push(" GROUP BY kind, outcome")
        .all(&mut *writing.tx)
        .await
        .doing("read what a run has done")?
    {
        let mut c = Columns::of(row);
        let (kind, outcome, n): (ChangeVerb, ChangeOutcome, u64) =
            (c.read()?, c.read()?, c.read()?);
        match outcome {
            ChangeOutcome::Applied => counts.add(kind, n),
            ChangeOutcome::Dropped => dropped += n,
            ChangeOutcome::Held => {}
        }
    }
    Ok((counts, dropped))
}
