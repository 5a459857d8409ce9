//! Colleagues of a user.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /v1/users/{who}/contacts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contacts {
    /// By name.
    pub contacts: Vec<Contact>,
}

/// A colleague, as colleagues see each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// The user's id.
    pub id: String,
    /// Name to show.
    pub display_name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Family name.
    pub surname: Option<String>,
    /// The address shown.
    pub primary_email: Option<String>,
    /// Job title, department and so on, where known.
    pub profile: Value,
}
