//! The status of the daemon.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::directories::DirectoryStatus;
use super::hooks::HookCounts;

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// rosterd's version.
    pub version: String,
    /// When the daemon started.
    pub started_at: String,
    /// Every configured directory.
    pub directories: Vec<DirectoryStatus>,
    /// Deliveries.
    pub hooks: HookCounts,
}
