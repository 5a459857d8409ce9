//! The documents of runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use crate::model::{RunMode, RunState, Trigger};

/// Document of `GET /v1/runs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// The runs, the newest first.
    pub runs: Vec<Run>,
    /// Number of older runs that match.
    #[serde(default)]
    pub older: u64,
}

/// The record of one run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Id of the run.
    pub id: String,
    /// Name of the directory or target; `null` for an operator's write.
    pub directory: Option<String>,
    /// Whether the run is one of a target.
    #[serde(default)]
    pub target: bool,
    /// Trigger of the run.
    pub trigger: Trigger,
    /// People that the run reads.
    pub mode: RunMode,
    /// State of the run.
    pub state: RunState,
    /// Actor of a requested run.
    pub actor: Option<String>,
    /// Start of the run.
    pub started_at: String,
    /// End of the run.
    pub finished_at: Option<String>,
    /// Extent of the read.
    pub read: Read,
    /// Number of applied changes by kind.
    pub changes: Changes,
    /// Number of changes of the directory that wait for approval afterwards.
    pub held: u64,
    /// Number of quarantined entries among those that the run read; of a target, the number of its
    /// users that cannot be provisioned.
    pub quarantined: u64,
    /// Number of dropped changes, whose user had changed since the plan.
    pub dropped: u64,
    /// Reason of its failure.
    pub error: Option<String>,
    /// Sentences about problems that did not stop the run.
    pub warnings: Vec<String>,
    /// Id of the run that it undoes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undoes: Option<String>,
    /// Reason why an incremental run became a full one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub full_read_reason: Option<String>,
}

/// Extent of a run's read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// Number of entries.
    pub entries: u64,
    /// Whether the read was complete.
    pub complete: bool,
    /// The server that was read.
    pub server: Option<String>,
}

/// Number of changes by kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Created and invited users.
    pub create: u64,
    /// Users with changed attributes or addresses.
    pub update: u64,
    /// Causes of suspension added.
    pub suspend: u64,
    /// Causes of suspension lifted.
    pub reactivate: u64,
    /// Changed tiers of users.
    pub tier: u64,
    /// Linked and moved users.
    pub link: u64,
    /// Released and removed users.
    pub release: u64,
}

/// Document of `GET /v1/runs/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// The run itself.
    #[serde(flatten)]
    pub run: Run,
    /// Id of the run that undid it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone_by: Option<String>,
    /// Its applied, held and dropped changes in order.
    pub applied: Vec<Change>,
    /// `after` of the next page of changes; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// The answer of a request that does not wait for the end of the run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {}
