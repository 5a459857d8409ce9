//! The documents of invitations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::words;

/// Document of `POST /v1/accounts/{handle}/invitations`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitations {
    /// Addresses. One text may hold several, separated by `;`, commas or white space.
    pub addresses: Vec<String>,
}

/// The results of invitations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invitations {
    /// One result for each address, in the order of the request.
    pub invitations: Vec<Invitation>,
}

/// The result of one invitation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The address as given.
    pub address: String,
    /// Result of the invitation.
    pub outcome: InvitationOutcome,
    /// Id of the user, if the address belongs to the account now.
    pub user: Option<String>,
    /// Reason of a refusal, as a sentence.
    pub detail: Option<String>,
}

words! {
    /// Result of an invitation.
    pub enum InvitationOutcome {
        /// The user was invited.
        Invited = "invited",
        /// The account has a user with this address.
        AlreadyHere = "already-here",
        /// Another account has a user with this address.
        Elsewhere = "elsewhere",
        /// The account is an enterprise and does not hold the domain.
        OtherDomain = "other-domain",
        /// The text is no address.
        Malformed = "malformed",
    }
}
