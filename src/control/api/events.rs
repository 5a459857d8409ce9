//! The event log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /v1/events`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// One event: its place in the log, and the CloudEvents document.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place in the log.
    pub seq: u64,
    /// The CloudEvents 1.0 document.
    #[serde(flatten)]
    pub document: Value,
}

/// `GET /v1/events/verify`: whether anything of the log was edited, deleted or put elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogCheck {
    /// Whether all entries are as they were written.
    pub intact: bool,
    /// How many entries follow from each other, from the first one on.
    pub entries: u64,
    /// The first entry that does not.
    pub broken_at: Option<u64>,
    /// What is wrong there.
    pub finding: Option<String>,
    /// The end of an intact log, as `SEQ:HASH`. Noted elsewhere, it shows later whether entries were cut off.
    pub head: Option<String>,
    /// The first entry that is chained with a key ([events] key-file); `null` where none is.
    #[serde(default)]
    pub keyed_from: Option<u64>,
    /// A sentence on what an intact log proves, and what it does not.
    #[serde(default)]
    pub proves: Option<String>,
}
