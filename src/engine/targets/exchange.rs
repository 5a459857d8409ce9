//! The exchange of one request with a target, at its pace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::engine::targets::Target;
use crate::engine::targets::health::Evidence;
use crate::engine::targets::pace::{TaskLane, Turn};
use crate::engine::{Engine, EngineError};
use crate::model::Lane;
use crate::reconcile::provision::{Capabilities, Lesson, Outcome, Refusal, Request, meaning};
use crate::scim::ScimError;
use crate::store::StoreError;

/// The reason why the work on a user or a run stops before its end.
#[derive(Debug)]
pub(in crate::engine) enum Halt {
    /// The work is repeated later.
    Later { reason: String, after: Option<Duration>, extent: Extent },
    /// The target refuses rosterd.
    Unauthorized(String),
    /// The store failed.
    Engine(EngineError),
}

/// The requests that a failure concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Extent {
    /// Those of one account.
    Account,
    /// All requests to the target, which is down.
    Target,
    /// All requests for a time that the target asks for. The work is as good as before.
    Busy,
}

impl From<EngineError> for Halt {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<ScimError> for Halt {
    fn from(error: ScimError) -> Self {
        match error {
            ScimError::Secret(_) | ScimError::TokenRefused(_) => {
                Self::Unauthorized(error.to_string())
            }
            ScimError::Unreachable(_) | ScimError::TimedOut(_) | ScimError::TooLong => {
                Self::Later { reason: error.to_string(), after: None, extent: Extent::Target }
            }
            ScimError::Paused(time) => {
                Self::Later { reason: error.to_string(), after: Some(time), extent: Extent::Busy }
            }
        }
    }
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Later { reason, .. } | Self::Unauthorized(reason) => f.write_str(reason),
            Self::Engine(error) => f.write_str(&crate::telemetry::chain(error)),
        }
    }
}

impl Halt {
    /// Returns the halt after a refusal that concerns one account alone.
    pub(in crate::engine) fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), after: None, extent: Extent::Account }
    }

    /// Returns the halt after an answer that fits no request of this kind.
    pub(in crate::engine) fn unexpected(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Refused(refusal) | Outcome::Conflict(refusal) => {
                Self::later(refusal.to_string())
            }
            Outcome::TooLarge => Self::later("the target says that the request is too large"),
            other => Self::later(format!("the target gave an answer that does not fit: {other:?}")),
        }
    }
}

impl Target {
    /// Waits until the target wants requests again, and then for the turn of one.
    pub(super) async fn turn(&self, task: &TaskLane, clock: &Clock) -> Result<Turn<'_>, ScimError> {
        let rest = || self.pace.rest(clock.passed());
        loop {
            let wait = rest();
            if wait > MAX_PATIENCE {
                return Err(ScimError::Paused(wait));
            }
            if !wait.is_zero() {
                sleep(wait.min(REST_INTERVAL)).await;
                continue;
            }
            let turn = self.pace.turn(task).await;
            // The target may have become busy meanwhile.
            if rest().is_zero() {
                return Ok(turn);
            }
        }
    }
}

/// The requests of one task to a target.
pub(in crate::engine) struct Exchange<'a> {
    pub(in crate::engine) engine: &'a Engine,
    pub(in crate::engine) target: &'a Target,
    lane: Arc<TaskLane>,
    /// How often a busy target is asked again. A run repeats a page, and a push its whole work.
    patience: u32,
    sent: AtomicU64,
    /// The strongest statement of the answers so far.
    evidence: Mutex<Evidence>,
}

impl<'a> Exchange<'a> {
    pub(in crate::engine) fn new(engine: &'a Engine, target: &'a Target, lane: Lane) -> Self {
        Self::of_task(engine, target, Arc::new(TaskLane::new(lane)))
    }

    /// Returns the requests of a task whose lane may change.
    pub(super) fn of_task(engine: &'a Engine, target: &'a Target, lane: Arc<TaskLane>) -> Self {
        let (sent, evidence) = (AtomicU64::new(0), Mutex::default());
        Self { engine, target, lane, patience: 0, sent, evidence }
    }

    pub(in crate::engine) fn patient(self, patience: u32) -> Self {
        Self { patience, ..self }
    }

    /// Returns how many requests were sent.
    pub(in crate::engine) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the statement that the answers make about the target.
    pub(super) fn evidence(&self) -> Evidence {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, evidence: Evidence) {
        let mut known = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        if evidence > *known {
            *known = evidence;
        }
    }

    pub(in crate::engine) async fn capabilities(&self) -> Result<Capabilities, Halt> {
        Ok(self.engine.capabilities(self.target).await?)
    }

    /// Sends a request when it is its turn. Returns the outcomes that concern one account.
    pub(in crate::engine) async fn ask(&self, request: &Request) -> Result<Outcome, Halt> {
        let mut patience = self.patience;
        // A refused media type is learned, and the request repeated once.
        let mut lessons = 0..2;
        while lessons.next().is_some() {
            let capabilities = self.capabilities().await?;
            let turn = self.target.turn(&self.lane, &self.engine.clock).await?;
            let now = self.engine.clock.now();
            let begun = tokio::time::Instant::now();
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = self.target.client.send(request, &capabilities, now).await;
            drop(turn);
            self.target.pace.retract(&self.lane);
            let outcome = answer.as_ref().map_or("none".to_owned(), |a| a.status.to_string());
            self.engine.store.counters.target_asked(
                self.target.config.name.as_str(),
                request.operation.as_str(),
                &outcome,
                begun.elapsed(),
            );
            let outcome = meaning(request, &answer?);
            self.note(Evidence::of(request.operation, &outcome));
            match outcome {
                Outcome::Learned(lesson @ Lesson::PlainJson) if capabilities.scim_json => {
                    self.engine.learn(self.target, lesson).await?;
                }
                Outcome::Learned(lesson @ (Lesson::NoPatch | Lesson::NoFilter)) => {
                    self.engine.learn(self.target, lesson).await?;
                    return Ok(Outcome::Learned(lesson));
                }
                Outcome::Unauthorized(refusal) => {
                    return Err(Halt::Unauthorized(refusal.to_string()));
                }
                Outcome::Retry { refusal, after, is_down } => {
                    if refusal.status == TOO_MANY {
                        self.target.pace.slow_down(std::time::Instant::now());
                    }
                    let is_busy = is_down && matches!(refusal.status, TOO_MANY | UNAVAILABLE);
                    if is_busy {
                        let rest = after.unwrap_or(DEFAULT_REST);
                        self.target.pace.rest_until(self.engine.clock.passed() + rest);
                        if patience > 0 && rest <= MAX_PATIENCE {
                            patience -= 1;
                            lessons = 0..2;
                            continue;
                        }
                    }
                    let extent = match is_down {
                        _ if is_busy => Extent::Busy,
                        true => Extent::Target,
                        false => Extent::Account,
                    };
                    return Err(Halt::Later { reason: refusal.to_string(), after, extent });
                }
                Outcome::NotScim(refusal) => return Err(not_scim(&refusal)),
                outcome => return Ok(outcome),
            }
        }
        Err(Halt::later("the target refuses both application/scim+json and application/json"))
    }
}

/// HTTP 429 (RFC 6585).
const TOO_MANY: u16 = 429;

/// HTTP 503 (RFC 9110, 15.6.4).
const UNAVAILABLE: u16 = 503;

/// The rest of a busy target that names no time.
const DEFAULT_REST: Duration = Duration::from_secs(1);

/// The longest rest for which a request waits. Work that meets a longer one is repeated after it.
const MAX_PATIENCE: Duration = Duration::from_mins(1);

/// The longest sleep in a rest, because the clock of a test may be set forward.
const REST_INTERVAL: Duration = Duration::from_millis(100);

fn not_scim(refusal: &Refusal) -> Halt {
    let reason = format!("{refusal}, which is no answer of a SCIM service");
    Halt::Later { reason, after: None, extent: Extent::Target }
}
