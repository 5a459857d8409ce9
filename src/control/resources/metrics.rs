//! The metrics on the control socket.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::request::Shared;
use crate::control::operation::{Content, Operation, read};
use crate::telemetry::Format;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![read("/metrics", metrics, "Read the metrics for Prometheus").answer(
        StatusCode::OK,
        "The metrics, in OpenMetrics or Prometheus text format according to the Accept header",
        Content::Bytes(Format::default().content_type()),
    )]
}

async fn metrics(State(control): Shared, headers: HeaderMap) -> Response {
    control.metrics.answer(&headers).await
}
