//! The status of the daemon.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::directories::DirectoryStatus;
use super::hooks::HookCounts;
use super::targets::TargetStatus;

/// Document of `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DaemonStatus")]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Start of the daemon.
    pub started_at: String,
    /// The configured directories, ordered by name.
    pub directories: Vec<DirectoryStatus>,
    /// The targets, ordered by name; the removed ones that have accounts last.
    #[serde(default)]
    pub targets: Vec<TargetStatus>,
    /// Deliveries that have not succeeded.
    pub hooks: HookCounts,
    /// The store itself.
    #[serde(default)]
    pub store: StoreStatus,
    /// The rosterds on a shared store; absent where the store is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// The state of the store.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// Sentences about what needs attention, each with its remedy.
    #[serde(default)]
    pub attention: Vec<String>,
}
