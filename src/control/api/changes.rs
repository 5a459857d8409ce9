//! Changes of plans and runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change of a plan or run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `create`, `invite`, `register`, `link`, `unlink`, `suspend`, `reactivate`, `tier`, `update`, `transfer`, `release` or `remove`.
    pub kind: String,
    /// What it counts as.
    pub class: Option<String>,
    /// Whom.
    pub user_id: String,
    /// The address it is shown by.
    pub email: Option<String>,
    /// The person.
    pub object_guid: Option<String>,
    /// The reason of a suspension, or of what is lifted.
    pub reason: Option<String>,
    /// What was seen.
    pub evidence: Value,
    /// Why it waits: `limit`, `cluster`, `protected`, `no-witness`, `plan-only`, `gate`, `grace-period`, `rejected`.
    pub held: Option<String>,
    /// What was.
    pub before: Value,
    /// What is, or would be.
    pub after: Value,
    /// `applied`, `held`, `dropped`; absent in a plan that was only made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// The key of the group of the held plan that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
}
