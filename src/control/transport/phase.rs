//! Whose turn it is on a connection: the caller's, whose time is bounded, or the daemon's, which takes its time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};

/// What a connection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(in crate::control) enum Phase {
    /// The caller has yet to say what it wants.
    Listening,
    /// The head of a request is there; its body is on its way.
    Receiving,
    /// The daemon is at it.
    Answering,
    /// The caller takes the answer.
    Sending,
    /// The daemon waits for news to answer with, and can answer earlier.
    Polling,
}

/// The phase of one connection, as its server and its limits both see it.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Phases(Arc<AtomicU8>);

impl Phases {
    /// The present one.
    pub(in crate::control) fn now(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            1 => Phase::Receiving,
            2 => Phase::Answering,
            3 => Phase::Sending,
            4 => Phase::Polling,
            _ => Phase::Listening,
        }
    }

    /// From now on the connection is at this.
    pub(in crate::control) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// A request begins.
    pub(in crate::control) fn begin(&self) -> Turn {
        let turn = Turn(self.clone());
        turn.goes_on(Phase::Receiving);
        turn
    }
}

/// One request and its answer. When it is over, the caller has the word again.
#[derive(Debug)]
pub(in crate::control) struct Turn(Phases);

impl Turn {
    /// From now on it is at this.
    pub(in crate::control) fn goes_on(&self, phase: Phase) {
        self.0.set(phase);
    }

    /// The answer goes out; the turn lasts until all of it is handed over.
    pub(in crate::control) fn sends(self, response: Response) -> Response {
        self.goes_on(Phase::Sending);
        response.map(|body| Body::new(Spoken { body, _turn: self }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.goes_on(Phase::Listening);
    }
}

/// The body of an answer, with the turn that it is part of.
struct Spoken {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Spoken {
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
