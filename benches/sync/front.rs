//! A front that makes OpenLDAP pass for Active Directory: TLS, the rootDSE, and objects by GUID or
//! SID.
//!
//! Both sides of the comparison connect through it. Answers pass as bytes, unparsed. Requests are
//! parsed, and only those that OpenLDAP does not understand are changed. It runs in the bench's own
//! process, so that none of its CPU time is counted for either side.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use crate::population::{Population, ROOT, SERVER, reader_sid};

/// `[APPLICATION 3]`, constructed.
const SEARCH: u8 = 0x63;
const SHOW_DELETED: &[u8] = b"1.2.840.113556.1.4.417\x01\x01\xff";

/// The listening front.
#[derive(Debug)]
pub struct Front {
    pub port: u16,
    /// The certificate to trust, PEM.
    pub ca: String,
    searches: Arc<AtomicU64>,
    // Its threads end with it.
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    /// Listens on the loopback, in front of the server at this socket.
    pub fn start(server: PathBuf) -> anyhow::Result<Self> {
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der())
            .map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?;
        let config =
            config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let port = listener.local_addr()?.port();
        let searches = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&searches);
        let names: Arc<HashMap<String, String>> =
            Arc::new(Population::objects_by_guid().into_iter().collect());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server, names, searches) =
                    (acceptor.clone(), server.clone(), Arc::clone(&names), Arc::clone(&counted));
                tokio::spawn(async move {
                    // A client that disconnects has ended its connection, which is no error.
                    let _ = connection(client, acceptor, server, &names, &searches).await;
                });
            }
        });
        Ok(Self { port, ca: own.cert.pem(), searches, _runtime: runtime })
    }

    /// Returns the number of searches so far, a page being one.
    pub fn searches(&self) -> u64 {
        self.searches.load(Ordering::Relaxed)
    }
}

async fn connection(
    client: TcpStream,
    acceptor: TlsAcceptor,
    server: PathBuf,
    names: &HashMap<String, String>,
    searches: &AtomicU64,
) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let (from_client, to_client) = tokio::io::split(acceptor.accept(client).await?);
    let to_client = Mutex::new(to_client);
    let (mut from_server, to_server) = UnixStream::connect(server).await?.into_split();
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let size = from_server.read(&mut buffer).await?;
            if size == 0 {
                return Ok(());
            }
            let mut to_client = to_client.lock().await;
            to_client.write_all(&buffer[..size]).await?;
            to_client.flush().await?;
        }
    };
    tokio::select! {
        ended = requests(from_client, to_server, &to_client, names, searches) => ended,
        ended = answers => ended,
    }
}

/// Forwards requests, and answers those for the rootDSE.
async fn requests(
    mut from_client: impl AsyncRead + Unpin,
    mut to_server: impl AsyncWrite + Unpin,
    to_client: &Mutex<impl AsyncWrite + Unpin>,
    names: &HashMap<String, String>,
    searches: &AtomicU64,
) -> anyhow::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(size) = element(&buffer)
            .map(|(_, header, length)| header + length)
            .filter(|size| *size <= buffer.len())
        {
            let request = buffer.split_to(size);
            let Some(search) = Search::parse(&request) else {
                to_server.write_all(&request).await?;
                continue;
            };
            searches.fetch_add(1, Ordering::Relaxed);
            if search.base.is_empty() {
                let mut to_client = to_client.lock().await;
                to_client.write_all(&root_dse(search.id)).await?;
                to_client.flush().await?;
                continue;
            }
            let base = names.get(search.base).map_or(search.base, String::as_str);
            to_server.write_all(&search.with_base(base)).await?;
        }
        if from_client.read_buf(&mut buffer).await.context("read")? == 0 {
            return Ok(());
        }
    }
}

/// The identifier octet, the size of the header, and the size of the contents.
fn element(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&tag, &first) = (bytes.first()?, bytes.get(1)?);
    if first < 0x80 {
        return Some((tag, 2, usize::from(first)));
    }
    let octets = usize::from(first & 0x7f);
    let length =
        bytes.get(2..2 + octets)?.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    Some((tag, 2 + octets, length))
}

/// Takes one element off the front: its identifier octet and its contents.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, header, length) = element(bytes)?;
    let content = bytes.get(header..header + length)?;
    *bytes = &bytes[header + length..];
    Some((tag, content))
}

fn put(into: &mut Vec<u8>, tag: u8, contents: &[&[u8]]) {
    let length: usize = contents.iter().map(|c| c.len()).sum();
    into.extend([tag, 0x84]);
    into.extend((length as u32).to_be_bytes());
    for content in contents {
        into.extend_from_slice(content);
    }
}

/// A SearchRequest, decoded as far as its base.
struct Search<'a> {
    id: &'a [u8],
    base: &'a str,
    /// Scope and everything after it.
    rest: &'a [u8],
    controls: &'a [u8],
}

impl<'a> Search<'a> {
    fn parse(mut message: &'a [u8]) -> Option<Self> {
        let (_, mut message) = take(&mut message)?;
        let (_, id) = take(&mut message)?;
        let (tag, mut request) = take(&mut message)?;
        let (_, base) = take(&mut request).filter(|_| tag == SEARCH)?;
        Some(Self { id, base: std::str::from_utf8(base).ok()?, rest: request, controls: message })
    }

    fn with_base(&self, base: &str) -> Vec<u8> {
        let mut controls = self.controls.to_vec();
        // OpenLDAP keeps no deleted objects, and refuses an unknown critical control.
        if let Some(at) = controls.windows(SHOW_DELETED.len()).position(|w| w == SHOW_DELETED) {
            controls[at + SHOW_DELETED.len() - 1] = 0;
        }
        let (mut name, mut request, mut id, mut message) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        put(&mut name, 0x04, &[base.as_bytes()]);
        put(&mut request, SEARCH, &[&name, self.rest]);
        put(&mut id, 0x02, &[self.id]);
        put(&mut message, 0x30, &[&id, &request, &controls]);
        message
    }
}

/// Returns the rootDSE of a domain controller whose clock is right.
fn root_dse(id: &[u8]) -> Vec<u8> {
    let now = rosterd::clock::Clock::system().now().to_utc().format("%Y%m%d%H%M%S.0Z").to_string();
    let (configuration, sid) = (format!("cn=Configuration,{ROOT}"), reader_sid());
    let mut attributes = Vec::new();
    for (name, value) in [
        ("defaultNamingContext", ROOT.as_bytes()),
        ("configurationNamingContext", configuration.as_bytes()),
        ("schemaNamingContext", configuration.as_bytes()),
        ("currentTime", now.as_bytes()),
        ("dsServiceName", SERVER.as_bytes()),
        ("tokenGroups", &sid),
    ] {
        let (mut attribute, mut values, mut set) = (Vec::new(), Vec::new(), Vec::new());
        put(&mut attribute, 0x04, &[name.as_bytes()]);
        put(&mut values, 0x04, &[value]);
        put(&mut set, 0x31, &[&values]);
        put(&mut attributes, 0x30, &[&attribute, &set]);
    }
    let mut answer = Vec::new();
    let (mut message_id, mut list, mut entry, mut done) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    put(&mut message_id, 0x02, &[id]);
    put(&mut list, 0x30, &[&attributes]);
    put(&mut entry, 0x64, &[b"\x04\x00", &list]);
    put(&mut done, 0x65, &[b"\x0a\x01\x00\x04\x00\x04\x00"]);
    put(&mut answer, 0x30, &[&message_id, &entry]);
    put(&mut answer, 0x30, &[&message_id, &done]);
    answer
}
