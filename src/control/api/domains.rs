//! The documents of domain claims.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::ReleaseEffect;
use crate::model::ClaimState;

/// Document of `GET /v1/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domains {
    /// The claims, ordered by domain.
    pub domains: Vec<Domain>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// One domain claim.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domain {
    /// Id of the claim.
    pub id: String,
    /// Handle of the account.
    pub account: String,
    /// The domain in A-labels (RFC 5890).
    pub domain: String,
    /// The domain in U-labels, where it differs: `bücher.example`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unicode: Option<String>,
    /// State of the claim.
    pub state: ClaimState,
    /// The TXT record that verifies the claim.
    pub record: TxtRecord,
    /// Time of the claim.
    pub claimed_at: String,
    /// Time of the verification.
    pub verified_at: Option<String>,
    /// Time of the last lookup of the record.
    pub checked_at: Option<String>,
    /// Finding of the last lookup.
    pub finding: Option<String>,
}

/// A DNS TXT record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TxtRecord {
    /// Owner name of the record.
    pub name: String,
    /// Text of the record.
    pub value: String,
}

/// Document of `POST /v1/accounts/{handle}/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// The domain, in A-labels or U-labels.
    pub domain: String,
}

/// `POST /v1/domains/{domain}/release`: the effect of the release on users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The domain in A-labels (RFC 5890).
    pub domain: String,
    /// Handle of the account.
    pub account: String,
    /// Whether this was a dry run (`dry_run=true`).
    pub dry_run: bool,
    /// Whether the account becomes a team, because this was its last domain.
    pub becomes_team: bool,
    /// The affected users, ordered by id.
    pub users: Vec<ReleasedUser>,
}

/// Effect of the release of a domain on one user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedUser {
    /// Id of the user.
    pub id: String,
    /// Primary address of the user.
    pub primary_email: Option<String>,
    /// Effect on the user.
    pub effect: ReleaseEffect,
}
