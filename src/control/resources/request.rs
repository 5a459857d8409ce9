//! Parameters and documents of requests.

use std::str::FromStr;
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

pub(in crate::control) type Answer<T> = Result<Json<T>, Refusal>;

pub(in crate::control) type Shared = State<Arc<Control>>;
pub(in crate::control) type By = Extension<Caller>;

/// Maximum and default length of a list in one answer.
const MAX_LIMIT: u64 = 1_000;
const DEFAULT_LIMIT: u64 = 200;

pub(in crate::control) fn limit(asked: Option<u64>) -> u64 {
    asked.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Search {
    /// Words. Each must begin a name or an address.
    pub(in crate::control) q: String,
    /// Value of `next` of the page before.
    pub(in crate::control) after: Option<String>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    pub(in crate::control) limit: Option<u64>,
}

/// The page of a list without a maximum length.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct PageQuery {
    /// The `next` of the page before.
    pub(in crate::control) after: Option<String>,
    /// Maximum number of results; all by default.
    pub(in crate::control) limit: Option<u64>,
}

impl PageQuery {
    /// Returns the page, and the key of its last item if more follow.
    pub(in crate::control) fn of<T>(
        &self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        if let Some(after) = &self.after {
            let last = items.iter().position(|item| key(item) == *after).ok_or_else(|| {
                Refusal::invalid(format!(
                    "the list has no \"{after}\" any more: begin with its first page"
                ))
            })?;
            items.drain(..=last);
        }
        let limit = self.limit.map_or(usize::MAX, |limit| limit.max(1) as usize);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(key);
        Ok((items, next))
    }

    /// Returns the place after which the page begins.
    pub(in crate::control) fn place<P: FromStr>(&self, list: &str) -> Result<Option<P>, Refusal> {
        let Some(after) = &self.after else { return Ok(None) };
        after.parse().map(Some).map_err(|_| {
            Refusal::invalid(format!(
                "no page of {list} ends at \"{after}\": begin with its first page"
            ))
        })
    }

    /// Returns the number of items to read. One more than the page has shows whether others follow.
    pub(in crate::control) fn one_more(&self) -> Option<u64> {
        self.limit.map(|limit| limit.max(1).saturating_add(1))
    }

    /// Cuts the surplus item off. Returns the items of the page, and the last place if others follow.
    pub(in crate::control) fn cut<P: ToString, T>(
        &self,
        mut found: Vec<(P, T)>,
    ) -> (Vec<T>, Option<String>) {
        let limit = self.limit.map(|limit| limit.max(1));
        let has_more = limit.is_some_and(|limit| found.len() as u64 > limit);
        if has_more {
            found.pop();
        }
        let next = found.last().filter(|_| has_more).map(|(place, _)| place.to_string());
        (found.into_iter().map(|(_, item)| item).collect(), next)
    }
}

/// Parses a word. The error lists the known ones.
pub(in crate::control) fn word<T>(
    what: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<Option<T>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Refusal::invalid(format!(
            "\"{text}\" is not a known {what}: use {}",
            words.join(", ")
        ))),
    }
}

pub(in crate::control) fn instant(text: &str) -> Result<Timestamp, Refusal> {
    let parsed = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    parsed.map_err(|_| {
        Refusal::invalid(format!("\"{text}\" is not a time: write it as in 2026-11-26T08:00:00Z"))
    })
}

/// Parses the document of a request.
///
/// Anything but an object is refused, because serde would accept the list `[]` for fields with
/// defaults.
pub(in crate::control) fn document<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    if matches!(body.trim_ascii_start().first(), Some(b) if *b != b'{') {
        return Err(Refusal::invalid("the body is not the expected JSON: write an object, { … }"));
    }
    serde_json::from_slice(body)
        .map_err(|e| Refusal::invalid(format!("the body is not the expected JSON: {e}")))
}

/// Parses an optional document.
pub(in crate::control) fn optional_document<T: DeserializeOwned + Default>(
    body: &Bytes,
) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { document(body) }
}
