//! Reloads of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /v1/reload`: what came of reading the configuration again. A file with problems is refused, and changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Every directory that is or was configured.
    pub directories: Vec<ReloadedDirectory>,
    /// Every hook that is or was configured.
    #[serde(default)]
    pub hooks: Vec<ReloadedHook>,
    /// Keys that changed in the file and take effect only when the daemon starts.
    pub needs_restart: Vec<String>,
}

/// What a reload means for one directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedDirectory {
    /// Its name.
    pub name: String,
    /// `added`, `unchanged`, `changed`, `rescoped` (its next run only plans) or `removed` (its users stay as they are).
    pub outcome: String,
}

/// What a reload means for one hook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedHook {
    /// Its name.
    pub name: String,
    /// `added`, `unchanged`, `changed` or `removed` (what it has not been told waits for it to come back).
    pub outcome: String,
}
