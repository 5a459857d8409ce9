//! The caller of a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Document of `GET /v1/caller`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Caller")]
pub struct Caller {
    /// Name of the user, as events name it.
    pub actor: String,
    /// The uid, as the kernel reports it.
    pub uid: u32,
    /// Roles: `viewer`, `operator` and `authenticator`.
    pub roles: Vec<String>,
}

impl Caller {
    /// Returns whether the caller may change something.
    pub fn is_operator(&self) -> bool {
        self.roles.iter().any(|role| role == "operator")
    }
}
