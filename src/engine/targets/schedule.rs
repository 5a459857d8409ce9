//! The runs of a target: at the start, on schedule, and for users whose steps need an admission.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::targets::Target;
use crate::engine::targets::request::TargetRequest;
use crate::model::{Timestamp, Trigger, UserId};
use crate::telemetry::chain;

/// Maximum wait, because the clock may be set.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Wait before the users of failed work are run over, so that many of them share a run.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Wait after a failed run before it is repeated.
const RETRY: Duration = Duration::from_mins(5);

/// The interval at which a restored target looks for a complete run of its directory.
const RESTORED_INTERVAL: Duration = Duration::from_secs(5);

/// The schedule of one target.
struct ScheduleState {
    /// The time from which the next tick is counted.
    scheduled: Timestamp,
    /// The full run is due, because none has succeeded since the start.
    startup: bool,
    /// The elapsed time of this process at which the pause after a failure ends.
    paused_until: Duration,
    asked: BTreeSet<UserId>,
}

impl Engine {
    /// Follows the users of an account at a target until its configuration is replaced: runs, and
    /// pushes of what is due.
    pub async fn follow_users(self: Arc<Self>, target: Arc<Target>) {
        let _alone = target.work.worker_lock.lock().await;
        tokio::join!(Box::pin(self.push(&target)), Box::pin(self.schedule_target_runs(&target)));
    }

    async fn schedule_target_runs(self: &Arc<Self>, target: &Arc<Target>) {
        let now = self.clock.now();
        let mut state = ScheduleState {
            scheduled: now,
            startup: true,
            paused_until: Duration::ZERO,
            asked: BTreeSet::new(),
        };
        while !target.cancel.is_cancelled() {
            let wait = self.run_what_is_due(target, &mut state).await;
            tokio::select! {
                () = target.cancel.cancelled() => {}
                () = target.work.wake.notified() => tokio::time::sleep(DEBOUNCE).await,
                () = tokio::time::sleep(wait.min(MAX_WAIT)) => {}
            }
        }
    }

    /// Begins the run that is due; returns the wait for the next.
    async fn run_what_is_due(&self, target: &Target, state: &mut ScheduleState) -> Duration {
        let now = self.clock.now();
        // A clock that was set back does not silence the schedule.
        state.scheduled = state.scheduled.min(now);
        state.asked.extend(target.work.take_asked());
        let pause = state.paused_until.saturating_sub(self.clock.passed());
        if !pause.is_zero() {
            return pause;
        }
        match self.target_waits(target).await {
            Ok(None) => {}
            Ok(Some(_)) => return RESTORED_INTERVAL,
            Err(error) => {
                let name = &target.config.name;
                tracing::error!(scim_target = %name, "{name}: cannot read its state: {}", chain(&error));
                return RETRY;
            }
        }
        let tick = target.config.full.next(state.scheduled);
        let has_failed = {
            let failed = target.work.failed_run.lock().unwrap_or_else(PoisonError::into_inner);
            failed.as_ref().is_some_and(|(_, at)| now.since(*at) >= RETRY)
        };
        let request = if state.startup {
            TargetRequest::full(Trigger::Startup, None)
        } else if has_failed || tick.is_some_and(|at| at <= now) {
            TargetRequest::full(Trigger::Schedule, None)
        } else if !state.asked.is_empty() {
            TargetRequest::over(Trigger::Live, std::mem::take(&mut state.asked), None)
        } else {
            let recheck = self.next_target_recheck(target).await;
            let next = [tick, recheck].into_iter().flatten().min();
            match recheck.filter(|at| *at <= now) {
                Some(_) => TargetRequest::full(Trigger::Recheck, None),
                None => return next.map_or(MAX_WAIT, |at| at.since(now)),
            }
        };
        let is_full = request.scope == crate::engine::targets::request::TargetScope::All;
        let name = target.config.name.clone();
        match self.run_target(target, request).await {
            Ok(run) if run.error.is_none() => {
                if is_full {
                    (state.startup, state.scheduled) = (false, now);
                    state.asked.clear();
                }
                Duration::ZERO
            }
            Ok(_) => {
                state.paused_until = self.clock.passed() + RETRY;
                RETRY
            }
            Err(error) => {
                tracing::error!(scim_target = %name, "{name}: the run failed: {}", chain(&error));
                state.paused_until = self.clock.passed() + RETRY;
                RETRY
            }
        }
    }

    /// Returns the time at which a second run may confirm that accounts have to go.
    async fn next_target_recheck(&self, target: &Target) -> Option<Timestamp> {
        let found = self.store.oldest_found(&target.config.name).await.ok()??;
        Some(found.plus(target.config.limits.grace_period))
    }
}
