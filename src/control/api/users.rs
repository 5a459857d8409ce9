//! The documents of users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::Change;
use super::targets::TargetAccount;
use crate::model::{QuarantineReason, Reason, Status, Tier, Timestamp};

/// A list of users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// The users, in the requested order.
    pub users: Vec<User>,
    /// Value of `after` for the next page; `null` on the last one.
    #[serde(default)]
    pub next: Option<String>,
}

/// The state of one user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Id of the user.
    pub id: String,
    /// Handle of the account.
    pub account: String,
    /// Status of the user.
    pub status: Status,
    /// Tier of the user.
    pub tier: Tier,
    /// Address to show.
    pub primary_email: Option<String>,
    /// Other addresses that sign-in accepts.
    pub secondary_emails: Vec<String>,
    /// Name to show.
    pub display_name: Option<String>,
    /// Given name, from `givenName`.
    pub given_name: Option<String>,
    /// Family name, from `sn`.
    pub surname: Option<String>,
    /// Logon names, job title, department and other attributes, where known.
    pub profile: Value,
    /// Link to a directory; `null` for a user that no directory manages.
    pub directory: Option<UserLink>,
    /// Time at which the account expires in the directory, by `accountExpires` or the leave date.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Suspension of the user.
    pub suspension: Option<UserSuspension>,
    /// Suspension that an operator has scheduled.
    #[serde(default)]
    pub scheduled_suspension: Option<ScheduledSuspension>,
    /// Note of an operator.
    #[serde(default)]
    pub note: Option<Note>,
    /// Reasons why the entry, or an aspect of it, is quarantined.
    pub quarantine: Vec<QuarantineReason>,
    /// Overrides of an operator, such as `disabled` or `tier:pro`.
    pub overrides: Vec<String>,
    /// Time of the invitation.
    pub invited_at: Option<String>,
    /// Time of the first sign-in.
    pub joined_at: Option<String>,
    /// Time of the last sign-in, to the hour.
    #[serde(default)]
    pub last_sign_in_at: Option<String>,
    /// Time of its creation.
    pub created_at: String,
    /// Time of the last change.
    pub updated_at: String,
}

/// The link of a user to a directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserLink {
    /// Name of the directory.
    pub name: String,
    /// objectGUID of the person.
    pub object_guid: String,
    /// Last known distinguished name of the person.
    pub dn: String,
}

/// The suspension of a user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserSuspension {
    /// The first reason in the order of their weight.
    pub reason: Reason,
    /// Time of the oldest cause.
    pub since: String,
    /// All causes of the suspension.
    pub causes: Vec<UserCause>,
}

/// One cause of a suspension.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserCause {
    /// Reason of the suspension.
    pub reason: Reason,
    /// Time when the cause was added.
    pub since: String,
    /// Actor or directory that added it.
    pub by: String,
    /// Evidence: server, object, attribute, value and time.
    pub evidence: Value,
}

/// Document of `GET /v1/users/{who}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserDetail {
    /// The user itself.
    #[serde(flatten)]
    pub user: User,
    /// Accounts of the user at targets.
    #[serde(default)]
    pub targets: Vec<TargetAccount>,
    /// Changes of the user, the latest first; at most 20.
    #[serde(default)]
    pub history: Vec<Done>,
}

/// One stored change of a user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// Time of the change.
    pub at: String,
    /// Id of the run.
    pub run: String,
    /// The change itself.
    #[serde(flatten)]
    pub change: Change,
}

/// Document of `POST /v1/users/{who}/tier`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTier {
    /// The new tier.
    pub tier: Tier,
}

/// Document of `POST /v1/users/{who}/relink`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relinking {
    /// objectGUID of the new entry of the same person.
    pub object_guid: String,
}

/// Document of `POST /v1/users/{who}/suspend`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Comment for the log.
    #[serde(default)]
    pub reason: String,
    /// Time of the suspension (RFC 3339); at once without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
}

/// A suspension that an operator has scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduledSuspension {
    /// Time of the suspension.
    pub at: String,
    /// Operator who scheduled it.
    pub actor: String,
    /// Comment of the operator.
    pub reason: String,
}

/// A note of an operator on a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// Text of the note.
    pub text: String,
    /// Operator who wrote it.
    pub actor: String,
    /// Time of the note.
    pub at: String,
}

/// Document of `POST /v1/users/{who}/note`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNote {
    /// One line of at most 200 characters; `null` clears the note.
    #[schemars(length(max = 200))]
    pub text: Option<String>,
}

/// Document of `POST /v1/users/{who}/activate`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Activation {
    /// The user afterwards.
    #[serde(flatten)]
    pub user: User,
    /// Sentences on the causes that still suspend the user.
    pub remains: Vec<String>,
}
