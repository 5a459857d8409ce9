//! Accounts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::domains::Domain;

/// `GET /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// By handle.
    pub accounts: Vec<Account>,
}

/// One account.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its handle.
    pub handle: String,
    /// Its name.
    pub name: String,
    /// `team` or `enterprise`.
    pub kind: String,
    /// The domains it holds or claims.
    pub domains: Vec<Domain>,
    /// The directories connected to it.
    pub directories: Vec<String>,
    /// Its policies.
    pub policies: Value,
    /// Its users.
    pub users: UserCounts,
    /// When it was created.
    pub created_at: String,
}

/// Users of an account by status.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserCounts {
    /// Who may sign in.
    pub active: u64,
    /// Who may not.
    pub suspended: u64,
    /// Asked to join.
    pub invited: u64,
    /// No longer of the account.
    pub released: u64,
}

/// `POST /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// `[a-z0-9-]{1,63}`.
    pub handle: String,
    /// The name.
    pub name: String,
}

/// `POST /v1/accounts/{handle}/rename`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renaming {
    /// The new name. The handle stays.
    pub name: String,
}

/// `POST /v1/accounts/{handle}/delete`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// The handle of the account once more.
    pub confirm: String,
}

/// `POST /v1/accounts/{handle}/policies`: policies by name, each `true`, `false`, or for `regions` a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NewPolicies(pub BTreeMap<String, PolicyValue>);

/// What a policy is set to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PolicyValue {
    /// Whether people may.
    Flag(bool),
    /// Several, such as regions.
    List(Vec<String>),
    /// The same as text: `true`, `false`, or a list with commas.
    Text(String),
}
