//! Accounts: the teams and enterprises that users belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::is_label;
use super::{AccountId, Timestamp};

/// The immutable name of an account: `[a-z0-9-]{1,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(String);

/// Why a text is no handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an account handle: use 1 to 63 of a-z, 0-9 and -")]
pub struct HandleError(String);

impl Handle {
    /// The handle, if `text` is one.
    pub fn parse(text: &str) -> Result<Self, HandleError> {
        if is_label(text) { Ok(Self(text.to_owned())) } else { Err(HandleError(text.to_owned())) }
    }

    /// The handle as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an account is. Its first verified domain makes it an enterprise, releasing its last makes it a team.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// Invites people of any domain nobody has claimed.
    Team,
    /// Holds at least one verified domain; manages everybody in it.
    Enterprise,
}

impl AccountKind {
    /// `team` or `enterprise`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Enterprise => "enterprise",
        }
    }
}

/// What the people of an account may do; applied by whoever asks for sign-in decisions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one policy of the product, named as operators name it"
)]
pub struct Policies {
    /// Shared control in screen sharing.
    pub screen_share_control: bool,
    /// Outbound calling to join meetings.
    pub outbound_calling: bool,
    /// Sign-in through the external provider's app.
    pub external_app_sign_in: bool,
    /// Whether users that no directory manages may sign in at all.
    pub external_users: bool,
    /// Regions allowed; empty means all.
    pub regions: BTreeSet<String>,
}

/// Why a policy was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No such key.
    #[error(
        "there is no policy \"{0}\"; the policies are screen-share-control, outbound-calling, external-app-sign-in, external-users and regions"
    )]
    UnknownKey(String),
    /// A value of another type.
    #[error("policy {key} takes true or false, not \"{value}\"")]
    NotBoolean {
        /// The policy.
        key: String,
        /// What was given.
        value: String,
    },
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
    /// The policies of `self` that differ from `other`'s, as JSON.
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

/// An account, as changes and events name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountRef {
    /// Its id.
    pub id: AccountId,
    /// Its handle.
    pub handle: Handle,
}

/// One account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its immutable handle.
    pub handle: Handle,
    /// Its free name.
    pub name: String,
    /// Team or enterprise.
    pub kind: AccountKind,
    /// Its policies.
    pub policies: Policies,
    /// Its users by status (`active`, `suspended`, `invited`, `released`).
    pub users: BTreeMap<super::Status, u64>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Account {
    /// How changes and events name it.
    pub fn reference(&self) -> AccountRef {
        AccountRef { id: self.id, handle: self.handle.clone() }
    }
}
