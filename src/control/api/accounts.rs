//! Accounts, their domains and invitations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// `POST /v1/accounts/{handle}/invitations`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitations {
    /// Addresses. One text may hold several, between `;`, commas and white space.
    pub addresses: Vec<String>,
}

/// What came of inviting people, in the order they were given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invitations {
    /// One for each address.
    pub invitations: Vec<Invitation>,
}

/// What came of inviting one address.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The address, as it was given.
    pub address: String,
    /// `invited`, `already-here`, `elsewhere`, `other-domain` or `malformed`.
    pub outcome: String,
    /// The user's id, when it is here now.
    pub user: Option<String>,
    /// Why not, as a sentence.
    pub detail: Option<String>,
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

/// `GET /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// By handle.
    pub accounts: Vec<Account>,
}

/// `POST /v1/accounts/{handle}/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// The domain.
    pub domain: String,
}

/// One domain claim.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domain {
    /// Its id.
    pub id: String,
    /// The handle of its account.
    pub account: String,
    /// The domain, as an A-label.
    pub domain: String,
    /// The same as people write it, where that is something else: `bücher.example`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unicode: Option<String>,
    /// `pending`, `verified`, `lapsed` or `released`.
    pub state: String,
    /// The TXT record to add.
    pub record: TxtRecord,
    /// When it was claimed.
    pub claimed_at: String,
    /// When it was verified.
    pub verified_at: Option<String>,
    /// When the record was last looked up.
    pub checked_at: Option<String>,
    /// What that found.
    pub finding: Option<String>,
}

/// `POST /v1/domains/{domain}/release`: whom it touches, and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The domain, as an A-label.
    pub domain: String,
    /// The handle of its account.
    pub account: String,
    /// Whether it was only looked at (`dry_run=true`), and nothing was done.
    pub dry_run: bool,
    /// Whether it was the account's last domain: then the account is a team again.
    pub becomes_team: bool,
    /// The users that are touched, by id.
    pub users: Vec<ReleasedUser>,
}

/// What the release of a domain does to one user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedUser {
    /// Its id.
    pub id: String,
    /// Its primary address.
    pub primary_email: Option<String>,
    /// `released`, `stays-suspended` or `loses-address` (a secondary one).
    pub effect: String,
}

/// A DNS TXT record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TxtRecord {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `GET /v1/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domains {
    /// By domain.
    pub domains: Vec<Domain>,
}
