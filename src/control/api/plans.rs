//! Plans that are not stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;

/// `GET /v1/directories/{name}/plan`: what a run would do now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// `null`: this plan is nowhere but here.
    pub id: Option<String>,
    /// The directory.
    pub directory: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What cannot be used.
    pub quarantined: Vec<Quarantined>,
    /// Why the read was not complete, if it was not.
    pub error: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// An entry that cannot be used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// The person.
    pub object_guid: String,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: String,
}
