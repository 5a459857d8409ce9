//! The route table. Router and OpenAPI document are made from it, so neither has a route that the
//! other lacks.
//!
//! Every handler is wrapped here, so that no handler can forget a check or an event. Caller and
//! request are checked before it. An operation that wrote no event gets one after it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::gate::{Gate, gate};
use super::operation::{Content, Effect, Operation, Takes};
use super::problem::Refusal;
use super::state::Control;
use super::{openapi, resources};

/// Returns the route table.
pub(super) fn operations() -> Vec<Operation> {
    // Needs no role. The document depends on the version only, and the author of a client needs it
    // before having a role.
    let document = Operation::new(
        Method::GET,
        None,
        Effect::Reads,
        "/openapi.json",
        document,
        "This document",
    )
    .answer(StatusCode::OK, "An OpenAPI document", Content::Bytes("application/json"));
    std::iter::once(document).chain(resources::operations()).collect()
}

/// Returns the OpenAPI document of the control socket.
pub fn openapi_document() -> &'static str {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| openapi::document(&operations()).to_string());
    DOCUMENT.as_str()
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi_document()).into_response()
}

/// Returns the router of the API. It counts its answers.
pub(super) fn api(control: &Arc<Control>) -> Router {
    let counted = from_fn_with_state(Arc::clone(control), count);
    router(control)
        .fallback(nowhere)
        .layer(from_fn(refuse_browsers))
        .layer(counted)
        .with_state(Arc::clone(control))
}

/// Refuses the requests of web browsers. Behind a forwarded port or a proxy, each web page could act
/// as the user that forwards the socket. Programs send neither header (fetch.spec.whatwg.org).
async fn refuse_browsers(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        let detail = "the control socket refuses web browsers: Origin and Sec-Fetch-Site must be absent, because a web page could act as the user of a forwarded socket";
        return Refusal::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    next.run(request).await
}

/// Returns the router of the operations, each behind its gate.
fn router(control: &Arc<Control>) -> Router<Arc<Control>> {
    operations().into_iter().fold(Router::new(), |router, operation| {
        let Operation { path, roles, effect, query, takes, dry_runs, is_for_all, handler, .. } =
            operation;
        let at = Gate {
            control: Arc::clone(control),
            pattern: path,
            roles,
            effect,
            takes_query: query.is_some(),
            takes_document: !matches!(takes, Takes::Nothing),
            dry_runs,
            is_for_all,
            handler: handler.clone(),
        };
        router.route(&format!("/v1{path}"), handler.route_layer(from_fn_with_state(at, gate)))
    })
}

/// Counts answers by the pattern of their route, because a path may hold an address.
async fn count(
    State(control): State<Arc<Control>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    control.engine.store.counters.answered(method.as_str(), route, response.status().as_u16());
    response
}

async fn nowhere(uri: Uri) -> Refusal {
    let detail =
        format!("no resource at {}: /v1/openapi.json lists the resources below /v1", uri.path());
    Refusal::unknown_route(StatusCode::NOT_FOUND, detail)
}
