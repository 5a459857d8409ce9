//! Domain claims.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /v1/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domains {
    /// By domain.
    pub domains: Vec<Domain>,
}

/// One domain claim.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domain {
    /// Its id.
    pub id: String,
    /// The handle of its account.
    pub account: String,
    /// The domain, as an A-label.
    pub domain: String,
    /// The same as people write it, where that is something else: `bücher.example`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unicode: Option<String>,
    /// `pending`, `verified`, `lapsed` or `released`.
    pub state: String,
    /// The TXT record to add.
    pub record: TxtRecord,
    /// When it was claimed.
    pub claimed_at: String,
    /// When it was verified.
    pub verified_at: Option<String>,
    /// When the record was last looked up.
    pub checked_at: Option<String>,
    /// What that found.
    pub finding: Option<String>,
}

/// A DNS TXT record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TxtRecord {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `POST /v1/accounts/{handle}/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// The domain.
    pub domain: String,
}

/// `POST /v1/domains/{domain}/release`: whom it touches, and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The domain, as an A-label.
    pub domain: String,
    /// The handle of its account.
    pub account: String,
    /// Whether it was only looked at (`dry_run=true`), and nothing was done.
    pub dry_run: bool,
    /// Whether it was the account's last domain: then the account is a team again.
    pub becomes_team: bool,
    /// The users that are touched, by id.
    pub users: Vec<ReleasedUser>,
}

/// What the release of a domain does to one user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedUser {
    /// Its id.
    pub id: String,
    /// Its primary address.
    pub primary_email: Option<String>,
    /// `released`, `stays-suspended` or `loses-address` (a secondary one).
    pub effect: String,
}
