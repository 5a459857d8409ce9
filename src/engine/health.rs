//! The health of a directory after its last run, and the events of its changes.

use serde_json::json;

use crate::model::{Event, EventCause, RunMode, RunState};
use crate::store::Run;

/// A sentence about something that needs attention, with its remedy.
pub type Attention = String;

/// The health of a directory after its last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No run has ended yet.
    #[default]
    Unknown,
    /// The last run succeeded, with these warnings.
    Well(Vec<Attention>),
    /// The last run failed.
    Failing(String),
    /// The last full read was incomplete. Only a complete one ends this state.
    Incomplete(String),
}

impl Health {
    fn error(&self) -> Option<&String> {
        match self {
            Self::Failing(error) | Self::Incomplete(error) => Some(error),
            Self::Unknown | Self::Well(_) => None,
        }
    }

    /// Returns the health after a run. A scoped run that succeeds does not clear the warnings of a
    /// full run.
    pub(super) fn after(run: &Run, was: &Self) -> Self {
        match (&run.error, run.state, was) {
            (Some(error), RunState::Failed, was) => {
                let is_incomplete = run.mode == RunMode::Full && run.server.is_some()
                    || matches!(was, Self::Incomplete(_)) && run.mode != RunMode::Full;
                if is_incomplete {
                    Self::Incomplete(error.clone())
                } else {
                    Self::Failing(error.clone())
                }
            }
            (_, RunState::Cancelled, was) => was.clone(),
            (_, _, was @ (Self::Well(_) | Self::Incomplete(_))) if run.mode != RunMode::Full => {
                was.clone()
            }
            _ => Self::Well(run.warnings.clone()),
        }
    }

    /// Returns the event of a change for the better or the worse.
    pub(super) fn transition(
        &self,
        was: &Self,
        directory: &str,
        cause: &EventCause,
    ) -> Option<Event> {
        let kind = match (was.error(), self.error()) {
            (None, Some(_)) => "directory.unreachable",
            (Some(_), None) => "directory.recovered",
            (None, None) if matches!(self, Self::Well(now) if !now.is_empty()) && was != self => {
                "directory.attention"
            }
            _ => return None,
        };
        let after = match self {
            Self::Failing(error) | Self::Incomplete(error) => json!({ "error": error }),
            Self::Well(attention) => json!({ "attention": attention }),
            Self::Unknown => json!({}),
        };
        Some(Event::about(kind, directory, cause, serde_json::Value::Null, after))
    }
}
