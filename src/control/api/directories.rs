//! Directories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /v1/directories`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Directories {
    /// By name.
    pub directories: Vec<DirectoryStatus>,
}

/// How one directory stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryStatus {
    /// Its name.
    pub name: String,
    /// The handle of its account.
    pub account: String,
    /// `ok`, `no-account`, `no-domain`, `paused`, `degraded`, `plan-only` or `starting`.
    pub state: String,
    /// The server of the last successful run.
    pub server: Option<String>,
    /// Whether change notifications are followed.
    pub live: bool,
    /// When a run last began.
    pub last_attempt: Option<String>,
    /// When one last ended well.
    pub last_success: Option<String>,
    /// When one last read everything.
    pub last_complete_read: Option<String>,
    /// When the next scheduled one is due.
    pub next_run: Option<String>,
    /// Until when it is paused.
    pub paused_until: Option<String>,
    /// Managed users.
    pub users: ManagedCounts,
    /// Changes that wait for an operator.
    pub held: u64,
    /// Entries that cannot be used.
    pub quarantined: u64,
    /// What needs attention, as sentences.
    pub attention: Vec<String>,
}

/// Managed users of a directory.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ManagedCounts {
    /// Who may sign in.
    pub active: u64,
    /// Who may not.
    pub suspended: u64,
}

/// How far the run in progress has come.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Entries read.
    pub entries: u64,
    /// Entries of the last complete read; 0 when there was none.
    pub expected: u64,
    /// `connecting`, `reading`, `confirming`, `asking` (a gate), `applying`.
    pub phase: String,
}

/// `GET /v1/directories/{name}/check`: what a run would need, looked at step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The directory.
    pub directory: String,
    /// Whether no step failed.
    pub ok: bool,
    /// The steps, in the order they were taken.
    pub steps: Vec<CheckStep>,
}

/// One step of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStep {
    /// What was looked at: `secret`, `dns`, `tcp`, `tls`, `bind`, `identity`, `clock`, `base`, `paging`, `rights`,
    /// `deleted objects`, `filter`, `attributes`, `groups`, `directory`.
    pub name: String,
    /// The server it is about, where it is about one.
    pub server: Option<String>,
    /// `ok`, `warning`, `failed` or `skipped`.
    pub outcome: String,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// `POST /v1/directories/{name}/pause`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// How long, such as `8h`, at most `7d`; four hours without it.
    #[serde(rename = "for", default)]
    pub duration: Option<String>,
}

/// `POST /v1/directories/{name}/rename`: the directory that `{name}` has become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryRenaming {
    /// The name it has in the configuration now.
    pub to: String,
}
