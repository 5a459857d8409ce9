//! The documents of directories.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{CheckOutcome, DirectoryCondition as DirectoryState, Phase};
use crate::model::{ChangeVerb, RunMode, Trigger};

/// Document of `GET /v1/directories`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Directories {
    /// The configured directories, ordered by name.
    pub directories: Vec<DirectoryStatus>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Status of one directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryStatus {
    /// Name of the directory.
    pub name: String,
    /// Handle of its account.
    pub account: String,
    /// State, with the most urgent first.
    pub state: DirectoryState,
    /// Server of the last successful run.
    pub server: Option<String>,
    /// Its servers, in order of preference.
    #[serde(default)]
    pub servers: Vec<ServerStatus>,
    /// Whether change notifications are followed.
    pub live: bool,
    /// The run under way.
    #[serde(default)]
    pub running: Option<RunUnderWay>,
    /// Start of the last run.
    pub last_attempt: Option<String>,
    /// End of the last successful run.
    pub last_success: Option<String>,
    /// End of the last complete read.
    pub last_complete_read: Option<String>,
    /// Time of the next scheduled run.
    pub next_run: Option<String>,
    /// End of the pause.
    pub paused_until: Option<String>,
    /// Number of its managed users by status.
    pub users: ManagedCounts,
    /// Number of changes that wait for approval.
    pub held: u64,
    /// Number of quarantined entries.
    pub quarantined: u64,
    /// Changes that wait for the end of quiet hours.
    #[serde(default)]
    pub quiet: Option<QuietWait>,
    /// Sentences about problems, each with its remedy.
    pub attention: Vec<String>,
}

/// Changes that wait for the end of quiet hours.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuietWait {
    /// End of the quiet hours.
    pub until: String,
    /// Number of people by the kind of their first change.
    pub people: BTreeMap<ChangeVerb, u64>,
}

/// Status of one server of a directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServerStatus {
    /// URL of the server.
    pub url: String,
    /// Whether runs use this server.
    pub in_use: bool,
    /// Whether the last attempt to connect succeeded.
    pub reachable: Option<bool>,
    /// First failure since the last success.
    pub failing_since: Option<String>,
    /// Reason for which the server is not used.
    pub reason: Option<String>,
    /// End of its certificate's validity.
    pub certificate_until: Option<String>,
    /// Whether it holds a writable copy of the domain.
    pub writable: Option<bool>,
    /// AD site of the server.
    pub site: Option<String>,
    /// Time since which its changes are followed beside those of the server in use.
    #[serde(default)]
    pub followed_since: Option<String>,
}

/// Number of managed users by status.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ManagedCounts {
    /// Users who may sign in.
    pub active: u64,
    /// Users with a cause of suspension.
    pub suspended: u64,
}

/// The run under way.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunUnderWay {
    /// Id of the run.
    pub id: String,
    /// People that the run reads.
    pub mode: RunMode,
    /// Trigger of the run.
    pub trigger: Trigger,
    /// Start of the run.
    pub started_at: String,
    /// Progress of the run.
    pub progress: Progress,
}

/// Document of `GET /v1/directories/{name}/progress`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Number of entries read.
    pub entries: u64,
    /// Number of entries of the last complete read; 0 without one.
    pub expected: u64,
    /// Phase of the run.
    pub phase: Phase,
}

/// `GET /v1/directories/{name}/check`: the requirements of a run, checked one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Name of the directory.
    pub directory: String,
    /// Whether no step failed.
    pub ok: bool,
    /// The steps, in the order of the check.
    pub steps: Vec<CheckStep>,
}

/// One step of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStep {
    /// Subject of the step: `secret`, `keytab`, `dns`, `tcp`, `tls`, `kdc`, `ticket`, `bind`,
    /// `identity`, `clock`, `base`, `paging`, `rights`, `deleted objects`, `filter`, `attributes`,
    /// `groups`, `changes`, `directory`, `people`, `store`.
    pub name: String,
    /// Server of the step, if it concerns one server.
    pub server: Option<String>,
    /// Result of the step.
    pub outcome: CheckOutcome,
    /// Finding, as a sentence.
    pub finding: String,
    /// Remedy, as a sentence.
    pub remedy: Option<String>,
}

/// Document of `POST /v1/directories/{name}/pause`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Duration, such as `8h`; at most `7d`, four hours by default.
    #[serde(rename = "for", default)]
    pub duration: Option<String>,
}

/// `POST /v1/directories/{name}/rename`: the new name of a directory that is no longer configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryRenaming {
    /// The configured name that receives the stored data.
    pub to: String,
}
