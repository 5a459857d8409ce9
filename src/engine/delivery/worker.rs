//! Telling hooks: from the outbox to programs and web servers, in order for each subject, until it is done or too old.
//!
//! Every hook has a loop of its own, woken by what is committed. None waits for another one, and nobody waits for any: a
//! run writes what is to be told and goes on. What is known of a delivery is in the store, so a rosterd that is killed
//! goes on where it was, and repeats at most what was under way.
//!
//! A hook that is *down* (no connection, no program, "come back later") would take nothing else either: it is left alone
//! for a while, then asked with a single delivery. One that refuses an event backs off for that subject alone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Outcome};
use crate::hooks::{Attempt, AttemptOutcome, Hook, Message, Target, leftovers, runner, webhook};
use crate::model::Timestamp;
use crate::store::{Due, Settled, Settlement, StoreError, Subscription};
use crate::telemetry::chain;

/// The first wait after a failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait of one delivery.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A hook that is down is asked again at least this often.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// So many failures without a success between them, and something is wrong with the hook as such.
const STREAK: u32 = 10;

/// It is then asked again at least this often: it may be that those were refused, and others would not be.
const STREAK_REST: Duration = Duration::from_secs(10);

/// What is due is looked up again this often at the latest: the clock may be set, and tests move it.
const LOOK_AROUND: Duration = Duration::from_mins(1);

/// Deliveries that are fetched at once.
const FETCHED: u64 = 64;

/// What is under way when the daemon stops has this long to end.
const GRACE: Duration = Duration::from_secs(3);

/// A store that does not answer is asked again so much later.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// One hook under one configuration.
#[derive(Debug)]
pub struct HookAtWork {
    /// As configured.
    pub config: Hook,
    pub(in crate::engine) work: Arc<Work>,
    /// Ends what is done under this configuration.
    cancel: CancellationToken,
    has_task: AtomicBool,
}

/// What a hook is doing, whatever its configuration.
#[derive(Debug, Default)]
pub(in crate::engine) struct Work {
    /// The loop of an earlier configuration ends before the next one begins.
    alone: Mutex<()>,
    /// Failures since the last success.
    pub(in crate::engine) failures: AtomicU64,
}

impl HookAtWork {
    /// Whether nobody [keeps](Engine::run_deliveries) it yet; who asks, does.
    pub fn claim_task(&self) -> bool {
        !self.has_task.swap(true, Ordering::AcqRel)
    }

    /// When nothing is done any more under this configuration.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    pub(in crate::engine) fn subscription(&self) -> Subscription {
        Subscription { hook: self.config.name.clone(), events: self.config.events.clone() }
    }
}

/// What a loop knows that the store does not.
#[derive(Default)]
struct Round {
    attempts: JoinSet<Attempt>,
    under_way: HashMap<Id, Due>,
    /// Due, and not begun.
    ready: VecDeque<Due>,
    failures: u32,
    /// Whether the last failure was the hook's as such.
    is_down: bool,
    /// Nothing is begun before.
    rest_until: Timestamp,
    /// The address has said it is gone for good.
    is_gone: bool,
    /// When what is too old was last given up.
    swept: Timestamp,
}

impl Engine {
    /// The hooks as they are configured now, by name.
    pub fn hooks(&self) -> Arc<BTreeMap<String, Arc<HookAtWork>>> {
        Arc::clone(&self.hooks.borrow())
    }

    /// Replaces the hooks; says what that means for each. Those that are added or changed have to be
    /// [kept](Engine::run_deliveries) anew. What one that is removed has not been told [waits](Engine::keep_removed_hooks) for it
    /// to come back.
    pub fn reconfigure_hooks(&self, hooks: Vec<Hook>) -> BTreeMap<String, Outcome> {
        let mut outcomes = BTreeMap::new();
        let mut over = Vec::new();
        self.hooks.send_modify(|now| {
            let mut were = (**now).clone();
            let mut are = BTreeMap::new();
            for config in hooks {
                let name = config.name.clone();
                let (hook, outcome) = match were.remove(&name) {
                    Some(was) if was.config == config => (was, Outcome::Unchanged),
                    was => {
                        let outcome = if was.is_some() { Outcome::Changed } else { Outcome::Added };
                        let work =
                            was.as_ref().map(|was| Arc::clone(&was.work)).unwrap_or_default();
                        over.extend(was.map(|was| was.cancel.clone()));
                        let hook = HookAtWork {
                            config,
                            work,
                            cancel: self.stop.child_token(),
                            has_task: AtomicBool::new(false),
                        };
                        (Arc::new(hook), outcome)
                    }
                };
                outcomes.insert(name.clone(), outcome);
                are.insert(name, hook);
            }
            outcomes.extend(were.keys().map(|name| (name.clone(), Outcome::Removed)));
            over.extend(were.into_values().map(|was| was.cancel.clone()));
            self.store.subscribe(are.values().map(|hook| hook.subscription()).collect());
            *now = Arc::new(are);
        });
        over.iter().for_each(CancellationToken::cancel);
        outcomes
    }

    /// Ends the programs that a rosterd that was cut off left running. Before any hook is kept.
    pub fn end_leftovers(&self) {
        let count = leftovers::end_leftovers(self.store.instance());
        if count > 0 {
            tracing::warn!(
                "programs of hooks or gates that were still running since rosterd last ended: {count}; they were ended"
            );
        }
    }

    /// Tells a hook what it is to be told, for as long as its configuration stands.
    pub async fn run_deliveries(self: Arc<Self>, hook: Arc<HookAtWork>) {
        let _alone = hook.work.alone.lock().await;
        let name = &hook.config.name;
        if let Target::Exec(program) = &hook.config.target
            && let Some(why) = runner::refusal(&self.runner, &hook.config, program).await
        {
            tracing::warn!(hook = %name, "hook {name}: {why}");
        }
        let mut news = self.store.news();
        let mut round =
            Round { is_gone: self.is_gone(&hook).await.unwrap_or(false), ..Round::default() };
        while !hook.cancel.is_cancelled() {
            news.borrow_and_update();
            let wait = match self.begin_due(&hook, &mut round).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(hook = %name, "hook {name}: what is to be delivered cannot be read: {}", chain(&error));
                    STORE_AGAIN
                }
            };
            tokio::select! {
                () = hook.cancel.cancelled() => {}
                Some(ended) = round.attempts.join_next_with_id() => self.take_in(&hook, &mut round, ended).await,
                _ = news.changed() => {}
                () = sleep(wait.min(LOOK_AROUND)) => {}
            }
        }
        let is_stop = self.stop.is_cancelled();
        let rest = async {
            while let Some(ended) = round.attempts.join_next_with_id().await {
                self.take_in(&hook, &mut round, ended).await;
            }
        };
        // What does not end in time is ended, and delivered again.
        let _ =
            tokio::time::timeout(if is_stop { GRACE } else { hook.config.timeout + GRACE }, rest)
                .await;
    }

    /// Begins what can be begun; returns how long to wait for more, unless something happens.
    async fn begin_due(
        self: &Arc<Self>,
        hook: &Arc<HookAtWork>,
        round: &mut Round,
    ) -> Result<Duration, StoreError> {
        let name = &hook.config.name;
        self.check_clock().await?;
        let now = self.clock.now();
        round.not_after(now);
        if round.is_gone {
            round.is_gone = self.is_gone(hook).await?;
        }
        if round.is_gone || round.is_down {
            self.sweep(hook, round, now).await?;
        }
        if round.is_gone {
            return Ok(LOOK_AROUND);
        }
        if now < round.rest_until {
            round.ready.clear();
            return Ok(round.rest_until.since(now));
        }
        let is_suspect = round.is_down || round.failures >= STREAK;
        let slots = if is_suspect { 1 } else { hook.config.concurrency };
        while round.attempts.len() < slots {
            let Some(due) = round.ready.pop_front() else {
                let fetched =
                    self.store.due(name, now, FETCHED + round.under_way.len() as u64).await?;
                let is_busy =
                    |due: &Due| round.under_way.values().any(|busy| busy.subject == due.subject);
                round.ready = fetched.into_iter().filter(|due| !is_busy(due)).collect();
                if round.ready.is_empty() {
                    let next = self.store.next_due(name, now).await?;
                    return Ok(next.map_or(LOOK_AROUND, |at| at.since(now)));
                }
                continue;
            };
            if round.under_way.values().any(|busy| busy.subject == due.subject) {
                continue;
            }
            let (engine, at_work, begun) = (Arc::clone(self), Arc::clone(hook), due.clone());
            let task = round.attempts.spawn(async move { engine.attempt(&at_work, begun).await });
            round.under_way.insert(task.id(), due);
        }
        Ok(LOOK_AROUND)
    }

    /// One attempt.
    async fn attempt(&self, hook: &HookAtWork, due: Due) -> Attempt {
        let message = Message {
            id: due.event.to_string(),
            kind: due.kind,
            seq: Some(due.seq),
            head: Some(due.head.to_string()),
            attempt: due.attempts.saturating_add(1),
            document: due.document,
        };
        self.tell(&hook.config, &message).await
    }

    /// Tells a hook something, once.
    pub(in crate::engine) async fn tell(&self, hook: &Hook, message: &Message) -> Attempt {
        match &hook.target {
            Target::Exec(program) => {
                runner::deliver(&self.runner, hook, program, message, self.store.instance()).await
            }
            Target::Webhook(server) => {
                webhook::deliver(server, message, hook.timeout, self.clock.now()).await
            }
        }
    }

    /// Takes note of attempts that have ended: this one, and whichever others have, too.
    async fn take_in(
        &self,
        hook: &HookAtWork,
        round: &mut Round,
        first: Result<(Id, Attempt), tokio::task::JoinError>,
    ) {
        let mut ended = vec![first];
        while let Some(another) = round.attempts.try_join_next_with_id() {
            ended.push(another);
        }
        let now = self.clock.now();
        let mut settled = Vec::new();
        for one in ended {
            let (id, attempt) = one.unwrap_or_else(|panic| (panic.id(), Attempt::broken(&panic)));
            if let Some(due) = round.under_way.remove(&id) {
                settled.push(self.settlement(hook, round, due, attempt, now).await);
            }
        }
        let name = &hook.config.name;
        // What cannot be written now is delivered again later.
        if let Err(error) = self.store.settle(name, &settled, &self.clock).await {
            tracing::error!(hook = %name, "hook {name}: what came of a delivery cannot be written: {}", chain(&error));
            round.rest_until = now.plus(STORE_AGAIN);
        }
        hook.work.failures.store(round.failures.into(), Ordering::Relaxed);
    }

    /// What becomes of a delivery after an attempt.
    async fn settlement(
        &self,
        hook: &HookAtWork,
        round: &mut Round,
        due: Due,
        attempt: Attempt,
        now: Timestamp,
    ) -> Settled {
        let Hook { name, max_age, .. } = &hook.config;
        let Attempt { ended, output } = attempt;
        let output = Some(output).filter(|output| !output.is_empty());
        let is_old = now.since(due.first_at) >= *max_age;
        let (settlement, error) = match ended {
            AttemptOutcome::Delivered => {
                if round.failures > 0 {
                    tracing::info!(hook = %name, "hook {name}: it takes deliveries again, after {} failures", round.failures);
                }
                (round.failures, round.is_down, round.rest_until) =
                    (0, false, Timestamp::default());
                (Settlement::Delivered, None)
            }
            AttemptOutcome::Rejected(why) => {
                tracing::warn!(hook = %name, "hook {name}: event {} is dead-lettered: {why}", due.seq);
                // One that refuses everything is set up wrongly: most of it waits until that is mended.
                round.fail(false, None, now);
                (Settlement::Dead, Some(why))
            }
            AttemptOutcome::Gone => {
                let why = "it answered 410 Gone: nothing more is sent there";
                tracing::warn!(hook = %name, "hook {name}: {why}, before its url is changed or rosterctl hook redeliver {name} says to try again");
                if let Err(error) = self.store.note_gone(name, Some(&address(&hook.config))).await {
                    tracing::error!(hook = %name, "hook {name}: that cannot be written down: {}", chain(&error));
                }
                round.is_gone = true;
                (Settlement::Again(now), Some(why.to_owned()))
            }
            AttemptOutcome::Retry { why, after, is_down } => {
                if round.failures == 0 {
                    tracing::warn!(hook = %name, "hook {name}: event {} could not be delivered, and is tried again: {why}", due.seq);
                }
                let wait = wait(FIRST_WAIT, due.attempts, jitter(name, due.seq, due.attempts))
                    .max(after.unwrap_or_default());
                let again = round.fail(is_down, after, now).unwrap_or_else(|| now.plus(wait));
                if is_old {
                    tracing::warn!(hook = %name, "hook {name}: event {} is dead-lettered: {why}", due.seq);
                    (Settlement::Dead, Some(why))
                } else {
                    (Settlement::Again(again), Some(why))
                }
            }
        };
        let Due { seq, kind, subject, .. } = due;
        Settled { seq, kind, subject, settlement, error, output }
    }

    /// Gives up what a hook that takes nothing has not been told for too long.
    async fn sweep(
        &self,
        hook: &HookAtWork,
        round: &mut Round,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if now.since(round.swept) < LOOK_AROUND {
            return Ok(());
        }
        round.swept = now;
        let Hook { name, max_age, .. } = &hook.config;
        let under_way: Vec<u64> = round.under_way.values().map(|due| due.seq).collect();
        let why = "the hook took nothing for too long";
        let count =
            self.store.give_up(name, now.minus(*max_age), &under_way, why, &self.clock).await?;
        if count > 0 {
            round.ready.clear();
            tracing::warn!(hook = %name, "hook {name}: {count} deliveries are dead-lettered: {why}");
        }
        Ok(())
    }

    pub(in crate::engine) async fn is_gone(&self, hook: &HookAtWork) -> Result<bool, StoreError> {
        Ok(self
            .store
            .hook_standing(&hook.config.name)
            .await?
            .gone
            .is_some_and(|gone| gone == address(&hook.config)))
    }
}

impl Round {
    /// Takes note of a failure. When that is the hook's as such, it gets a rest, and the delivery waits for the end of that.
    fn not_after(&mut self, now: Timestamp) {
        self.swept = self.swept.min(now);
        self.rest_until = self.rest_until.min(now.plus(LONGEST_WAIT));
    }

    fn fail(
        &mut self,
        is_down: bool,
        after: Option<Duration>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if now < self.rest_until {
            // Others that were under way fail along.
            return is_down.then_some(self.rest_until);
        }
        self.failures = self.failures.saturating_add(1);
        self.is_down = is_down;
        let rest = match (is_down, self.failures.checked_sub(STREAK)) {
            (true, _) => wait(FIRST_WAIT, self.failures - 1, 0.0)
                .min(LONGEST_REST)
                .max(after.unwrap_or_default()),
            (false, Some(more)) => wait(FIRST_WAIT, more, 0.0).min(STREAK_REST),
            (false, None) => return None,
        };
        self.rest_until = now.plus(rest);
        is_down.then_some(self.rest_until)
    }
}

impl Attempt {
    /// Of an attempt that broke in our own hands.
    fn broken(panic: &tokio::task::JoinError) -> Self {
        let why = format!("the attempt broke off: {panic}");
        Self {
            ended: AttemptOutcome::Retry { why, after: None, is_down: false },
            output: String::new(),
        }
    }
}

/// What a hook that says it is gone is recognised by, without telling its address.
fn address(hook: &Hook) -> String {
    let address = match &hook.target {
        Target::Exec(program) => program.path.display().to_string(),
        Target::Webhook(server) => server.url.to_string(),
    };
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(address.as_bytes()))
}

/// The wait after so many failures before, drawn out or shortened by up to a quarter.
fn wait(first: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.min(20)).min(LONGEST_WAIT);
    doubled.mul_f64(1.0 + jitter / 4.0)
}

/// Between -1 and 1; another one for each delivery and attempt, so that those that failed together do not come back together.
fn jitter(hook: &str, seq: u64, attempt: u32) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{hook} {seq} {attempt}").as_bytes());
    (hash >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_no_two_deliveries_wait_alike() {
        for (failures, seconds) in
            [(0, 1), (1, 2), (5, 32), (11, 2048), (12, 3600), (4_000_000, 3600)]
        {
            assert_eq!(wait(FIRST_WAIT, failures, 0.0).as_secs(), seconds);
        }
        let waits: Vec<f64> = (0..1000)
            .map(|seq| wait(FIRST_WAIT, 4, jitter("siem", seq, 4)).as_secs_f64())
            .collect();
        assert!(waits.iter().all(|w| (12.0..=20.0).contains(w)), "{waits:?}");
        let (low, high) = (
            waits.iter().filter(|w| **w < 14.0).count(),
            waits.iter().filter(|w| **w > 18.0).count(),
        );
        assert!(low > 150 && high > 150, "{low} {high}");
    }

    #[test]
    fn a_hook_that_is_down_rests_as_a_whole_and_one_that_refuses_somebody_does_not() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let mut round = Round::default();
        assert_eq!(round.fail(false, None, at(0)), None);
        assert_eq!(round.rest_until, Timestamp::default(), "that delivery alone waits");
        let mut round = Round::default();
        assert_eq!(round.fail(true, None, at(0)), Some(at(1)));
        assert_eq!(round.fail(true, None, at(0)), Some(at(1)), "another one that was under way");
        assert_eq!(round.fail(true, None, at(1)), Some(at(3)));
        assert_eq!(
            round.fail(true, Some(Duration::from_secs(20)), at(3)),
            Some(at(23)),
            "as it asked"
        );
        (0..20).fold(at(23), |now, _| round.fail(true, None, now).unwrap_or(now));
        let now = round.rest_until;
        assert_eq!(round.fail(true, None, now), Some(now.plus(LONGEST_REST)));
        let mut round = Round::default();
        for _ in 0..STREAK {
            round.fail(false, None, at(0));
        }
        assert_eq!(
            (round.is_down, round.rest_until),
            (false, at(1)),
            "so many in a row are no longer one person's"
        );
    }
}
