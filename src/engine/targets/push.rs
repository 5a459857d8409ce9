//! The push: does what is due for counterparts, woken by the commit of an event.
//!
//! A target that is down would refuse every other request, too. It is paused, then tried with a
//! single counterpart. A deactivation is never given up, and waits for no other counterpart. See
//! [`super::health`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::engine::Engine;
use crate::engine::backoff::{MAX_BACKOFF, backoff, jitter};
use crate::engine::targets::Target;
use crate::engine::targets::canaries::Recognition;
use crate::engine::targets::exchange::{Exchange, Extent, Halt};
use crate::engine::targets::health::{Evidence, HealthChange};
use crate::engine::targets::pace::TaskLane;
use crate::engine::targets::work::Work;
use crate::model::{
    Actor, CounterpartRow, Due, Event, EventCause, Lane, ProvisionProblem, Timestamp, UserId,
};
use crate::reconcile::provision::{Followed, Permission, is_quarantine};
use crate::store::{RefusalKind, SettledBy, TargetRefusal};
use crate::telemetry::chain;

/// Maximum wait for the next due counterpart, because the clock may be set.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Interval at which a refused secret is compared with its file.
const SECRET_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum backoff of a deactivation.
const MAX_LEAVER_BACKOFF: Duration = Duration::from_mins(5);

/// Outages at the request of a leaver after which it backs off.
const MAX_OUTAGES: u32 = 10;

/// Time after which a refused account is tried again without a change of its user.
const QUARANTINE_RETRY: Duration = Duration::from_hours(24);

/// Counterparts fetched in one query.
const BATCH: u64 = 64;

/// Time for the requests under way when the daemon stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// The state of the push of one target.
#[derive(Default)]
struct PushState {
    under_way: JoinSet<Result<Task, Halt>>,
    users: Users,
    /// Shared with the task that brings the groups up to date.
    grouping: Arc<()>,
    /// Refusals of work on groups in a row.
    group_failures: u32,
    /// The elapsed time of this process before which refused work on groups is not repeated.
    groups_until: Duration,
    /// The elapsed time of this process at which the pause after an error of rosterd itself ends.
    paused_until: Duration,
}

/// A task that succeeded.
enum Task {
    Counterpart,
    Groups {
        /// The target refused a request about a group.
        is_refused: bool,
    },
}

/// The users whose counterparts are being worked on.
type Users = Arc<std::sync::Mutex<BTreeMap<UserId, Arc<TaskLane>>>>;

/// A user whose counterpart is being worked on, until it is dropped.
struct Busy {
    users: Users,
    user: UserId,
    lane: Arc<TaskLane>,
    target: Arc<Target>,
}

/// The counterparts that may be started now.
struct Slots {
    leavers: usize,
    others: usize,
}

impl PushState {
    /// Returns the free slots. Leavers have slots of their own, so that they wait for no other work.
    fn slots(&self, target: &Target, passed: Duration) -> Slots {
        let slots = target.health().slots(target.config.concurrency, passed);
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let leavers = users.values().filter(|lane| lane.get() == Lane::Leaver).count();
        let others = users.len() - leavers + Arc::strong_count(&self.grouping) - 1;
        Slots { leavers: slots.0.saturating_sub(leavers), others: slots.1.saturating_sub(others) }
    }
}

impl Slots {
    /// Takes a slot of a lane, if one is free.
    fn take(&mut self, lane: Lane) -> bool {
        let free = if lane == Lane::Leaver { &mut self.leavers } else { &mut self.others };
        let is_free = *free > 0;
        *free = free.saturating_sub(1);
        is_free
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.target.pace.retract(&self.lane);
        self.users.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.user);
    }
}

impl Engine {
    /// Does what is due for the counterparts of a target until its configuration is replaced.
    pub(in crate::engine) async fn push(self: &Arc<Self>, target: &Arc<Target>) {
        let name = &target.config.name;
        let mut news = self.store.news();
        let mut state = PushState::default();
        target.health().end_waits();
        target.work.has_group_work.store(true, Ordering::Release);
        while !target.cancel.is_cancelled() {
            news.borrow_and_update();
            let due = tokio::select! {
                biased;
                () = target.cancel.cancelled() => break,
                due = self.push_due(target, &mut state) => due,
            };
            let wait = match due {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(scim_target = %name, "{name}: cannot read what is due: {error}");
                    SECRET_INTERVAL
                }
            };
            // The end of work comes before its news, because it may pause the target.
            tokio::select! {
                biased;
                () = target.cancel.cancelled() => {}
                Some(ended) = state.under_way.join_next() => self.ended(target, &mut state, ended).await,
                _ = news.changed() => {}
                () = sleep(wait.min(MAX_WAIT)) => {}
            }
        }
        let rest = async { while state.under_way.join_next().await.is_some() {} };
        let is_over = target.term.is_cancelled() && !self.stop.is_cancelled();
        let grace = if is_over { Duration::ZERO } else { SHUTDOWN_GRACE };
        let _ = tokio::time::timeout(grace, rest).await;
    }

    /// Starts the work that is due, and returns the wait for the next.
    async fn push_due(
        self: &Arc<Self>,
        target: &Arc<Target>,
        state: &mut PushState,
    ) -> Result<Duration, Halt> {
        let name = &target.config.name;
        if !self.is_trusted() {
            return Ok(SECRET_INTERVAL);
        }
        let (now, passed) = (self.clock.now(), self.clock.passed());
        let pause = state.paused_until.saturating_sub(passed).max(target.health().wait(passed));
        if !pause.is_zero() {
            return Ok(pause);
        }
        let stored = self.target_state(target).await?;
        if let Some(until) = stored.paused_until.filter(|until| *until > now) {
            return Ok(until.since(now));
        }
        if let Some(refused) = &stored.refused {
            if refused.secret == target.client.secret_identity() {
                return Ok(SECRET_INTERVAL);
            }
            self.change_target_state(target, |state| state.refused = None).await?;
        }
        if self.waits_for_directory(target, &stored).await?.is_some() {
            return Ok(SECRET_INTERVAL);
        }
        let Some(followed) = self.followed(target).await? else { return Ok(MAX_WAIT) };
        let secret = target.client.secret_identity();
        if target.has_recognised(secret.as_deref()) {
            target.health().was_recognised();
        }
        let reserved = target.health().wait_of_others(passed);
        // Without work, the next event is the end of a wait.
        let idle = if reserved.is_zero() { MAX_WAIT } else { reserved };
        let mut slots = state.slots(target, passed);
        let last = match slots {
            Slots { leavers: 0, others: 0 } => return Ok(idle),
            Slots { others: 0, .. } => Lane::Leaver,
            Slots { .. } => Lane::Run,
        };
        // The row of a user whose work ends meanwhile is out of date, and is read again after that end.
        let busy: BTreeSet<UserId> =
            state.users.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        let due = self.store.due_counterparts(name, now, last, BATCH).await?;
        // Work on groups stays noted until the rules are accepted.
        let permission = Self::permission(target, &stored);
        let has_groups = permission == Permission::All && reserved.is_zero();
        if due.is_empty() && has_groups && self.start_groups(target, state) {
            return Ok(MAX_WAIT);
        }
        if due.is_empty() {
            let groups = state.groups_until.saturating_sub(passed);
            let idle = if groups.is_zero() { idle } else { idle.min(groups) };
            // Due work without a slot waits for the end of other work.
            let next = self.store.next_counterpart(name, now).await?;
            return Ok(next.map_or(idle, |at| at.since(now).min(idle)));
        }
        let Some(due) = self.recognised(target, due).await? else { return Ok(SECRET_INTERVAL) };
        let is_probe = target.health().is_down();
        for row in due {
            let (user, lane) = (row.account.user, row.due.lane.unwrap_or(Lane::Run));
            let mut users = state.users.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = users.get(&user) {
                // The work under way ends first, before that of others.
                if lane == Lane::Leaver && task.get() != Lane::Leaver {
                    target.pace.hasten(task);
                }
                continue;
            }
            if busy.contains(&user) || !slots.take(lane) {
                continue;
            }
            let is_leaver = lane == Lane::Leaver;
            let lane = Arc::new(TaskLane::new(lane));
            users.insert(user, Arc::clone(&lane));
            drop(users);
            if is_leaver {
                target.pace.announce(&lane);
            }
            let busy = Busy {
                users: Arc::clone(&state.users),
                user,
                lane: Arc::clone(&lane),
                target: Arc::clone(target),
            };
            let (engine, target, followed) =
                (Arc::clone(self), Arc::clone(target), followed.clone());
            state.under_way.spawn(async move {
                let _busy = busy;
                let exchange = Exchange::of_task(&engine, &target, lane);
                engine.push_one(&exchange, row, &followed, permission, is_probe).await?;
                Ok(Task::Counterpart)
            });
        }
        // The target may have proved unrecognisable meanwhile.
        let reserved = target.health().wait_of_others(passed);
        Ok(if reserved.is_zero() { MAX_WAIT } else { reserved })
    }

    /// Returns the due counterparts that may be worked on: those of leavers alone while no answer tells
    /// whether the target has our accounts. `None` if the target gets no request at all.
    async fn recognised(
        &self,
        target: &Target,
        due: Vec<CounterpartRow>,
    ) -> Result<Option<Vec<CounterpartRow>>, Halt> {
        let passed = self.clock.passed();
        let is_leaver = |row: &CounterpartRow| row.due.lane == Some(Lane::Leaver);
        // Leavers are not delayed by the same question again and again.
        let is_unknown = target.health().is_unrecognised(passed, due.iter().any(is_leaver));
        if !is_unknown {
            match self.recognise(target).await? {
                Recognition::Ours => {
                    target.health().was_recognised();
                    self.report_health(target).await;
                    return Ok(Some(due));
                }
                Recognition::Refused(_) => return Ok(None),
                Recognition::Unknown(reason) => {
                    let passed = self.clock.passed();
                    target.health().was_not_recognised(&target.config.name, reason, passed);
                    self.report_health(target).await;
                }
            }
        }
        Ok(Some(due.into_iter().filter(is_leaver).collect()))
    }

    /// Starts the work on groups, if there is any and no account is being worked on. Members follow
    /// after their accounts.
    fn start_groups(self: &Arc<Self>, target: &Arc<Target>, state: &mut PushState) -> bool {
        let is_idle = state.under_way.is_empty()
            && !target.config.groups.is_empty()
            && state.groups_until <= self.clock.passed();
        if !is_idle || !target.work.has_group_work.swap(false, Ordering::AcqRel) {
            return false;
        }
        let grouping = Arc::clone(&state.grouping);
        let (engine, target) = (Arc::clone(self), Arc::clone(target));
        state.under_way.spawn(async move {
            let done = engine.sync_groups(&target).await;
            if done.is_err() {
                target.work.has_group_work.store(true, Ordering::Release);
            }
            drop(grouping);
            done.map(|is_refused| Task::Groups { is_refused })
        });
        true
    }

    /// Works on one counterpart, and stores the result. A probe is the work on a target that is
    /// down.
    async fn push_one(
        &self,
        exchange: &Exchange<'_>,
        row: CounterpartRow,
        followed: &Followed,
        permission: Permission,
        is_probe: bool,
    ) -> Result<(), Halt> {
        let target = exchange.target;
        let mut work = Work::on(row);
        let former = work.row.problem;
        let done = exchange.work(&mut work, followed, permission).await;
        let now = self.clock.now();
        let name = &target.config.name;
        let (again, is_refusing) = self.take_evidence(exchange, &work.row, &done);
        match &done {
            // The fault is one of the target, and no user is blamed. Leavers have their own backoff.
            Ok(()) | Err(Halt::Later { extent: Extent::Account, .. })
                if is_refusing && work.row.due.lane != Some(Lane::Leaver) =>
            {
                work.row.problem = former;
                work.row.due = still_due(&work.row, now);
            }
            Ok(()) => work.row.due = after_work(&work.row, now),
            Err(Halt::Later { reason, after, extent }) => {
                work.row.due = match extent {
                    // The pause of the target is over before it is tried again. No user is blamed.
                    Extent::Busy => still_due(&work.row, now),
                    Extent::Target if is_probe => still_due(&work.row, now),
                    Extent::Target if is_first_again(&work.row) => {
                        let due = still_due(&work.row, now);
                        Due { attempts: due.attempts.saturating_add(1), ..due }
                    }
                    Extent::Target | Extent::Account => {
                        after_failure(name.as_str(), &work.row, *after, now)
                    }
                };
                work.row.answer.get_or_insert_with(|| reason.clone());
            }
            Err(Halt::Unauthorized(_) | Halt::Engine(_)) => {}
        }
        if let Some(problem) = work.row.problem
            && is_quarantine(problem)
            && former != Some(problem)
        {
            work.events.push(quarantined(target, &work.row, problem, followed, now));
        }
        let settled = work.settled(SettledBy::Push);
        self.store.settle(name, std::slice::from_ref(&settled), &self.clock).await?;
        if !again.is_empty() {
            self.store.retry_counterparts(name, &again, now).await?;
        }
        let mut frees_a_name = settled.before.user_name != settled.after.user_name;
        // The holder may have given the name up before this row said that it waits for it.
        if let Some((wanted, holder)) = &work.contested {
            frees_a_name |= self.store.holder_of_name(name, wanted).await? != Some(*holder);
        }
        if frees_a_name {
            self.store.retry_contested(name, now).await?;
        }
        // Steps that a run did not admit although it was asked wait for the next run.
        if work.waits && !work.is_admitted() {
            target.work.ask(work.user());
        }
        done
    }

    /// Takes the evidence of the work on one counterpart. Returns the users to try again, and whether
    /// this one was refused by a fault of the target.
    fn take_evidence(
        &self,
        exchange: &Exchange<'_>,
        row: &CounterpartRow,
        done: &Result<(), Halt>,
    ) -> (BTreeSet<UserId>, bool) {
        let is_about_account =
            matches!(done, Ok(()) | Err(Halt::Later { extent: Extent::Account, .. }));
        if !is_about_account {
            return (BTreeSet::new(), false);
        }
        let evidence = exchange.evidence();
        let target = exchange.target;
        let lane = row.due.lane.unwrap_or(Lane::Run);
        let mut health = target.health();
        let passed = self.clock.passed();
        let again = health.note(&target.config.name, (row.account.user, lane), &evidence, passed);
        (again, matches!(evidence, Evidence::Refused(_)) && health.is_refusing())
    }

    /// Takes the end of one piece of work.
    async fn ended(
        &self,
        target: &Target,
        state: &mut PushState,
        ended: Result<Result<Task, Halt>, tokio::task::JoinError>,
    ) {
        let name = &target.config.name;
        match ended {
            Ok(Ok(Task::Counterpart)) => {
                target.work.has_group_work.store(true, Ordering::Release);
            }
            Ok(Ok(Task::Groups { is_refused })) => {
                target.health().answers();
                self.ended_groups(target, state, is_refused);
            }
            Ok(Err(Halt::Later { extent: Extent::Account, .. })) => {}
            Ok(Err(Halt::Later { reason, after, .. })) => {
                target.health().fails(name, reason, after, self.clock.passed());
            }
            Ok(Err(Halt::Unauthorized(reason))) => {
                self.refuse(target, RefusalKind::Unauthorized, &reason).await;
            }
            Ok(Err(Halt::Engine(error))) => {
                tracing::error!(scim_target = %name, "{name}: work on a counterpart failed: {}", chain(&error));
                state.paused_until = self.clock.passed() + SECRET_INTERVAL;
            }
            Err(panic) => {
                tracing::error!(scim_target = %name, "{name}: work on a counterpart panicked: {panic}");
                state.paused_until = self.clock.passed() + SECRET_INTERVAL;
            }
        }
        self.report_health(target).await;
    }

    /// Takes the end of work on groups, which is repeated after a refusal.
    fn ended_groups(&self, target: &Target, state: &mut PushState, is_refused: bool) {
        if !is_refused {
            (state.group_failures, state.groups_until) = (0, Duration::ZERO);
            return;
        }
        let jitter = jitter(target.config.name.as_str(), 0, state.group_failures);
        state.groups_until = self.clock.passed() + backoff(state.group_failures, jitter);
        state.group_failures = state.group_failures.saturating_add(1);
        target.work.has_group_work.store(true, Ordering::Release);
    }

    /// Reports that a target cannot be used, or that it can be used again.
    async fn report_health(&self, target: &Target) {
        let name = &target.config.name;
        let change = target.health().report(self.clock.now());
        match change {
            None => {}
            Some(HealthChange::Worse(reason)) => {
                tracing::warn!(scim_target = %name, "{name}: the target cannot be used, and is tried again: {reason}");
                let error = serde_json::json!({ "error": reason });
                self.tell(target, "target.unreachable", error).await;
            }
            Some(HealthChange::Recovered) => {
                tracing::info!(scim_target = %name, "{name}: the target answers again");
                self.tell(target, "target.recovered", serde_json::json!({})).await;
            }
        }
    }

    /// Stores that the target gets no requests until its secret changes or an operator unlocks it.
    pub(in crate::engine) async fn refuse(&self, target: &Target, kind: RefusalKind, reason: &str) {
        let name = &target.config.name;
        let secret = target.client.secret_identity();
        let refusal = TargetRefusal { kind, reason: reason.to_owned(), secret };
        let mut is_new = false;
        let changed = self
            .change_target_state(target, |state| {
                is_new = state.refused.as_ref() != Some(&refusal);
                state.refused = Some(refusal);
            })
            .await;
        if let Err(error) = changed {
            tracing::error!(scim_target = %name, "{name}: cannot store a refusal: {}", chain(&error));
        }
        if is_new {
            let remedy = match kind {
                RefusalKind::Unauthorized => {
                    format!("replace the secret, or run rosterctl target unlock {name}")
                }
                RefusalKind::Foreign => format!(
                    "check url and token; only if this is the right service: rosterctl target unlock {name}"
                ),
            };
            tracing::error!(scim_target = %name, "{name}: nothing is sent: {reason}; {remedy}");
            let kind = match kind {
                RefusalKind::Unauthorized => "target.unauthorized",
                RefusalKind::Foreign => "target.foreign",
            };
            self.tell(target, kind, serde_json::json!({ "error": reason, "remedy": remedy })).await;
        }
    }

    /// Records an event about a target.
    pub(in crate::engine) async fn tell(
        &self,
        target: &Target,
        kind: &'static str,
        after: serde_json::Value,
    ) {
        let name = &target.config.name;
        let cause = EventCause {
            actor: Actor::rosterd(),
            run: None,
            account: Some(target.config.account.clone()),
            at: self.clock.now(),
        };
        let event = Event::about(kind, name.as_str(), &cause, serde_json::Value::Null, after);
        if let Err(error) = self.store.record(&[event], &self.clock).await {
            tracing::error!(scim_target = %name, "{name}: cannot record an event: {}", chain(&error));
        }
    }
}

impl From<Halt> for crate::engine::EngineError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Engine(error) => error,
            other => Self::Target(other.to_string()),
        }
    }
}

/// Returns the work that is left after all steps were done. A refused account is tried once a day.
fn after_work(row: &CounterpartRow, now: Timestamp) -> Due {
    let seq = row.due.seq;
    match row.problem {
        Some(
            ProvisionProblem::Refused
            | ProvisionProblem::Contested
            | ProvisionProblem::TakenInvisibly,
        ) => Due {
            at: Some(now.plus(QUARANTINE_RETRY)),
            lane: Some(Lane::Run),
            attempts: 0,
            failing_since: None,
            ..row.due.clone()
        },
        _ => Due { seq, ..Due::default() },
    }
}

/// Returns the work after an attempt at a target that is down or busy. It is due as before, and the
/// others of its lane go first.
fn still_due(row: &CounterpartRow, now: Timestamp) -> Due {
    Due { at: Some(now), failing_since: row.due.failing_since.or(Some(now)), ..row.due.clone() }
}

/// Returns whether a leaver is tried first when its target is back. One whose own request brings the
/// target down again and again backs off like others.
fn is_first_again(row: &CounterpartRow) -> bool {
    row.due.lane == Some(Lane::Leaver) && row.due.attempts < MAX_OUTAGES
}

/// Returns the work after a failed attempt.
fn after_failure(
    target: &str,
    row: &CounterpartRow,
    after: Option<Duration>,
    now: Timestamp,
) -> Due {
    let attempts = row.due.attempts;
    let is_leaver = row.due.lane == Some(Lane::Leaver);
    let longest = if is_leaver { MAX_LEAVER_BACKOFF } else { MAX_BACKOFF };
    let wait = backoff(attempts, jitter(target, row.due.seq, attempts)).min(longest);
    Due {
        at: Some(now.plus(wait.max(after.unwrap_or_default().min(MAX_BACKOFF)))),
        attempts: attempts.saturating_add(1),
        failing_since: Some(row.due.failing_since.unwrap_or(now)),
        ..row.due.clone()
    }
}

fn quarantined(
    target: &Target,
    row: &CounterpartRow,
    problem: ProvisionProblem,
    followed: &Followed,
    now: Timestamp,
) -> Event {
    let cause = EventCause {
        actor: Actor::rosterd(),
        run: row.due.run,
        account: Some(followed.handle.clone()),
        at: now,
    };
    let after = serde_json::json!({
        "target": target.config.name,
        "remote_id": row.account.id,
        "problem": problem,
        "answer": row.answer,
    });
    let (kind, user) = ("provision.quarantined", row.account.user);
    Event::about(kind, user, &cause, serde_json::Value::Null, after)
}
