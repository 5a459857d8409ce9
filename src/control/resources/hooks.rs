//! Hooks: how they do, what they were told, a sample, and telling them again.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::auth::peer::Caller;
use crate::control::problem::Refusal;
use crate::control::read::limit;
use crate::control::server::{Answer, Control, document, optional_document};
use crate::control::{api, convert};
use crate::model::Timestamp;
use crate::store::DeliveryFilter;

type Shared = State<Arc<Control>>;
type By = Extension<Caller>;

const STATES: [&str; 3] = ["pending", "delivered", "failed"];

pub(in crate::control) async fn hooks(State(control): Shared) -> Answer<api::Hooks> {
    let hooks = control.engine.hook_statuses().await?;
    Ok(Json(api::Hooks { hooks: hooks.into_iter().map(convert::hook).collect() }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct WhichDeliveries {
    /// Only those in this state: `pending`, `delivered` or `failed`.
    state: Option<String>,
    /// Only of events of this type; `user.*` is all that begin so.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only about this user's id, account, directory or other object.
    subject: Option<String>,
    /// Only of the event at this place in the log.
    seq: Option<u64>,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    limit: Option<u64>,
}

pub(in crate::control) async fn deliveries(
    State(control): Shared,
    Path(name): Path<String>,
    Query(which): Query<WhichDeliveries>,
) -> Answer<api::Deliveries> {
    let WhichDeliveries { state, kind, subject, seq, limit: asked } = which;
    if let Some(word) = state.as_deref().filter(|word| !STATES.contains(word)) {
        return Err(Refusal::invalid(format!(
            "\"{word}\" is no state of a delivery: use pending, delivered or failed"
        )));
    }
    let filter = DeliveryFilter { state, seq, kind, subject, since: None };
    let deliveries = control.engine.deliveries(&name, &filter, limit(asked)).await?;
    Ok(Json(api::Deliveries {
        deliveries: deliveries.into_iter().map(convert::delivery).collect(),
    }))
}

pub(in crate::control) async fn test(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::Sample> {
    Ok(Json(convert::sample(&name, control.engine.test_hook(&name, &by.actor).await?)))
}

pub(in crate::control) async fn redeliver(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::Redelivered> {
    let api::Redeliver { seq, kind, subject, since } = optional_document(&body)?;
    // One that is named may have been delivered; of the others, those that were given up are meant.
    let state = if seq.is_some() { None } else { Some("failed".to_owned()) };
    let filter = DeliveryFilter {
        state,
        seq,
        kind,
        subject,
        since: since.as_deref().map(instant).transpose()?,
    };
    let deliveries = control.engine.redeliver(&name, &filter, &by.actor).await?;
    if deliveries == 0 && seq.is_some() {
        let what = format!(
            "the hook {name} has no delivery of event {} that has ended",
            seq.unwrap_or_default()
        );
        return Err(Refusal::new(axum::http::StatusCode::CONFLICT, what));
    }
    Ok(Json(api::Redelivered { hook: name, deliveries }))
}

pub(in crate::control) async fn replay(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::Redelivered> {
    let api::Replay { since } = document(&body)?;
    let deliveries = control.engine.replay(&name, instant(&since)?, &by.actor).await?;
    Ok(Json(api::Redelivered { hook: name, deliveries }))
}

fn instant(text: &str) -> Result<Timestamp, Refusal> {
    let parsed = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    parsed.map_err(|_| {
        Refusal::invalid(format!("\"{text}\" is no time: write it as in 2026-11-26T08:00:00Z"))
    })
}
