//! The metrics on the control socket.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::request::Shared;
use crate::control::operation::{Content, Operation, read};
use crate::telemetry::Format;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![read("/metrics", metrics, "Counts and states for Prometheus").answer(
        StatusCode::OK,
        "The metrics, in the OpenMetrics format or Prometheus's own, as the Accept header asks",
        Content::Bytes(Format::default().content_type()),
    )]
}

async fn metrics(State(control): Shared, headers: HeaderMap) -> Response {
    control.metrics.answer(&headers).await
}
