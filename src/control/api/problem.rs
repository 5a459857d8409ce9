//! Errors (RFC 9457).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Problem type: `about:blank`, or `urn:rosterd:problem:` and `unknown-route`, `no-store` or
    /// `not-leader`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Reason phrase of the HTTP status.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// Sentence with cause, subject and remedy.
    pub detail: String,
    /// The node that leads, where that one is to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The time since which it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Problem type of a request for an unknown route. The client may be of another version.
pub const UNKNOWN_ROUTE: &str = "urn:rosterd:problem:unknown-route";

/// The type of a problem whose cause is a store that does not answer.
pub const NO_STORE: &str = "urn:rosterd:problem:no-store";

/// The type of a problem whose cause is that another rosterd leads.
pub const NOT_LEADER: &str = "urn:rosterd:problem:not-leader";
