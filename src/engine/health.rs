//! The health of a directory after its last run, and the events of its changes.

use serde_json::json;

use crate::engine::scope_warning::ends_with_plan;
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
    /// The last run succeeded.
    Well {
        /// The warnings of the last full run.
        full: Vec<Attention>,
        /// Further warnings of the last run over some people.
        partial: Vec<Attention>,
    },
    /// The last run failed.
    Failing(String),
    /// The last full read was incomplete. Only a complete one ends this state.
    Incomplete(String),
}

impl Health {
    fn error(&self) -> Option<&String> {
        match self {
            Self::Failing(error) | Self::Incomplete(error) => Some(error),
            Self::Unknown | Self::Well { .. } => None,
        }
    }

    fn attention(&self) -> impl Iterator<Item = &Attention> {
        let (full, partial): (&[Attention], &[Attention]) = match self {
            Self::Well { full, partial } => (full, partial),
            _ => (&[], &[]),
        };
        full.iter().chain(partial)
    }

    /// Returns the health after a run. A scoped run that succeeds does not clear the warnings of a
    /// full run. It adds its own, because a live run may be the first to see an empty group.
    ///
    /// A warning that ends with a held plan is no part of the health: the status reads it from the
    /// store.
    pub(super) fn after(run: &Run, was: &Self) -> Self {
        let warnings = || run.warnings.iter().filter(|warning| !ends_with_plan(warning));
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
            (_, _, was @ Self::Incomplete(_)) if run.mode != RunMode::Full => was.clone(),
            (_, _, Self::Well { full, .. }) if run.mode != RunMode::Full => {
                let is_new = |warning: &&Attention| !full.contains(warning);
                let partial = warnings().filter(is_new).cloned().collect();
                Self::Well { full: full.clone(), partial }
            }
            _ => Self::Well { full: warnings().cloned().collect(), partial: Vec::new() },
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
            (None, None) if self.attention().any(|now| was.attention().all(|old| old != now)) => {
                "directory.attention"
            }
            _ => return None,
        };
        let after = match self {
            Self::Failing(error) | Self::Incomplete(error) => json!({ "error": error }),
            Self::Well { .. } => json!({ "attention": self.attention().collect::<Vec<_>>() }),
            Self::Unknown => json!({}),
        };
        Some(Event::about(kind, directory, cause, serde_json::Value::Null, after))
    }
}
