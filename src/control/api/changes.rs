//! Changes of plans and runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change of a user, planned or stored.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Kind of the change: `create`, `invite`, `register`, `link`, `unlink`, `move`, `suspend`,
    /// `reactivate`, `tier`, `update`, `transfer`, `release` or `remove`.
    pub kind: String,
    /// Class whose limit the change counts towards; `null` where no limit applies.
    pub class: Option<String>,
    /// Id of the user.
    pub user_id: String,
    /// Primary address of the user.
    pub email: Option<String>,
    /// objectGUID of the person.
    pub object_guid: Option<String>,
    /// Reason of the suspension that begins or ends.
    pub reason: Option<String>,
    /// Evidence: server, object, attribute, value and time.
    pub evidence: Value,
    /// Reason why the change waits for approval: `limit`, `cluster`, `protected`, `no-witness`,
    /// `plan-only`, `gate`, `grace-period` or `rejected`.
    pub held: Option<String>,
    /// Values before the change.
    pub before: Value,
    /// Values after the change.
    pub after: Value,
    /// Result of the change; absent in a plan that is not stored: `applied`, `held` or `dropped`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// Key of its group in the held plan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
}
