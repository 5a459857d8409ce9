//! Reloads of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::ReloadOutcome;

/// `POST /v1/reload`. A file with problems is refused and changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Directories of the old and the new configuration.
    pub directories: Vec<ReloadedDirectory>,
    /// Hooks of the old and the new configuration.
    #[serde(default)]
    pub hooks: Vec<ReloadedHook>,
    /// Targets of the old and the new configuration.
    #[serde(default)]
    pub targets: Vec<ReloadedTarget>,
    /// Changed keys that take effect only when the daemon starts.
    pub needs_restart: Vec<String>,
}

/// Effect of a reload on one directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedDirectory {
    /// Name of the directory.
    pub name: String,
    /// Effect of the reload. The users of a `removed` directory stay as they are.
    pub outcome: ReloadOutcome,
}

/// Effect of a reload on one hook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedHook {
    /// Name of the hook.
    pub name: String,
    /// Effect of the reload. The backlog of a `removed` hook is kept; a hook is never `rescoped`.
    pub outcome: ReloadOutcome,
}

/// Effect of a reload on one target.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedTarget {
    /// Name of the target.
    pub name: String,
    /// Effect of the reload. The accounts at a `removed` target stay as they are.
    pub outcome: ReloadOutcome,
}
