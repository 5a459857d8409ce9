//! Hooks and their deliveries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /v1/hooks`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    /// By name.
    pub hooks: Vec<Hook>,
}

/// How one hook does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Which events it is told.
    pub events: Vec<String>,
    /// The program, or the server; never the whole of an address.
    pub target: String,
    /// `ok`, `failing` (it did not take what it was last told), `disabled` (it answered 410 Gone) or `removed` (it is
    /// configured no longer, and left deliveries behind).
    pub state: String,
    /// Deliveries that are not done.
    pub pending: u64,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Deliveries that were done, in all.
    pub delivered: u64,
    /// How many seconds the oldest delivery that is not done has been waiting.
    pub lag_seconds: u64,
    /// When something was last delivered.
    pub last_delivered: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<String>,
    /// Of one that is `removed`: until when it may come back and go on; then what waits is given up, and it is forgotten.
    pub kept_until: Option<String>,
}

/// Deliveries that are not done.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct HookCounts {
    /// Waiting.
    pub pending: u64,
    /// Dead-lettered.
    pub failed: u64,
    /// Waiting for hooks that are configured no longer; not counted above.
    #[serde(default)]
    pub removed: u64,
    /// Sentences on why no program of a hook or gate can be run, each with its remedy.
    #[serde(default)]
    pub attention: Vec<String>,
}

/// `GET /v1/hooks/{name}/deliveries`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// Newest event first. Of those that are done, a hook's latest 10,000 are kept.
    pub deliveries: Vec<Delivery>,
}

/// One event on its way to a hook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The event's place in the log.
    pub seq: u64,
    /// The event's id.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `pending`, `delivered` or `failed` (given up).
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is, or was, to be delivered.
    pub since: String,
    /// When it is tried next; `null` while an earlier one about the same subject is not done.
    pub next_at: Option<String>,
    /// When it was delivered or given up.
    pub done_at: Option<String>,
    /// What went wrong at the last attempt.
    pub error: Option<String>,
    /// The last of what the program printed, or the server answered.
    pub output: Option<String>,
}

/// `POST /v1/hooks/{name}/test`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The hook.
    pub hook: String,
    /// The id of the sample.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the hook took it.
    pub delivered: bool,
    /// Why not.
    pub error: Option<String>,
    /// The last of what the program printed, or the server answered.
    pub output: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// `POST /v1/hooks/{name}/redeliver`: which of the deliveries that were given up; without anything, all of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// The event at this place in the log, given up or delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Events of this type; `user.*` is all that begin so.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// About this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Not earlier than this, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// `POST /v1/hooks/{name}/replay`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Since when, RFC 3339.
    pub since: String,
}

/// Deliveries that are made again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Redelivered {
    /// The hook.
    pub hook: String,
    /// How many.
    pub deliveries: u64,
}
