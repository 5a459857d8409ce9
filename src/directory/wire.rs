//! The wire: dial, TLS, and the relay that lets only checked frames through to the LDAP driver.
//!
//! ldap3 keeps requests, message ids, controls and results. It trusts what it is sent: deep nesting ends
//! the process, bad lengths hang it, some answers make it panic. So it never sees the network. It talks to
//! one end of a socket pair, and the relay at the other end passes on only whole LDAP messages that are
//! well-formed and answer a request of that id. Search entries do not go through it at all: they go as
//! bytes over a bounded channel to our own reader, which gives back-pressure up to the server's socket.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
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

/// Batches of entries between the relay and the reader; one batch is what one read of the socket brought.
const ENTRY_BATCHES: usize = 16;
/// What one read of the socket takes at most.
const READ_SIZE: usize = 64 * 1024;
/// ExtendedRequest with message id 1 and requestName 1.3.6.1.4.1.1466.20037 (RFC 4511, 4.14).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// What went wrong between us and a server.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The name has no address.
    #[error("the name {host} has no address: {why}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// Nothing answered in time.
    #[error("no answer to {what} within {}", humantime::format_duration(*.after))]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// A password would cross the network in the clear.
    #[error("{0} without TLS is refused")]
    Plaintext(ServerUrl),
    /// StartTLS was refused.
    #[error("the server refuses StartTLS (result {0})")]
    StartTlsRefused(u32),
    /// Bytes came behind the StartTLS answer and before the handshake.
    #[error("the server sent something in the clear behind its StartTLS answer")]
    StartTlsInjection,
    /// TLS did not come about.
    #[error("{0}")]
    Tls(#[source] Box<TlsError>),
    /// The host is no name that a certificate can be for.
    #[error("\"{0}\" is not a name a certificate can be checked against")]
    ServerName(String),
    /// The CA file.
    #[error("the CA file {path} cannot be used: {problem}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// No CA at all.
    #[error("the system's trust store holds no certificates")]
    NoTrust,
    /// What the server sent is no LDAP that can be let through.
    #[error("the server sent what is no valid LDAP message: {0}")]
    Frame(#[from] FrameError),
    /// An answer to nothing.
    #[error("the server answered message {0}, which asked for nothing of the kind")]
    Unexpected(i32),
    /// Entries without end.
    #[error("the server sent more than {0} entries where fewer were asked for")]
    Overfull(usize),
    /// Notice of Disconnection (RFC 4511, 4.4.1).
    #[error("the server ended the connection (Notice of Disconnection)")]
    Notice,
    /// The connection ended.
    #[error("the connection was cut")]
    Cut,
    /// The LDAP driver gave up.
    #[error("the LDAP driver failed: {0}")]
    Driver(String),
}

impl WireError {
    /// What to do about it, where anything can be done on this side.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Resolve { .. } => Some("check the name in servers, and this machine's DNS"),
            Self::Connect(_) | Self::Timeout { what: "a TCP connection", .. } => {
                Some("check that the server runs, and that no firewall stands between")
            }
            Self::Plaintext(_) => Some("use ldaps://, or starttls = true"),
            Self::StartTlsRefused(_) => Some("use ldaps://, or install a certificate on it"),
            Self::StartTlsInjection => {
                Some("the connection may be tampered with: find out who sits between")
            }
            Self::Tls(error) => Some(error.remedy()),
            Self::ServerName(_) => Some("write the server's DNS name into servers"),
            Self::CaFile { .. } => Some("write the CA's certificates into it, as PEM"),
            Self::NoTrust => Some("install ca-certificates, or set ca-file"),
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

/// The operation of a bind: `[APPLICATION 0]`.
const BIND_REQUEST: Op = Op::Other(0);

/// Why the relay has ended, if it has ended badly.
type Failure = Arc<Mutex<Option<WireError>>>;

/// A connection: the driver's handle, and the entries that come in answer to its searches.
#[derive(Debug)]
pub(super) struct Wire {
    pub ldap: Ldap,
    pub entries: mpsc::Receiver<Vec<Bytes>>,
    failure: Failure,
    tasks: [AbortOnDropHandle<()>; 2],
}

impl Wire {
    /// Connects to one server, with TLS or not at all.
    pub(super) async fn connect(url: &ServerUrl, settings: &Settings) -> Result<Self, WireError> {
        let wait = settings.timeouts.connect;
        let addresses = timeout(wait, resolve(url))
            .await
            .map_err(|_| WireError::Timeout { what: "a DNS query", after: wait })??;
        let tcp = dial(url, settings, &addresses).await?;
        let secured = tls::secure(tcp, &url.host, settings.ca_file.as_deref(), wait).await?;
        Self::over(secured.stream).await
    }

    /// A connection over a stream that is secure already.
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
        let told = Arc::clone(&failure);
        let relay = async move {
            if let Err(error) = relay(stream, &mut ours, sender).await {
                tracing::debug!("the LDAP connection ended: {error}");
                told.lock().unwrap_or_else(PoisonError::into_inner).replace(error);
            }
            // Only now: when the driver sees the end of its connection, why is to be known.
            drop(ours);
        };
        let driver = async move {
            if let Err(error) = conn.drive().await {
                tracing::debug!("the LDAP driver ended: {error}");
            }
        };
        // What they say, they say of the run they work for.
        let (relay, driver) =
            (tokio::spawn(relay.in_current_span()), tokio::spawn(driver.in_current_span()));
        Ok(Self {
            ldap,
            entries,
            failure,
            tasks: [AbortOnDropHandle::new(relay), AbortOnDropHandle::new(driver)],
        })
    }

    /// Why an operation failed: what the relay saw, if it saw anything.
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

    /// Whether the relay has ended with an error.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// The addresses of a server.
pub(super) async fn resolve(url: &ServerUrl) -> Result<Vec<SocketAddr>, WireError> {
    if !url.addresses.is_empty() {
        return Ok(url
            .addresses
            .iter()
            .map(|address| SocketAddr::new(*address, url.port))
            .collect());
    }
    let bad = |why: String| WireError::Resolve { host: url.host.clone(), why };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(|e| bad(e.to_string()))?
        .collect();
    if found.is_empty() { Err(bad("DNS knows none".to_owned())) } else { Ok(found) }
}

/// A TCP connection on which TLS can begin: to the first of the addresses that answers.
pub(super) async fn dial(
    url: &ServerUrl,
    settings: &Settings,
    addresses: &[SocketAddr],
) -> Result<TcpStream, WireError> {
    if !url.implicit_tls && !settings.starttls {
        return Err(WireError::Plaintext(url.clone()));
    }
    let wait = settings.timeouts.connect;
    let late = |what| move |_| WireError::Timeout { what, after: wait };
    let mut tcp = timeout(wait, TcpStream::connect(addresses))
        .await
        .map_err(late("a TCP connection"))?
        .map_err(WireError::Connect)?;
    // Requests are small and each waits for its answer.
    tcp.set_nodelay(true).map_err(WireError::Connect)?;
    if !url.implicit_tls {
        timeout(wait, start_tls(&mut tcp)).await.map_err(late("StartTLS"))??;
    }
    Ok(tcp)
}

/// Asks for TLS on a plain connection. Not a byte may be left over when the answer has come.
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

/// Passes requests to the server, and checked answers to the driver, until either side ends.
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
                let answer = match next(&mut buffer, &asked) {
                    Ok(Some(answer)) => answer,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                };
                match answer.op {
                    Op::SearchResultEntry => batch.push(answer.bytes),
                    // Nobody follows a reference, and the driver would collect them for as long as they come.
                    Op::SearchResultReference | Op::IntermediateResponse => {}
                    _ => {
                        // Entries go ahead of the result that ends their search.
                        if !batch.is_empty()
                            && entries.send(std::mem::take(&mut batch)).await.is_err()
                        {
                            return Ok(());
                        }
                        to_driver.write_all(&answer.bytes).await.map_err(|_| WireError::Cut)?;
                    }
                }
            };
            // What came before the connection broke was seen all the same.
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

/// Overwrites a bind request, which holds a password. The buffer that it was read into is replaced where nothing else is in it.
fn wipe(request: Bytes, buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::with_capacity(4096);
    }
    if let Ok(mut request) = request.try_into_mut() {
        request.as_mut().zeroize();
    }
}

/// The next answer to something that was asked, if all of it is there.
fn next(
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

/// Whether the answer is one its request may get; a final answer ends the request.
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
