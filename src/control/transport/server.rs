//! HTTP on the connections: the steps that every request passes, and the graceful stop.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{CALLER_TIMEOUT, ConnectionListener, Peer};
use super::phase::Phase;
use super::socket::{Listening, ServeError};
use crate::control::auth::peer::Callers;
use crate::control::problem::{Refusal, as_problems};

/// Size limit of a request body, in bytes. A document is a page of text at most.
pub(in crate::control) const LARGEST_BODY: usize = 1024 * 1024;

/// Time for requests in progress to finish when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the API until `stop`. Then accepts no more connections, and waits for requests in
/// progress.
pub(in crate::control) async fn run(
    listening: Listening,
    callers: Arc<Callers>,
    routes: Router,
    changing: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let (listener, file) = listening.into_parts();
    let abort = CancellationToken::new();
    let listener = ConnectionListener::new(listener, callers, abort.clone());
    let service = with_layers(routes).into_make_service_with_connect_info::<Peer>();
    let mut server = pin!(
        axum::serve(listener, service)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future()
    );
    tokio::select! {
        broken = &mut server => return broken.map_err(ServeError::Serve),
        () = stop.cancelled() => {}
    }
    // New callers no longer find the socket; accepted connections are still answered.
    drop(file);
    changing.close();
    let finished = tokio::time::timeout(GRACE, async {
        let served = server.await;
        changing.wait().await;
        served
    });
    if let Ok(served) = finished.await {
        return served.map_err(ServeError::Serve);
    }
    abort.cancel();
    tracing::info!("control socket aborted requests in progress, because rosterd is stopping");
    Ok(())
}

/// Adds the layers that every request passes.
fn with_layers(routes: Router) -> Router {
    // Around the router as a whole, so that its own answers have their Allow header already.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn(receive))
        .layer(from_fn(as_problems))
        .layer(map_response(with_version))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

/// Adds the daemon's version. A refused client can tell from it whether it is of another version.
async fn with_version(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::SERVER,
        HeaderValue::from_static(concat!("rosterd/", env!("CARGO_PKG_VERSION"))),
    );
    response
}

/// Reads the whole request before its handler runs. From then on, the daemon's time passes.
async fn receive(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let exchange = peer.begin();
    if peer.is_overflow {
        return exchange.send(too_many(peer.uid));
    }
    if request.body().is_end_stream() {
        // A caller that has closed its sending side is not cut off, because its request is
        // complete.
        exchange.enter(Phase::Answering);
    }
    let (parts, body) = request.into_parts();
    let whole = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let mut response = match tokio::time::timeout(CALLER_TIMEOUT, whole).await {
        Ok(Ok(body)) => {
            exchange.enter(Phase::Answering);
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
        Ok(Err(rejected)) => Refusal::new(rejected.status(), rejected.body_text()).into_response(),
        Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")
            .into_response(),
    };
    if peer.finish.is_cancelled() {
        // The slot belongs to another connection already.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.send(response)
}

fn too_many(uid: u32) -> Response {
    let detail =
        format!("too many connections of uid {uid} are being answered: try again in a moment");
    let headers = [(header::RETRY_AFTER, "1"), (header::CONNECTION, "close")];
    (headers, Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)).into_response()
}
