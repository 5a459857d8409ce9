//! Events of operations: each change and each export is in the log, with its actor.
//!
//! Most operations write their event in the transaction of the change. An operation that succeeded
//! without an event gets one here, so that no handler can forget it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::problem::Refusal;
use super::state::Control;
use crate::model::{Actor, Event, EventCause, Handle, Means};
use crate::store::watch_events;
use crate::telemetry::chain;

/// Marks the answer of a dry run, which has no event.
#[derive(Clone, Copy, Debug)]
pub(super) struct DryRun;

pub(super) fn dry_run(response: impl axum::response::IntoResponse) -> Response {
    (axum::Extension(DryRun), response).into_response()
}

/// A requested operation.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) actor: Actor,
    pub(super) via: Option<Means>,
    /// Type of the event that is written when the operation wrote none.
    pub(super) kind: &'static str,
    /// Path in the route table, such as `/hooks/{name}/replay`.
    pub(super) pattern: &'static str,
    pub(super) document: Bytes,
}

/// Runs the operation, and writes its event when the operation wrote none.
pub(super) async fn recorded(
    control: Arc<Control>,
    asked: Recorded,
    request: Request,
    next: Next,
) -> Response {
    let uri = request.uri().clone();
    tracing::debug!("{} requests {}", asked.actor, uri.path());
    let (response, is_recorded) = watch_events(&asked.actor, asked.via, next.run(request)).await;
    if is_recorded
        || !response.status().is_success()
        || response.extensions().get::<DryRun>().is_some()
    {
        return response;
    }
    let (subject, account) = subject_of(&control, asked.pattern, uri.path());
    let cause = EventCause {
        actor: asked.actor.clone(),
        run: None,
        account,
        at: control.engine.clock.now(),
    };
    let after = json!({
        "operation": format!("POST {}", uri.path()),
        "query": query(uri.query().unwrap_or_default()),
        "document": serde_json::from_slice::<Value>(&asked.document).unwrap_or_default(),
    });
    // Logs the pattern, because a path may hold an address, and addresses are logged at level debug
    // only.
    tracing::info!("{} requested POST /v1{}: event {}", asked.actor, asked.pattern, asked.kind);
    let event = Event::about(asked.kind, subject, &cause, Value::Null, after);
    let events = [event];
    let recording = control.engine.store.record_anywhere(&events, &control.engine.clock);
    match watch_events(&asked.actor, asked.via, recording).await.0 {
        Ok(()) => response,
        // An export without an event is withheld. A change is made already, so the caller learns
        // that it is not in the log.
        Err(error) => {
            tracing::error!(
                "control socket cannot write the event {} of {}: {}",
                asked.kind,
                asked.actor,
                chain(&error)
            );
            let detail = format!(
                "the operation was done, but its event {} cannot be written: {}",
                asked.kind,
                chain(&error)
            );
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}

/// Returns the subject of an operation and its account.
///
/// The subject is the first parameter of the path, or the resource where the path has none.
fn subject_of(control: &Control, pattern: &str, path: &str) -> (String, Option<Handle>) {
    let parts = || {
        pattern.split('/').skip(1).zip(path.strip_prefix("/v1").unwrap_or(path).split('/').skip(1))
    };
    let named = parts().find(|(part, _)| part.starts_with('{'));
    let subject = named.map_or_else(|| noun(pattern).to_owned(), |(_, name)| decoded(name));
    let account = match noun(pattern) {
        "accounts" => Handle::parse(&subject).ok(),
        "directories" => control
            .engine
            .directory(&subject)
            .ok()
            .map(|directory| directory.config.account.clone()),
        _ => None,
    };
    (subject, account)
}

fn noun(pattern: &str) -> &str {
    pattern.split('/').nth(1).unwrap_or_default()
}

fn decoded(segment: &str) -> String {
    // Percent-decodes like the router does.
    let parsed = reqwest::Url::parse("http://rosterd/").map(|mut url| {
        url.set_query(Some(&format!("x={}", segment.replace('+', "%2B"))));
        url.query_pairs().next().map(|(_, value)| value.into_owned())
    });
    parsed.ok().flatten().unwrap_or_else(|| segment.to_owned())
}

fn query(text: &str) -> Value {
    let Ok(mut url) = reqwest::Url::parse("http://rosterd/") else { return Value::Null };
    url.set_query(Some(text));
    let pairs: Map<String, Value> = url
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    if pairs.is_empty() { Value::Null } else { Value::Object(pairs) }
}
