//! Recording: the row of a run, the pending work it leaves, and its events.

use serde_json::json;

use crate::directory::WATCHED_OBJECTS;
use crate::engine::sync::stages::{AppliedRun, Done, ObservedRun, Request, Scope, Source};
use crate::engine::{Directory, Engine, EngineError, Health, Phase, Progress, UnderWay};
use crate::model::{
    Actor, ChangeCounts, Event, EventCause, RunId, RunMode, RunState, Status, Trigger,
};
use crate::reconcile::Checkpoint;
use crate::store::{DecidedBy, DirectoryState, Mark, Run};

impl Engine {
    /// Stores a run as running.
    pub(in crate::engine) async fn begin(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<Run, EngineError> {
        let name = &directory.config.name;
        let warnings = self.rename_as_configured(directory).await?.into_iter().collect();
        let now = self.clock.now();
        let state = self.store.directory(name).await?;
        if request.source == Source::InUse {
            self.store.change_directory(name, |state| state.last_attempt = Some(now)).await?;
        }
        let run = Run {
            id: RunId(self.clock.new_id()),
            directory: Some(name.clone()),
            trigger: request.trigger,
            mode: request.mode(),
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
        let under_way =
            UnderWay { id: run.id, mode: run.mode, trigger: run.trigger, started_at: now };
        directory.work.progress.send_if_modified(|progress| {
            // A short run beside a full one is not shown.
            let is_full = progress.run.as_ref().is_some_and(|run| run.mode == RunMode::Full);
            if !is_full {
                *progress = Progress {
                    run: Some(under_way),
                    entries: 0,
                    expected: state.entries,
                    phase: Phase::Connecting,
                };
            }
            !is_full
        });
        Ok(run)
    }

    /// Stores the work that is left after the changes were applied, and the state of the directory.
    pub(in crate::engine) async fn record(
        &self,
        directory: &Directory,
        request: &Request,
        observed: ObservedRun,
        applied: AppliedRun,
        run: &mut Run,
    ) -> Result<Done, EngineError> {
        let name = &directory.config.name;
        let seen = &observed.seen;
        let is_conclusive = |guid| seen.is_conclusive(guid);
        self.store.save_grace_periods(name, &applied.grace_periods, is_conclusive).await?;
        let by = DecidedBy {
            scope_hash: directory.config.scope_hash(),
            note: applied.note,
            applied: run.counts,
        };
        self.store.end_rejections(&applied.ended, self.clock.now()).await?;
        let reheld = self
            .store
            .hold_changes(
                name,
                run.id,
                applied.first_seq,
                applied.held,
                &by,
                |row| row.guid.is_some_and(&is_conclusive),
                &self.clock,
            )
            .await?;
        run.held = reheld.count;
        self.store.remove_pending_people(name, is_conclusive).await?;
        let until = directory.config.quiet.until(run.started_at);
        self.store
            .wait_for_quiet_hours(name, &applied.quiet, until.unwrap_or(run.started_at))
            .await?;
        if request.checkpoint.is_some() {
            self.store.add_pending_people(name, seen.unknown()).await?;
        }
        self.store
            .mark_people(
                name,
                Mark::Behind,
                &seen.replica.behind(),
                is_conclusive,
                self.clock.now(),
            )
            .await?;
        self.store
            .mark_people(name, Mark::Unseen, &observed.unseen, is_conclusive, self.clock.now())
            .await?;
        self.store
            .note_early_leavers(name, &seen.leavers(), &seen.undecided(), self.clock.now())
            .await?;
        self.store.store_sids(name, &observed.sids).await?;
        for (other, people) in &observed.left_to {
            self.store.expect(other, people, observed.began_at).await?;
        }
        if seen.is_complete() && run.dropped == 0 {
            self.store.addresses_read(name, &observed.addresses).await?;
        }
        if request.source == Source::InUse {
            self.remember(directory, request, &observed, run).await?;
        }
        if run.counts.total() > 0 || seen.is_full() {
            let counts = self.store.managed_counts(name).await?;
            run.active_after = Some(counts.get(&Status::Active).copied().unwrap_or(0));
        }
        Ok(Done { failure: observed.seen.failure, is_reported: reheld.is_new })
    }

    /// Updates the stored state of the directory: server, rights, counts, checkpoint and scope.
    async fn remember(
        &self,
        directory: &Directory,
        request: &Request,
        observed: &ObservedRun,
        run: &Run,
    ) -> Result<(), EngineError> {
        let ObservedRun { seen, .. } = observed;
        let now = self.clock.now();
        let name = &directory.config.name;
        let is_rejected = self.store.is_scope_rejected(name).await?;
        let mut was_accepted = false;
        let remember = |state: &mut DirectoryState| {
            // A run that began before an operator accepted another baseline does not change it.
            let is_current = state.baseline == observed.baseline;
            let is_other = state.server.as_ref() != Some(&seen.server)
                || state.identity.as_ref().is_none_or(|before| seen.identity.differs_from(before))
                || seen.replica.is_set_back;
            if is_other && state.server.is_some() {
                state.server_changed_at = Some(observed.began_at);
            }
            if is_other || seen.identity.invocation_id.is_some() {
                state.server = Some(seen.server.clone());
                state.identity = Some(seen.identity.clone());
            }
            observed.high_water_marks.add_to(&mut state.high_water_marks);
            state.high_water_marks.note_writes(seen.replica.metadata.values(), now);
            if seen.is_full() && is_current {
                state.rights_lost.clone_from(&observed.rights_lost);
            }
            if let Some(proof) =
                seen.proof.as_ref().filter(|_| seen.is_complete() && seen.is_full())
            {
                if is_current {
                    state.counts = proof.counts().clone();
                }
                state.entries = observed.entries;
                state.note_complete_read(now);
            }
            if is_current {
                advance_checkpoint(state, request, observed, run);
            }
            if seen.failure.is_none() {
                state.last_success = Some(now);
                // An incremental run adds all changes since, so the last complete read is up to date.
                if request.checkpoint.is_some()
                    && request.trigger == Trigger::Schedule
                    && seen.is_complete()
                {
                    state.note_complete_read(now);
                }
                if seen.is_full() && is_current && !seen.policy.closure.is_partial() {
                    was_accepted = state.observe_scope(
                        directory.config.scope_hash(),
                        run.started_at,
                        run.held > 0 || is_rejected,
                    );
                }
            }
        };
        self.store.change_directory(name, remember).await?;
        if was_accepted && is_rejected {
            self.store.accept_scope_of_rejections(name).await?;
        }
        Ok(())
    }

    /// Stores the run as finished, records its events and logs it.
    pub(in crate::engine) async fn conclude(
        &self,
        directory: &Directory,
        source: &Source,
        run: &mut Run,
        done: Result<Done, EngineError>,
    ) -> Result<(), EngineError> {
        let finished = self.clock.now();
        run.finished_at = Some(finished);
        if done.is_err() {
            // Committed transactions count, however the run ended. `save_run` reports a failing store.
            (run.counts, run.dropped) =
                self.store.committed(run.id).await.unwrap_or((run.counts, run.dropped));
        }
        if run.started_at > finished {
            // The clock was set back, so instants written during the run may lie in the future.
            self.clock_step.forget();
        }
        let is_reported = done.as_ref().is_ok_and(|done| done.is_reported);
        let is_of_store = matches!(done, Err(EngineError::Store(_)));
        (run.state, run.error) = match done {
            Ok(Done { failure: Some(failure), .. }) => (RunState::Failed, Some(failure)),
            Ok(_) if run.held > 0 => (RunState::Held, None),
            Ok(_) => (RunState::Succeeded, None),
            Err(over @ (EngineError::Stopping | EngineError::Reloaded)) => {
                (RunState::Cancelled, Some(format!("{over}: {}", run.applied_so_far())))
            }
            Err(error) => (RunState::Failed, Some(error.to_string())),
        };
        let saved = if is_idle(run) {
            self.store.forget_run(run.id).await
        } else {
            self.store.save_run(run).await
        };
        let was = directory.work.health.borrow().clone();
        // Neither a further server nor the store says anything about the health of the directory.
        let is_news = *source == Source::InUse && saved.is_ok() && !is_of_store;
        let health = if is_news { Health::after(run, &was) } else { was.clone() };
        directory.work.health.send_replace(health.clone());
        directory.work.progress.send_if_modified(|progress| {
            let is_own = progress.run.as_ref().is_some_and(|shown| shown.id == run.id);
            if is_own {
                *progress = Progress::default();
            }
            is_own
        });
        if saved.is_err() {
            directory.work.cut_off().unsaved.push(run.clone());
        }
        saved?;
        self.record_events(directory, run, (&was, &health), is_reported).await?;
        directory.log_run(source, run, self.store.log_head().await.ok());
        directory.work.wake.notify_one();
        Ok(())
    }

    /// Records the event of the run, and of a change of health. A run that changed nothing has no
    /// event, nor has a repeated failure of a trigger that rosterd retries.
    async fn record_events(
        &self,
        directory: &Directory,
        run: &Run,
        (was, health): (&Health, &Health),
        is_reported: bool,
    ) -> Result<(), EngineError> {
        let cause = EventCause {
            actor: run.actor.clone().unwrap_or_else(Actor::rosterd),
            run: Some(run.id),
            account: Some(directory.config.account.clone()),
            at: run.finished_at.unwrap_or(run.started_at),
        };
        let mut events: Vec<Event> =
            health.transition(was, directory.config.name.as_str(), &cause).into_iter().collect();
        let is_retry = matches!(run.trigger, Trigger::Expiry | Trigger::Recheck | Trigger::Live)
            && health == was;
        let is_worth_it = run.state == RunState::Failed && !is_retry
            || run.counts.total() > 0
            || !events.is_empty();
        if is_worth_it && !(run.state == RunState::Held && is_reported) {
            let kind = match run.state {
                RunState::Failed => "run.failed",
                RunState::Held => "run.held",
                RunState::Cancelled => "run.cancelled",
                RunState::Running | RunState::Succeeded => "run.succeeded",
            };
            let after = json!({
                "directory": run.directory,
                "trigger": run.trigger,
                "changes": run.counts,
                "held": run.held,
                "error": run.error,
            });
            let id = run.id.to_string();
            events.insert(0, Event::about(kind, id, &cause, serde_json::Value::Null, after));
        }
        if !events.is_empty() {
            self.store.record(&events, &self.clock).await?;
        }
        Ok(())
    }
}

/// Returns whether the run need not be stored: most change notifications affect no user.
fn is_idle(run: &Run) -> bool {
    run.trigger == Trigger::Live
        && run.mode != RunMode::Full
        && run.state == RunState::Succeeded
        && run.counts.total() + run.dropped == 0
}

/// Moves the checkpoint on after a complete run in which no change was dropped. It stays if another
/// server answered than the one that reported the changes, because that server may lag behind. It also
/// stays if joiners may have been left out, because no row has the next run read them again.
fn advance_checkpoint(
    state: &mut DirectoryState,
    request: &Request,
    observed: &ObservedRun,
    run: &Run,
) {
    let seen = &observed.seen;
    let leaves_joiners_out = !seen.closure_is_stable || !seen.policy.exclude.is_known();
    match (&request.scope, &request.checkpoint) {
        (Scope::All, _) if seen.is_complete() => {
            let former = state.checkpoint.take().filter(|former| former.server != seen.identity);
            // A leaver whom only the former server shows is found from here, if it is followed later.
            if let Some(former) = former
                && let Some(invocation_id) = former.server.invocation_id
            {
                let measure = WATCHED_OBJECTS.to_owned();
                state.followed.insert(invocation_id, Checkpoint { measure, ..former });
            }
            state.checkpoint.clone_from(&observed.checkpoint);
        }
        (Scope::People(_), Some(checkpoint))
            if seen.is_complete()
                && run.dropped == 0
                && !leaves_joiners_out
                && seen.identity == checkpoint.server =>
        {
            checkpoint.clone().succeed(&mut state.checkpoint);
        }
        _ => {}
    }
}
