//! The documents of quarantined entries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::QuarantineReason;

/// Document of `GET /v1/quarantine`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantine {
    /// The entries, by directory, the oldest first.
    pub quarantined: Vec<QuarantinedEntry>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// One quarantined entry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuarantinedEntry {
    /// Name of the directory.
    pub directory: String,
    /// objectGUID of the person.
    pub object_guid: String,
    /// Distinguished name of the entry.
    pub dn: String,
    /// Reason of the quarantine.
    pub reason: QuarantineReason,
    /// Time when the quarantine began.
    pub since: Option<String>,
    /// Id of the user, if the person has one.
    pub user: Option<String>,
    /// Remedy, as a sentence.
    pub remedy: String,
}
