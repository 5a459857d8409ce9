//! Parameters and documents of requests.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::control::auth::peer::Caller;
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::model::Timestamp;

/// What is answered.
pub(in crate::control) type Answer<T> = Result<Json<T>, Refusal>;

pub(in crate::control) type Shared = State<Arc<Control>>;
pub(in crate::control) type By = Extension<Caller>;

/// The longest list in one answer, and how long one is when nothing is said.
const LONGEST: u64 = 1_000;
const USUAL: u64 = 200;

pub(in crate::control) fn limit(asked: Option<u64>) -> u64 {
    asked.unwrap_or(USUAL).clamp(1, LONGEST)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct WhatToFind {
    /// The words, each of which begins a name or an address.
    pub(in crate::control) q: String,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    pub(in crate::control) limit: Option<u64>,
}

/// One of our words, or a sentence that lists them.
pub(in crate::control) fn word<T>(
    what: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<Option<T>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Refusal::invalid(format!("\"{text}\" is no {what}: use {}", words.join(", ")))),
    }
}

pub(in crate::control) fn instant(text: &str) -> Result<Timestamp, Refusal> {
    let parsed = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    parsed.map_err(|_| {
        Refusal::invalid(format!("\"{text}\" is no time: write it as in 2026-11-26T08:00:00Z"))
    })
}

/// Reads the document of a request. It is an object: serde would take the list `[]` for one whose fields all have their
/// default.
pub(in crate::control) fn document<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    if matches!(body.trim_ascii_start().first(), Some(b) if *b != b'{') {
        return Err(Refusal::invalid(
            "the body is not the JSON that belongs here: write an object, { … }",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|e| Refusal::invalid(format!("the body is not the JSON that belongs here: {e}")))
}

/// Reads the document of a request that needs none.
pub(in crate::control) fn optional_document<T: DeserializeOwned + Default>(
    body: &Bytes,
) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { document(body) }
}
