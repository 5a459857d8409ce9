//! Client of the control socket, for `rosterctl` and the tests.
//!
//! It has no time limit, because an approval or a run may take any time. An answer with an
//! unknown word is an error, because rosterctl and rosterd of one package have one version.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{Means, Problem, UNKNOWN_ROUTE};
use super::gate::VIA;
use crate::telemetry::chain;

const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Backoff between attempts to connect. It doubles from the first to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    via: Option<Means>,
}

/// The request failed. The message distinguishes "no daemon", "not allowed" and "wrong answer".
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon answers on the socket.
    #[error("no rosterd answers on {} ({why}): is it running? systemctl status rosterd", socket.display())]
    NoDaemon { socket: PathBuf, why: String },
    /// The modes of the socket or the roles of the user do not allow it.
    #[error("not allowed: {}", said(.0))]
    NotAllowed(Box<Problem>),
    /// The daemon answered with an error.
    #[error("{}", said(.0))]
    Problem(Box<Problem>),
    /// The daemon does not know the request, and has another version than this client.
    #[error("{}; {}", said(problem), versions(daemon))]
    OtherVersion {
        problem: Box<Problem>,
        /// Version of the daemon.
        daemon: String,
    },
    /// The answer does not come from rosterd, or is not complete.
    #[error("wrong answer on {}: {what}", socket.display())]
    WrongAnswer {
        socket: PathBuf,
        /// Fault and remedy.
        what: String,
    },
    #[error("request cannot be sent: {0}")]
    Unaskable(String),
    #[error("the answer cannot be written")]
    Unwritable(#[source] io::Error),
}

impl ClientError {
    /// Returns the problem document, of the daemon if it sent one.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotAllowed(problem)
            | Self::Problem(problem)
            | Self::OtherVersion { problem, .. } => Problem::clone(problem),
            Self::NoDaemon { .. } => problem(503, "Service Unavailable", self.to_string()),
            Self::WrongAnswer { .. } => problem(502, "Bad Gateway", self.to_string()),
            Self::Unaskable(_) => problem(400, "Bad Request", self.to_string()),
            Self::Unwritable(_) => problem(500, "Internal Server Error", self.to_string()),
        }
    }
}

fn said(problem: &Problem) -> &str {
    if problem.detail.is_empty() { &problem.title } else { &problem.detail }
}

fn versions(daemon: &str) -> String {
    format!(
        "the versions differ: this is rosterctl {OWN_VERSION}, rosterd is {daemon}; use the rosterctl that came with it, or restart rosterd after an upgrade"
    )
}

fn problem(status: u16, title: &str, detail: String) -> Problem {
    let (kind, title) = ("about:blank".to_owned(), title.to_owned());
    Problem { kind, title, status, detail, leader: None, since: None }
}

/// A resource below `/v1`, with query parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
}

impl Route {
    /// Returns the resource at these path segments. They are escaped: `["users",
    /// "anna@example.com"]`.
    pub fn to<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self { segments: segments.into_iter().map(Into::into).collect(), query: Vec::new() }
    }

    /// Adds a query parameter.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "numbers and words are given as they are")]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn url(&self) -> Result<Url, ClientError> {
        let Self { segments, query } = self;
        // Refuses these names, because a URL with them means another resource.
        if let Some(name) = segments.iter().find(|s| matches!(s.as_str(), "" | "." | "..")) {
            let said = format!("there is no resource named \"{name}\"");
            return Err(ClientError::Problem(Box::new(problem(404, "Not Found", said))));
        }
        // The host has no meaning on a Unix socket.
        let mut url =
            Url::parse("http://rosterd/v1").map_err(|e| ClientError::Unaskable(e.to_string()))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

impl Client {
    /// Returns a client of this socket, without connecting.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let http = Self::builder(socket)
            .redirect(reqwest::redirect::Policy::none())
            // Never reuses a connection, because the daemon may be ending it.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|e| ClientError::Unaskable(chain(&e)))?;
        Ok(Self { http, socket: socket.to_owned(), via: None })
    }

    /// Names the program to the event log.
    #[must_use]
    pub fn via(self, means: Means) -> Self {
        Self { via: Some(means), ..self }
    }

    /// Returns the builder of a client of the socket. Its TLS is never used, and has no trust
    /// anchors.
    pub fn builder(socket: &Path) -> reqwest::ClientBuilder {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions();
        let tls = tls.map(|tls| {
            tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        });
        let builder = reqwest::Client::builder().unix_socket(socket.to_owned());
        match tls {
            Ok(tls) => builder.tls_backend_preconfigured(tls),
            Err(_) => builder,
        }
    }

    pub async fn get<T: DeserializeOwned>(&self, route: &Route) -> Result<T, ClientError> {
        self.read(self.get_raw(route).await?)
    }

    /// Returns the document without parsing it.
    pub async fn get_raw(&self, route: &Route) -> Result<Value, ClientError> {
        self.ask(Method::GET, route, None).await?.document().await
    }

    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        route: &Route,
        body: &B,
    ) -> Result<T, ClientError> {
        self.read(self.post_raw(route, body).await?)
    }

    /// Posts a document, or none for `&()`. Returns the answer without parsing it.
    pub async fn post_raw<B: Serialize + Sync>(
        &self,
        route: &Route,
        body: &B,
    ) -> Result<Value, ClientError> {
        let body = serde_json::to_value(body).map_err(|e| ClientError::Unaskable(e.to_string()))?;
        self.ask(Method::POST, route, Some(body).filter(|b| !b.is_null())).await?.document().await
    }

    /// Posts without a document, and passes the answer on in pieces.
    pub async fn download(
        &self,
        route: &Route,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut answer = self.ask(Method::POST, route, None).await?;
        if !answer.response.status().is_success() {
            return answer.document().await.map(drop);
        }
        if answer.daemon.is_none() {
            return Err(answer.is_not_rosterd());
        }
        while let Some(piece) =
            answer.response.chunk().await.map_err(|_| answer.client.broke_off(&answer.method))?
        {
            take(&piece).map_err(ClientError::Unwritable)?;
        }
        Ok(())
    }

    /// Parses a document.
    pub fn read<T: DeserializeOwned>(&self, document: Value) -> Result<T, ClientError> {
        serde_json::from_value(document).map_err(|e| {
            self.wrong(format!("the document has an unexpected form ({e}): use the rosterctl of the same version as rosterd; this is {OWN_VERSION}"))
        })
    }

    async fn ask(
        &self,
        method: Method,
        route: &Route,
        body: Option<Value>,
    ) -> Result<Answer<'_>, ClientError> {
        let begun = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        let response = loop {
            let mut request = self.http.request(method.clone(), route.url()?);
            if let Some(via) = self.via {
                request = request.header(VIA, via.as_str());
            }
            if let Some(body) = &body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(response) => break response,
                // Retries every request, because nothing was sent yet.
                Err(error) if begun.elapsed() + backoff < retry_limit(&error) => {
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
                Err(error) => return Err(self.no_answer(&error, &method)),
            }
        };
        let server = response.headers().get(reqwest::header::SERVER).and_then(|s| s.to_str().ok());
        let daemon = server.and_then(|s| s.strip_prefix("rosterd/")).map(str::to_owned);
        Ok(Answer { client: self, method, response, daemon })
    }

    fn wrong(&self, what: impl Into<String>) -> ClientError {
        ClientError::WrongAnswer { socket: self.socket.clone(), what: what.into() }
    }

    fn broke_off(&self, method: &Method) -> ClientError {
        let done = if method == Method::POST {
            "; it may have been carried out: see rosterctl event list"
        } else {
            ""
        };
        self.wrong(format!(
            "the connection broke off, as when rosterd restarts: repeat the request{done}"
        ))
    }

    fn no_answer(&self, error: &reqwest::Error, method: &Method) -> ClientError {
        let no_daemon = |why: String| ClientError::NoDaemon { socket: self.socket.clone(), why };
        match source_of::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound) => {
                return no_daemon("there is no such socket".to_owned());
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                return no_daemon("the connection was refused".to_owned());
            }
            Some(io::ErrorKind::WouldBlock) => {
                return no_daemon("its backlog is full: list the callers with ss -xp".to_owned());
            }
            Some(io::ErrorKind::PermissionDenied) => {
                let socket = self.socket.display();
                let detail = format!(
                    "this user may not connect to {socket}: check the modes of the socket and of the directories above it"
                );
                return ClientError::NotAllowed(Box::new(problem(403, "Forbidden", detail)));
            }
            _ => {}
        }
        match source_of::<hyper::Error>(error) {
            Some(http) if http.is_parse() => self.wrong(format!(
                "the answer is not HTTP ({http}): check that this is the socket of rosterd"
            )),
            _ if error.is_connect() => no_daemon(chain(error)),
            _ => self.broke_off(method),
        }
    }
}

/// An answer whose body has not been read.
struct Answer<'a> {
    client: &'a Client,
    method: Method,
    response: reqwest::Response,
    /// Version of the daemon; `None` if the server is not rosterd.
    daemon: Option<String>,
}

impl Answer<'_> {
    /// Returns the document, or the error of the daemon.
    async fn document(self) -> Result<Value, ClientError> {
        let is_not_rosterd = self.is_not_rosterd();
        let Self { client, method, response, daemon } = self;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|_| client.broke_off(&method))?;
        let Some(daemon) = daemon else { return Err(is_not_rosterd) };
        let document: Value = serde_json::from_slice(&bytes).map_err(|e| {
            client.wrong(format!("{status} without JSON ({e}): see the log of rosterd"))
        })?;
        if status.is_success() {
            return Ok(document);
        }
        let problem: Box<Problem> = client.read(document)?;
        let is_unknown = problem.kind == UNKNOWN_ROUTE || status == StatusCode::BAD_REQUEST;
        Err(match status {
            StatusCode::FORBIDDEN => ClientError::NotAllowed(problem),
            _ if is_unknown && daemon != OWN_VERSION => {
                ClientError::OtherVersion { problem, daemon }
            }
            _ => ClientError::Problem(problem),
        })
    }

    fn is_not_rosterd(&self) -> ClientError {
        let header = |name| self.response.headers().get(name).and_then(|h| h.to_str().ok());
        let server = header(reqwest::header::SERVER).unwrap_or("another server");
        self.client.wrong(format!(
            "{server} answered ({}) instead of rosterd: check the path of the socket",
            self.response.status()
        ))
    }
}

/// Returns how long connecting is retried after this error.
///
/// A full backlog (EAGAIN) empties within moments. A refusing socket may belong to a daemon that is
/// restarting.
fn retry_limit(error: &reqwest::Error) -> Duration {
    if !error.is_connect() {
        return Duration::ZERO;
    }
    match source_of::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::WouldBlock) => Duration::from_secs(10),
        Some(io::ErrorKind::ConnectionRefused) => Duration::from_millis(500),
        _ => Duration::ZERO,
    }
}

/// Returns the first error of this type in the chain of sources.
fn source_of<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
