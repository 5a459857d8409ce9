//! Delivers events from the backlog to programs, web servers and mail servers, in order for each
//! subject. A delivery ends when it has succeeded or is too old.
//!
//! Every hook has a worker of its own, which a commit wakes. No worker waits for another, and no
//! run waits for a worker. The state of a delivery is in the store. After a crash the daemon
//! repeats at most the attempts that were under way.
//!
//! A hook that is *down* (no connection, no program, `Retry-After`) would refuse every other event,
//! too. It is paused, then tried with a single delivery. An event that is refused backs off for its
//! subject only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::engine::backoff::{MAX_BACKOFF, backoff, jitter};
use crate::engine::registry::Configurable;
use crate::hooks::{
    Attempt, AttemptOutcome, Hook, Message, Receiver, leftovers, mail, runner, webhook,
};
use crate::model::Timestamp;
use crate::store::{self, AttemptResult, DueDelivery, StoreError, Subscription};
use crate::telemetry::chain;

/// The maximum pause of a hook that is down.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// After this number of failures in a row the hook itself is broken.
const FAILURE_STREAK: u32 = 10;

/// The maximum pause of a hook that is broken. It is short, because other events may be accepted.
const MAX_STREAK_PAUSE: Duration = Duration::from_secs(10);

/// Maximum wait for the next due delivery, because the clock may be set.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Deliveries fetched in one query.
const BATCH: u64 = 64;

/// Time for the attempts under way when the daemon stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// An attempt ends so long after the timeout of its hook at the latest, also that of a frozen leader.
const CLAIM_GRACE: Duration = Duration::from_secs(5);

/// Wait after an error of the store.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// A hook under one configuration.
#[derive(Debug)]
pub struct ConfiguredHook {
    pub config: Hook,
    pub(in crate::engine) work: Arc<Work>,
    cancel: CancellationToken,
    /// The term in which this rosterd delivers.
    term: CancellationToken,
    has_task: AtomicBool,
}

/// The state of a hook that outlasts a reload.
#[derive(Debug, Default)]
pub(in crate::engine) struct Work {
    /// Held by the worker, so that a former configuration's worker ends before the next begins.
    worker_lock: Mutex<()>,
    /// Failures in a row.
    pub(in crate::engine) failures: AtomicU64,
}

impl Configurable for ConfiguredHook {
    type Name = String;
    type Config = Hook;

    fn name_of(config: &Hook) -> String {
        config.name.clone()
    }

    fn with(config: Hook, former: Option<&Self>, engine: &CancellationToken) -> Self {
        Self {
            config,
            work: former.map(|former| Arc::clone(&former.work)).unwrap_or_default(),
            cancel: engine.child_token(),
            term: engine.clone(),
            has_task: AtomicBool::new(false),
        }
    }

    fn renewed(&self, term: &CancellationToken) -> Self {
        Self::with(self.config.clone(), None, term)
    }

    fn config(&self) -> &Hook {
        &self.config
    }

    fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    fn claim_task(&self) -> bool {
        !self.has_task.swap(true, Ordering::AcqRel)
    }
}

impl ConfiguredHook {
    /// Returns the token that is cancelled when this configuration is replaced or the engine stops.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    pub(in crate::engine) fn subscription(&self) -> Subscription {
        Subscription { hook: self.config.name.clone(), events: self.config.events.clone() }
    }
}

/// The state of a worker beside the store.
#[derive(Default)]
struct WorkerState {
    attempts: JoinSet<Attempt>,
    under_way: HashMap<Id, DueDelivery>,
    /// Due deliveries without an attempt under way.
    ready: VecDeque<DueDelivery>,
    failures: u32,
    /// Whether the last failure was one of the hook, and not of an event.
    is_down: bool,
    /// The end of a pause.
    paused_until: Timestamp,
    /// Whether the address answered 410 Gone.
    is_gone: bool,
    /// The time of the last check for deliveries older than max-age.
    expired_at: Timestamp,
}

impl Engine {
    /// Returns the mark of the programs that this rosterd starts. Another one on the same machine, and on
    /// the same store, has another mark.
    pub(in crate::engine) fn instance(&self) -> String {
        let store = self.store.mark();
        self.turn.cluster().map_or(store.clone(), |cluster| format!("{store}-{}", cluster.node))
    }

    /// Ends the programs that an earlier process left running. Called before the first delivery.
    pub fn end_leftovers(&self) {
        let count = leftovers::end_leftovers(&self.instance());
        if count > 0 {
            tracing::warn!(
                "ended {count} programs of hooks or gates that an earlier rosterd left running"
            );
        }
    }

    /// Delivers to a hook until its configuration is replaced, or the term ends.
    ///
    /// Another rosterd may deliver after the end of the term. So what is under way is killed then, even
    /// while a silent store is waited for.
    pub async fn run_deliveries(self: Arc<Self>, hook: Arc<ConfiguredHook>) {
        let term_ends = async {
            hook.term.cancelled().await;
            if self.stop.is_cancelled() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = term_ends => {}
            () = self.deliver_all(&hook) => {}
        }
    }

    async fn deliver_all(self: &Arc<Self>, hook: &Arc<ConfiguredHook>) {
        let _alone = hook.work.worker_lock.lock().await;
        let name = &hook.config.name;
        if let Receiver::Exec(program) = &hook.config.receiver
            && let Some(reason) = runner::refusal(&self.runner, &hook.config, program).await
        {
            tracing::warn!(hook = %name, "hook {name}: {reason}");
        }
        let mut news = self.store.news();
        let mut state = WorkerState {
            is_gone: self.is_gone(hook).await.unwrap_or(false),
            ..WorkerState::default()
        };
        while !hook.cancel.is_cancelled() {
            news.borrow_and_update();
            let wait = match self.start_due(hook, &mut state).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(hook = %name, "hook {name}: cannot read due deliveries: {}", chain(&error));
                    STORE_RETRY
                }
            };
            tokio::select! {
                () = hook.cancel.cancelled() => {}
                Some(ended) = state.attempts.join_next_with_id() => self.record_attempts(hook, &mut state, ended).await,
                _ = news.changed() => {}
                () = sleep(wait.min(MAX_WAIT)) => {}
            }
        }
        let grace = if self.stop.is_cancelled() {
            SHUTDOWN_GRACE
        } else {
            hook.config.timeout + SHUTDOWN_GRACE
        };
        let rest = async {
            while let Some(ended) = state.attempts.join_next_with_id().await {
                self.record_attempts(hook, &mut state, ended).await;
            }
        };
        // An attempt that does not end in time is cut off, and delivered again.
        let _ = tokio::time::timeout(grace, rest).await;
    }

    /// Starts the attempts that are due, and returns the wait for the next one.
    async fn start_due(
        self: &Arc<Self>,
        hook: &Arc<ConfiguredHook>,
        state: &mut WorkerState,
    ) -> Result<Duration, StoreError> {
        let name = &hook.config.name;
        if !self.is_trusted() {
            return Ok(STORE_RETRY);
        }
        self.check_clock().await?;
        let now = self.clock.now();
        state.limit_to(now);
        if state.is_gone {
            state.is_gone = self.is_gone(hook).await?;
        }
        if state.is_gone || state.is_down {
            self.expire_backlog(hook, state, now).await?;
        }
        if state.is_gone {
            return Ok(MAX_WAIT);
        }
        if now < state.paused_until {
            state.ready.clear();
            return Ok(state.paused_until.since(now));
        }
        let is_suspect = state.is_down || state.failures >= FAILURE_STREAK;
        let slots = if is_suspect { 1 } else { hook.config.concurrency };
        let mut begun: Vec<DueDelivery> = Vec::new();
        let mut wait = MAX_WAIT;
        while state.attempts.len() + begun.len() < slots {
            let Some(due) = state.ready.pop_front() else {
                let fetched =
                    self.store.due(name, now, BATCH + state.under_way.len() as u64).await?;
                state.ready =
                    fetched.into_iter().filter(|due| !state.is_busy(due, &begun)).collect();
                if state.ready.is_empty() {
                    let next = self.store.next_due(name, now).await?;
                    wait = next.map_or(MAX_WAIT, |at| at.since(now));
                    break;
                }
                continue;
            };
            if !state.is_busy(&due, &begun) {
                begun.push(due);
            }
        }
        self.claim_deliveries(hook, &begun, now).await?;
        for due in begun {
            let (engine, at_work, attempted) = (Arc::clone(self), Arc::clone(hook), due.clone());
            let attempt = async move { engine.attempt(&at_work, attempted).await };
            let task = state.attempts.spawn(attempt);
            state.under_way.insert(task.id(), due);
        }
        Ok(wait)
    }

    /// Keeps the next leader from these deliveries, and from later ones about their subjects, while this one
    /// may be frozen in the middle of them.
    async fn claim_deliveries(
        &self,
        hook: &ConfiguredHook,
        begun: &[DueDelivery],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(cluster) = self.turn.cluster() else { return Ok(()) };
        let seqs: Vec<u64> = begun.iter().map(|due| due.seq).collect();
        let until = now.plus(hook.config.timeout + CLAIM_GRACE);
        self.store.claim_deliveries(&hook.config.name, &seqs, &cluster.node, until).await
    }

    async fn attempt(&self, hook: &ConfiguredHook, due: DueDelivery) -> Attempt {
        let message = Message {
            id: due.event.to_string(),
            kind: due.kind,
            seq: Some(due.seq),
            head: Some(due.head.to_string()),
            attempt: due.attempts.saturating_add(1),
            document: due.document,
        };
        self.deliver_once(&hook.config, &message).await
    }

    /// Makes one attempt.
    pub(in crate::engine) async fn deliver_once(&self, hook: &Hook, message: &Message) -> Attempt {
        match &hook.receiver {
            Receiver::Exec(program) => {
                runner::deliver(&self.runner, hook, program, message, &self.instance()).await
            }
            Receiver::Webhook(server) => {
                webhook::deliver(server, message, hook.timeout, self.clock.now()).await
            }
            Receiver::Mail(server) => {
                mail::deliver(server, message, hook.timeout, self.clock.now()).await
            }
        }
    }

    /// Stores the outcome of ended attempts.
    async fn record_attempts(
        &self,
        hook: &ConfiguredHook,
        state: &mut WorkerState,
        first: Result<(Id, Attempt), tokio::task::JoinError>,
    ) {
        let mut ended = vec![first];
        while let Some(another) = state.attempts.try_join_next_with_id() {
            ended.push(another);
        }
        let now = self.clock.now();
        let mut settled = Vec::new();
        for one in ended {
            let (id, attempt) = one.unwrap_or_else(|panic| (panic.id(), Attempt::broken(&panic)));
            if let Some(due) = state.under_way.remove(&id) {
                settled.push(self.settlement(hook, state, due, attempt, now).await);
            }
        }
        let name = &hook.config.name;
        // A delivery whose outcome cannot be stored is repeated.
        if let Err(error) = self.store.record_attempts(name, &settled, &self.clock).await {
            tracing::error!(hook = %name, "hook {name}: cannot store the outcome of deliveries, which are repeated: {}", chain(&error));
            state.paused_until = now.plus(STORE_RETRY);
        }
        hook.work.failures.store(state.failures.into(), Ordering::Relaxed);
    }

    /// Returns the state of a delivery after an attempt.
    async fn settlement(
        &self,
        hook: &ConfiguredHook,
        state: &mut WorkerState,
        due: DueDelivery,
        attempt: Attempt,
        now: Timestamp,
    ) -> store::Attempt {
        let Hook { name, max_age, .. } = &hook.config;
        let Attempt { ended, output } = attempt;
        let output = Some(output).filter(|output| !output.is_empty());
        let is_old = now.since(due.first_at) >= *max_age;
        let (result, error) = match ended {
            AttemptOutcome::Delivered => {
                if state.failures > 0 {
                    tracing::info!(hook = %name, "hook {name}: deliveries succeed again after {} failures", state.failures);
                }
                (state.failures, state.is_down, state.paused_until) =
                    (0, false, Timestamp::default());
                (AttemptResult::Delivered, None)
            }
            AttemptOutcome::Rejected(reason) => {
                tracing::warn!(hook = %name, "hook {name}: event {} is dead-lettered: {reason}", due.seq);
                // A hook that refuses every event is misconfigured: most of its backlog waits until
                // that is corrected.
                state.fail(false, None, now);
                (AttemptResult::DeadLetter, Some(reason))
            }
            AttemptOutcome::Gone => {
                let reason = "it answered 410 Gone, so no more deliveries are sent";
                tracing::warn!(hook = %name, "hook {name}: {reason}: change its url, or run rosterctl hook redeliver {name}");
                if let Err(error) = self.store.set_gone(name, Some(&address(&hook.config))).await {
                    tracing::error!(hook = %name, "hook {name}: cannot store that the address is gone: {}", chain(&error));
                }
                state.is_gone = true;
                (AttemptResult::RetryAt(now), Some(reason.to_owned()))
            }
            AttemptOutcome::Retry { reason, after, is_down } => {
                if state.failures == 0 {
                    tracing::warn!(hook = %name, "hook {name}: delivery of event {} failed and is retried: {reason}", due.seq);
                }
                let wait = backoff(due.attempts, jitter(name, due.seq, due.attempts))
                    .max(after.unwrap_or_default());
                let again = state.fail(is_down, after, now).unwrap_or_else(|| now.plus(wait));
                if is_old {
                    tracing::warn!(hook = %name, "hook {name}: event {} is dead-lettered: {reason}", due.seq);
                    (AttemptResult::DeadLetter, Some(reason))
                } else {
                    (AttemptResult::RetryAt(again), Some(reason))
                }
            }
        };
        let DueDelivery { seq, kind, subject, .. } = due;
        store::Attempt { seq, kind, subject, result, error, output }
    }

    /// Dead-letters the deliveries that are older than max-age, while the hook is down.
    async fn expire_backlog(
        &self,
        hook: &ConfiguredHook,
        state: &mut WorkerState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if now.since(state.expired_at) < MAX_WAIT {
            return Ok(());
        }
        state.expired_at = now;
        let Hook { name, max_age, .. } = &hook.config;
        let under_way: Vec<u64> = state.under_way.values().map(|due| due.seq).collect();
        let reason = "the hook failed for longer than max-age";
        let count = self
            .store
            .dead_letter(name, Some(now.minus(*max_age)), &under_way, reason, &self.clock)
            .await?;
        if count > 0 {
            state.ready.clear();
            tracing::warn!(hook = %name, "hook {name}: {count} deliveries are dead-lettered: {reason}");
        }
        Ok(())
    }

    pub(in crate::engine) async fn is_gone(
        &self,
        hook: &ConfiguredHook,
    ) -> Result<bool, StoreError> {
        Ok(self
            .store
            .delivery_status(&hook.config.name)
            .await?
            .gone
            .is_some_and(|gone| gone == address(&hook.config)))
    }
}

impl WorkerState {
    /// Returns whether another delivery about the same subject is under way, or is just begun.
    fn is_busy(&self, due: &DueDelivery, begun: &[DueDelivery]) -> bool {
        self.under_way.values().chain(begun).any(|busy| busy.subject == due.subject)
    }

    /// Limits stored times after the clock was set back.
    fn limit_to(&mut self, now: Timestamp) {
        self.expired_at = self.expired_at.min(now);
        self.paused_until = self.paused_until.min(now.plus(MAX_BACKOFF));
    }

    fn fail(
        &mut self,
        is_down: bool,
        after: Option<Duration>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if now < self.paused_until {
            // Attempts that were under way fail with the first one.
            return is_down.then_some(self.paused_until);
        }
        self.failures = self.failures.saturating_add(1);
        self.is_down = is_down;
        let rest = match (is_down, self.failures.checked_sub(FAILURE_STREAK)) {
            (true, _) => {
                backoff(self.failures - 1, 0.0).min(MAX_PAUSE).max(after.unwrap_or_default())
            }
            (false, Some(more)) => backoff(more, 0.0).min(MAX_STREAK_PAUSE),
            (false, None) => return None,
        };
        self.paused_until = now.plus(rest);
        is_down.then_some(self.paused_until)
    }
}

impl Attempt {
    /// Returns the outcome of an attempt that panicked.
    fn broken(panic: &tokio::task::JoinError) -> Self {
        let reason = format!("the attempt panicked: {panic}");
        Self {
            ended: AttemptOutcome::Retry { reason, after: None, is_down: false },
            output: String::new(),
        }
    }
}

/// Returns a hash of the address: the store keeps no secret of it.
fn address(hook: &Hook) -> String {
    let address = match &hook.receiver {
        Receiver::Exec(program) => program.path.display().to_string(),
        Receiver::Webhook(server) => server.url.to_string(),
        Receiver::Mail(mail) => mail.server.clone(),
    };
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(address.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_down_is_paused_and_one_that_refuses_an_event_is_not() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let mut state = WorkerState::default();
        assert_eq!(state.fail(false, None, at(0)), None);
        assert_eq!(state.paused_until, Timestamp::default(), "that delivery worker_lock waits");
        let mut state = WorkerState::default();
        assert_eq!(state.fail(true, None, at(0)), Some(at(1)));
        assert_eq!(state.fail(true, None, at(0)), Some(at(1)), "another one that was under way");
        assert_eq!(state.fail(true, None, at(1)), Some(at(3)));
        assert_eq!(
            state.fail(true, Some(Duration::from_secs(20)), at(3)),
            Some(at(23)),
            "as it asked"
        );
        (0..20).fold(at(23), |now, _| state.fail(true, None, now).unwrap_or(now));
        let now = state.paused_until;
        assert_eq!(state.fail(true, None, now), Some(now.plus(MAX_PAUSE)));
        let mut state = WorkerState::default();
        for _ in 0..FAILURE_STREAK {
            state.fail(false, None, at(0));
        }
        assert_eq!(
            (state.is_down, state.paused_until),
            (false, at(1)),
            "so many in a row are no longer one person's"
        );
    }
}
