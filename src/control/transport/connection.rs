//! Connections of the control socket. They end when the caller is slow, and their number is
//! limited.
//!
//! Accepting never waits for a caller or for the user database. A full backlog would keep every
//! caller out, root included. A connection is set aside until its caller's roles are looked up.
//!
//! The time that a caller may take is limited here, because the HTTP server has no time limits. The
//! time that the daemon takes for an answer is not limited.

use std::collections::{HashMap, VecDeque};
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::limits::{Class, DESCRIPTORS, Lease, LongPoll, Signals, Slots};
use super::phase::{Exchange, Phase, SharedPhase};
use crate::control::auth::peer::Callers;

/// Time for the head of a request, for its body, and for reading any part of the answer.
pub(in crate::control) const CALLER_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for an overflow connection, which is only answered with 503.
const OVERFLOW_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a failed accept. Without it, accepting would spin while the process has no
/// descriptors left.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Interval of the check whether a caller that closed its sending side is still connected.
const HANGUP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Time to wait for a descriptor. Evicted connections end within moments, so one is free by then.
const DESCRIPTOR_TIMEOUT: Duration = Duration::from_millis(100);

/// Connections that wait for a lookup of their caller: in all, and of one user. A user database
/// that hangs holds no more.
const PENDING: (usize, usize) = (64, 32);

/// A user id, and the group id that it connected with.
type Ids = (u32, u32);

/// Callers whose roles were looked up.
type LookedUp = (mpsc::Sender<(Ids, Class)>, mpsc::Receiver<(Ids, Class)>);

/// Accepts connections within the limits.
#[derive(Debug)]
pub(in crate::control) struct ConnectionListener {
    listener: UnixListener,
    callers: Arc<Callers>,
    slots: Slots,
    descriptors: Arc<Semaphore>,
    timeout: Duration,
    abort: CancellationToken,
    /// Connections whose callers are being looked up.
    pending: HashMap<Ids, Vec<(UnixStream, OwnedSemaphorePermit)>>,
    looked_up: LookedUp,
    /// Connections that have a slot or an overflow place, and that the HTTP server has not taken
    /// yet.
    ready: VecDeque<Connection>,
    /// Whether the log has a warning since the last accepted connection.
    has_warned: bool,
}

impl ConnectionListener {
    /// Cancelling `abort` ends every connection in any phase.
    pub(in crate::control) fn new(
        listener: UnixListener,
        callers: Arc<Callers>,
        abort: CancellationToken,
    ) -> Self {
        Self {
            listener,
            callers,
            slots: Slots::default(),
            descriptors: Arc::new(Semaphore::new(DESCRIPTORS + PENDING.0)),
            timeout: CALLER_TIMEOUT,
            abort,
            pending: HashMap::new(),
            looked_up: mpsc::channel(PENDING.0),
            ready: VecDeque::new(),
            has_warned: false,
        }
    }

    /// Admits a new connection, or has its caller looked up first. A connection beyond the limits
    /// is closed.
    async fn receive(&mut self, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else { return };
        let ids = (peer.uid(), peer.gid());
        let descriptor =
            tokio::time::timeout(DESCRIPTOR_TIMEOUT, Arc::clone(&self.descriptors).acquire_owned())
                .await;
        let Ok(Ok(permit)) = descriptor else { return };
        if let Some(caller) = self.callers.known(ids.0, ids.1) {
            return self.admit(stream, permit, ids, Class::of(ids.0, caller.roles));
        }
        if self.pending.values().map(Vec::len).sum::<usize>() >= PENDING.0 {
            return;
        }
        let of_user = self.pending.entry(ids).or_default();
        if of_user.is_empty() {
            let (callers, found) = (Arc::clone(&self.callers), self.looked_up.0.clone());
            tokio::spawn(async move {
                // A failed lookup is reported by the answer to the request.
                let class = callers
                    .identify(ids.0, ids.1)
                    .await
                    .map_or(Class::Strangers, |caller| Class::of(ids.0, caller.roles));
                // The listener is gone when rosterd is stopping.
                let _ = found.send((ids, class)).await;
            });
        }
        if of_user.len() < PENDING.1 {
            of_user.push((stream, permit));
        }
    }

    fn admit(
        &mut self,
        stream: UnixStream,
        permit: OwnedSemaphorePermit,
        (uid, gid): Ids,
        class: Class,
    ) {
        let signals = Signals { abort: self.abort.child_token(), finish: CancellationToken::new() };
        let phase = SharedPhase::default();
        let Some(lease) = self.slots.take(class, uid, &phase, &signals) else { return };
        let timeout = if lease.is_overflow() { OVERFLOW_TIMEOUT } else { self.timeout };
        let Signals { abort, finish } = signals;
        self.ready.push_back(Connection {
            stream,
            peer: Peer {
                uid,
                gid,
                is_overflow: lease.is_overflow(),
                phase,
                finish,
                slots: self.slots.clone(),
            },
            was_answering: false,
            is_blocked: false,
            is_drained: false,
            hangup_check: None,
            timeout,
            deadline: Box::pin(tokio::time::sleep(timeout)),
            abort: Box::pin(abort.cancelled_owned()),
            _lease: lease,
            _permit: permit,
        });
    }
}

impl Listener for ConnectionListener {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        loop {
            if let Some(connection) = self.ready.pop_front() {
                return (connection, ());
            }
            tokio::select! {
                Some((ids, class)) = self.looked_up.1.recv() => {
                    for (stream, permit) in self.pending.remove(&ids).unwrap_or_default() {
                        self.admit(stream, permit, ids, class);
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.has_warned = false;
                        self.receive(stream).await;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.has_warned, true) {
                            tracing::warn!("control socket accept failed: {error}");
                        }
                        tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                    }
                }
            }
            // Lets accepted connections run, because a flood of new ones would starve them.
            tokio::task::yield_now().await;
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The caller of a connection, as the kernel reports it.
#[derive(Debug, Clone)]
pub(in crate::control) struct Peer {
    pub(in crate::control) uid: u32,
    /// Group id when it connected.
    pub(in crate::control) gid: u32,
    /// Whether the connection has no slot: its request is answered with 503.
    pub(in crate::control) is_overflow: bool,
    /// Cancelled when another connection needs the slot. A long poll is answered now, and the
    /// connection ends after the answer.
    pub(in crate::control) finish: CancellationToken,
    phase: SharedPhase,
    slots: Slots,
}

impl Peer {
    /// Begins a request, whose head has arrived.
    pub(in crate::control) fn begin(&self) -> Exchange {
        self.phase.begin()
    }

    /// Begins a long poll. Returns `None` when the user has too many already.
    pub(in crate::control) fn begin_poll(&self) -> Option<LongPoll> {
        self.slots.begin_poll(self.uid, &self.phase)
    }
}

impl Connected<IncomingStream<'_, ConnectionListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, ConnectionListener>) -> Self {
        stream.io().peer.clone()
    }
}

/// A connection that ends when its caller takes too long.
#[derive(Debug)]
pub(in crate::control) struct Connection {
    stream: UnixStream,
    peer: Peer,
    was_answering: bool,
    /// Whether the caller has not read the last write yet.
    is_blocked: bool,
    /// Whether the connection is idle and the HTTP server has had the time to take what had
    /// arrived.
    is_drained: bool,
    /// Timer of the next hangup check, once the caller has closed its sending side.
    hangup_check: Option<Pin<Box<Sleep>>>,
    timeout: Duration,
    deadline: Pin<Box<Sleep>>,
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
    _lease: Lease,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn reset_deadline(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.timeout);
    }

    /// Returns an error when the connection is over. Otherwise, the task is woken when it will be.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.abort.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was evicted, or rosterd is stopping",
            ));
        }
        if matches!(self.peer.phase.get(), Phase::Receiving | Phase::Answering | Phase::Polling) {
            self.was_answering = true;
            return Ok(());
        }
        if self.was_answering {
            self.was_answering = false;
            self.reset_deadline();
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the caller took too long"))
            }
            Poll::Pending => Ok(()),
        }
    }

    /// Resets the deadline whenever the caller has read some of the answer.
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.is_blocked = wrote.is_pending();
        match wrote {
            Poll::Ready(Ok(count)) if count > 0 => self.reset_deadline(),
            Poll::Pending => self.check(cx)?,
            Poll::Ready(_) => {}
        }
        wrote
    }

    /// Reports the end of the input when no answer is left to send, or the caller has hung up.
    ///
    /// A caller may close its sending side and still wait for its answer (`… | socat - UNIX:…`).
    fn end_of_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.peer.phase.get();
        let was_drained =
            std::mem::replace(&mut self.is_drained, phase == Phase::Idle && !self.is_blocked);
        let is_over = match phase {
            // A pipelined request may have been read already and be about to begin.
            Phase::Idle => self.is_drained && was_drained,
            Phase::Receiving => true,
            Phase::Answering | Phase::Polling | Phase::Sending => false,
        };
        if self.is_drained && !was_drained {
            cx.waker().wake_by_ref();
        }
        let has_hung_up = matches!(
            pin!(self.stream.ready(Interest::WRITABLE)).poll(cx),
            Poll::Ready(Ok(ready)) if ready.is_write_closed()
        );
        let timer = self
            .hangup_check
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(HANGUP_CHECK_INTERVAL)));
        if is_over || has_hung_up {
            return Poll::Ready(Ok(()));
        }
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(Instant::now() + HANGUP_CHECK_INTERVAL);
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        if this.hangup_check.is_some() {
            return this.end_of_input(cx);
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before && room > 0 {
            return this.end_of_input(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.after_write(cx, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.after_write(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::control::settings::Settings;

    async fn connected() -> (UnixStream, Connection) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let none = String::new;
        let settings = Settings {
            socket: path.clone(),
            operators: none(),
            viewers: none(),
            authenticators: none(),
            own_user_operates: true,
        };
        let callers = Arc::new(Callers::new(&settings));
        let mut listener = ConnectionListener::new(
            UnixListener::bind(&path).unwrap(),
            callers,
            CancellationToken::new(),
        );
        listener.timeout = Duration::from_millis(200);
        let (caller, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        (caller.unwrap(), accepted.0)
    }

    #[tokio::test]
    async fn a_request_head_that_arrives_byte_by_byte_is_cut_off_in_time() {
        let (mut caller, mut connection) = connected().await;
        let sending = tokio::spawn(async move { while caller.write_all(b"x").await.is_ok() {} });
        let mut taken = [0; 1];
        let cut = loop {
            if let Err(error) = connection.read_exact(&mut taken).await {
                break error;
            }
        };
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_is_cut_off_and_the_daemons_time_is_not_counted() {
        let (caller, mut connection) = connected().await;
        let exchange = connection.peer.begin();
        exchange.enter(Phase::Answering);
        let waiting = tokio::time::timeout(Duration::from_millis(600), connection.read_u8()).await;
        assert!(waiting.is_err(), "the handler is running: {waiting:?}");
        exchange.enter(Phase::Sending);
        let cut = loop {
            if let Err(error) = connection.write_all(&vec![0; 64 * 1024]).await {
                break error;
            }
        };
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        drop(caller);
    }

    #[tokio::test]
    async fn the_end_of_input_waits_for_the_answer_unless_the_caller_has_hung_up() {
        let (caller, mut connection) = connected().await;
        let exchange = connection.peer.begin();
        exchange.enter(Phase::Answering);
        drop(caller);
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);

        let (mut caller, mut connection) = connected().await;
        let exchange = connection.peer.begin();
        exchange.enter(Phase::Answering);
        caller.shutdown().await.unwrap();
        let early =
            tokio::time::timeout(Duration::from_millis(300), connection.read(&mut [0])).await;
        assert!(early.is_err(), "the caller still waits: {early:?}");
        drop(exchange);
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);
        let exchange = connection.peer.begin();
        exchange.enter(Phase::Answering);
        drop(caller);
        let gone = tokio::time::timeout(Duration::from_secs(5), connection.read(&mut [0])).await;
        assert_eq!(gone.expect("the hangup is noticed").unwrap(), 0);
    }
}
