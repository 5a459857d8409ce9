//! Connections: none that dawdles, and no more of them than there are seats.
//!
//! Accepting never waits for a caller or for the user database: a full backlog would keep everybody out, root too.
//! A caller whose roles are not known yet waits aside until they have been looked up.
//!
//! What a caller may take its time over is bounded here, because the HTTP server has no time limits of
//! its own; how long the daemon takes for an answer is not.

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

use super::limits::{Class, DESCRIPTORS, LongPoll, Place, Seats, Signals};
use super::phase::{Phase, Phases, Turn};
use crate::control::auth::peer::Callers;

/// For the head of a request, for its body, and for taking any of the answer.
pub(in crate::control) const PATIENCE: Duration = Duration::from_secs(30);

/// For whoever is only to be told that there is no seat.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// When the process has no descriptors left, accepting again at once would spin.
const BREATH: Duration = Duration::from_millis(500);

/// How often it is looked whether a caller that has said its last word still listens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Connections that were told to leave end within moments; one that finds no descriptor after that is closed.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_millis(100);

/// Connections of callers whose roles are being looked up: of all, and of one user. A user database that hangs holds no more.
const ASIDE: (usize, usize) = (64, 32);

/// A user and the group it connected with.
type Who = (u32, u32);

/// Callers whose groups were looked up, on their way back to the line.
type LookedUp = (mpsc::Sender<(Who, Class)>, mpsc::Receiver<(Who, Class)>);

/// Accepts connections within the limits.
#[derive(Debug)]
pub(in crate::control) struct Line {
    listener: UnixListener,
    callers: Arc<Callers>,
    seats: Seats,
    descriptors: Arc<Semaphore>,
    patience: Duration,
    cut: CancellationToken,
    /// Connections whose callers are being looked up.
    aside: HashMap<Who, Vec<(UnixStream, OwnedSemaphorePermit)>>,
    looked_up: LookedUp,
    /// Connections that have a place and are to be handed out.
    ready: VecDeque<Connection>,
    /// Whether the log has said that no connection can be accepted.
    is_told: bool,
}

impl Line {
    /// `cut` ends every connection, whatever it is at.
    pub(in crate::control) fn new(
        listener: UnixListener,
        callers: Arc<Callers>,
        cut: CancellationToken,
    ) -> Self {
        Self {
            listener,
            callers,
            seats: Seats::default(),
            descriptors: Arc::new(Semaphore::new(DESCRIPTORS + ASIDE.0)),
            patience: PATIENCE,
            cut,
            aside: HashMap::new(),
            looked_up: mpsc::channel(ASIDE.0),
            ready: VecDeque::new(),
            is_told: false,
        }
    }

    /// Gives a new connection a place, or has its caller looked up first. A connection without room is closed.
    async fn meet(&mut self, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else { return };
        let who = (peer.uid(), peer.gid());
        let descriptor = tokio::time::timeout(
            DESCRIPTOR_PATIENCE,
            Arc::clone(&self.descriptors).acquire_owned(),
        )
        .await;
        let Ok(Ok(permit)) = descriptor else { return };
        if let Some(caller) = self.callers.known(who.0, who.1) {
            return self.seat(stream, permit, who, Class::of(who.0, caller.roles));
        }
        if self.aside.values().map(Vec::len).sum::<usize>() >= ASIDE.0 {
            return;
        }
        let of_one = self.aside.entry(who).or_default();
        if of_one.is_empty() {
            let (callers, found) = (Arc::clone(&self.callers), self.looked_up.0.clone());
            tokio::spawn(async move {
                // A caller who cannot be looked up is told so by its request.
                let class = callers
                    .identify(who.0, who.1)
                    .await
                    .map_or(Class::Strangers, |caller| Class::of(who.0, caller.roles));
                // The line is gone when rosterd is stopping.
                let _ = found.send((who, class)).await;
            });
        }
        if of_one.len() < ASIDE.1 {
            of_one.push((stream, permit));
        }
    }

    fn seat(
        &mut self,
        stream: UnixStream,
        permit: OwnedSemaphorePermit,
        (uid, gid): Who,
        class: Class,
    ) {
        let signals = Signals { leave: self.cut.child_token(), hurry: CancellationToken::new() };
        let phases = Phases::default();
        let Some(place) = self.seats.take(class, uid, &phases, &signals) else { return };
        let patience = if place.is_standing() { SHORT_PATIENCE } else { self.patience };
        let Signals { leave, hurry } = signals;
        self.ready.push_back(Connection {
            stream,
            peer: Peer {
                uid,
                gid,
                has_no_seat: place.is_standing(),
                phases,
                hurry,
                seats: self.seats.clone(),
            },
            was_answering: false,
            is_blocked: false,
            is_heard: false,
            last_word: None,
            patience,
            deadline: Box::pin(tokio::time::sleep(patience)),
            cut: Box::pin(leave.cancelled_owned()),
            _place: place,
            _permit: permit,
        });
    }
}

impl Listener for Line {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        loop {
            if let Some(connection) = self.ready.pop_front() {
                return (connection, ());
            }
            tokio::select! {
                Some((who, class)) = self.looked_up.1.recv() => {
                    for (stream, permit) in self.aside.remove(&who).unwrap_or_default() {
                        self.seat(stream, permit, who, class);
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.is_told = false;
                        self.meet(stream).await;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.is_told, true) {
                            tracing::warn!("a connection to the control socket could not be accepted: {error}");
                        }
                        tokio::time::sleep(BREATH).await;
                    }
                }
            }
            // So that a flood does not outrun those who have been let in.
            tokio::task::yield_now().await;
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone)]
pub(in crate::control) struct Peer {
    /// Its user.
    pub(in crate::control) uid: u32,
    /// Its group when it connected.
    pub(in crate::control) gid: u32,
    /// Whether it is only to be told that there are too many.
    pub(in crate::control) has_no_seat: bool,
    /// Cancelled when the seat is wanted: what waits for news answers now, and the connection ends after the answer.
    pub(in crate::control) hurry: CancellationToken,
    phases: Phases,
    seats: Seats,
}

impl Peer {
    /// The head of a request is there.
    pub(in crate::control) fn asks(&self) -> Turn {
        self.phases.begin()
    }

    /// Begins to wait for news; `None` when the caller waits too often already.
    pub(in crate::control) fn waits(&self) -> Option<LongPoll> {
        self.seats.wait(self.uid, &self.phases)
    }
}

impl Connected<IncomingStream<'_, Line>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Line>) -> Self {
        stream.io().peer.clone()
    }
}

/// A connection that ends when its caller dawdles.
#[derive(Debug)]
pub(in crate::control) struct Connection {
    stream: UnixStream,
    peer: Peer,
    was_answering: bool,
    /// Whether the caller has yet to take what was written last.
    is_blocked: bool,
    /// Whether the caller has the word, and the HTTP server was given the time to take what it has said before.
    is_heard: bool,
    /// When the caller has said its last word: when to look again whether it still listens.
    last_word: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn give_time(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.patience);
    }

    /// Whether it is over; else the task is woken when it will be.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection has to make room, or rosterd is stopping",
            ));
        }
        if matches!(self.peer.phases.now(), Phase::Receiving | Phase::Answering | Phase::Polling) {
            self.was_answering = true;
            return Ok(());
        }
        if self.was_answering {
            self.was_answering = false;
            self.give_time();
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the caller took too long"))
            }
            Poll::Pending => Ok(()),
        }
    }

    /// Writing goes on as long as the caller takes any of it.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.is_blocked = wrote.is_pending();
        match wrote {
            Poll::Ready(Ok(count)) if count > 0 => self.give_time(),
            Poll::Pending => self.check(cx)?,
            Poll::Ready(_) => {}
        }
        wrote
    }

    /// A caller may close its side and still wait for its answer (`… | socat - UNIX:…`): the HTTP server learns of
    /// the end when there is nothing left to send, or nobody to send it to.
    fn ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.peer.phases.now();
        let was_heard =
            std::mem::replace(&mut self.is_heard, phase == Phase::Listening && !self.is_blocked);
        let is_over = match phase {
            // A request that came with the one before has been read, perhaps, and is only about to begin.
            Phase::Listening => self.is_heard && was_heard,
            Phase::Receiving => true,
            Phase::Answering | Phase::Polling | Phase::Sending => false,
        };
        if self.is_heard && !was_heard {
            cx.waker().wake_by_ref();
        }
        let is_gone = matches!(pin!(self.stream.ready(Interest::WRITABLE)).poll(cx), Poll::Ready(Ok(ready)) if ready.is_write_closed());
        let again = self.last_word.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_AGAIN)));
        if is_over || is_gone {
            return Poll::Ready(Ok(()));
        }
        while again.as_mut().poll(cx).is_ready() {
            again.as_mut().reset(Instant::now() + LOOK_AGAIN);
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
        if this.last_word.is_some() {
            return this.ended(cx);
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before && room > 0 {
            return this.ended(cx);
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
        this.wrote(cx, wrote)
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
        this.wrote(cx, wrote)
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
        let mut line =
            Line::new(UnixListener::bind(&path).unwrap(), callers, CancellationToken::new());
        line.patience = Duration::from_millis(200);
        let (caller, accepted) = tokio::join!(UnixStream::connect(&path), line.accept());
        (caller.unwrap(), accepted.0)
    }

    #[tokio::test]
    async fn a_head_that_comes_drop_by_drop_is_cut_off_in_time() {
        let (mut caller, mut connection) = connected().await;
        let dripping = tokio::spawn(async move { while caller.write_all(b"x").await.is_ok() {} });
        let mut taken = [0; 1];
        let cut = loop {
            if let Err(error) = connection.read_exact(&mut taken).await {
                break error;
            }
        };
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_cut_off_and_the_time_the_daemon_takes_is_not_counted() {
        let (caller, mut connection) = connected().await;
        let turn = connection.peer.asks();
        turn.goes_on(Phase::Answering);
        let waiting = tokio::time::timeout(Duration::from_millis(600), connection.read_u8()).await;
        assert!(waiting.is_err(), "the daemon has the word: {waiting:?}");
        turn.goes_on(Phase::Sending);
        let cut = loop {
            if let Err(error) = connection.write_all(&vec![0; 64 * 1024]).await {
                break error;
            }
        };
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        drop(caller);
    }

    #[tokio::test]
    async fn the_end_is_passed_on_at_once_when_the_caller_is_gone_and_when_the_answer_is_out_if_it_still_listens()
     {
        let (caller, mut connection) = connected().await;
        let turn = connection.peer.asks();
        turn.goes_on(Phase::Answering);
        drop(caller);
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);

        let (mut caller, mut connection) = connected().await;
        let turn = connection.peer.asks();
        turn.goes_on(Phase::Answering);
        caller.shutdown().await.unwrap();
        let early =
            tokio::time::timeout(Duration::from_millis(300), connection.read(&mut [0])).await;
        assert!(early.is_err(), "it still listens: {early:?}");
        drop(turn);
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);
        let turn = connection.peer.asks();
        turn.goes_on(Phase::Answering);
        drop(caller);
        let gone = tokio::time::timeout(Duration::from_secs(5), connection.read(&mut [0])).await;
        assert_eq!(gone.expect("it is looked for").unwrap(), 0);
    }
}
