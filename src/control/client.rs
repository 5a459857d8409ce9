//! The one client of the control socket; `rosterctl` and the tests speak through it.
//!
//! It knows the wire and nothing of rosterd: documents go through as they came. It never waits less than
//! the daemon takes, since an approval or a run ends when it ends.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{Problem, UNKNOWN_ROUTE};
use crate::telemetry::chain;

const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Pauses between attempts to connect: from this one, each twice as long as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A client of one socket.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// Why there is no answer, or none that was hoped for. Each says which of "no daemon", "not allowed" and "wrong answer" it is.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("no rosterd answers on {} ({why}): is it running? systemctl status rosterd", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// What was found there.
        why: String,
    },
    /// The socket cannot be reached by this user, or the daemon does not let it.
    #[error("not allowed: {}", said(.0))]
    NotAllowed(Problem),
    /// The daemon refused, or failed.
    #[error("{}", said(.0))]
    Problem(Problem),
    /// The daemon refused what it does not understand, and is of another version than this client.
    #[error("{}; {}", said(problem), versions(daemon))]
    OtherVersion {
        /// What it said.
        problem: Problem,
        /// Its version.
        daemon: String,
    },
    /// What came is no answer of rosterd, or not the whole of one.
    #[error("wrong answer on {}: {what}", socket.display())]
    WrongAnswer {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// It could not be asked for.
    #[error("this cannot be asked for: {0}")]
    Unaskable(String),
    /// What comes cannot be kept.
    #[error("what the daemon sends cannot be written")]
    Unwritable(#[source] io::Error),
}

impl ClientError {
    /// The error as a document, the daemon's own where it sent one.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotAllowed(problem)
            | Self::Problem(problem)
            | Self::OtherVersion { problem, .. } => problem.clone(),
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
    Problem { kind: "about:blank".to_owned(), title: title.to_owned(), status, detail }
}

/// A resource below `/v1`, with what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
}

impl Route {
    /// The resource at these path segments, which may hold anything: `["users", "anna@example.com"]`.
    pub fn to<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self { segments: segments.into_iter().map(Into::into).collect(), query: Vec::new() }
    }

    /// With a query parameter.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "numbers and words are given as they are")]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// With a query parameter where there is a value.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn url(&self) -> Result<Url, ClientError> {
        let Self { segments, query } = self;
        // A URL cannot carry these as names, and would lead elsewhere.
        if let Some(name) = segments.iter().find(|s| matches!(s.as_str(), "" | "." | "..")) {
            return Err(ClientError::Problem(problem(
                404,
                "Not Found",
                format!("nothing is called \"{name}\""),
            )));
        }
        // The host is for the form only; the socket is the way.
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
    /// A client of this socket. Nothing is connected yet.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let http = Self::builder(socket)
            .redirect(reqwest::redirect::Policy::none())
            // The daemon ends idle connections; one that it is just ending must not be used again.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|e| ClientError::Unaskable(chain(&e)))?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    /// What every client of the socket begins with. Nothing on it is encrypted: this TLS is never used, and trusts nobody.
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

    /// Gets a document.
    pub async fn get<T: DeserializeOwned>(&self, route: &Route) -> Result<T, ClientError> {
        self.read(self.get_raw(route).await?)
    }

    /// Gets a document as it comes.
    pub async fn get_raw(&self, route: &Route) -> Result<Value, ClientError> {
        self.ask(Method::GET, route, None).await?.document().await
    }

    /// Posts a document, and gets another.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        route: &Route,
        body: &B,
    ) -> Result<T, ClientError> {
        self.read(self.post_raw(route, body).await?)
    }

    /// Posts a document, and gets another as it comes. `&()` posts nothing.
    pub async fn post_raw<B: Serialize + Sync>(
        &self,
        route: &Route,
        body: &B,
    ) -> Result<Value, ClientError> {
        let body = serde_json::to_value(body).map_err(|e| ClientError::Unaskable(e.to_string()))?;
        self.ask(Method::POST, route, Some(body).filter(|b| !b.is_null())).await?.document().await
    }

    /// Posts nothing, and gets bytes, piece by piece.
    pub async fn download(
        &self,
        route: &Route,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut heard = self.ask(Method::POST, route, None).await?;
        if !heard.response.status().is_success() {
            return heard.document().await.map(drop);
        }
        if heard.daemon.is_none() {
            return Err(heard.is_not_rosterd());
        }
        while let Some(piece) =
            heard.response.chunk().await.map_err(|_| heard.client.broke_off(&heard.method))?
        {
            take(&piece).map_err(ClientError::Unwritable)?;
        }
        Ok(())
    }

    /// An answer in the shape that belongs there.
    pub fn read<T: DeserializeOwned>(&self, document: Value) -> Result<T, ClientError> {
        serde_json::from_value(document).map_err(|e| {
            self.wrong(format!("it is not the document that belongs here ({e}): are rosterctl {OWN_VERSION} and rosterd of one version?"))
        })
    }

    async fn ask(
        &self,
        method: Method,
        route: &Route,
        body: Option<Value>,
    ) -> Result<Heard<'_>, ClientError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let response = loop {
            let mut request = self.http.request(method.clone(), route.url()?);
            if let Some(body) = &body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(response) => break response,
                // Nothing was sent yet: it can be tried again whatever it is.
                Err(error) if begun.elapsed() + pause < patience(&error) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(self.no_answer(&error, &method)),
            }
        };
        let server = response.headers().get(reqwest::header::SERVER).and_then(|s| s.to_str().ok());
        let daemon = server.and_then(|s| s.strip_prefix("rosterd/")).map(str::to_owned);
        Ok(Heard { client: self, method, response, daemon })
    }

    fn wrong(&self, what: impl Into<String>) -> ClientError {
        ClientError::WrongAnswer { socket: self.socket.clone(), what: what.into() }
    }

    fn broke_off(&self, method: &Method) -> ClientError {
        let done = if method == Method::POST {
            "; what was asked for may have been done: see rosterctl event list"
        } else {
            ""
        };
        self.wrong(format!("it broke off, as when rosterd is restarted: ask again{done}"))
    }

    fn no_answer(&self, error: &reqwest::Error, method: &Method) -> ClientError {
        let no_daemon = |why: String| ClientError::NoDaemon { socket: self.socket.clone(), why };
        match behind::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound) => {
                return no_daemon("there is no such socket".to_owned());
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                return no_daemon("the connection was refused".to_owned());
            }
            Some(io::ErrorKind::WouldBlock) => {
                return no_daemon(
                    "more callers than it can accept wait for it: see whose with ss -xp".to_owned(),
                );
            }
            Some(io::ErrorKind::PermissionDenied) => {
                let socket = self.socket.display();
                let detail = format!(
                    "this user may not connect to {socket}: check the modes of the socket and of the directories above it"
                );
                return ClientError::NotAllowed(problem(403, "Forbidden", detail));
            }
            _ => {}
        }
        match behind::<hyper::Error>(error) {
            Some(http) if http.is_parse() => {
                self.wrong(format!("it is no HTTP ({http}): is this the socket of rosterd?"))
            }
            _ if error.is_connect() => no_daemon(chain(error)),
            _ => self.broke_off(method),
        }
    }
}

/// The head of an answer, with its body still to come.
struct Heard<'a> {
    client: &'a Client,
    method: Method,
    response: reqwest::Response,
    /// The version of the daemon, if it is rosterd.
    daemon: Option<String>,
}

impl Heard<'_> {
    /// The document, or what the daemon says instead of one.
    async fn document(self) -> Result<Value, ClientError> {
        let is_not_rosterd = self.is_not_rosterd();
        let Self { client, method, response, daemon } = self;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|_| client.broke_off(&method))?;
        let Some(daemon) = daemon else { return Err(is_not_rosterd) };
        let document: Value = serde_json::from_slice(&bytes).map_err(|e| {
            client.wrong(format!("{status}, and no JSON ({e}): see the log of rosterd"))
        })?;
        if status.is_success() {
            return Ok(document);
        }
        let problem: Problem = client.read(document)?;
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
        let who = header(reqwest::header::SERVER).unwrap_or("something else");
        self.client.wrong(format!(
            "{who} answers there ({}), and not rosterd: is this its socket?",
            self.response.status()
        ))
    }
}

/// How long to try to connect, after this error. A full backlog (EAGAIN) empties within moments, however many callers
/// there are; a socket that refuses may be one of a daemon that is being started again.
fn patience(error: &reqwest::Error) -> Duration {
    if !error.is_connect() {
        return Duration::ZERO;
    }
    match behind::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::WouldBlock) => Duration::from_secs(10),
        Some(io::ErrorKind::ConnectionRefused) => Duration::from_millis(500),
        _ => Duration::ZERO,
    }
}

/// The error of this type that is somewhere behind another.
fn behind<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
