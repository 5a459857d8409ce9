//! Answers, and the SCIM error.

use serde_json::{Value, json};

/// An answer before it is HTTP.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    pub(crate) location: Option<String>,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body: Some(body), location: None }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, body: None, location: None }
    }

    pub(crate) fn created(body: Value) -> Self {
        let location = body["meta"]["location"].as_str().map(str::to_owned);
        Self { status: 201, body: Some(body), location }
    }

    pub(crate) fn error(status: u16, scim_type: &str, detail: &str) -> Self {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.to_string(), "detail": detail,
        });
        if !scim_type.is_empty() {
            body["scimType"] = json!(scim_type);
        }
        Self { status, body: Some(body), location: None }
    }

    pub(crate) fn missing(what: &str) -> Self {
        Self::error(404, "", &format!("{what} not found"))
    }
}
