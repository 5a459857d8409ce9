//! Users, what of them cannot be used, and sign-in.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize as _;

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

/// A list of users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// In order of id.
    pub users: Vec<User>,
    /// Give this as `after` for the next page; `null` at the end.
    #[serde(default)]
    pub next: Option<String>,
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

/// `GET /v1/quarantine`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantine {
    /// By directory, the oldest first.
    pub quarantined: Vec<QuarantinedEntry>,
}

/// One entry that cannot be used as it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuarantinedEntry {
    /// The directory.
    pub directory: String,
    /// The person.
    pub object_guid: String,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Option<String>,
    /// The id of its user, if it has one.
    pub user: Option<String>,
    /// What to do about it.
    pub remedy: String,
}

/// `GET /v1/users/{who}/contacts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contacts {
    /// By name.
    pub contacts: Vec<Contact>,
}

/// A colleague, as colleagues see each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// The user's id.
    pub id: String,
    /// Name to show.
    pub display_name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Family name.
    pub surname: Option<String>,
    /// The address shown.
    pub primary_email: Option<String>,
    /// Job title, department and so on, where known.
    pub profile: Value,
}

/// `POST /v1/sign-ins`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The address, as it was typed.
    pub address: String,
    /// The password, for whom a directory manages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
    /// `external`, when the external provider has authenticated the address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authenticated_by: Option<String>,
    /// The IP address of the client that the password came from, if it is known: one that guesses cannot then use up the attempts
    /// of all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_address: Option<String>,
}

impl Drop for SignIn {
    /// Wipes the password.
    fn drop(&mut self) {
        if let Some(password) = &mut self.password {
            password.zeroize();
        }
    }
}

impl fmt::Debug for SignIn {
    /// Without the password, and whose it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn")
            .field("authenticated_by", &self.authenticated_by)
            .finish_non_exhaustive()
    }
}

/// Whether somebody may sign in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInDecision {
    /// `allow`, `deny`, `redirect` (to the external provider) or `unavailable` (the directory cannot be asked, or too many sign in).
    pub decision: String,
    /// The reason of a `deny`, always `credentials`. The log and the event `sign_in.refused` have the details.
    pub reason: Option<String>,
    /// Seconds to wait after `unavailable`, as in the header Retry-After (RFC 9110).
    pub retry_after: Option<u64>,
    /// Of `allow`: the handle of the account.
    pub account: Option<String>,
    /// Of `allow`: the user's id.
    pub user: Option<String>,
    /// Of `allow`: `basic` or `pro`.
    pub tier: Option<String>,
    /// Of `allow`: the account's policies, by name.
    pub policies: Option<Value>,
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

/// `GET /v1/users/{who}/explain`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Who was asked about, as it was asked.
    pub who: String,
    /// The user, if there is one.
    pub user: Option<User>,
    /// What would make it otherwise, a sentence each.
    pub remedies: Vec<String>,
    /// What the directories have of the person.
    pub entries: Vec<ExplainedEntry>,
    /// The directories that have nobody like that, or could not be asked.
    pub elsewhere: Vec<Elsewhere>,
    /// What rosterd did, the latest first; at most 20.
    pub history: Vec<Done>,
}

/// What one directory has of a person, and what that means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedEntry {
    /// The directory.
    pub directory: String,
    /// The server that was asked.
    pub server: String,
    /// The person.
    pub object_guid: String,
    /// Where the entry stands, or stood.
    pub dn: String,
    /// What was found, in a sentence.
    pub found: String,
    /// In or out, and by which rule; `null` where there is no entry that can be read.
    pub scope: Option<Looked>,
    /// Enabled or not, expired or not.
    pub state: Vec<Looked>,
    /// The tier it has by the directory, and by which rule.
    pub tier: Option<String>,
    /// The ways from the groups it is in to the configured ones, each from the nearest on.
    pub groups: Vec<Vec<String>>,
    /// Each address, and which claim covers it.
    pub addresses: Vec<Looked>,
    /// Why there is no user for it, a sentence each; empty where there is one, or would be.
    pub obstacles: Vec<String>,
    /// Why it cannot be used as it is.
    pub quarantine: Option<String>,
    /// What to do about that.
    pub remedy: Option<String>,
    /// What a run would do now; `held` says what would wait.
    pub would: Vec<super::Change>,
    /// What of it waits for an operator, or was refused by one.
    pub waits: Option<String>,
    /// What could not be read, and what an operator should know.
    pub warnings: Vec<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Looked {
    /// The attribute.
    pub attribute: String,
    /// What it holds; empty where it holds nothing, or could not be read.
    pub value: String,
    /// What that means.
    pub meaning: String,
}

/// A directory that has nobody like that, or could not be asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Elsewhere {
    /// The directory.
    pub directory: String,
    /// What was looked for, or went wrong.
    pub why: String,
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
    pub change: super::Change,
}
