//! Phase of a connection. It decides whose time passes: the caller's, which is limited, or the
//! daemon's, which is not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};

/// Phase of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(in crate::control) enum Phase {
    /// No request has begun. The caller's time passes.
    Idle,
    /// The head of a request has arrived, and its body is still arriving. The caller's time passes.
    Receiving,
    /// The handler runs. The daemon's time passes.
    Answering,
    /// The answer is being sent. The caller's time passes.
    Sending,
    /// A long poll waits for events, and can be answered early. The daemon's time passes.
    Polling,
}

/// The phase of one connection, shared by the HTTP server and the limits.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct SharedPhase(Arc<AtomicU8>);

impl SharedPhase {
    pub(in crate::control) fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            1 => Phase::Receiving,
            2 => Phase::Answering,
            3 => Phase::Sending,
            4 => Phase::Polling,
            _ => Phase::Idle,
        }
    }

    pub(in crate::control) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// Begins a request.
    pub(in crate::control) fn begin(&self) -> Exchange {
        let exchange = Exchange(self.clone());
        exchange.enter(Phase::Receiving);
        exchange
    }
}

/// One request and its answer. The connection is idle again when it is dropped.
#[derive(Debug)]
pub(in crate::control) struct Exchange(SharedPhase);

impl Exchange {
    pub(in crate::control) fn enter(&self, phase: Phase) {
        self.0.set(phase);
    }

    /// Returns the answer with the exchange attached to its body, because the exchange lasts until
    /// the body is sent.
    pub(in crate::control) fn send(self, response: Response) -> Response {
        self.enter(Phase::Sending);
        response.map(|body| Body::new(ExchangeBody { body, _exchange: self }))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.enter(Phase::Idle);
    }
}

/// The body of an answer with its exchange.
struct ExchangeBody {
    body: Body,
    _exchange: Exchange,
}

impl HttpBody for ExchangeBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
