//! A run: begin, observe, plan, gate, apply, record.
//!
//! Every run is this pipeline with another scope: scheduled, incremental, live, recheck, approval and
//! `rosterctl user sync`. Observations of several runs may overlap. The apply lock is held from the
//! plan to the end of the record, because plans must not overlap.

pub(in crate::engine) mod apply;
pub(in crate::engine) mod gates;
pub(in crate::engine) mod load;
pub(in crate::engine) mod observe;
pub(in crate::engine) mod plan;
pub(in crate::engine) mod record;
pub(in crate::engine) mod run_log;
pub mod stages;

use tracing::Instrument as _;

use crate::engine::sync::stages::{
    Done, DryRun, GateAnswer, PlannedRun, Request, ReviewedRun, Scope,
};
use crate::engine::{Directory, Engine, EngineError};
use crate::store::{Applied, Run};

/// Maximum number of plans of one run. It plans again when claims change during the read, or the
/// plan while gates are asked.
const MAX_PLANS: usize = 10;

impl Engine {
    /// Runs the pipeline. A failed run is returned as a run, too: only errors of the store are errors.
    pub async fn run(&self, directory: &Directory, request: Request) -> Result<Run, EngineError> {
        let ended = self.run_once(directory, request).await;
        ended.inspect_err(|error| directory.note_cut_off(error, &self.store))
    }

    async fn run_once(&self, directory: &Directory, request: Request) -> Result<Run, EngineError> {
        let _full_read_lock = match request.scope {
            Scope::All => Some(directory.work.full_read_lock.lock().await),
            Scope::People(_) => None,
        };
        let mut run = self.begin(directory, &request).await?;
        let (id, trigger) = (run.id, run.trigger.as_str());
        let span = tracing::error_span!("run", run_id = %id, directory = directory.config.name.as_str(), trigger = trigger);
        let stages = async {
            tracing::debug!(mode = %run.mode, "{}: the run begins", directory.config.name);
            let done = tokio::select! {
                biased;
                () = directory.cancel.cancelled() => Err(self.cancelled()),
                done = Box::pin(self.stages(directory, &request, &mut run)) => done,
            };
            let _ = done.as_ref().inspect_err(|error| directory.note_cut_off(error, &self.store));
            self.conclude(directory, &request.source, &mut run, done).await
        };
        stages.instrument(span).await?;
        Ok(run)
    }

    async fn stages(
        &self,
        directory: &Directory,
        request: &Request,
        run: &mut Run,
    ) -> Result<Done, EngineError> {
        let mut observed = self.observe(directory, request).await?;
        let mut answer = GateAnswer::Unasked;
        let mut applied_so_far = Applied::default();
        for _ in 0..MAX_PLANS {
            let lock = self.apply_lock.lock().await;
            if !self.is_current(directory, &observed.seen.policy).await? {
                drop(lock);
                observed = self.observe(directory, request).await?;
                continue;
            }
            self.leave_to_later(directory, &mut observed).await?;
            let mut planned = self.plan(directory, request, &observed, &answer).await?;
            let question = self.gate_question(directory, &mut planned, &answer)?;
            if let Some(question) = question {
                drop(lock);
                answer = self.ask_gates(directory, question).await;
                continue;
            }
            let applied =
                self.apply(directory, &mut observed, planned, &mut applied_so_far, run).await?;
            // The next server may not have heard of the leavers that were seen, so they are applied first.
            if let Some(lost) = observed.lost_server.take() {
                drop(lock);
                if let Some(next) = self.observe_next(directory, request, &lost).await {
                    (observed, answer) = (next, GateAnswer::Unasked);
                }
                continue;
            }
            return self.record(directory, request, observed, applied, run).await;
        }
        Err(EngineError::Unsettled(MAX_PLANS))
    }

    /// Observes and plans without applying anything.
    pub async fn dry_run(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<DryRun, EngineError> {
        let mut observed = self.observe(directory, request).await?;
        if let Some(lost) = observed.lost_server.take()
            && let Some(next) = self.observe_next(directory, request, &lost).await
        {
            observed = next;
        }
        let _lock = self.apply_lock.lock().await;
        let planned = self.plan(directory, request, &observed, &GateAnswer::Unasked).await?;
        let ReviewedRun { reviewed, plans, warnings, .. } = planned;
        let plans = plans.into_values()?.collect::<Result<Vec<_>, _>>()?;
        let planned = PlannedRun { verdict: reviewed.whole(plans), warnings };
        Ok(DryRun { observed, planned })
    }

    fn cancelled(&self) -> EngineError {
        if self.stop.is_cancelled() {
            EngineError::Stopping
        } else if self.leads() {
            EngineError::Reloaded
        } else {
            EngineError::TermEnded
        }
    }
}
