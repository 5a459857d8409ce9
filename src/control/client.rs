//! The one client of the control socket; `rosterctl` and the tests speak through it.
//!
//! It knows the wire and nothing of rosterd: documents go through as they came. It never waits less than
//! the daemon takes, since an approval or a run ends when it ends.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::Problem;

/// A client of one socket.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// Why there is no answer, or none that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("no rosterd answers on {socket}: {why}; look at systemctl status rosterd")]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// What was found there.
        why: String,
    },
    /// The socket cannot be reached by this user, or the daemon does not let it.
    #[error("{}", .0.detail)]
    NotAllowed(Problem),
    /// The daemon refused, or failed.
    #[error("{}", .0.detail)]
    Problem(Problem),
    /// What came is no answer of rosterd.
    #[error("the answer is not understood: {0}")]
    Garbled(String),
    /// What came cannot be kept.
    #[error("what the daemon sends cannot be written")]
    Unwritable(#[source] io::Error),
}

impl ClientError {
    /// The error as a document, the daemon's own where it sent one.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotAllowed(problem) | Self::Problem(problem) => problem.clone(),
            Self::NoDaemon { .. } => problem(503, "Service Unavailable", self.to_string()),
            Self::Garbled(_) => problem(502, "Bad Gateway", self.to_string()),
            Self::Unwritable(_) => problem(500, "Internal Server Error", self.to_string()),
        }
    }
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
            return Err(ClientError::Problem(problem(404, "Not Found", format!("nothing is called \"{name}\""))));
        }
        // The host is for the form only; the socket is the way.
        let mut url = Url::parse("http://rosterd/v1").map_err(|e| ClientError::Garbled(e.to_string()))?;
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
        let http = reqwest::Client::builder()
            .unix_socket(socket.to_owned())
            .redirect(reqwest::redirect::Policy::none())
            // The daemon ends idle connections; one that it is just ending must not be used again.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|e| ClientError::Garbled(chain(&e)))?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    /// Gets a document.
    pub async fn get<T: DeserializeOwned>(&self, route: &Route) -> Result<T, ClientError> {
        read(self.get_raw(route).await?)
    }

    /// Gets a document as it comes.
    pub async fn get_raw(&self, route: &Route) -> Result<Value, ClientError> {
        self.ask(Method::GET, route, None).await
    }

    /// Posts a document, and gets another.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(&self, route: &Route, body: &B) -> Result<T, ClientError> {
        read(self.post_raw(route, body).await?)
    }

    /// Posts a document, and gets another as it comes. `&()` posts nothing.
    pub async fn post_raw<B: Serialize + Sync>(&self, route: &Route, body: &B) -> Result<Value, ClientError> {
        let body = serde_json::to_value(body).map_err(|e| ClientError::Garbled(e.to_string()))?;
        self.ask(Method::POST, route, Some(body).filter(|b| !b.is_null())).await
    }

    /// Posts nothing, and gets bytes, piece by piece.
    pub async fn download(&self, route: &Route, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), ClientError> {
        let mut response = self.http.request(Method::POST, route.url()?).send().await.map_err(|e| self.no_answer(&e))?;
        if !response.status().is_success() {
            let status = response.status();
            return document(status, &response.bytes().await.map_err(|e| ClientError::Garbled(chain(&e)))?).map(drop);
        }
        while let Some(piece) = response.chunk().await.map_err(|e| ClientError::Garbled(chain(&e)))? {
            take(&piece).map_err(ClientError::Unwritable)?;
        }
        Ok(())
    }

    async fn ask(&self, method: Method, route: &Route, body: Option<Value>) -> Result<Value, ClientError> {
        let mut request = self.http.request(method, route.url()?);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| self.no_answer(&e))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| ClientError::Garbled(chain(&e)))?;
        document(status, &bytes)
    }

    fn no_answer(&self, error: &reqwest::Error) -> ClientError {
        let socket = self.socket.clone();
        let no_daemon = |why: &str| ClientError::NoDaemon { socket: socket.clone(), why: why.to_owned() };
        match io_kind(error) {
            Some(io::ErrorKind::NotFound) => no_daemon("there is no such socket"),
            Some(io::ErrorKind::ConnectionRefused) => no_daemon("the connection was refused"),
            Some(io::ErrorKind::PermissionDenied) => {
                let detail = format!("this user may not connect to {}: check the modes of the directories above it", socket.display());
                ClientError::NotAllowed(problem(403, "Forbidden", detail))
            }
            _ if error.is_connect() => no_daemon(&chain(error)),
            _ => ClientError::Garbled(chain(error)),
        }
    }
}

/// The document, or what the daemon says instead of one.
fn document(status: reqwest::StatusCode, bytes: &[u8]) -> Result<Value, ClientError> {
    let document: Value = serde_json::from_slice(bytes).map_err(|e| ClientError::Garbled(format!("{status}, and no JSON: {e}")))?;
    if status.is_success() {
        return Ok(document);
    }
    let problem: Problem = read(document)?;
    Err(if status == reqwest::StatusCode::FORBIDDEN { ClientError::NotAllowed(problem) } else { ClientError::Problem(problem) })
}

fn read<T: DeserializeOwned>(document: Value) -> Result<T, ClientError> {
    serde_json::from_value(document).map_err(|e| ClientError::Garbled(e.to_string()))
}

/// The operating system's word, somewhere behind the error.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// An error with everything behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
