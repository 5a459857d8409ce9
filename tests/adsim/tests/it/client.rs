//! A small LDAP client with an independent codec, so that the simulator's bytes are judged from
//! outside.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adsim::{Control, Sim, ber};
use bytes::BytesMut;
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapExtendedRequest, LdapMsg, LdapOp, LdapResult,
    LdapResultCode, LdapSearchScope,
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder as _, Encoder as _};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) type Attributes = BTreeMap<String, Vec<Vec<u8>>>;

/// A search's whole answer.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) entries: Vec<(String, Attributes)>,
    pub(crate) references: Vec<String>,
    pub(crate) code: i64,
    pub(crate) text: String,
    pub(crate) cookie: Option<Vec<u8>>,
    /// The DirSync control: whether there is more, and the cookie.
    pub(crate) dirsync: Option<(bool, Vec<u8>)>,
}

impl Found {
    pub(crate) fn dns(&self) -> Vec<&str> {
        self.entries.iter().map(|(dn, _)| dn.as_str()).collect()
    }

    pub(crate) fn only(&self) -> &Attributes {
        assert_eq!(self.entries.len(), 1, "one entry: {self:?}");
        &self.entries[0].1
    }
}

pub(crate) fn text<'a>(attributes: &'a Attributes, name: &str) -> Vec<&'a str> {
    let values = attributes.get(name).unwrap_or_else(|| panic!("no {name} in {attributes:?}"));
    values.iter().map(|value| std::str::from_utf8(value).expect("text")).collect()
}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    codec: LdapCodec,
    inbox: BytesMut,
    next: i32,
    /// Open searches, and their messages that arrived while another answer was awaited.
    open: Vec<i32>,
    told: VecDeque<LdapMsg>,
}

/// A search request, with defaults for rare parameters.
pub(crate) struct Ask<'a> {
    pub(crate) base: &'a str,
    pub(crate) scope: LdapSearchScope,
    pub(crate) filter: &'a str,
    pub(crate) attributes: &'a [&'a str],
    pub(crate) size_limit: i32,
    pub(crate) controls: Vec<Control>,
}

pub(crate) fn paged(size: i64, cookie: &[u8]) -> Control {
    let mut value = Vec::new();
    let begun = ber::begin(&mut value, ber::SEQUENCE);
    ber::put_number(&mut value, ber::INTEGER, size);
    ber::put(&mut value, ber::OCTETS, cookie);
    ber::end(&mut value, begun);
    Control { value: Some(value), ..control("1.2.840.113556.1.4.319") }
}

pub(crate) fn control(oid: &str) -> Control {
    Control { oid: oid.to_owned(), critical: true, value: None }
}

pub(crate) fn domain_scope() -> Control {
    control("1.2.840.113556.1.4.1339")
}

/// A request below the domain, without references.
pub(crate) fn below<'a>(base: &'a str, filter: &'a str, attributes: &'a [&'a str]) -> Ask<'a> {
    Ask {
        base,
        scope: LdapSearchScope::Subtree,
        filter,
        attributes,
        size_limit: 0,
        controls: vec![domain_scope()],
    }
}

pub(crate) fn at<'a>(base: &'a str, attributes: &'a [&'a str]) -> Ask<'a> {
    Ask { scope: LdapSearchScope::Base, ..below(base, "(objectClass=*)", attributes) }
}

pub(crate) async fn tls(
    sim: &Sim,
    tcp: TcpStream,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(sim.ca_pem().as_bytes()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_root_certificates(roots)
    .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

impl Client {
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            codec: LdapCodec::new(Some(64 << 20), None),
            inbox: BytesMut::new(),
            next: 0,
            open: Vec::new(),
            told: VecDeque::new(),
        }
    }

    pub(crate) async fn plain(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a connection"))
    }

    pub(crate) async fn connect(sim: &Sim) -> Self {
        let tcp = TcpStream::connect(sim.ldaps_addr()).await.expect("a connection");
        tcp.set_nodelay(true).expect("set");
        Self::over(tls(sim, tcp).await.expect("TLS"))
    }

    /// Connects and binds as the service account.
    pub(crate) async fn service(sim: &Sim) -> Self {
        let mut client = Self::connect(sim).await;
        let bound = client.bind(&sim.service_upn(), &sim.service_password()).await;
        assert_eq!(bound.code, LdapResultCode::Success, "{}", bound.message);
        client
    }

    pub(crate) async fn send(&mut self, op: LdapOp) -> i32 {
        self.next += 1;
        let mut out = BytesMut::new();
        let message = LdapMsg { msgid: self.next, op, ctrl: Vec::new() };
        self.codec.encode(message, &mut out).expect("encodes");
        self.stream.write_all(&out).await.expect("sends");
        self.next
    }

    /// Sends a search, encoded here because the codec's filters hold no binary values.
    async fn send_search(&mut self, ask: Ask<'_>) -> i32 {
        let scope = match ask.scope {
            LdapSearchScope::Base => 0,
            LdapSearchScope::OneLevel => 1,
            _ => 2,
        };
        let mut search = Vec::new();
        let begun = ber::begin(&mut search, 0x63);
        ber::put(&mut search, ber::OCTETS, ask.base.as_bytes());
        ber::put_number(&mut search, ber::ENUMERATED, scope);
        ber::put_number(&mut search, ber::ENUMERATED, 0);
        ber::put_number(&mut search, ber::INTEGER, i64::from(ask.size_limit));
        ber::put_number(&mut search, ber::INTEGER, 0);
        ber::put(&mut search, ber::BOOLEAN, &[0]);
        search.extend_from_slice(&crate::filter::encode(ask.filter));
        let list = ber::begin(&mut search, ber::SEQUENCE);
        for attribute in ask.attributes {
            ber::put(&mut search, ber::OCTETS, attribute.as_bytes());
        }
        ber::end(&mut search, list);
        ber::end(&mut search, begun);

        self.next += 1;
        let mut out = Vec::new();
        let message = ber::begin(&mut out, ber::SEQUENCE);
        ber::put_number(&mut out, ber::INTEGER, i64::from(self.next));
        out.extend_from_slice(&search);
        let controls = ber::begin(&mut out, 0xa0);
        for Control { oid, critical, value } in ask.controls {
            let control = ber::begin(&mut out, ber::SEQUENCE);
            ber::put(&mut out, ber::OCTETS, oid.as_bytes());
            ber::put(&mut out, ber::BOOLEAN, &[if critical { 0xff } else { 0 }]);
            if let Some(value) = value {
                ber::put(&mut out, ber::OCTETS, &value);
            }
            ber::end(&mut out, control);
        }
        ber::end(&mut out, controls);
        ber::end(&mut out, message);
        self.stream.write_all(&out).await.expect("sends");
        self.next
    }

    /// Returns the next message, or the reason why there is none.
    pub(crate) async fn receive(&mut self) -> Result<LdapMsg, String> {
        loop {
            if let Some(message) =
                self.codec.decode(&mut self.inbox).map_err(|error| error.to_string())?
            {
                return Ok(message);
            }
            let read =
                tokio::time::timeout(Duration::from_secs(5), self.stream.read_buf(&mut self.inbox));
            match read.await {
                Err(_) => return Err("silence".to_owned()),
                Ok(Ok(0)) => return Err("closed".to_owned()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(format!("closed: {error}")),
            }
        }
    }

    pub(crate) async fn bind(&mut self, dn: &str, password: &str) -> LdapResult {
        let cred = LdapBindCred::Simple(password.to_owned());
        self.send(LdapOp::BindRequest(LdapBindRequest { version: 3, dn: dn.to_owned(), cred }))
            .await;
        match self.receive().await.expect("an answer").op {
            LdapOp::BindResponse(response) => response.res,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn extended(&mut self, oid: &str) -> (LdapResult, Option<Vec<u8>>) {
        let request = LdapExtendedRequest { name: oid.to_owned(), value: None };
        self.send(LdapOp::ExtendedRequest(request)).await;
        match self.receive().await.expect("an answer").op {
            LdapOp::ExtendedResponse(response) => (response.res, response.value),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn ask(&mut self, ask: Ask<'_>) -> Found {
        self.try_ask(ask).await.expect("a whole answer")
    }

    /// Returns the answer as far as it came, if the connection ended within it.
    pub(crate) async fn try_ask(&mut self, ask: Ask<'_>) -> Result<Found, (Found, String)> {
        self.send_search(ask).await;
        self.collect().await
    }

    async fn collect(&mut self) -> Result<Found, (Found, String)> {
        let mut found = Found::default();
        loop {
            let message = match self.receive().await {
                Ok(message) => message,
                Err(end) => return Err((found, end)),
            };
            if self.open.contains(&message.msgid) {
                self.told.push_back(message);
                continue;
            }
            match message.op {
                LdapOp::SearchResultEntry(entry) => {
                    let attributes =
                        entry.attributes.into_iter().map(|one| (one.atype, one.vals)).collect();
                    found.entries.push((entry.dn, attributes));
                }
                LdapOp::SearchResultReference(reference) => found.references.extend(reference.uris),
                LdapOp::SearchResultDone(done) => {
                    found.code = done.code as i64;
                    found.text = done.message;
                    for control in message.ctrl {
                        match control {
                            LdapControl::SimplePagedResults { cookie, .. } => {
                                found.cookie = Some(cookie)
                            }
                            LdapControl::AdDirsync { flags: more, max_bytes: 0, cookie } => {
                                found.dirsync = Some((more != 0, cookie.expect("a cookie")));
                            }
                            _ => {}
                        }
                    }
                    return Ok(found);
                }
                other => return Err((found, format!("{other:?}"))),
            }
        }
    }

    /// Sends a search that stays open and waits until it has arrived. Returns its message id.
    pub(crate) async fn watch(&mut self, ask: Ask<'_>) -> i32 {
        let id = self.send_search(ask).await;
        self.open.push(id);
        // Requests are answered in turn.
        assert_eq!(self.ask(at("", &["dnsHostName"])).await.code, 0);
        id
    }

    /// Returns the next message of an open search: an entry's DN and attributes, or the final
    /// result.
    pub(crate) async fn told(&mut self) -> (i32, Result<(String, Attributes), i64>) {
        let message = match self.told.pop_front() {
            Some(message) => message,
            None => self.receive().await.expect("to be told"),
        };
        let told = match message.op {
            LdapOp::SearchResultEntry(entry) => Ok((
                entry.dn,
                entry.attributes.into_iter().map(|one| (one.atype, one.vals)).collect(),
            )),
            LdapOp::SearchResultDone(done) => Err(done.code as i64),
            other => panic!("{other:?}"),
        };
        (message.msgid, told)
    }

    /// Reads all pages of a search.
    pub(crate) async fn all_pages(
        &mut self,
        base: &str,
        filter: &str,
        attributes: &[&str],
        size: i64,
    ) -> Found {
        let mut all = Found::default();
        let mut cookie = Vec::new();
        loop {
            let mut ask = below(base, filter, attributes);
            ask.controls.push(paged(size, &cookie));
            let page = self.ask(ask).await;
            assert_eq!(page.code, 0, "{}", page.text);
            all.entries.extend(page.entries);
            all.references.extend(page.references);
            cookie = page.cookie.expect("a paging control");
            if cookie.is_empty() {
                return all;
            }
        }
    }
}
