//! Runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;

/// A list of runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// Newest first.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The directory; `null` for an operator's write.
    pub directory: Option<String>,
    /// What set it off.
    pub trigger: String,
    /// `full`, `delta` or `scoped`.
    pub mode: String,
    /// `running`, `succeeded`, `held`, `failed` or `cancelled`.
    pub state: String,
    /// Who asked for it.
    pub actor: Option<String>,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What was read.
    pub read: Read,
    /// What was applied.
    pub changes: Changes,
    /// How many changes of the directory wait for approval afterwards.
    pub held: u64,
    /// How many entries were quarantined.
    pub quarantined: u64,
    /// How many changes were dropped.
    pub dropped: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// What an operator should know although it went on.
    pub warnings: Vec<String>,
    /// The run that it took back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undoes: Option<String>,
    /// Why it read everything, where changes were to be followed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub full_read_reason: Option<String>,
}

/// What a run read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// How many entries.
    pub entries: u64,
    /// Whether that was all.
    pub complete: bool,
    /// From which server.
    pub server: Option<String>,
}

/// How many changes of each kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Users that came to be.
    pub create: u64,
    /// Users whose attributes or addresses changed.
    pub update: u64,
    /// Suspensions.
    pub suspend: u64,
    /// Suspensions lifted.
    pub reactivate: u64,
    /// Tiers changed.
    pub tier: u64,
    /// Users linked.
    pub link: u64,
    /// Users released.
    pub release: u64,
}

/// `GET /v1/runs/{id}`: the run with its changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The run that took it back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone_by: Option<String>,
    /// Its changes, applied, held and dropped, in order; at most 10,000.
    pub applied: Vec<Change>,
}

/// What was asked for is under way; how it ends is not awaited.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {}
