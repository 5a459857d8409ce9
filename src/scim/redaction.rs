//! Secrets that a server repeats in its answer.
//!
//! Errors of a server are stored and shown, and some servers quote the header `Authorization`. So
//! the secret that was sent is replaced in each answer before any part of it is used.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::Value;

use crate::reconcile::provision::Resource;

/// The text in place of a secret.
const HIDDEN: &str = "[hidden]";

/// A shorter text is in words of SCIM and in names of accounts, which have to stay as they are.
const MIN_LENGTH: usize = 8;

/// The forms of a secret, the longest first.
pub(super) struct Redaction(Vec<String>);

impl Redaction {
    /// Hides these texts as they are, form-encoded and in base64.
    pub(super) fn of(secrets: &[&str]) -> Self {
        let mut forms: Vec<String> = secrets
            .iter()
            .flat_map(|text| {
                let base64 = [STANDARD_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(text)];
                base64.into_iter().chain([(*text).to_owned(), form_encoded(text)])
            })
            .filter(|form| form.len() >= MIN_LENGTH)
            .collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self(forms)
    }

    /// Hides the value of a header `Authorization`, and the token in it.
    pub(super) fn of_header(value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        let token = value.split_once(' ').map_or("", |(_, token)| token);
        Self::of(&[token, &value])
    }

    /// Replaces the secret in a text.
    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, form| text.replace(form, HIDDEN))
    }

    /// Replaces the secret in all texts of an answer.
    pub(super) fn hide_in(&self, answer: &mut Resource) {
        answer.0.values_mut().for_each(|value| self.hide_in_value(value));
    }

    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_in_value(value)),
            Value::Object(values) => {
                values.values_mut().for_each(|value| self.hide_in_value(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Encodes a text as in a form (WHATWG URL, 5.2).
pub(super) fn form_encoded(text: &str) -> String {
    Url::parse_with_params("http://x", [("x", text)])
        .ok()
        .and_then(|url| url.query()?.strip_prefix("x=").map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_each_of_its_forms_and_a_short_text_stays() {
        let redaction = Redaction::of_header(b"Bearer a/secret+token");
        let base64 = |text: &str| STANDARD_NO_PAD.encode(text);
        for (echo, shown) in [
            ("your header was Bearer a/secret+token", "your header was [hidden]"),
            ("a/secret+token is bad", "[hidden] is bad"),
            ("token=a%2Fsecret%2Btoken", "token=[hidden]"),
            (&base64("a/secret+token"), "[hidden]"),
            (&base64("Bearer a/secret+token"), "[hidden]"),
            ("a token", "a token"),
        ] {
            assert_eq!(redaction.hide(echo), shown, "{echo}");
            let nested = serde_json::json!({ "errors": [{ "detail": echo }] });
            let mut answer = Resource::parse(nested.to_string().as_bytes()).unwrap();
            redaction.hide_in(&mut answer);
            assert_eq!(answer.0["errors"][0]["detail"], shown, "{echo}");
        }
        assert_eq!(
            Redaction::of_header(b"Bearer scim").hide("urn:ietf:params:scim"),
            "urn:ietf:params:scim"
        );
    }
}
