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

use super::connection::{Line, PATIENCE, Peer};
use super::phase::Phase;
use super::socket::{Listening, ServeError};
use crate::control::auth::peer::Callers;
use crate::control::problem::{Refusal, as_problems};

/// The largest document a request has is a page of text.
pub(in crate::control) const LARGEST_BODY: usize = 1024 * 1024;

/// How long requests may take to finish when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);

/// Answers on the socket until `stop`; then accepts nobody any more, and gives the requests under way a moment.
pub(in crate::control) async fn run(
    listening: Listening,
    callers: Arc<Callers>,
    routes: Router,
    changing: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let (listener, file) = listening.into_parts();
    let cut = CancellationToken::new();
    let line = Line::new(listener, callers, cut.clone());
    let service = layered(routes).into_make_service_with_connect_info::<Peer>();
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
    changing.close();
    let finished = tokio::time::timeout(GRACE, async {
        let served = server.await;
        changing.wait().await;
        served
    });
    if let Ok(served) = finished.await {
        return served.map_err(ServeError::Serve);
    }
    cut.cancel();
    tracing::info!("requests on the control socket were cut off");
    Ok(())
}

/// Puts what holds for every request around the API.
fn layered(routes: Router) -> Router {
    // Around the router as a whole, so that what it answers by itself is seen complete, with its Allow header.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn(receive))
        .layer(from_fn(as_problems))
        .layer(map_response(signed))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
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
