//! Conditions that a request meets before its handler is called.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::auth::peer::Caller;
use super::auth::roles::{Role, Roles};
use super::operation::Effect;
use super::problem::Refusal;
use super::record::{Recorded, recorded};
use super::state::Control;
use super::transport::connection::Peer;
use super::transport::server::LARGEST_BODY;
use crate::telemetry::chain;

/// The conditions that a request has to meet before its handler is called.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) control: Arc<Control>,
    /// Path of the operation in the table.
    pub(super) pattern: &'static str,
    /// Roles of which the caller needs one; `None` where no role is needed.
    pub(super) roles: Option<Roles>,
    /// Event that the operation leaves.
    pub(super) effect: Effect,
    /// Whether there may be a query.
    pub(super) takes_query: bool,
    /// Whether there may be a document.
    pub(super) takes_document: bool,
}

/// Lets a request through to its handler.
pub(super) async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    pass(gate, request, next).await.unwrap_or_else(|refusal| refusal.into_response())
}

async fn pass(gate: Gate, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let Gate { control, pattern, roles, effect, takes_query, takes_document } = gate;
    let actor = match roles {
        Some(needed) => {
            let caller = admit(&control, peer(&request), needed).await?;
            let actor = caller.actor.clone();
            request.extensions_mut().insert(caller);
            Some(actor)
        }
        None => None,
    };
    // An event shows the document. One with a password is in no event, and must not be held twice: it is wiped when it is read.
    let is_shown = matches!(effect, Effect::Records(_));
    let (request, document) = as_asked(request, takes_query, takes_document, is_shown).await?;
    let kind = match effect {
        Effect::Reads => return Ok(next.run(request).await),
        Effect::Decides => None,
        Effect::Records(kind) => Some(kind),
    };
    // A change that has begun is not undone by its caller's hanging up, and a password that was tried counts.
    let tracked = Arc::clone(&control);
    let changed = tracked.changing.spawn(async move {
        match kind.zip(actor) {
            Some((kind, actor)) => {
                recorded(control, Recorded { actor, kind, pattern, document }, request, next).await
            }
            None => next.run(request).await,
        }
    });
    changed.await.map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed: see the log of rosterd",
        )
    })
}

/// Refuses what would be passed over: a request for less than the whole must not be answered with the whole. Returns the
/// document, too, where an event shows it.
async fn as_asked(
    request: Request,
    takes_query: bool,
    takes_document: bool,
    is_shown: bool,
) -> Result<(Request, Bytes), Refusal> {
    if !takes_query && request.uri().query().is_some_and(|q| !q.is_empty()) {
        return Err(Refusal::invalid(format!("{} takes no query", request.uri().path())));
    }
    if takes_document && !is_shown {
        return Ok((request, Bytes::new()));
    }
    let (parts, body) = request.into_parts();
    // `receive` has it already.
    let body =
        axum::body::to_bytes(body, LARGEST_BODY).await.map_err(|e| Refusal::invalid(chain(&e)))?;
    if takes_document {
        return Ok((Request::from_parts(parts, Body::from(body.clone())), body));
    }
    let is_empty = body.is_empty()
        || matches!(serde_json::from_slice(&body), Ok(serde_json::Value::Object(fields)) if fields.is_empty());
    if !is_empty {
        return Err(Refusal::invalid(format!("{} takes no document", parts.uri.path())));
    }
    Ok((Request::from_parts(parts, Body::empty()), Bytes::new()))
}

fn peer(request: &Request) -> Option<(u32, u32)> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| (peer.uid, peer.gid))
}

async fn admit(
    control: &Control,
    peer: Option<(u32, u32)>,
    needed: Roles,
) -> Result<Caller, Refusal> {
    let (uid, gid) = peer.ok_or_else(|| {
        Refusal::new(StatusCode::FORBIDDEN, "the kernel does not say who is calling")
    })?;
    let caller = control
        .callers
        .identify(uid, gid)
        .await
        .map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, chain(&e)))?;
    permit(&caller, uid, needed, &control.callers.groups_of(needed))?;
    Ok(caller)
}

/// Whether the caller has one of the roles.
pub(super) fn permit(
    caller: &Caller,
    uid: u32,
    needed: Roles,
    groups: &str,
) -> Result<(), Refusal> {
    if caller.roles.meets(needed) {
        return Ok(());
    }
    let what = if needed.has(Role::Viewer) {
        "look"
    } else if needed.has(Role::Operator) {
        "change anything"
    } else {
        "ask for sign-ins"
    };
    let detail =
        format!("{} (uid {uid}) may not {what}: it has to be in the group {groups}", caller.actor);
    Err(Refusal::new(StatusCode::FORBIDDEN, detail))
}
