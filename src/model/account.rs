//! Accounts: the teams and enterprises that users belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{AccountId, is_label};
use super::time::Timestamp;
use super::user::Status;
use super::words::words;

/// The immutable name of an account: `[a-z0-9-]{1,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an account handle: use 1 to 63 of a-z, 0-9 and -")]
pub struct HandleError(String);

impl Handle {
    pub fn parse(text: &str) -> Result<Self, HandleError> {
        if is_label(text) { Ok(Self(text.to_owned())) } else { Err(HandleError(text.to_owned())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

words! {
    /// The kind of an account. The first verified domain makes it an enterprise; releasing the last
    /// one makes it a team.
    pub enum AccountKind {
        /// Invites people of any domain that no account has claimed.
        Team = "team",
        /// Holds at least one verified domain, and manages all users in it.
        Enterprise = "enterprise",
    }
}

/// The policies of an account. The service that asks for sign-in decisions applies them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one policy of the product, named as operators name it"
)]
pub struct Policies {
    /// Users may share control in screen sharing.
    pub screen_share_control: bool,
    /// Users may call out to join meetings.
    pub outbound_calling: bool,
    /// Users may sign in through the external provider's app.
    pub external_app_sign_in: bool,
    /// Users that no directory manages may sign in.
    pub external_users: bool,
    /// Allowed regions; empty means all.
    pub regions: BTreeSet<String>,
}

/// The reason why a policy was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "there is no policy \"{0}\"; the policies are screen-share-control, outbound-calling, external-app-sign-in, external-users and regions"
    )]
    UnknownKey(String),
    #[error("policy {key} takes true or false, not \"{value}\"")]
    NotBoolean { key: String, value: String },
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            screen_share_control: true,
            outbound_calling: true,
            external_app_sign_in: true,
            external_users: true,
            regions: BTreeSet::new(),
        }
    }
}

impl Policies {
    /// Returns the policies that differ from `other`'s, as JSON.
    pub fn difference(&self, other: &Self) -> serde_json::Value {
        let (mine, theirs) = (serde_json::json!(self), serde_json::json!(other));
        let different = mine
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| theirs.get(key.as_str()) != Some(*value));
        serde_json::Value::Object(
            different.map(|(key, value)| (key.clone(), value.clone())).collect(),
        )
    }

    /// Sets one policy from its text form.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), PolicyError> {
        let flag = match key {
            "screen-share-control" => &mut self.screen_share_control,
            "outbound-calling" => &mut self.outbound_calling,
            "external-app-sign-in" => &mut self.external_app_sign_in,
            "external-users" => &mut self.external_users,
            "regions" => {
                self.regions = value
                    .split(',')
                    .map(str::trim)
                    .filter(|r| !r.is_empty() && *r != "all")
                    .map(str::to_owned)
                    .collect();
                return Ok(());
            }
            _ => return Err(PolicyError::UnknownKey(key.to_owned())),
        };
        *flag = match value {
            "true" => true,
            "false" => false,
            _ => {
                return Err(PolicyError::NotBoolean {
                    key: key.to_owned(),
                    value: value.to_owned(),
                });
            }
        };
        Ok(())
    }
}

/// The id and handle of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRef {
    pub id: AccountId,
    pub handle: Handle,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    pub id: AccountId,
    pub handle: Handle,
    /// The display name, which may change.
    pub name: String,
    pub kind: AccountKind,
    pub policies: Policies,
    /// The number of users by status.
    pub users: BTreeMap<Status, u64>,
    pub created_at: Timestamp,
}

impl Account {
    pub fn reference(&self) -> AccountRef {
        AccountRef { id: self.id, handle: self.handle.clone() }
    }
}
