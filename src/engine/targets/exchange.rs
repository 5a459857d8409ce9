//! The exchange of one request with a target, at its pace.

use std::time::Duration;

use crate::engine::targets::Target;
use crate::engine::{Engine, EngineError};
use crate::model::Lane;
use crate::reconcile::provision::{Capabilities, Lesson, Outcome, Refusal, Request, meaning};
use crate::scim::ScimError;
use crate::store::StoreError;

/// The reason why the work on a user or a run stops before its end.
#[derive(Debug)]
pub(in crate::engine) enum Halt {
    /// The work is repeated later.
    Later {
        reason: String,
        after: Option<Duration>,
        /// The target would refuse every other request, too.
        is_down: bool,
    },
    /// The target refuses rosterd.
    Unauthorized(String),
    /// The store failed.
    Engine(EngineError),
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
                Self::Later { reason: error.to_string(), after: None, is_down: true }
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
        Self::Later { reason: reason.into(), after: None, is_down: false }
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

/// The requests of one task to a target.
pub(in crate::engine) struct Exchange<'a> {
    pub(in crate::engine) engine: &'a Engine,
    pub(in crate::engine) target: &'a Target,
    pub(in crate::engine) lane: Lane,
}

impl Exchange<'_> {
    pub(in crate::engine) async fn capabilities(&self) -> Result<Capabilities, Halt> {
        Ok(self.engine.capabilities(self.target).await?)
    }

    /// Sends a request when it is its turn. Returns the outcomes that concern one account.
    pub(in crate::engine) async fn ask(&self, request: &Request) -> Result<Outcome, Halt> {
        // A refused media type is learned, and the request repeated once.
        for _ in 0..2 {
            let capabilities = self.capabilities().await?;
            self.target.pace.turn(self.lane).await;
            let now = self.engine.clock.now();
            let begun = tokio::time::Instant::now();
            let answer = self.target.client.send(request, &capabilities, now).await;
            let outcome = answer.as_ref().map_or("none".to_owned(), |a| a.status.to_string());
            self.engine.store.counters.target_asked(
                self.target.config.name.as_str(),
                request.operation.as_str(),
                &outcome,
                begun.elapsed(),
            );
            let answer = answer?;
            match meaning(request, &answer) {
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
                    return Err(Halt::Later { reason: refusal.to_string(), after, is_down });
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

fn not_scim(refusal: &Refusal) -> Halt {
    let reason = format!("{refusal}, which is no answer of a SCIM service");
    Halt::Later { reason, after: None, is_down: true }
}
