//! Sign-in decisions.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize as _;

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
