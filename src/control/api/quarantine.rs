//! Quarantined entries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /v1/quarantine`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantine {
    /// By directory, the oldest first.
    pub quarantined: Vec<QuarantinedEntry>,
}

/// One entry that cannot be used as it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuarantinedEntry {
    /// The directory.
    pub directory: String,
    /// The person.
    pub object_guid: String,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Option<String>,
    /// The id of its user, if it has one.
    pub user: Option<String>,
    /// What to do about it.
    pub remedy: String,
}
