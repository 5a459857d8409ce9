//! Plans that are not stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use crate::model::QuarantineReason;

/// `GET /v1/directories/{name}/plan`: the plan of a run at this moment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Always `null`, because the plan is not stored.
    pub id: Option<String>,
    /// Name of the directory.
    pub directory: String,
    /// The changes in the order of the plan.
    pub changes: Vec<Change>,
    /// Entries that cannot be used.
    pub quarantined: Vec<Quarantined>,
    /// Reason why the read was not complete.
    pub error: Option<String>,
    /// Sentences about problems that did not stop the read.
    pub warnings: Vec<String>,
}

/// `POST /v1/directories/{name}/preview`: the plan under another configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Previewing {
    /// Text of the configuration file. Servers, service account and time limits stay the present ones.
    pub configuration: String,
    /// Its parts in `conf.d`, in the order of their names.
    #[serde(default)]
    pub parts: Vec<ConfigurationPart>,
}

/// A file in `conf.d`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationPart {
    /// Name of the file in the folder.
    pub name: String,
    /// Text of the file.
    pub text: String,
}

/// An entry that cannot be used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// objectGUID of the person.
    pub object_guid: String,
    /// Distinguished name of the entry.
    pub dn: String,
    /// Reason of the quarantine.
    pub reason: QuarantineReason,
}
