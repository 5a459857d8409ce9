//! Errors (RFC 9457).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Problem type: `about:blank`, or `urn:rosterd:problem:unknown-route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Reason phrase of the HTTP status.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// Sentence with cause, subject and remedy.
    pub detail: String,
}

/// Problem type of a request for an unknown route. The client may be of another version.
pub const UNKNOWN_ROUTE: &str = "urn:rosterd:problem:unknown-route";

/// The type of a problem whose cause is a store that does not answer.
pub const NO_STORE: &str = "urn:rosterd:problem:no-store";
