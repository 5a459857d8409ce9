//! The table of the API: for every operation its method and path, the roles that may call it, what it takes, what it
//! answers and the event that it leaves.
//!
//! The router and the OpenAPI document are both made from this one table, so neither can know of something
//! that the other does not. The check of the caller, and of what may come with a request, and the event of an
//! operation that recorded none, are put around every handler here: no handler can forget them.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::gate::{Gate, gate};
use super::operation::{Content, Effect, Operation, Takes};
use super::problem::Refusal;
use super::state::Control;
use super::{openapi, resources};

/// Every operation.
pub(super) fn operations() -> Vec<Operation> {
    // The document is the same for every rosterd of a version and holds nothing of anybody, and who writes a client
    // needs it before having a role: everybody may read it.
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

async fn document() -> Response {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| openapi::document(&operations()).to_string());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The API, with the count of its answers.
pub(super) fn api(control: &Arc<Control>) -> Router {
    let counted = from_fn_with_state(Arc::clone(control), count);
    router(control).fallback(nowhere).layer(counted).with_state(Arc::clone(control))
}

/// The operations as a router, each behind its gate.
fn router(control: &Arc<Control>) -> Router<Arc<Control>> {
    operations().into_iter().fold(Router::new(), |router, operation| {
        let Operation { path, roles, effect, query, takes, handler, .. } = operation;
        let at = Gate {
            control: Arc::clone(control),
            pattern: path,
            roles,
            effect,
            takes_query: query.is_some(),
            takes_document: !matches!(takes, Takes::Nothing),
        };
        router.route(&format!("/v1{path}"), handler.route_layer(from_fn_with_state(at, gate)))
    })
}

/// Counts what is answered, by the pattern of its route: a path may hold an address.
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
    let detail = format!(
        "there is nothing at {}: the resources are below /v1, and /v1/openapi.json lists them",
        uri.path()
    );
    Refusal::unknown_route(StatusCode::NOT_FOUND, detail)
}
