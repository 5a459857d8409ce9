//! Dry runs: an operation is done by its own handler, on a copy of the store that is thrown away.
//!
//! So a dry run checks what the operation checks, and its answer has the same form.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use super::auth::peer::Caller;
use super::problem::Refusal;
use super::state::Control;
use crate::engine::EngineError;

const ASKED: &str = "dry_run=true";

fn parts(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&')
}

/// Returns whether the request asks for a dry run.
pub(super) fn is_dry_run(uri: &Uri) -> bool {
    parts(uri).any(|part| part == ASKED)
}

/// Returns the request as its handler knows it.
pub(super) fn without_dry_run(mut request: Request) -> Result<Request, Refusal> {
    let uri = request.uri().clone();
    if uri.query().is_none() {
        return Ok(request);
    }
    let is_other = |part: &&str| ![ASKED, "dry_run=false"].contains(part);
    let query = parts(&uri).filter(is_other).collect::<Vec<_>>().join("&");
    let path = uri.path();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let target = PathAndQuery::try_from(target).map_err(|e| Refusal::invalid(e.to_string()))?;
    let mut changed = uri.into_parts();
    changed.path_and_query = Some(target);
    *request.uri_mut() = Uri::from_parts(changed).map_err(|e| Refusal::invalid(e.to_string()))?;
    Ok(request)
}

/// Returns the request without the parameters of its path, which the router would add once more.
fn anew(request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    let caller = parts.extensions.remove::<Caller>();
    parts.extensions.clear();
    if let Some(caller) = caller {
        parts.extensions.insert(caller);
    }
    Request::from_parts(parts, body)
}

/// Does an operation on a copy of the store.
///
/// It logs nothing, because nothing of it happens. When the caller hangs up, it ends.
pub(super) async fn rehearse(
    control: &Control,
    pattern: &str,
    handler: MethodRouter<Arc<Control>>,
    request: Request,
) -> Result<Response, Refusal> {
    let _permit = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let rehearsal = control.engine.rehearsal().await?;
    let copy = Control::new(
        Arc::clone(&rehearsal.engine),
        Arc::clone(&control.callers),
        control.reloader.clone(),
    );
    let router = Router::new().route(&format!("/v1{pattern}"), handler).with_state(Arc::new(copy));
    let answer = TowerToHyperService::new(router).call(anew(request));
    let answer = answer.with_subscriber(NoSubscriber::default()).await;
    rehearsal.end().await;
    Ok(super::record::dry_run(answer.into_response()))
}
