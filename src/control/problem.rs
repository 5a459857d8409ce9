//! Errors of the API: problem documents (RFC 9457) with cause, subject and remedy.
//!
//! Errors of the HTTP library are converted as well, so that no error is plain text.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api;
use crate::engine::EngineError;
use crate::store::StoreError;
use crate::telemetry::chain;

/// Media type of RFC 9457, section 6.1.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Size limit of an error text of the HTTP library, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;

/// An error answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    kind: &'static str,
    status: StatusCode,
    detail: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind: "about:blank", status, detail: detail.into() }
    }

    pub(super) fn unknown_route(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind: api::UNKNOWN_ROUTE, ..Self::new(status, detail) }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(what: &'static str, name: &str) -> Self {
        EngineError::NotFound { what, name: name.to_owned() }.into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { kind, status, detail } = self;
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let problem =
            api::Problem { kind: kind.to_owned(), title, status: status.as_u16(), detail };
        // Serializing a struct of texts and a number cannot fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::NotFound { .. } => StatusCode::NOT_FOUND,
            EngineError::Invalid(_) => StatusCode::BAD_REQUEST,
            EngineError::Refused(_)
            | EngineError::Reloaded
            | EngineError::Store(StoreError::Raced { .. }) => StatusCode::CONFLICT,
            EngineError::Directory(_) => StatusCode::BAD_GATEWAY,
            EngineError::TooLong(_) => StatusCode::GATEWAY_TIMEOUT,
            EngineError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            EngineError::Store(_) => {
                tracing::error!("control socket request failed in the store: {}", chain(&error));
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, chain(&error))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        EngineError::Store(error).into()
    }
}

/// Converts errors of the HTTP library, such as 405 or a malformed query, to problem documents.
pub(super) async fn as_problems(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == MEDIA_TYPE);
    if !is_error || is_problem {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let refusal = match &allow {
        Some(allow) if status == StatusCode::METHOD_NOT_ALLOWED => {
            Refusal::unknown_route(status, no_such_method(&method, &path, allow))
        }
        _ => {
            let text = to_bytes(response.into_body(), LONGEST_TEXT).await.unwrap_or_default();
            Refusal::new(status, String::from_utf8_lossy(&text))
        }
    };
    let mut answer = refusal.into_response();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

fn no_such_method(method: &Method, path: &str, allow: &HeaderValue) -> String {
    format!("{path} does not support {method}: use {}", allow.to_str().unwrap_or("another method"))
}
