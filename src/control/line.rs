//! Connections: so many at once, so many for each user, and none that dawdles.
//!
//! What a caller may take its time over is bounded here, because the HTTP server has no time limits of
//! its own; how long the daemon takes for an answer is not.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Each costs a descriptor and some buffers; operators and their scripts need a handful.
const CONNECTIONS: usize = 128;

/// One user cannot take the connections of all the others.
const CONNECTIONS_OF_ONE: usize = 32;

/// For the head of a request, for its body, and for taking any of the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// When the process has no descriptors left, accepting again at once would spin.
const BREATH: Duration = Duration::from_millis(500);

/// How many connections each user has.
type Taken = Arc<Mutex<HashMap<u32, usize>>>;

/// Accepts connections within the limits.
#[derive(Debug)]
pub(super) struct Line {
    listener: UnixListener,
    seats: Arc<Semaphore>,
    taken: Taken,
    cut: CancellationToken,
    /// That nobody can be accepted is said once, until somebody is.
    is_told: bool,
}

impl Line {
    /// `cut` ends every connection, whatever it is at.
    pub(super) fn new(listener: UnixListener, cut: CancellationToken) -> Self {
        Self { listener, seats: Arc::new(Semaphore::new(CONNECTIONS)), taken: Taken::default(), cut, is_told: false }
    }

    /// A connection for this stream, unless its user has too many.
    fn admit(&self, stream: UnixStream, permit: OwnedSemaphorePermit) -> Option<Connection> {
        let who = stream.peer_cred().ok()?;
        let (uid, gid) = (who.uid(), who.gid());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(uid).or_default();
        if uid != 0 && *count >= CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        let seat = Seat { uid, taken: Arc::clone(&self.taken), _permit: permit };
        Some(Connection {
            stream,
            peer: Peer { uid, gid, is_answering: Arc::default() },
            was_answering: false,
            deadline: Box::pin(tokio::time::sleep(PATIENCE)),
            cut: Box::pin(self.cut.clone().cancelled_owned()),
            _seat: seat,
        })
    }
}

impl Listener for Line {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        loop {
            // Whoever comes when all seats are taken waits in the kernel's queue.
            let Ok(permit) = Arc::clone(&self.seats).acquire_owned().await else { std::future::pending().await };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.is_told = false;
                    if let Some(connection) = self.admit(stream, permit) {
                        return (connection, ());
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_told, true) {
                        tracing::warn!("a connection to the control socket could not be accepted: {error}");
                    }
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One of the connections there may be.
#[derive(Debug)]
struct Seat {
    uid: u32,
    taken: Taken,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its user.
    pub(super) uid: u32,
    /// Its group when it connected.
    pub(super) gid: u32,
    is_answering: Arc<AtomicBool>,
}

/// While this lives, the daemon has the word, and takes its time.
#[derive(Debug)]
pub(super) struct Answering(Arc<AtomicBool>);

impl Peer {
    /// The request is there: the daemon has the word.
    pub(super) fn answering(&self) -> Answering {
        self.is_answering.store(true, Ordering::Release);
        Answering(Arc::clone(&self.is_answering))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Line>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Line>) -> Self {
        stream.io().peer.clone()
    }
}

/// A connection that ends when its caller dawdles.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    peer: Peer,
    was_answering: bool,
    deadline: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _seat: Seat,
}

impl Connection {
    fn give_time(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + PATIENCE);
    }

    /// Whether it is over; else the task is woken when it will be.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "rosterd is stopping"));
        }
        if self.peer.is_answering.load(Ordering::Acquire) {
            self.was_answering = true;
            return Ok(());
        }
        if self.was_answering {
            self.was_answering = false;
            self.give_time();
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the caller took too long")),
            Poll::Pending => Ok(()),
        }
    }

    /// Writing goes on as long as the caller takes any of it.
    fn wrote(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Ok(count)) if count > 0 => self.give_time(),
            Poll::Pending => self.check(cx)?,
            Poll::Ready(_) => {}
        }
        wrote
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
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

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
