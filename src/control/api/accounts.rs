//! The documents of accounts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::domains::Domain;
use crate::model::AccountKind;

/// Document of `GET /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// The accounts, ordered by handle.
    pub accounts: Vec<Account>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// The state of one account.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Id of the account.
    pub id: String,
    /// Handle, which never changes.
    pub handle: String,
    /// Name to show.
    pub name: String,
    /// An account is an enterprise while it holds a verified domain.
    pub kind: AccountKind,
    /// Domain claims of the account.
    pub domains: Vec<Domain>,
    /// Names of the directories connected to the account.
    pub directories: Vec<String>,
    /// Policies by name.
    pub policies: Value,
    /// Number of its users by status.
    pub users: UserCounts,
    /// Time of its creation.
    pub created_at: String,
}

/// Number of users by status.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserCounts {
    /// Users who may sign in.
    pub active: u64,
    /// Users with a cause of suspension.
    pub suspended: u64,
    /// Users who were invited and have not signed in.
    pub invited: u64,
    /// Former users of the account.
    pub released: u64,
}

/// Document of `POST /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// The handle matches `[a-z0-9-]{1,63}`.
    pub handle: String,
    /// Name to show.
    pub name: String,
}

/// Document of `POST /v1/accounts/{handle}/rename`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renaming {
    /// The new name. The handle stays.
    pub name: String,
}

/// Document of `POST /v1/accounts/{handle}/delete`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// The handle once more, as a confirmation.
    pub confirm: String,
}

/// `POST /v1/accounts/{handle}/policies`: values by the name of their policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NewPolicies(pub BTreeMap<String, PolicyValue>);

/// Value of a policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PolicyValue {
    /// Whether the policy allows it.
    Flag(bool),
    /// Several values, such as regions.
    List(Vec<String>),
    /// A value as text: `true`, `false`, or a list separated by commas.
    Text(String),
}
