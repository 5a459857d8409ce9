//! Changes of plans and runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{ChangeClass, ChangeOutcome, ChangeVerb, HoldReason, Reason, Tier};

/// The person whom a change concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChangedPerson {
    /// Distinguished name of the entry.
    pub dn: Option<String>,
    /// Department of the person.
    pub department: Option<String>,
    /// Distinguished name of the manager.
    pub manager: Option<String>,
    /// Tier after the change.
    pub tier: Option<Tier>,
    /// Note of an operator on the person.
    pub note: Option<String>,
}

/// One change of a user, planned or stored.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Kind of the change.
    pub kind: ChangeVerb,
    /// Class whose limit the change counts towards; `null` where no limit applies.
    pub class: Option<ChangeClass>,
    /// Id of the user.
    pub user_id: String,
    /// Primary address of the user.
    pub email: Option<String>,
    /// Display name of the user before the change; of a joiner, the new one.
    #[serde(default)]
    pub display_name: Option<String>,
    /// sAMAccountName of the user, before the change or of a joiner.
    #[serde(default)]
    pub sam_account_name: Option<String>,
    /// userPrincipalName of the user, before the change or of a joiner.
    #[serde(default)]
    pub user_principal_name: Option<String>,
    /// objectGUID of the person.
    pub object_guid: Option<String>,
    /// The person, as far as the directory or the user says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub person: Option<ChangedPerson>,
    /// Reason of the suspension that begins or ends.
    pub reason: Option<Reason>,
    /// Evidence: server, object, attribute, value and time.
    pub evidence: Value,
    /// Reason why the change waits for approval.
    pub held: Option<HoldReason>,
    /// Values before the change.
    pub before: Value,
    /// Values after the change.
    pub after: Value,
    /// Result of the change; absent in a plan that is not stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<ChangeOutcome>,
    /// Time when it was held or applied; absent in a plan that is not stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
    /// Key of its group in the held plan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
}
