//! Hooks and their deliveries.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{Answer, By, PageQuery, Shared, document, instant, limit, optional_document};
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, act, read};
use crate::control::problem::Refusal;
use crate::engine::{Attempt, AttemptOutcome, HookStatus, Sampled};
use crate::store::{Delivery, DeliveryFilter, DeliveryState, DeliveryStatus};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/hooks", list, "List hooks with state and backlog")
            .with_query::<PageQuery>()
            .answers::<api::Hooks>("The hooks, ordered by name"),
        read("/hooks/{name}/deliveries", deliveries, "List deliveries of a hook")
            .with_query::<DeliveriesQuery>()
            .answers::<api::Deliveries>("The deliveries, the newest event first"),
        act("hook.tested", "/hooks/{name}/test", test, "Send a sample event to a hook")
            .answers::<api::Sample>("The result of the delivery, also when it failed"),
        act(
            "hook.redelivered",
            "/hooks/{name}/redeliver",
            redeliver,
            "Deliver dead letters again, or one event",
        )
        .may_take::<api::Redeliver>()
        .answers::<api::Redelivered>("The number of deliveries")
        .fails(&[REFUSED]),
        act(
            "hook.replayed",
            "/hooks/{name}/replay",
            replay,
            "Deliver all events since a time again",
        )
        .takes::<api::Replay>()
        .answers::<api::Redelivered>("The number of deliveries"),
    ]
}

async fn list(State(control): Shared, Query(page): Query<PageQuery>) -> Answer<api::Hooks> {
    let (hooks, next) = page.of(control.engine.hook_statuses().await?, |hook| hook.name.clone())?;
    Ok(Json(api::Hooks { hooks: hooks.into_iter().map(convert).collect(), next }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeliveriesQuery {
    /// State of the deliveries: `pending`, `delivered` or `failed`.
    state: Option<String>,
    /// Event type; `user.*` covers all types with this prefix.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Subject: a user id, account, directory or other object.
    subject: Option<String>,
    /// Sequence number of the event.
    seq: Option<u64>,
    /// The `next` of the page before: only older events.
    after: Option<u64>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
}

async fn deliveries(
    State(control): Shared,
    Path(name): Path<String>,
    Query(query): Query<DeliveriesQuery>,
) -> Answer<api::Deliveries> {
    let DeliveriesQuery { state, kind, subject, seq, after, limit: asked } = query;
    let state = state
        .map(|word| {
            DeliveryState::parse(&word).ok_or_else(|| {
                Refusal::invalid(format!(
                    "\"{word}\" is not a delivery state: use pending, delivered or failed"
                ))
            })
        })
        .transpose()?;
    let filter = DeliveryFilter { state, seq, kind, subject, since: None, before: after };
    let limit = limit(asked);
    let mut deliveries = control.engine.deliveries(&name, &filter, limit + 1).await?;
    let has_more = deliveries.len() as u64 > limit;
    deliveries.truncate(limit as usize);
    let next = deliveries.last().filter(|_| has_more).map(|delivery| delivery.seq);
    let deliveries = deliveries.into_iter().map(convert_delivery).collect();
    Ok(Json(api::Deliveries { deliveries, next }))
}

async fn test(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::Sample> {
    Ok(Json(convert_sample(&name, control.engine.test_hook(&name, &by.actor).await?)))
}

async fn redeliver(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::Redelivered> {
    let api::Redeliver { seq, kind, subject, since } = optional_document(&body)?;
    // A named delivery may have succeeded; without a name, only dead letters are delivered again.
    let state = if seq.is_some() { None } else { Some(DeliveryState::Failed) };
    let filter = DeliveryFilter {
        state,
        seq,
        kind,
        subject,
        since: since.as_deref().map(instant).transpose()?,
        before: None,
    };
    let deliveries = control.engine.redeliver(&name, &filter, &by.actor).await?;
    if deliveries == 0 && seq.is_some() {
        let what =
            format!("hook {name} has no finished delivery of event {}", seq.unwrap_or_default());
        return Err(Refusal::new(StatusCode::CONFLICT, what));
    }
    Ok(Json(api::Redelivered { hook: name, deliveries }))
}

async fn replay(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::Redelivered> {
    let api::Replay { since } = document(&body)?;
    let deliveries = control.engine.replay(&name, instant(&since)?, &by.actor).await?;
    Ok(Json(api::Redelivered { hook: name, deliveries }))
}

pub(in crate::control) fn convert(status: HookStatus) -> api::Hook {
    let HookStatus { name, events, target, state, deliveries, lag, kept_until } = status;
    let DeliveryStatus {
        pending,
        failed,
        delivered,
        oldest: _,
        delivered_at,
        error,
        error_at,
        gone: _,
    } = deliveries;
    api::Hook {
        name,
        events,
        target,
        state,
        pending,
        failed,
        delivered,
        lag_seconds: lag.as_secs(),
        last_delivered: delivered_at.map(time),
        last_error: error,
        last_error_at: error_at.map(time),
        kept_until: kept_until.map(time),
    }
}

pub(in crate::control) fn convert_delivery(delivery: Delivery) -> api::Delivery {
    let Delivery {
        seq,
        event,
        kind,
        subject,
        state,
        attempts,
        first_at,
        next_at,
        done_at,
        error,
        output,
    } = delivery;
    let (since, next_at, done_at) = (time(first_at), next_at.map(time), done_at.map(time));
    api::Delivery {
        seq,
        event: event.to_string(),
        kind,
        subject: subject.0,
        state,
        attempts,
        since,
        next_at,
        done_at,
        error,
        output,
    }
}

pub(in crate::control) fn convert_sample(hook: &str, sampled: Sampled) -> api::Sample {
    let Sampled { event, kind, attempt: Attempt { ended, output }, took } = sampled;
    let error = match ended {
        AttemptOutcome::Delivered => None,
        AttemptOutcome::Retry { reason, .. } | AttemptOutcome::Rejected(reason) => Some(reason),
        AttemptOutcome::Gone => Some("it answered 410 Gone".to_owned()),
    };
    let took_ms = took.as_millis() as u64;
    api::Sample {
        hook: hook.to_owned(),
        event: event.to_string(),
        kind,
        delivered: error.is_none(),
        error,
        output,
        took_ms,
    }
}
