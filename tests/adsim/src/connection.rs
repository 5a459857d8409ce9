//! One client's connection: frames in, answers and faults out.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ber;
use crate::bind::{needs_tls, refused};
use crate::directory::Ad;
use crate::fault::{Faults, What, When};
use crate::frames::{self, BIND_RESPONSE, EXTENDED_RESPONSE, Outcome};
use crate::log::{Event, Logged};
use crate::request::{Message, Request, oid};
use crate::rootdse::Server;
use crate::search::Session;

/// State that the connections of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Arc<RwLock<Ad>>,
    /// Wakes when the directory has changed.
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) server: RwLock<Server>,
    pub(crate) faults: Faults,
    pub(crate) log: Mutex<Vec<Logged>>,
    pub(crate) tls: RwLock<Arc<rustls::ServerConfig>>,
    pub(crate) connections: AtomicU64,
    /// Whether the process is stopped: connections are accepted by the kernel only.
    pub(crate) frozen: AtomicBool,
}

impl Shared {
    pub(crate) fn note(&self, connection: u64, tls: bool, event: Event) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(Logged { connection, tls, event });
    }

    pub(crate) fn edit<R>(&self, change: impl FnOnce(&mut Ad) -> R) -> R {
        let mut ad = self.directory.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut ad);
        ad.tell();
        result
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&Ad) -> R) -> R {
        look(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn server(&self) -> Server {
        self.server.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A StartTLS handshake is due.
    None,
}

impl Wire {
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(into).await,
            Self::Tls(stream) => stream.read_buf(into).await,
            Self::None => Ok(0),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::None => Ok(()),
        }
    }
}

/// The state of a connection after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Close,
    /// Open, and silent for ever.
    Stall,
}

pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Session,
    wire: Wire,
    changes: watch::Receiver<u64>,
    inbox: Vec<u8>,
    secure: bool,
    drip: Option<Duration>,
    /// Binds succeed, and the session stays anonymous and sees no entry.
    nobody: bool,
}

/// The part of an answer that is still sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Rest {
    #[default]
    AsFound,
    /// No more entries, then success.
    Nothing,
    /// Half of the next frame.
    HalfFrame,
}

/// The changes that faults make to the answer of an operation.
#[derive(Debug, Default)]
pub(crate) struct Twist {
    pub(crate) instead: Option<Vec<u8>>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) rest: Rest,
    pub(crate) omit_paging: bool,
    pub(crate) omit_dirsync: bool,
    pub(crate) repeat_cookie: bool,
    plaintext: Vec<u8>,
}

impl Twist {
    /// A search without a result never gets one.
    pub(crate) fn leaves_open(&self) -> bool {
        self.instead.is_none() && self.outcome.is_none() && self.rest == Rest::AsFound
    }
}

/// Serves a client until it leaves or a fault ends the connection.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, tls: bool) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let _ = stream.set_nodelay(true);
    shared.note(number, false, Event::Connect);
    let session = Session::new(number);
    let (wire, changes) = (Wire::Plain(stream), shared.changes.clone());
    let mut connection = Connection {
        shared,
        session,
        wire,
        changes,
        inbox: Vec::new(),
        secure: false,
        drip: None,
        nobody: false,
    };
    let flow = connection.run(tls).await.unwrap_or(Flow::Close);
    if flow == Flow::Stall {
        while matches!(connection.wire.read(&mut connection.inbox).await, Ok(read) if read > 0) {
            connection.inbox.clear();
        }
    }
    connection.note(Event::Disconnect);
}

impl Connection {
    pub(crate) fn note(&self, event: Event) {
        self.shared.note(self.session.connection, self.secure, event);
    }

    async fn run(&mut self, tls: bool) -> io::Result<Flow> {
        if self.is_frozen() {
            return Ok(Flow::Stall);
        }
        let mut twist = Twist::default();
        for what in self.shared.faults.take(&When::Connect) {
            let flow = self.happen(what, 0, &mut twist).await?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        if tls && self.handshake().await? == Flow::Close {
            return Ok(Flow::Close);
        }
        loop {
            let Some(message) = self.message().await? else {
                return Ok(Flow::Close);
            };
            if self.is_frozen() {
                return Ok(Flow::Stall);
            }
            let flow = self.answer(message).await?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
    }

    fn is_frozen(&self) -> bool {
        self.shared.frozen.load(Ordering::Relaxed)
    }

    async fn handshake(&mut self) -> io::Result<Flow> {
        let config = self.shared.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Wire::Plain(stream) = std::mem::replace(&mut self.wire, Wire::None) else {
            return Ok(Flow::Close);
        };
        match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => {
                self.wire = Wire::Tls(Box::new(stream));
                self.secure = true;
                Ok(Flow::Next)
            }
            Err(error) => {
                self.note(Event::TlsFailed(error.to_string()));
                Ok(Flow::Close)
            }
        }
    }

    /// Returns the next message, or `None` at the end of the connection or after invalid bytes.
    /// Open searches are notified of changes meanwhile.
    async fn message(&mut self) -> io::Result<Option<Message>> {
        loop {
            let read = match ber::whole_frame(&self.inbox) {
                Ok(Some(length)) => {
                    let frame: Vec<u8> = self.inbox.drain(..length).collect();
                    Message::read(&frame).map(Some)
                }
                Ok(None) => Ok(None),
                Err(malformed) => Err(malformed),
            };
            match read {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(malformed) => {
                    self.note(Event::Refused(malformed.to_string()));
                    self.send(&frames::notice_of_disconnection()).await?;
                    return Ok(None);
                }
            }
            let read = tokio::select! {
                read = self.wire.read(&mut self.inbox) => read?,
                Ok(()) = self.changes.changed(),
                    if !self.session.watches.is_empty() && !self.is_frozen() => {
                    self.tell().await?;
                    continue;
                }
            };
            if read == 0 {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(apart) = self.drip else {
            return self.wire.write(bytes).await;
        };
        for byte in bytes {
            self.wire.write(&[*byte]).await?;
            if apart.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(apart).await;
            }
        }
        Ok(())
    }

    /// Applies a fault that is the same at every moment; notes any other in `twist`.
    pub(crate) async fn happen(
        &mut self,
        what: What,
        id: i64,
        twist: &mut Twist,
    ) -> io::Result<Flow> {
        match what {
            What::Cut => return Ok(Flow::Close),
            What::Stall => return Ok(Flow::Stall),
            What::Delay(time) => tokio::time::sleep(time).await,
            What::Drip(apart) => self.drip = Some(apart),
            What::Raw(bytes) => self.send(&bytes).await?,
            What::Frames(make) => self.send(&make(id)).await?,
            What::RawInstead(bytes) => twist.instead = Some(bytes),
            What::FramesInstead(make) => twist.instead = Some(make(id)),
            What::Endless(make) => {
                for number in 0.. {
                    self.send(&make(id, number)).await?;
                }
            }
            What::NoticeOfDisconnection => {
                self.send(&frames::notice_of_disconnection()).await?;
                return Ok(Flow::Close);
            }
            What::Referral(url) => self.send(&frames::reference(id, &url)).await?,
            What::Result(code, text) => twist.outcome = Some(Outcome::new(code, text)),
            What::BindRefused(code) => twist.outcome = Some(refused(code)),
            What::RefuseStartTls => {
                twist.outcome = Some(Outcome::new(
                    52,
                    "00000000: LdapErr: DSID-0C090E17, comment: Error initializing SSL/TLS, data 0, v4563",
                ));
            }
            What::PlaintextAfterStartTls(bytes) => twist.plaintext = bytes,
            What::Anonymous => {
                self.nobody = true;
                self.session.rebind(None);
                self.session.blind = true;
            }
            What::EmptySuccess => twist.rest = Rest::Nothing,
            What::OmitPagingControl => twist.omit_paging = true,
            What::OmitDirSyncControl => twist.omit_dirsync = true,
            What::RepeatCookie => twist.repeat_cookie = true,
            What::CutInsideFrame => twist.rest = Rest::HalfFrame,
            What::Edit(change) => self.shared.edit(|ad| change(ad)),
            // Faults that only have a meaning between entries.
            What::RepeatEntry | What::SkipEntry => {}
        }
        Ok(Flow::Next)
    }

    async fn answer(&mut self, message: Message) -> io::Result<Flow> {
        let Message { id, request, controls } = message;
        match request {
            Request::Unbind => {
                self.note(Event::Unbind);
                if let Wire::Tls(stream) = &mut self.wire {
                    stream.shutdown().await?;
                }
                Ok(Flow::Close)
            }
            Request::Abandon { id } => {
                self.note(Event::Abandon);
                self.session.watches.retain(|watch| watch.id != id);
                Ok(Flow::Next)
            }
            Request::Bind { name, password } => self.bind(id, name, password).await,
            Request::Search(search) => self.search(id, &search, controls).await,
            Request::Extended { oid } => self.extended(id, oid).await,
            Request::Other { answer } => {
                self.note(Event::Refused("an attempt to write".to_owned()));
                let outcome = Outcome::new(
                    50,
                    "00002098: SecErr: DSID-03150F94, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0\n",
                );
                self.send(&frames::result(id, answer, &outcome)).await?;
                Ok(Flow::Next)
            }
        }
    }

    /// Applies faults to an operation with one frame as its answer. `None`: the answer is
    /// unchanged.
    pub(crate) async fn twisted(
        &mut self,
        at: &When,
        id: i64,
        twist: &mut Twist,
    ) -> io::Result<Option<Flow>> {
        for what in self.shared.faults.take(at) {
            let flow = self.happen(what, id, twist).await?;
            if flow != Flow::Next {
                return Ok(Some(flow));
            }
        }
        if let Some(bytes) = twist.instead.take() {
            self.send(&bytes).await?;
            return Ok(Some(Flow::Next));
        }
        Ok(None)
    }

    async fn bind(&mut self, id: i64, name: String, password: Option<Vec<u8>>) -> io::Result<Flow> {
        let mut twist = Twist::default();
        if let Some(flow) = self.twisted(&When::Bind, id, &mut twist).await? {
            return Ok(flow);
        }
        let outcome = match (twist.outcome, password) {
            (Some(outcome), _) => {
                self.session.rebind(None);
                outcome
            }
            (None, None) => Outcome::new(
                7,
                "00002027: LdapErr: DSID-0C09062B, comment: Unknown auth method, data 0, v4563",
            ),
            (None, Some(password)) if password.is_empty() => {
                // Windows: an unauthenticated bind succeeds as anonymous.
                self.session.rebind(None);
                Outcome::default()
            }
            (None, Some(_)) if !self.secure => needs_tls(),
            (None, Some(password)) => {
                let now = self.shared.server().now();
                let known = self.shared.read(|ad| ad.authenticate(&name, &password, now));
                let bound = known.as_ref().ok().copied().filter(|_| !self.nobody);
                self.session.rebind(bound);
                known.err().unwrap_or_default()
            }
        };
        self.note(Event::Bind { name, code: outcome.code });
        self.reply(id, BIND_RESPONSE, &outcome, twist.rest).await
    }

    async fn reply(&mut self, id: i64, tag: u8, outcome: &Outcome, rest: Rest) -> io::Result<Flow> {
        let bytes = frames::result(id, tag, outcome);
        if rest == Rest::HalfFrame {
            self.send(&bytes[..bytes.len() / 2]).await?;
            return Ok(Flow::Close);
        }
        self.send(&bytes).await?;
        Ok(Flow::Next)
    }

    async fn extended(&mut self, id: i64, name: String) -> io::Result<Flow> {
        match name.as_str() {
            oid::START_TLS => self.start_tls(id).await,
            oid::WHO_AM_I => {
                self.note(Event::Extended(name));
                let bound = self.session.bound;
                let who =
                    self.shared.read(|ad| bound.map_or_else(String::new, |id| ad.principal(id)));
                let body = frames::result_body(
                    EXTENDED_RESPONSE,
                    &Outcome::default(),
                    None,
                    Some(who.as_bytes()),
                );
                self.send(&frames::message(id, &body, None)).await?;
                Ok(Flow::Next)
            }
            _ => {
                self.note(Event::Extended(name));
                let outcome = Outcome::new(
                    2,
                    "0000203D: LdapErr: DSID-0C090FF1, comment: Unknown extended request OID, data 0, v4563",
                );
                self.reply(id, EXTENDED_RESPONSE, &outcome, Rest::AsFound).await
            }
        }
    }

    async fn start_tls(&mut self, id: i64) -> io::Result<Flow> {
        self.note(Event::StartTls);
        let mut twist = Twist::default();
        if let Some(flow) = self.twisted(&When::StartTls, id, &mut twist).await? {
            return Ok(flow);
        }
        if twist.outcome.is_none() && self.secure {
            let text = "00000001: LdapErr: DSID-0C090E17, comment: TLS or SSL already in effect, data 0, v4563";
            twist.outcome = Some(Outcome::new(1, text));
        }
        if let Some(outcome) = twist.outcome {
            return self.reply(id, EXTENDED_RESPONSE, &outcome, twist.rest).await;
        }
        let body =
            frames::result_body(EXTENDED_RESPONSE, &Outcome::default(), Some(oid::START_TLS), None);
        let mut bytes = frames::message(id, &body, None);
        bytes.extend_from_slice(&twist.plaintext);
        self.send(&bytes).await?;
        if !self.inbox.is_empty() {
            self.note(Event::Refused("plain text behind a StartTLS request".to_owned()));
            return Ok(Flow::Close);
        }
        self.handshake().await
    }
}

impl Ad {
    /// The answer to WhoAmI.
    fn principal(&self, id: crate::entry::Id) -> String {
        let sam = self
            .get(id)
            .and_then(|entry| entry.attributes.text(crate::schema::at::S_AM_ACCOUNT_NAME));
        format!("u:{}\\{}", self.short_name(), sam.unwrap_or_default())
    }
}
