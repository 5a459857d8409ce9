//! Invitations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
