//! Errors (RFC 9457).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind of error: `about:blank`, or `urn:rosterd:problem:unknown-route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
}

/// The kind of a problem that says that the API of this daemon has no such route: its client may be of another version.
pub const UNKNOWN_ROUTE: &str = "urn:rosterd:problem:unknown-route";
