//! The event log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Document of `GET /v1/events`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// Number of older events that match. Absent with `after`, and for an account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub older: Option<u64>,
}

/// One event: its sequence number, and the CloudEvents document.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Sequence number in the log.
    pub seq: u64,
    /// The CloudEvents 1.0 document.
    #[serde(flatten)]
    pub document: Value,
}

/// `GET /v1/events/verify`: the result of following the hash chain of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogCheck {
    /// Whether no entry was edited, deleted or moved.
    pub intact: bool,
    /// Number of entries with an unbroken chain, from the first one on.
    pub entries: u64,
    /// Sequence number of the first entry that breaks the chain.
    pub broken_at: Option<u64>,
    /// Fault of that entry.
    pub finding: Option<String>,
    /// Head of an intact log, as `SEQ:HASH`. Noted elsewhere, it later shows whether entries were cut off.
    pub head: Option<String>,
    /// Sequence number of the first entry with a keyed hash ([events] key-file); `null` without one.
    #[serde(default)]
    pub keyed_from: Option<u64>,
    /// Sentences on the limits of the proof.
    #[serde(default)]
    pub proves: Option<String>,
}
