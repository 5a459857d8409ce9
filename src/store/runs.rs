//! Runs, and what the limits of the next one are measured by.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::any::AnyRow;

use super::sql::{Columns, Sql, json};
use super::{Doing as _, Store, StoreError, Writing};
use crate::model::{
    Actor, ChangeCounts, Class, DirectoryName, PlanId, RunId, RunState, Timestamp, Trigger,
};
use crate::reconcile::Used;

/// One run as it is remembered and shown.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id; in order of time.
    pub id: RunId,
    /// The directory; empty for an operator's write.
    pub directory: String,
    /// What set it off.
    pub trigger: Trigger,
    /// `full`, `delta` or `scoped`.
    pub mode: String,
    /// How it stands.
    pub state: RunState,
    /// Who asked for it.
    pub actor: Option<Actor>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How many entries were read.
    pub entries: u64,
    /// Whether the read was complete.
    pub complete: bool,
    /// The server that was read.
    pub server: Option<String>,
    /// What was applied.
    pub counts: ChangeCounts,
    /// How many changes of the directory wait for an operator afterwards.
    pub held: u64,
    /// How many entries of this run are quarantined.
    pub quarantined: u64,
    /// How many changes were dropped because something newer had happened to the user.
    pub dropped: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// What an operator should know although it went on.
    pub warnings: Vec<String>,
    /// Active managed users afterwards.
    pub active_after: Option<u64>,
    /// The plan it was to apply.
    pub approves: Option<PlanId>,
    /// The run it took back.
    pub undoes: Option<RunId>,
    /// Why it read everything, where changes were to be followed.
    pub full_read_reason: Option<String>,
}

impl Run {
    /// Says what a run that was cut off has applied all the same.
    pub fn applied_so_far(&self) -> String {
        match self.counts.total() {
            0 => "nothing was applied, and the next run starts over".to_owned(),
            1 => "1 change had been applied and stays; the next run does the rest".to_owned(),
            n => format!("{n} changes had been applied and stay; the next run does the rest"),
        }
    }
}

/// What the limits are measured by.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Managed active users when the window began, or after the first applied run.
    pub active: u64,
    /// What automatic runs applied since.
    pub used: BTreeMap<Class, Used>,
}

const COLUMNS: &str = "id, directory, origin, mode, state, actor, started_at, finished_at, entries, complete, server, counts, held, quarantined, \
     dropped, error, warnings, active_after, approves, undoes, full_read_reason";

fn trigger(word: &str) -> Option<Trigger> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

fn run(row: &AnyRow) -> Result<Run, StoreError> {
    let mut c = Columns::of(row);
    Ok(Run {
        id: RunId(c.uuid()?),
        directory: c.text()?,
        trigger: c.word("trigger", trigger)?,
        mode: c.text()?,
        state: c.word("run state", |w| {
            serde_json::from_value(serde_json::Value::String(w.to_owned())).ok()
        })?,
        actor: c.maybe_text()?.map(Actor),
        started_at: c.time()?,
        finished_at: c.maybe_time()?,
        entries: c.int()? as u64,
        complete: c.int()? != 0,
        server: c.maybe_text()?,
        counts: c.json("counts")?,
        held: c.int()? as u64,
        quarantined: c.int()? as u64,
        dropped: c.int()? as u64,
        error: c.maybe_text()?,
        warnings: c.json("warnings")?,
        active_after: c.maybe_int()?.map(|n| n as u64),
        approves: c.maybe_uuid()?.map(PlanId),
        undoes: c.maybe_uuid()?.map(RunId),
        full_read_reason: c.maybe_text()?,
    })
}

impl Store {
    /// Writes a run down as it stands.
    pub async fn save_run(&self, run: &Run) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        write_run(&mut writing, run).await?;
        writing.commit().await?;
        self.count_run(run);
        Ok(())
    }

    /// Returns what a run has committed so far, and how many of its changes were dropped. The writer reads it, so that a
    /// commit under way is counted.
    pub async fn committed(&self, id: RunId) -> Result<(ChangeCounts, u64), StoreError> {
        committed(&mut self.begin().await?, id).await
    }

    fn count_run(&self, run: &Run) {
        if let Some(finished) = run.finished_at {
            self.counters.run_ended(
                &run.directory,
                run.trigger,
                run.state,
                &run.mode,
                finished.since(run.started_at),
                run.entries,
            );
        }
    }

    /// Forgets a run that nothing came of.
    pub async fn forget_run(&self, id: RunId) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM runs WHERE id = ").bind(id.0);
        sql.execute(&mut *writing.tx).await.doing("forget a run")?;
        writing.commit().await
    }

    /// Ends the runs that a crash cut off, each with what it had committed. Nothing of them is to be recovered: the next plan is
    /// the rest.
    pub async fn cancel_cut_runs(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("SELECT ").push(COLUMNS).push(" FROM runs WHERE state = 'running'");
        let cut: Result<Vec<Run>, StoreError> =
            sql.all(&mut *writing.tx).await.doing("read cut runs")?.iter().map(run).collect();
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

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let sql = Sql::new("SELECT ").push(COLUMNS).push(" FROM runs WHERE id = ").bind(id.0);
        sql.first(&self.readers).await.doing("read a run")?.as_ref().map(run).transpose()
    }

    /// The run that took this one back, the last of them if several did.
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

    /// The newest runs, newest first; of one directory, or all but first sign-ins, of which there are as many as people.
    pub async fn runs(&self, directory: Option<&str>, limit: u64) -> Result<Vec<Run>, StoreError> {
        let mut sql = Sql::new("SELECT ").push(COLUMNS).push(" FROM runs");
        sql = match directory {
            Some(directory) => sql.push(" WHERE directory = ").bind(directory),
            None => sql.push(" WHERE NOT (directory = '' AND origin = 'sign-in')"),
        };
        let sql = sql.push(" ORDER BY started_at DESC, id DESC LIMIT ").bind(limit);
        sql.all(&self.readers).await.doing("list runs")?.iter().map(run).collect()
    }

    /// What the limits of a directory are measured by now.
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
                let entry: &mut Used = used.entry(c.word("class", Class::parse)?).or_default();
                *(if slot { &mut entry.hour } else { &mut entry.window }) = c.int()? as u64;
            }
        }
        Ok(Budget { active: self.active_at(directory, start).await?, used })
    }

    /// Active users when the window began; in a directory's first window, when its first applied run, with its approval, had been applied.
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
            .push(" ORDER BY finished_at DESC LIMIT 1");
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
        counts,
        held,
        quarantined,
        dropped,
        error,
        warnings,
        active_after,
        approves,
        undoes,
        full_read_reason,
    } = run;
    let values: Vec<super::sql::Value> = vec![
        id.0.into(),
        directory.as_str().into(),
        trigger.as_str().into(),
        mode.as_str().into(),
        state.as_str().into(),
        actor.as_ref().map(|a| a.0.as_str()).into(),
        (*started_at).into(),
        (*finished_at).into(),
        (*entries).into(),
        (*complete).into(),
        server.as_deref().into(),
        json(counts).into(),
        (*held).into(),
        (*quarantined).into(),
        (*dropped).into(),
        error.as_deref().into(),
        json(warnings).into(),
        active_after.map(|n| n as i64).into(),
        approves.map(|p| p.0).into(),
        undoes.map(|r| r.0).into(),
        full_read_reason.as_deref().into(),
    ];
    Sql::new("INSERT INTO runs (")
        .push(COLUMNS)
        .push(") VALUES ")
        .list(values)
        .push(
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, finished_at = excluded.finished_at, entries = excluded.entries, \
             complete = excluded.complete, server = excluded.server, counts = excluded.counts, held = excluded.held, \
             quarantined = excluded.quarantined, dropped = excluded.dropped, error = excluded.error, warnings = excluded.warnings, \
             active_after = excluded.active_after",
        )
        .execute(&mut *writing.tx)
        .await
        .doing("write a run")?;
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
        let (kind, outcome, n) = (c.text()?, c.text()?, c.int()? as u64);
        match outcome.as_str() {
            "applied" => counts.count_stored(&kind, n),
            _ => dropped += n,
        }
    }
    Ok((counts, dropped))
}
