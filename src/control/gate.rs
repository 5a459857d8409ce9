//! Conditions that a request meets before its handler runs: role, query, document.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;

use super::auth::peer::Caller;
use super::auth::roles::{Role, Roles};
use super::operation::{DryRuns, Effect};
use super::problem::Refusal;
use super::record::{Recorded, recorded};
use super::rehearsal::{is_dry_run, rehearse, without_dry_run};
use super::resources::request::word;
use super::state::Control;
use super::transport::connection::Peer;
use super::transport::server::LARGEST_BODY;
use crate::model::Means;
use crate::telemetry::chain;

/// The header by which a program names itself to the event log.
pub(super) const VIA: &str = "rosterd-via";

/// The metrics say themselves that the store does not answer, and sign-ins are `unavailable`.
const METRICS: &str = "/metrics";

/// The conditions of one operation.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) control: Arc<Control>,
    /// Path in the route table.
    pub(super) pattern: &'static str,
    /// Roles of which the caller needs one; `None` needs no role.
    pub(super) roles: Option<Roles>,
    pub(super) effect: Effect,
    pub(super) takes_query: bool,
    pub(super) takes_document: bool,
    pub(super) dry_runs: DryRuns,
    /// Whether a rosterd that does not lead carries it out.
    pub(super) is_for_all: bool,
    /// The handler, for a rehearsal with another state.
    pub(super) handler: MethodRouter<Arc<Control>>,
}

/// Passes a request to its handler, or refuses it.
pub(super) async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    pass(gate, request, next).await.unwrap_or_else(|refusal| refusal.into_response())
}

async fn pass(gate: Gate, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let Gate {
        control,
        pattern,
        roles,
        effect,
        takes_query,
        takes_document,
        dry_runs,
        is_for_all,
        handler,
    } = gate;
    let via = means(&request)?;
    let actor = match roles {
        Some(needed) => {
            let caller = admit(&control, peer(&request), needed).await?;
            let actor = caller.actor.clone();
            request.extensions_mut().insert(caller);
            Some(actor)
        }
        None => None,
    };
    let needs_store = roles.is_some() && pattern != METRICS && !matches!(effect, Effect::Decides);
    if let Some(outage) = control.engine.store.outage().filter(|_| needs_store) {
        return Err(Refusal::no_store(outage));
    }
    if !is_for_all && !control.engine.leads() {
        return Err(Refusal::not_leader(control.engine.leader()));
    }
    let is_rehearsed = match dry_runs {
        DryRuns::Rehearsed => {
            let is_asked = is_dry_run(request.uri());
            request = without_dry_run(request)?;
            is_asked
        }
        DryRuns::Instead(command) if is_dry_run(request.uri()) => {
            let path = request.uri().path();
            return Err(Refusal::invalid(format!(
                "{path} has no dry run: {command} shows what it would do"
            )));
        }
        DryRuns::Refused if is_dry_run(request.uri()) => {
            let path = request.uri().path();
            return Err(Refusal::invalid(format!(
                "{path} has no dry run, because a rehearsal cannot show its effect"
            )));
        }
        DryRuns::Refused | DryRuns::Instead(_) | DryRuns::Planned => false,
    };
    // An event contains the document. A sign-in has no event, because its document holds a
    // password. No second copy may exist when the handler wipes it.
    let is_recorded = matches!(effect, Effect::Records(_));
    let (request, document) =
        check_input(request, takes_query, takes_document, is_recorded).await?;
    if is_rehearsed {
        return rehearse(&control, pattern, handler, request).await;
    }
    let kind = match effect {
        Effect::Reads => return Ok(next.run(request).await),
        Effect::Decides => None,
        Effect::Records(kind) => Some(kind),
    };
    // Runs in a task, because a change that has begun is finished even when the caller hangs up. A
    // password that was tried counts as an attempt.
    let tracked = Arc::clone(&control);
    let changed = tracked.changing.spawn(async move {
        match kind.zip(actor) {
            Some((kind, actor)) => {
                let asked = Recorded { actor, via, kind, pattern, document };
                recorded(control, asked, request, next).await
            }
            None => next.run(request).await,
        }
    });
    changed.await.map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed unexpectedly: see the log of rosterd",
        )
    })
}

/// Refuses a query or document that the operation does not take, because ignoring it would do more
/// than requested.
///
/// Returns the document, too, when it is recorded.
async fn check_input(
    request: Request,
    takes_query: bool,
    takes_document: bool,
    is_recorded: bool,
) -> Result<(Request, Bytes), Refusal> {
    if !takes_query && request.uri().query().is_some_and(|q| !q.is_empty()) {
        return Err(Refusal::invalid(format!("{} takes no query", request.uri().path())));
    }
    if takes_document && !is_recorded {
        return Ok((request, Bytes::new()));
    }
    let (parts, body) = request.into_parts();
    // Does not wait, because `transport::server` has read the whole body.
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

/// Returns the program through which the caller acts. It is the caller's word, and grants nothing.
fn means(request: &Request) -> Result<Option<Means>, Refusal> {
    let Some(given) = request.headers().get(VIA) else { return Ok(None) };
    let text = given.to_str().unwrap_or_default();
    word(VIA, Some(text), Means::parse, &Means::ALL.map(Means::as_str))
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
        Refusal::new(StatusCode::FORBIDDEN, "the kernel does not report the caller")
    })?;
    let caller = control
        .callers
        .identify(uid, gid)
        .await
        .map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, chain(&e)))?;
    permit(&caller, uid, needed, &control.callers.groups_of(needed))?;
    Ok(caller)
}

/// Refuses a caller that has none of the roles.
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
        "read"
    } else if needed.has(Role::Operator) {
        "change anything"
    } else {
        "request sign-in decisions"
    };
    let detail =
        format!("{} (uid {uid}) may not {what}: add the user to the group {groups}", caller.actor);
    Err(Refusal::new(StatusCode::FORBIDDEN, detail))
}
