//! The server: what every request passes on its way to a handler, and how it all stops.
//!
//! What changes things runs in a task of its own and is finished even when its caller goes away.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::peer::{Caller, Callers};
use super::auth::roles::{Role, Roles};
use super::metrics::Metrics;
use super::problem::{Refusal, as_problems};
use super::record::{Asked, Effect, recorded};
use super::transport::connection::{Line, PATIENCE, Peer};
use super::transport::phase::Phase;
use super::transport::socket::{Listening, ServeError};
use super::{Reloader, routes};
use crate::engine::Engine;
use crate::model::{AccountId, Handle};
use crate::telemetry::chain;

/// The largest document a request has is a page of text.
const LARGEST_BODY: usize = 1024 * 1024;

/// How long requests may take to finish when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);

/// Plans that are made at once: each reads a whole directory.
const PLANS: usize = 2;

/// What is answered.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) engine: Arc<Engine>,
    pub(super) plans: Semaphore,
    pub(super) reloader: Reloader,
    pub(super) metrics: Metrics,
    callers: Arc<Callers>,
    /// What operators have set going.
    changing: TaskTracker,
    /// Handles never change, so what is known stays true.
    handles: RwLock<BTreeMap<AccountId, Handle>>,
}

impl Control {
    /// The handles of at least these accounts.
    pub(super) async fn handles(
        &self,
        wanted: impl IntoIterator<Item = AccountId>,
    ) -> Result<BTreeMap<AccountId, Handle>, Refusal> {
        {
            let known = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            if wanted.into_iter().all(|id| known.contains_key(&id)) {
                return Ok(known.clone());
            }
        }
        let all: BTreeMap<_, _> =
            self.engine.store.accounts().await?.into_iter().map(|a| (a.id, a.handle)).collect();
        self.handles.write().unwrap_or_else(PoisonError::into_inner).clone_from(&all);
        Ok(all)
    }
}

/// The account's handle. Every account in the store has one.
pub(super) fn handle(
    handles: &BTreeMap<AccountId, Handle>,
    id: AccountId,
) -> Result<&Handle, Refusal> {
    handles.get(&id).ok_or_else(|| Refusal::not_found("account", &id.to_string()))
}

/// Answers on the socket until `stop`; then accepts nobody any more, and gives the requests under way a moment.
pub async fn serve(
    listening: Listening,
    engine: Arc<Engine>,
    callers: Arc<Callers>,
    reloader: Reloader,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let (listener, file) = listening.into_parts();
    let cut = CancellationToken::new();
    let line = Line::new(listener, Arc::clone(&callers), cut.clone());
    let control = Arc::new(Control {
        metrics: Metrics::new(Arc::clone(&engine)),
        engine,
        plans: Semaphore::new(PLANS),
        reloader,
        callers,
        changing: TaskTracker::new(),
        handles: RwLock::default(),
    });
    let service = service(&control).into_make_service_with_connect_info::<Peer>();
    let mut server = pin!(
        axum::serve(line, service)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future()
    );
    tokio::select! {
        broken = &mut server => return broken.map_err(ServeError::Serve),
        () = stop.cancelled() => {}
    }
    // Nobody new finds the socket; whoever has been accepted is answered.
    drop(file);
    control.changing.close();
    let finished = tokio::time::timeout(GRACE, async {
        let served = server.await;
        control.changing.wait().await;
        served
    });
    if let Ok(served) = finished.await {
        return served.map_err(ServeError::Serve);
    }
    cut.cancel();
    tracing::info!("requests on the control socket were cut off");
    Ok(())
}

/// The API, and around it what holds for every request.
fn service(control: &Arc<Control>) -> Router {
    let counted = from_fn_with_state(Arc::clone(control), count);
    let all =
        routes::router(control).fallback(nowhere).layer(counted).with_state(Arc::clone(control));
    // Around the router as a whole, so that what it answers by itself is seen complete, with its Allow header.
    Router::new()
        .fallback_service(all)
        .layer(from_fn(receive))
        .layer(from_fn(as_problems))
        .layer(map_response(signed))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
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

/// Says who answers: a client that is refused can tell whether it is of another version.
async fn signed(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::SERVER,
        HeaderValue::from_static(concat!("rosterd/", env!("CARGO_PKG_VERSION"))),
    );
    response
}

/// Takes the whole request before anything is done about it: from then on the time is the daemon's.
async fn receive(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let turn = peer.asks();
    if peer.has_no_seat {
        return turn.sends(too_many(peer.uid));
    }
    if request.body().is_end_stream() {
        // Nothing more is to come: a caller who has said its last word by now is not cut off for it.
        turn.goes_on(Phase::Answering);
    }
    let (parts, body) = request.into_parts();
    let whole = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let mut response = match tokio::time::timeout(PATIENCE, whole).await {
        Ok(Ok(body)) => {
            turn.goes_on(Phase::Answering);
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
        Ok(Err(rejected)) => Refusal::new(rejected.status(), rejected.body_text()).into_response(),
        Err(_) => {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end in time")
                .into_response()
        }
    };
    if peer.hurry.is_cancelled() {
        // Its seat is another's by now.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    turn.sends(response)
}

fn too_many(uid: u32) -> Response {
    let detail =
        format!("too many connections of uid {uid} are being answered: try again in a moment");
    let headers = [(header::RETRY_AFTER, "1"), (header::CONNECTION, "close")];
    (headers, Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)).into_response()
}

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
                recorded(control, Asked { actor, kind, pattern, document }, request, next).await
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

/// Reads the document of a request. It is an object: serde would take the list `[]` for one whose fields all have their
/// default.
pub(super) fn document<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    if matches!(body.trim_ascii_start().first(), Some(b) if *b != b'{') {
        return Err(Refusal::invalid(
            "the body is not the JSON that belongs here: write an object, { … }",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|e| Refusal::invalid(format!("the body is not the JSON that belongs here: {e}")))
}

/// Reads the document of a request that needs none.
pub(super) fn optional_document<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { document(body) }
}
