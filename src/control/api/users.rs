//! Users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::Change;

/// A list of users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// In order of id.
    pub users: Vec<User>,
    /// Give this as `after` for the next page; `null` at the end.
    #[serde(default)]
    pub next: Option<String>,
}

/// One user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its id.
    pub id: String,
    /// The handle of its account.
    pub account: String,
    /// `invited`, `active`, `suspended` or `released`.
    pub status: String,
    /// `basic` or `pro`.
    pub tier: String,
    /// The address shown.
    pub primary_email: Option<String>,
    /// The others.
    pub secondary_emails: Vec<String>,
    /// Name to show.
    pub display_name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Family name.
    pub surname: Option<String>,
    /// Job title, department and so on, where known.
    pub profile: Value,
    /// The person it is linked to.
    pub directory: Option<UserLink>,
    /// Why it is suspended.
    pub suspension: Option<UserSuspension>,
    /// What of its entry cannot be used.
    pub quarantine: Vec<String>,
    /// Reasons an operator has overruled until AD changes.
    pub overrides: Vec<String>,
    /// When it was invited.
    pub invited_at: Option<String>,
    /// When it first signed in.
    pub joined_at: Option<String>,
    /// When it came to be.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
}

/// The person behind a user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserLink {
    /// The directory.
    pub name: String,
    /// The person.
    pub object_guid: String,
    /// Where it was last seen.
    pub dn: String,
}

/// Why a user is suspended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserSuspension {
    /// The weightiest reason.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// All causes.
    pub causes: Vec<UserCause>,
}

/// One cause.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserCause {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// By whom.
    pub by: String,
    /// What was seen.
    pub evidence: Value,
}

/// `GET /v1/users/{who}`: the user, with what was done to it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserDetail {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// What rosterd did, the latest first, each with what it rests on; at most 20.
    #[serde(default)]
    pub history: Vec<Done>,
}

/// One change that was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// When.
    pub at: String,
    /// In which run.
    pub run: String,
    /// What.
    #[serde(flatten)]
    pub change: Change,
}

/// `POST /v1/users/{who}/tier`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTier {
    /// `basic` or `pro`.
    pub tier: String,
}

/// `POST /v1/users/{who}/relink`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relinking {
    /// The person that it is now.
    pub object_guid: String,
}

/// `POST /v1/users/{who}/suspend`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/users/{who}/activate`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Activation {
    /// The user afterwards.
    #[serde(flatten)]
    pub user: User,
    /// Why it is still suspended, as sentences.
    pub remains: Vec<String>,
}
