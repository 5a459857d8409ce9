//! A run: read, plan, guard, apply. A scheduled full run, what has changed since, a change that AD announces, a recheck,
//! an approval and `rosterctl user sync` are this same pipeline with another scope.
//!
//! ```text
//! look    read(scope) ─► decide ─► Index ─► absent ones by GUID ─► suspects at the groups      (may overlap)
//! judge   store.load ─► plan ─► guard ─► Admitted + held                                       (one at a time)
//! apply   users + people + events, in transactions; then what waits, and what is remembered
//! ```

pub(in crate::engine) mod gates;
pub(in crate::engine) mod observe;
pub(in crate::engine) mod plan;
pub(in crate::engine) mod run_log;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{MutexGuard, watch};
use tracing::Instrument as _;

use crate::engine::status::note_scope;
use crate::engine::sync::gates::Gates;
use crate::engine::sync::observe::Sight;
use crate::engine::sync::plan::Judged;
use crate::engine::{Directory, Engine, EngineError, Health, Progress};
use crate::model::{
    AccountRef, Actor, ChangeCounts, Event, EventCause, Guid, PlanId, RunId, RunState, Trigger,
};
use crate::reconcile::{Checkpoint, FullReadReason};
use crate::store::{Applied, DecidedBy, DirectoryState, Run, Writer};

/// What becomes something else more often than this, while people are read or gates think, is not waited for.
const DECIDED_AT_MOST: usize = 10;

/// What a run covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The whole directory.
    All,
    /// These people.
    People(BTreeSet<Guid>),
}

/// A run that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What set it off.
    pub trigger: Trigger,
    /// What it covers.
    pub scope: Scope,
    /// Who asked for it; rosterd itself, where nobody did.
    pub actor: Option<Actor>,
    /// The plan it is to apply, if that is still what ought to be.
    pub approves: Option<PlanId>,
    /// How far changes are followed once it has dealt with these people.
    pub checkpoint: Option<Checkpoint>,
    /// Why it covers everybody, where changes were to be followed.
    pub full_read_reason: Option<FullReadReason>,
    /// Warnings from the choice of its people.
    pub remarks: Vec<String>,
}

impl Request {
    /// A run over these people.
    pub fn people(
        trigger: Trigger,
        people: impl IntoIterator<Item = Guid>,
        actor: Option<Actor>,
    ) -> Self {
        Self::over(Scope::People(people.into_iter().collect()), trigger, actor)
    }

    fn over(scope: Scope, trigger: Trigger, actor: Option<Actor>) -> Self {
        Self {
            trigger,
            scope,
            actor,
            approves: None,
            checkpoint: None,
            full_read_reason: None,
            remarks: Vec::new(),
        }
    }

    fn mode(&self) -> &'static str {
        match (&self.scope, &self.checkpoint) {
            (Scope::All, _) => "full",
            (Scope::People(_), Some(_)) => "incremental",
            (Scope::People(_), None) => "scoped",
        }
    }

    /// A full run.
    pub fn full(trigger: Trigger, actor: Option<Actor>) -> Self {
        Self::over(Scope::All, trigger, actor)
    }
}

/// How the pipeline ended, where it came to an end.
#[derive(Debug, Default)]
struct Done {
    /// Why the run has failed all the same.
    failure: Option<String>,
    /// Whether it was told already that something is held, with the plan that was new.
    is_told: bool,
}

/// What a run would do, and what the read behind it was.
#[derive(Debug)]
pub struct Proposed {
    /// What was seen.
    pub sight: Sight,
    /// What is to be made of it.
    pub judged: Judged,
}

impl Engine {
    /// What a run would do now. Changes nothing.
    pub async fn propose(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<Proposed, EngineError> {
        let sight = self.look(directory, request).await?;
        let _applying = self.apply_lock.lock().await;
        let judged = self.judge(directory, request, &sight, &Gates::Unasked).await?;
        Ok(Proposed { sight, judged })
    }

    /// One run, from its beginning to its end. A run that failed is a run, too.
    pub async fn run(&self, directory: &Directory, request: Request) -> Result<Run, EngineError> {
        let _reading = match request.scope {
            Scope::All => Some(directory.work.full_read_lock.lock().await),
            Scope::People(_) => None,
        };
        let run = self.begin(directory, &request).await?;
        // Whatever is said from here on says of which run.
        let span = tracing::error_span!("run", run_id = %run.id, directory = run.directory, trigger = run.trigger.as_str());
        self.carry_out(directory, &request, run).instrument(span).await
    }

    async fn carry_out(
        &self,
        directory: &Directory,
        request: &Request,
        mut run: Run,
    ) -> Result<Run, EngineError> {
        tracing::debug!(mode = run.mode, "{}: the run begins", run.directory);
        let done = tokio::select! {
            biased;
            () = directory.cancel.cancelled() => Err(if self.stop.is_cancelled() { EngineError::Stopping } else { EngineError::Reloaded }),
            done = Box::pin(self.pipeline(directory, request, &mut run)) => done,
        };
        self.conclude(directory, &mut run, done).await?;
        Ok(run)
    }

    /// The pipeline.
    async fn pipeline(
        &self,
        directory: &Directory,
        request: &Request,
        run: &mut Run,
    ) -> Result<Done, EngineError> {
        let (sight, judged, _applying) = self.decide(directory, request).await?;
        run.entries = sight.entries;
        run.complete = sight.is_complete();
        run.server = Some(sight.server.clone());
        run.warnings.extend(sight.warnings.iter().cloned());

        directory.work.progress.send_modify(|p| p.phase = "applying");
        let Judged { verdict, warnings, note, ended } = judged;
        run.warnings.extend(warnings);
        run.quarantined = verdict.quarantined.len() as u64;

        let name = &directory.config.name;
        let actor = run.actor.clone().unwrap_or_else(Actor::rosterd);
        let writer = Writer {
            run: run.id,
            directory: Some(name),
            account: AccountRef {
                id: sight.policy.account,
                handle: directory.config.account.clone(),
            },
            actor,
            observed_from: sight.number,
            clock: &self.clock,
            asked: &[],
        };
        let mut applied = Applied::default();
        let done = self.store.apply(&verdict.admitted, &writer, &mut applied).await;
        (run.counts, run.dropped) = (applied.counts, applied.dropped);
        done?;
        self.store
            .save_grace_periods(name, &verdict.grace_periods, |guid| sight.is_judged(guid))
            .await?;
        let waiting: Vec<_> = verdict
            .held
            .into_iter()
            .filter(|h| h.hold != crate::model::HoldReason::GracePeriod)
            .collect();
        let by = DecidedBy { scope_hash: directory.config.scope_hash(), note, applied: run.counts };
        let is_judged = |guid| sight.is_judged(guid);
        self.store.end_rejections(&ended, self.clock.now()).await?;
        let reheld = self
            .store
            .rehold(name, run.id, applied.written, &waiting, &by, is_judged, &self.clock)
            .await?;
        run.held = reheld.count;
        self.store.people_were_judged(name, is_judged).await?;
        if request.checkpoint.is_some() {
            self.store.look_again(name, sight.unknown()).await?;
        }
        for (other, people) in &sight.left_to {
            self.store.expect(other, people, sight.began_at).await?;
        }
        if sight.is_complete() && run.dropped == 0 {
            self.store.addresses_read(name, &sight.addresses).await?;
        }
        self.remember(directory, request, &sight, run).await?;
        if applied.counts.total() > 0 || sight.is_full() {
            run.active_after = Some(
                self.store
                    .managed_counts(name)
                    .await?
                    .get(&crate::model::Status::Active)
                    .copied()
                    .unwrap_or(0),
            );
        }
        Ok(Done { failure: sight.failure, is_told: reheld.is_new })
    }

    /// Looks, judges, and has the gates asked; from then on it is this run's turn.
    ///
    /// What was decided by a domain that has been claimed or released meanwhile is decided again: people of a domain that was
    /// given back would come back with it. What the gates let pass is judged again: much may have happened while they thought.
    async fn decide(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<(Sight, Judged, MutexGuard<'_, ()>), EngineError> {
        let mut sight = self.look(directory, request).await?;
        let mut gates = Gates::Unasked;
        for _ in 0..DECIDED_AT_MOST {
            let applying = self.apply_lock.lock().await;
            if self.claims_of(directory).await?
                != (sight.policy.account, sight.policy.claims.clone())
            {
                drop(applying);
                tracing::info!(
                    "{}: a domain was claimed or released meanwhile: people are read again",
                    directory.config.name
                );
                sight = self.look(directory, request).await?;
                continue;
            }
            let judged = self.judge(directory, request, &sight, &gates).await?;
            let Some(question) = self.question(directory, &judged, &gates) else {
                return Ok((sight, judged, applying));
            };
            drop(applying);
            directory.work.progress.send_modify(|p| p.phase = "asking");
            gates = self.ask_gates(question).await;
        }
        let why = "domains were claimed or released, or what the gates were shown became something else, again and again; the next run looks anew";
        Err(EngineError::Refused(why.to_owned()))
    }

    async fn begin(&self, directory: &Directory, request: &Request) -> Result<Run, EngineError> {
        let name = &directory.config.name;
        let warnings = self.rename_as_configured(directory).await?.into_iter().collect();
        let now = self.clock.now();
        let state = self.store.directory(name).await?;
        self.store.change_directory(name, |state| state.last_attempt = Some(now)).await?;
        directory.work.progress.send_replace(Progress {
            entries: 0,
            expected: state.entries,
            phase: "connecting",
        });
        let run = Run {
            id: RunId(self.clock.new_id()),
            directory: name.to_string(),
            trigger: request.trigger,
            mode: request.mode().to_owned(),
            state: RunState::Running,
            actor: request.actor.clone(),
            started_at: now,
            finished_at: None,
            entries: 0,
            complete: false,
            server: None,
            counts: ChangeCounts::default(),
            held: 0,
            quarantined: 0,
            dropped: 0,
            error: None,
            warnings,
            active_after: None,
            approves: request.approves,
            undoes: None,
            full_read_reason: request.full_read_reason.as_ref().map(ToString::to_string),
        };
        self.store.save_run(&run).await?;
        Ok(run)
    }

    async fn conclude(
        &self,
        directory: &Directory,
        run: &mut Run,
        done: Result<Done, EngineError>,
    ) -> Result<(), EngineError> {
        let finished = self.clock.now();
        run.finished_at = Some(finished);
        if done.is_err() {
            // The run says what was committed, however it ended. A store that cannot be read is reported below.
            (run.counts, run.dropped) =
                self.store.committed(run.id).await.unwrap_or((run.counts, run.dropped));
        }
        if run.started_at > finished {
            // What was written since then by the clock of then may lie in the future.
            self.clock_step.forget();
        }
        let is_told = done.as_ref().is_ok_and(|done| done.is_told);
        (run.state, run.error) = match done {
            Ok(Done { failure: Some(failure), .. }) => (RunState::Failed, Some(failure)),
            Ok(_) if run.held > 0 => (RunState::Held, None),
            Ok(_) => (RunState::Succeeded, None),
            Err(over @ (EngineError::Stopping | EngineError::Reloaded)) => {
                (RunState::Cancelled, Some(format!("{over}: {}", run.applied_so_far())))
            }
            Err(error) => (RunState::Failed, Some(error.to_string())),
        };
        // Of many changes that AD tells of, nothing is to be made.
        let is_idle = run.trigger == Trigger::Live
            && run.mode == "incremental"
            && run.state == RunState::Succeeded
            && run.counts.total() + run.dropped == 0;
        let saved = if is_idle {
            self.store.forget_run(run.id).await
        } else {
            self.store.save_run(run).await
        };
        let was = directory.work.health.borrow().clone();
        // A store that cannot write this down either is what `status` has to tell.
        let health = saved
            .as_ref()
            .err()
            .map_or_else(|| Health::after(run, &was), |error| Health::Failing(error.to_string()));
        directory.work.health.send_replace(health.clone());
        saved?;
        let account = Some(directory.config.account.clone());
        let cause = EventCause {
            actor: run.actor.clone().unwrap_or_else(Actor::rosterd),
            run: Some(run.id),
            account,
            at: finished,
        };
        let kind = match run.state {
            RunState::Failed => "run.failed",
            RunState::Held => "run.held",
            RunState::Cancelled => "run.cancelled",
            RunState::Running | RunState::Succeeded => "run.succeeded",
        };
        let after = json!({ "directory": run.directory, "trigger": run.trigger, "changes": run.counts, "held": run.held, "error": run.error });
        let mut told: Vec<Event> =
            health.transition(&was, &run.directory, &cause).into_iter().collect();
        // What rosterd tries again by itself, and fails at as before, is told once.
        let is_retried = matches!(run.trigger, Trigger::Expiry | Trigger::Recheck | Trigger::Live)
            && health == was;
        // What did nothing and failed at nothing is in the list of runs; the log is for what happened.
        let is_worth_it = run.state == RunState::Failed && !is_retried
            || run.counts.total() > 0
            || !told.is_empty();
        if is_worth_it && !(run.state == RunState::Held && is_told) {
            told.insert(
                0,
                Event::about(kind, run.id.to_string(), &cause, serde_json::Value::Null, after),
            );
        }
        if !told.is_empty() {
            self.store.record(&told, &self.clock).await?;
        }
        directory.log_run(run, self.store.log_head().await.ok());
        directory.work.progress.send_replace(Progress::default());
        directory.work.wake.notify_one();
        Ok(())
    }

    /// What a run leaves behind for the next one.
    async fn remember(
        &self,
        directory: &Directory,
        request: &Request,
        sight: &Sight,
        run: &Run,
    ) -> Result<(), EngineError> {
        let now = self.clock.now();
        let name = &directory.config.name;
        let is_rejected = self.store.is_scope_rejected(name).await?;
        let mut was_accepted = false;
        let remember = |state: &mut DirectoryState| {
            // A run that began before an operator accepted another baseline takes no part in it.
            let is_current = state.baseline == sight.baseline;
            if state.server.as_ref() != Some(&sight.server)
                || state.identity.as_ref() != Some(&sight.identity)
            {
                if state.server.is_some() {
                    state.server_changed_at = Some(run.started_at);
                }
                state.server = Some(sight.server.clone());
                state.identity = Some(sight.identity.clone());
            }
            if sight.is_full() && is_current {
                state.rights_lost.clone_from(&sight.rights_lost);
            }
            if let Some(proof) =
                sight.proof.as_ref().filter(|_| sight.is_complete() && sight.is_full())
            {
                if is_current {
                    state.counts = proof.counts().clone();
                }
                state.entries = sight.entries;
                state.last_complete_read = Some(now);
            }
            if is_current {
                Self::move_on(state, request, sight, run);
            }
            if sight.failure.is_none() {
                state.last_success = Some(now);
                // With everything that has changed since, the last complete read is as good as new.
                if request.checkpoint.is_some()
                    && request.trigger == Trigger::Schedule
                    && sight.is_complete()
                {
                    state.last_complete_read = Some(now);
                }
                if sight.is_full() && is_current {
                    was_accepted =
                        note_scope(directory, state, run.started_at, run.held > 0 || is_rejected);
                }
            }
        };
        self.store.change_directory(name, remember).await?;
        if was_accepted && is_rejected {
            self.store.settle_rejected_scope(name).await?;
        }
        Ok(())
    }

    /// A full run now, which begins its read after this call; whoever waits at the same time shares it.
    pub async fn sync(
        self: &Arc<Self>,
        directory: &Arc<Directory>,
        actor: Actor,
    ) -> Result<Run, EngineError> {
        let mut outcome = {
            let mut queue = directory.work.queue.lock().await;
            match &queue.next {
                Some(next) => next.clone(),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    queue.next = Some(receiver.clone());
                    let (engine, directory) = (Arc::clone(self), Arc::clone(directory));
                    tokio::spawn(async move {
                        // The run in progress ends first; whoever asks until then joins this one.
                        let reading = directory.work.full_read_lock.lock().await;
                        directory.work.queue.lock().await.next = None;
                        drop(reading);
                        // By the configuration as it is by now.
                        let run = match engine.directory(directory.config.name.as_str()) {
                            Ok(directory) => {
                                engine
                                    .run(&directory, Request::full(Trigger::Manual, Some(actor)))
                                    .await
                            }
                            Err(error) => Err(error),
                        };
                        sender.send_replace(Some(run.map_err(|error| error.to_string())));
                    });
                    receiver
                }
            }
        };
        let run =
            outcome.wait_for(Option::is_some).await.map_err(|_| EngineError::Stopping)?.clone();
        run.ok_or(EngineError::Stopping)?.map_err(EngineError::Refused)
    }
}
