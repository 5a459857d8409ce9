//! Colleagues of a user.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Document of `GET /v1/users/{who}/contacts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contacts {
    /// Active users of the same account, each page ordered by name.
    pub contacts: Vec<Contact>,
    /// Value of `after` for the next page; `null` on the last one.
    #[serde(default)]
    pub next: Option<String>,
}

/// A colleague, with the attributes that colleagues may see.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// Id of the user.
    pub id: String,
    /// Name to show.
    pub display_name: Option<String>,
    /// Given name, from `givenName`.
    pub given_name: Option<String>,
    /// Family name, from `sn`.
    pub surname: Option<String>,
    /// Address to show.
    pub primary_email: Option<String>,
    /// Job title, department and other attributes, where known.
    pub profile: Value,
}
