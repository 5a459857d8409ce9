//! Hooks and their deliveries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::HookState;
use crate::store::DeliveryState;

/// Document of `GET /v1/hooks`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    /// The hooks, ordered by name.
    pub hooks: Vec<Hook>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// One hook and its backlog.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// Name of the hook.
    pub name: String,
    /// Event types that the hook receives.
    pub events: Vec<String>,
    /// The program, or the server without path and query.
    pub target: String,
    /// State of the hook.
    pub state: HookState,
    /// Number of deliveries in the backlog.
    pub pending: u64,
    /// Number of dead letters.
    pub failed: u64,
    /// Number of deliveries that succeeded.
    pub delivered: u64,
    /// Age of the oldest delivery in the backlog, in seconds.
    pub lag_seconds: u64,
    /// Time of the last delivery that succeeded.
    pub last_delivered: Option<String>,
    /// Error of the last failed attempt.
    pub last_error: Option<String>,
    /// Time of the last failed attempt.
    pub last_error_at: Option<String>,
    /// End of the retention of a `removed` hook. Its backlog becomes dead letters then, unless the hook is
    /// configured again before.
    pub kept_until: Option<String>,
}

/// Deliveries that have not succeeded.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct HookCounts {
    /// Number of deliveries in the backlog.
    pub pending: u64,
    /// Number of dead letters.
    pub failed: u64,
    /// Number of deliveries for removed hooks; not counted above.
    #[serde(default)]
    pub removed: u64,
    /// Sentences on why no program of a hook or gate can run, each with its remedy.
    #[serde(default)]
    pub attention: Vec<String>,
}

/// Document of `GET /v1/hooks/{name}/deliveries`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// The deliveries, the newest event first. The last 10,000 successful ones of a hook are kept.
    pub deliveries: Vec<Delivery>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

/// One event for one hook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Sequence number of the event.
    pub seq: u64,
    /// Id of the event.
    pub event: String,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Subject of the event.
    pub subject: String,
    /// State of the delivery; `failed` is a dead letter.
    pub state: DeliveryState,
    /// Number of attempts.
    pub attempts: u32,
    /// Time when the delivery was created.
    pub since: String,
    /// Time of the next attempt; `null` while an earlier delivery about the same subject is pending.
    pub next_at: Option<String>,
    /// Time when it succeeded or became a dead letter.
    pub done_at: Option<String>,
    /// Error of the last attempt.
    pub error: Option<String>,
    /// End of the program's output, or of the server's answer.
    pub output: Option<String>,
}

/// Document of `POST /v1/hooks/{name}/test`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Name of the hook.
    pub hook: String,
    /// Id of the sample event.
    pub event: String,
    /// Type of the sample event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the delivery succeeded.
    pub delivered: bool,
    /// Error of the delivery.
    pub error: Option<String>,
    /// End of the program's output, or of the server's answer.
    pub output: String,
    /// Duration in milliseconds.
    pub took_ms: u64,
}

/// `POST /v1/hooks/{name}/redeliver`: the dead letters to deliver again; all of them without a filter.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// Sequence number of one event, whose delivery may have succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Event type; `user.*` covers all types with this prefix.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Subject of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Earliest time of the event (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Document of `POST /v1/hooks/{name}/replay`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Earliest time of the events (RFC 3339).
    pub since: String,
}

/// Deliveries that were created again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Redelivered {
    /// Name of the hook.
    pub hook: String,
    /// Number of deliveries.
    pub deliveries: u64,
}
