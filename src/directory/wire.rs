//! The wire: dial, TLS, and the relay that passes only checked frames to the LDAP driver.
//!
//! ldap3 handles requests, message ids, controls and results, but it trusts its input. Deep nesting
//! overflows its stack, bad lengths hang it, and some answers make it panic. Therefore ldap3 is
//! never connected to the network. It has one end of a socket pair. The relay at the other end
//! passes on whole, valid LDAP messages that answer a request of the same id.
//!
//! Search entries bypass ldap3. They go as bytes over a bounded channel to the reader of this
//! crate. A full channel puts back-pressure on the server.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use zeroize::Zeroize as _;

use super::Settings;
use super::frame::{self, Frame, FrameError, Op};
use super::tls::{self, TlsError};
use crate::model::ServerUrl;

/// Capacity of the channel between relay and reader. One batch holds the entries of one socket
/// read.
const ENTRY_BATCHES: usize = 16;
/// Most bytes of one socket read.
const READ_SIZE: usize = 64 * 1024;
/// ExtendedRequest with message id 1 and requestName 1.3.6.1.4.1.1466.20037 (RFC 4511, 4.14).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// A step of a connection that waits for the network, with a time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Dns,
    Connect,
    StartTls,
    Bind,
    Search,
    /// A "Who am I?" request (RFC 4532), which tests the connection.
    Ping,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "a DNS query",
            Self::Connect => "a TCP connection",
            Self::StartTls => "StartTLS",
            Self::Bind => "the bind",
            Self::Search => "a search",
            Self::Ping => "a Who am I? request",
        })
    }
}

/// Failure of a connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the name {host} has no address: {reason}")]
    Resolve { host: String, reason: String },
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("no answer to {step} within {}", humantime::format_duration(*.after))]
    Timeout { step: Step, after: Duration },
    /// An `ldap://` URL without StartTLS, where the password would cross the network in the clear.
    #[error("{0} without TLS is refused")]
    Plaintext(ServerUrl),
    /// The result code of a refused StartTLS request.
    #[error("the server refuses StartTLS (result {0})")]
    StartTlsRefused(u32),
    /// Bytes between the StartTLS response and the handshake: an injection (CVE-2011-0411 in other
    /// software).
    #[error("the server sent something in the clear behind its StartTLS answer")]
    StartTlsInjection,
    #[error("{0}")]
    Tls(#[source] Box<TlsError>),
    #[error("the server sent an invalid LDAP message: {0}")]
    Frame(#[from] FrameError),
    /// The message id of a response that matches no open request.
    #[error("the server answered message {0}, which is not a request that awaits this response")]
    Unexpected(i32),
    /// The limit of entries that the search exceeded.
    #[error("the server sent more than {0} entries where fewer were requested")]
    Overfull(usize),
    /// Notice of Disconnection (RFC 4511, 4.4.1).
    #[error("the server ended the connection (Notice of Disconnection)")]
    Notice,
    #[error("the connection was cut")]
    Cut,
    #[error("the LDAP driver failed: {0}")]
    Driver(String),
}

impl From<TlsError> for WireError {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

impl WireError {
    /// Returns the remedy, where the operator has one.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Resolve { .. } => Some("check the name in servers, and this machine's DNS"),
            Self::Connect(_) | Self::Timeout { step: Step::Connect, .. } => {
                Some("check that the server runs, and that no firewall stands between")
            }
            Self::Plaintext(_) => Some("use ldaps://, or starttls = true"),
            Self::StartTlsRefused(_) => Some("use ldaps://, or install a certificate on it"),
            Self::StartTlsInjection => {
                Some("the connection may be tampered with: find out who sits between")
            }
            Self::Tls(error) => error.remedy(),
            Self::Timeout { .. }
            | Self::Frame(_)
            | Self::Unexpected(_)
            | Self::Overfull(_)
            | Self::Notice
            | Self::Cut
            | Self::Driver(_) => None,
        }
    }
}

/// Tag of a BindRequest: `[APPLICATION 0]`.
const BIND_REQUEST: Op = Op::Other(0);

/// Error that ended the relay.
type Failure = Arc<Mutex<Option<WireError>>>;

/// A connection: the handle of the driver, and the channel of search entries.
#[derive(Debug)]
pub(super) struct Wire {
    pub ldap: Ldap,
    pub entries: mpsc::Receiver<Vec<Bytes>>,
    failure: Failure,
    tasks: [AbortOnDropHandle<()>; 2],
}

impl Wire {
    /// Connects to one server with TLS; without TLS it is an error.
    pub(super) async fn connect(url: &ServerUrl, settings: &Settings) -> Result<Self, WireError> {
        let wait = settings.timeouts.connect;
        let addresses = timeout(wait, resolve(url))
            .await
            .map_err(|_| WireError::Timeout { step: Step::Dns, after: wait })??;
        let tcp = dial(url, settings, &addresses).await?;
        let secured = tls::secure(tcp, &url.host, settings.ca_file.as_deref(), wait).await?;
        Self::over(secured.stream).await
    }

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
        let failure = Failure::default();
        let reported = Arc::clone(&failure);
        let relay = async move {
            if let Err(error) = relay(stream, &mut ours, sender).await {
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
            failure,
            tasks: [AbortOnDropHandle::new(relay), AbortOnDropHandle::new(driver)],
        })
    }

    /// Closes the connection and returns the error of the relay, or else that of the driver.
    pub(super) fn explain(self, error: Option<&ldap3::LdapError>) -> WireError {
        let Self { failure, tasks, ldap, entries } = self;
        drop((tasks, ldap, entries));
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

/// Returns the addresses of a server: those that discovery found, or else a DNS query.
pub(super) async fn resolve(url: &ServerUrl) -> Result<Vec<SocketAddr>, WireError> {
    if !url.addresses.is_empty() {
        return Ok(url
            .addresses
            .iter()
            .map(|address| SocketAddr::new(*address, url.port))
            .collect());
    }
    let bad = |reason: String| WireError::Resolve { host: url.host.clone(), reason };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(|e| bad(e.to_string()))?
        .collect();
    if found.is_empty() { Err(bad("DNS returned none".to_owned())) } else { Ok(found) }
}

/// Connects to the first address that answers and prepares the connection for TLS, with StartTLS if
/// needed.
pub(super) async fn dial(
    url: &ServerUrl,
    settings: &Settings,
    addresses: &[SocketAddr],
) -> Result<TcpStream, WireError> {
    if !url.implicit_tls && !settings.starttls {
        return Err(WireError::Plaintext(url.clone()));
    }
    let wait = settings.timeouts.connect;
    let late = |step| move |_| WireError::Timeout { step, after: wait };
    let mut tcp = timeout(wait, TcpStream::connect(addresses))
        .await
        .map_err(late(Step::Connect))?
        .map_err(WireError::Connect)?;
    // Nagle's algorithm would delay the small requests, each of which awaits its response.
    tcp.set_nodelay(true).map_err(WireError::Connect)?;
    if !url.implicit_tls {
        timeout(wait, start_tls(&mut tcp)).await.map_err(late(Step::StartTls))??;
    }
    Ok(tcp)
}

/// Requests TLS on a plain connection. Any byte after the response is an injection.
async fn start_tls(tcp: &mut TcpStream) -> Result<(), WireError> {
    tcp.write_all(START_TLS).await.map_err(WireError::Connect)?;
    let mut buffer = BytesMut::new();
    let answer = loop {
        if let Some(answer) = frame::split(&mut buffer)? {
            break answer;
        }
        if tcp.read_buf(&mut buffer).await.map_err(WireError::Connect)? == 0 {
            return Err(WireError::Cut);
        }
    };
    match (answer.message_id, answer.op, answer.result().map(|r| r.code)) {
        (1, Op::ExtendedResponse, Some(0)) if buffer.is_empty() => Ok(()),
        (1, Op::ExtendedResponse, Some(0)) => Err(WireError::StartTlsInjection),
        (1, Op::ExtendedResponse, Some(code)) => Err(WireError::StartTlsRefused(code)),
        (0, ..) => Err(WireError::Notice),
        (id, ..) => Err(WireError::Unexpected(id)),
    }
}

/// Passes requests to the server and checked responses to the driver until either side ends.
async fn relay(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    driver: &mut UnixStream,
    entries: mpsc::Sender<Vec<Bytes>>,
) -> Result<(), WireError> {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let (mut from_driver, mut to_driver) = driver.split();
    let asked = Mutex::new(HashMap::<i32, Op>::new());
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
            if from_driver.read_buf(&mut buffer).await.map_err(|_| WireError::Cut)? == 0 {
                return Ok(());
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
