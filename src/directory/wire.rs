//! The wire: the relay that passes only checked frames to the LDAP driver.
//!
//! ldap3 handles requests, message ids, controls and results, but it trusts its input. Deep nesting
//! overflows its stack, bad lengths hang it, and some answers make it panic. Therefore ldap3 is
//! never connected to the network. It has one end of a socket pair. The relay at the other end
//! passes on whole, valid LDAP messages that answer a request of the same id.
//!
//! Search entries bypass ldap3. They go as bytes over a bounded channel to the reader of this
//! crate. A full channel puts back-pressure on the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use zeroize::Zeroize as _;

use super::frame::{self, Frame, Op};
use super::wire_error::WireError;

/// Capacity of the channel between relay and reader. One batch holds the entries of one socket
/// read.
const ENTRY_BATCHES: usize = 16;
/// Most bytes of one socket read.
const READ_SIZE: usize = 64 * 1024;

/// Tag of a BindRequest: `[APPLICATION 0]`.
const BIND_REQUEST: Op = Op::Other(0);

/// The message id of SASL binds, which follow each other. ldap3 counts from 1 and never gets there.
pub(super) const SASL_BIND_ID: u32 = i32::MAX.cast_unsigned();

/// A BindRequest with the id [`SASL_BIND_ID`], and the receiver of its response.
type SaslBind = (Vec<u8>, oneshot::Sender<Frame>);

/// Error that ended the relay.
type Failure = Arc<Mutex<Option<WireError>>>;

/// A connection: the handle of the driver, and the channel of search entries.
#[derive(Debug)]
pub(super) struct Wire {
    pub ldap: Ldap,
    pub entries: mpsc::Receiver<Vec<Bytes>>,
    sasl_binds: mpsc::Sender<SaslBind>,
    failure: Failure,
    tasks: [AbortOnDropHandle<()>; 2],
}

impl Wire {
    /// Starts relay and driver on a stream that is already secured.
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> Result<Self, WireError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(WireError::Connect)?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).map_err(WireError::Connect)?;
        }
        let mut ours = UnixStream::from_std(ours).map_err(WireError::Connect)?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let driver = |e: ldap3::LdapError| WireError::Driver(e.to_string());
        let (conn, ldap) =
            LdapConnAsync::with_settings(settings, "ldapi://rosterd").await.map_err(driver)?;
        let (sender, entries) = mpsc::channel(ENTRY_BATCHES);
        let (sasl_binds, binds) = mpsc::channel(1);
        let failure = Failure::default();
        let reported = Arc::clone(&failure);
        let relay = async move {
            if let Err(error) = relay(stream, &mut ours, sender, binds).await {
                tracing::debug!("the LDAP connection ended: {error}");
                reported.lock().unwrap_or_else(PoisonError::into_inner).replace(error);
            }
            // Last, because the failure must be stored before the driver sees the end of its
            // connection.
            drop(ours);
        };
        let driver = async move {
            if let Err(error) = conn.drive().await {
                tracing::debug!("the LDAP driver ended: {error}");
            }
        };
        // Both tasks log within the span of the run.
        let (relay, driver) =
            (tokio::spawn(relay.in_current_span()), tokio::spawn(driver.in_current_span()));
        Ok(Self {
            ldap,
            entries,
            sasl_binds,
            failure,
            tasks: [AbortOnDropHandle::new(relay), AbortOnDropHandle::new(driver)],
        })
    }

    /// Sends a BindRequest that ldap3 cannot make, and returns its response; `None` after a failure.
    pub(super) async fn sasl_bind(&self, request: Vec<u8>) -> Option<Frame> {
        let (sender, answer) = oneshot::channel();
        self.sasl_binds.send((request, sender)).await.ok()?;
        answer.await.ok()
    }

    /// Closes the connection and returns the error of the relay, or else that of the driver.
    pub(super) fn explain(self, error: Option<&ldap3::LdapError>) -> WireError {
        let Self { failure, tasks, ldap, entries, sasl_binds } = self;
        drop((tasks, ldap, entries, sasl_binds));
        let seen = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (seen, error) {
            (Some(seen), _) => seen,
            (None, Some(error)) => WireError::Driver(error.to_string()),
            (None, None) => WireError::Cut,
        }
    }

    /// Returns whether the relay has ended with an error.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Passes requests to the server and checked responses to the driver until either side ends.
async fn relay(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    driver: &mut UnixStream,
    entries: mpsc::Sender<Vec<Bytes>>,
    mut sasl_binds: mpsc::Receiver<SaslBind>,
) -> Result<(), WireError> {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let (mut from_driver, mut to_driver) = driver.split();
    let asked = Mutex::new(HashMap::<i32, Op>::new());
    let sasl_bind = Mutex::new(None);
    let outgoing = async {
        let mut buffer = BytesMut::with_capacity(4096);
        loop {
            while let Some(request) = frame::split(&mut buffer)? {
                if let Ok(mut asked) = asked.lock() {
                    asked.insert(request.message_id, request.op);
                }
                to_server.write_all(&request.bytes).await.map_err(|_| WireError::Cut)?;
                if request.op == BIND_REQUEST {
                    wipe(request.bytes, &mut buffer);
                }
            }
            to_server.flush().await.map_err(|_| WireError::Cut)?;
            tokio::select! {
                read = from_driver.read_buf(&mut buffer) => {
                    if read.map_err(|_| WireError::Cut)? == 0 {
                        return Ok(());
                    }
                }
                Some((request, answer)) = sasl_binds.recv() => {
                    if let (Ok(mut asked), Ok(mut bind)) = (asked.lock(), sasl_bind.lock()) {
                        asked.insert(SASL_BIND_ID.cast_signed(), BIND_REQUEST);
                        bind.replace(answer);
                    }
                    to_server.write_all(&request).await.map_err(|_| WireError::Cut)?;
                    to_server.flush().await.map_err(|_| WireError::Cut)?;
                }
            }
        }
    };
    let incoming = async {
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        loop {
            buffer.reserve(READ_SIZE);
            if from_server.read_buf(&mut buffer).await.map_err(|_| WireError::Cut)? == 0 {
                return Err(WireError::Cut);
            }
            let mut batch = Vec::new();
            let ended = loop {
                let answer = match next_response(&mut buffer, &asked) {
                    Ok(Some(answer)) => answer,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                };
                if answer.message_id.cast_unsigned() == SASL_BIND_ID {
                    let bind = sasl_bind.lock().ok().and_then(|mut bind| bind.take());
                    // The receiver may have given up.
                    let _ = bind.map(|bind: oneshot::Sender<Frame>| bind.send(answer));
                    continue;
                }
                match answer.op {
                    Op::SearchResultEntry => batch.push(answer.bytes),
                    // References are not followed, and the driver would collect an endless stream
                    // of them.
                    Op::SearchResultReference | Op::IntermediateResponse => {}
                    _ => {
                        // Entries precede the result that ends their search.
                        if !batch.is_empty()
                            && entries.send(std::mem::take(&mut batch)).await.is_err()
                        {
                            return Ok(());
                        }
                        to_driver.write_all(&answer.bytes).await.map_err(|_| WireError::Cut)?;
                    }
                }
            };
            // Entries that arrived before the failure still count as read.
            if !batch.is_empty() && entries.send(batch).await.is_err() {
                return Ok(());
            }
            if let Some(error) = ended {
                return Err(error);
            }
        }
    };
    tokio::select! {
        ended = outgoing => ended,
        ended = incoming => ended,
    }
}

/// Overwrites a bind request, because it holds a password. The read buffer is replaced if it is
/// empty.
fn wipe(request: Bytes, buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::with_capacity(4096);
    }
    if let Ok(mut request) = request.try_into_mut() {
        request.as_mut().zeroize();
    }
}

/// Returns the next complete response. A response without an open request is an error.
fn next_response(
    buffer: &mut BytesMut,
    asked: &Mutex<HashMap<i32, Op>>,
) -> Result<Option<Frame>, WireError> {
    let Some(answer) = frame::split(buffer)? else { return Ok(None) };
    if answer.is_notice() {
        return Err(WireError::Notice);
    }
    if !asked.lock().is_ok_and(|mut asked| expects(&mut asked, &answer)) {
        return Err(WireError::Unexpected(answer.message_id));
    }
    Ok(Some(answer))
}

/// Returns whether the response matches an open request. A final response closes the request.
fn expects(asked: &mut HashMap<i32, Op>, answer: &Frame) -> bool {
    let is_expected =
        asked.get(&answer.message_id).is_some_and(|request| answer.op.answers(*request));
    if is_expected
        && !matches!(
            answer.op,
            Op::SearchResultEntry | Op::SearchResultReference | Op::IntermediateResponse
        )
    {
        asked.remove(&answer.message_id);
    }
    is_expected
}
