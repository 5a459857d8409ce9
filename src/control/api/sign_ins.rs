//! The documents of sign-in decisions.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize as _;

use crate::engine::Denied;
use crate::model::Tier;
use crate::model::words;

/// Document of `POST /v1/sign-ins`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The address as typed.
    pub address: String,
    /// Password of a user that a directory manages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
    /// `external`, if the external provider has authenticated the address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authenticated_by: Option<String>,
    /// IP address of the client, if known. It has a rate limit of its own, so that one guessing
    /// client cannot use up the attempts of all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_address: Option<String>,
}

impl Drop for SignIn {
    /// Overwrites the password.
    fn drop(&mut self) {
        if let Some(password) = &mut self.password {
            password.zeroize();
        }
    }
}

impl fmt::Debug for SignIn {
    /// Omits the password and the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn")
            .field("authenticated_by", &self.authenticated_by)
            .finish_non_exhaustive()
    }
}

/// The decision on a sign-in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInDecision {
    /// The decision itself.
    pub decision: SignInVerdict,
    /// Reason of a `deny`. The log and the event `sign_in.refused` have the details.
    pub reason: Option<Denied>,
    /// Seconds to wait after `unavailable`, as in the header Retry-After (RFC 9110).
    pub retry_after: Option<u64>,
    /// Handle of the account, for `allow`.
    pub account: Option<String>,
    /// Id of the user, for `allow`.
    pub user: Option<String>,
    /// Tier of the user, for `allow`.
    pub tier: Option<Tier>,
    /// Policies of the account by name, for `allow`.
    pub policies: Option<Value>,
}

words! {
    /// Decision on a sign-in.
    pub enum SignInVerdict {
        /// The user may sign in.
        Allow = "allow",
        /// The user may not sign in.
        Deny = "deny",
        /// The external provider authenticates the address.
        Redirect = "redirect",
        /// The directory does not answer, or a rate limit is exceeded.
        Unavailable = "unavailable",
    }
}
