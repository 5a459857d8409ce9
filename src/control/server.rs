//! The server: which routes there are, who may use them, and how it stops.
//!
//! There are two routers, one that looks and one that changes. The check of the caller is on the router,
//! so that no handler can forget it. What changes things runs in a task of its own and is finished even
//! when its caller goes away.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, MatchedPath, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::line::{Line, PATIENCE, Peer};
use super::metrics::{Metrics, metrics};
use super::peer::{Caller, Callers, Role};
use super::problem::{Refusal, as_problems};
use super::socket::{Listening, ServeError};
use super::{Reloader, backup, read, write};
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
    pub(super) async fn handles(&self, wanted: impl IntoIterator<Item = AccountId>) -> Result<BTreeMap<AccountId, Handle>, Refusal> {
        {
            let known = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            if wanted.into_iter().all(|id| known.contains_key(&id)) {
                return Ok(known.clone());
            }
        }
        let all: BTreeMap<_, _> = self.engine.store.accounts().await?.into_iter().map(|a| (a.id, a.handle)).collect();
        self.handles.write().unwrap_or_else(PoisonError::into_inner).clone_from(&all);
        Ok(all)
    }
}

/// The account's handle. Every account in the store has one.
pub(super) fn handle(handles: &BTreeMap<AccountId, Handle>, id: AccountId) -> Result<&Handle, Refusal> {
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
    let control = Arc::new(Control {
        metrics: Metrics::new(Arc::clone(&engine)),
        engine,
        plans: Semaphore::new(PLANS),
        reloader,
        callers,
        changing: TaskTracker::new(),
        handles: RwLock::default(),
    });
    let cut = CancellationToken::new();
    let line = Line::new(listener, cut.clone());
    let service = routes(&control).into_make_service_with_connect_info::<Peer>();
    let mut server = pin!(axum::serve(line, service).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
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

/// Every route, with what guards it.
fn routes(control: &Arc<Control>) -> Router {
    let read = Router::new()
        .route("/status", get(read::status))
        .route("/metrics", get(metrics))
        .route("/directories", get(read::directories))
        .route("/directories/{name}/progress", get(read::progress))
        .route("/directories/{name}/plan", get(read::plan))
        .route("/directories/{name}/check", get(read::check))
        .route("/held", get(read::held_plans))
        .route("/held/{id}", get(read::held_plan))
        .route("/runs", get(read::runs))
        .route("/runs/{id}", get(read::run))
        .route("/accounts", get(read::accounts))
        .route("/accounts/{handle}", get(read::account))
        .route("/domains", get(read::domains))
        .route("/users", get(read::users))
        .route("/users/search", get(read::search))
        .route("/users/{who}", get(read::user))
        .route("/events", get(read::events))
        .route_layer(from_fn_with_state(Arc::clone(control), viewers_only));
    let write = Router::new()
        .route("/backup", post(backup::backup))
        .route("/reload", post(write::reload))
        .route("/sync", post(write::sync_all))
        .route("/directories/{name}/sync", post(write::sync))
        .route("/directories/{name}/pause", post(write::pause))
        .route("/directories/{name}/resume", post(write::resume))
        .route("/directories/{name}/unlock", post(write::unlock))
        .route("/directories/{name}/repin", post(write::repin))
        .route("/held/{id}/approve", post(write::approve))
        .route("/held/{id}/reject", post(write::reject))
        .route("/accounts", post(write::create_account))
        .route("/accounts/{handle}/domains", post(write::claim))
        .route("/domains/{domain}/verify", post(write::verify))
        .route("/users/{who}/sync", post(write::sync_user))
        .route("/users/{who}/suspend", post(write::suspend))
        .route("/users/{who}/activate", post(write::activate))
        .route_layer(from_fn_with_state(Arc::clone(control), operators_only));
    let counted = from_fn_with_state(Arc::clone(control), count);
    let all = Router::new().nest("/v1", read.merge(write)).fallback(nowhere).layer(counted).with_state(Arc::clone(control));
    // Around the router as a whole, so that what it answers by itself is seen complete, with its Allow header.
    Router::new().fallback_service(all).layer(from_fn(receive)).layer(from_fn(as_problems)).layer(DefaultBodyLimit::max(LARGEST_BODY))
}

/// Counts what is answered, by the pattern of its route: a path may hold an address.
async fn count(State(control): State<Arc<Control>>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    control.engine.store.counters.answered(method.as_str(), route, response.status().as_u16());
    response
}

async fn nowhere(uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {}: the resources are below /v1", uri.path()))
}

/// Takes the whole request before anything is done about it: from then on the time is the daemon's.
async fn receive(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let _answering = peer.answering();
    let (parts, body) = request.into_parts();
    let whole = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    match tokio::time::timeout(PATIENCE, whole).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(rejected)) => Refusal::new(rejected.status(), rejected.body_text()).into_response(),
        Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end in time").into_response(),
    }
}

async fn viewers_only(State(control): State<Arc<Control>>, mut request: Request, next: Next) -> Response {
    match admit(&control, peer(&request), Role::Viewer).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn operators_only(State(control): State<Arc<Control>>, mut request: Request, next: Next) -> Response {
    let caller = match admit(&control, peer(&request), Role::Operator).await {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    // The path may hold an address.
    tracing::debug!("{} asks for {}", caller.actor, request.uri().path());
    request.extensions_mut().insert(caller);
    // A change that has begun is not undone by its caller's hanging up.
    match control.changing.spawn(next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed: see the log of rosterd").into_response(),
    }
}

fn peer(request: &Request) -> Option<(u32, u32)> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| (peer.uid, peer.gid))
}

async fn admit(control: &Control, peer: Option<(u32, u32)>, needed: Role) -> Result<Caller, Refusal> {
    let (uid, gid) = peer.ok_or_else(|| Refusal::new(StatusCode::FORBIDDEN, "the kernel does not say who is calling"))?;
    let caller = control.callers.identify(uid, gid).await.map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, chain(&e)))?;
    permit(&caller, uid, needed, &control.callers.groups_with(needed))?;
    Ok(caller)
}

/// Whether the caller has the role.
pub(super) fn permit(caller: &Caller, uid: u32, needed: Role, groups: &str) -> Result<(), Refusal> {
    if caller.role.is_some_and(|role| role >= needed) {
        return Ok(());
    }
    let what = match needed {
        Role::Operator => "change anything",
        Role::Viewer => "look",
        Role::Authenticator => "ask",
    };
    let detail = format!("{} (uid {uid}) may not {what}: it has to be in the group {groups}", caller.actor);
    Err(Refusal::new(StatusCode::FORBIDDEN, detail))
}

/// The document of a request.
pub(super) fn document<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|e| Refusal::invalid(format!("the body is not the JSON that belongs here: {e}")))
}

/// The document of a request that needs none.
pub(super) fn optional_document<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { document(body) }
}
