//! The connection to the daemon, and its failures.
//!
//! Every answer is kept twice. `--json` prints it as it was sent. Views get a value in which all
//! characters that could control a terminal are escaped.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Exit;
use super::text::{Page, View, harmless, harmless_value, red};
use crate::control::api;
use crate::control::client::{Client, ClientError, Route};

/// Returns the socket that the environment names.
pub(crate) fn socket_of_environment() -> Option<PathBuf> {
    std::env::var_os("ROSTERD_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[derive(Debug, Clone)]
pub(crate) struct Answer<T> {
    /// The document as the daemon sent it.
    pub(crate) raw: Value,
    /// The document with all terminal control characters escaped.
    pub(crate) value: T,
}

impl<T: DeserializeOwned> Answer<T> {
    fn read(raw: Value, client: &Client) -> Result<Self, Failure> {
        let value = client.read(harmless_value(raw.clone()))?;
        Ok(Self { raw, value })
    }

    /// Returns the document as it was sent.
    pub(crate) fn unescaped(self, daemon: &Daemon) -> Result<T, Failure> {
        Ok(daemon.client.read(self.raw)?)
    }
}

/// The page size of a list that is read to its end.
pub(crate) const PAGE: u64 = 1_000;

/// Joins two pages of a list into one document.
pub(crate) fn joined(mut first: Value, mut next: Value, list: &str) -> Value {
    let items = next.get_mut(list).and_then(Value::as_array_mut).map(std::mem::take);
    if let (Some(all), Some(items)) = (first.get_mut(list).and_then(Value::as_array_mut), items) {
        all.extend(items);
    }
    if let (Some(older), true) = (next.get("older"), first.get("older").is_some()) {
        first["older"] = older.clone();
    }
    first
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon refused, or gave no valid answer.
    Client(ClientError),
    Usage(String),
    /// An abbreviated id has no match or several matches.
    Unresolved(String),
    /// The operator answered no.
    Declined,
    Output(io::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unwritable(error) => Self::Output(error),
            error => Self::Client(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::NoDaemon { .. }) => Exit::NoDaemon,
            Self::Client(ClientError::NotAllowed(_)) => Exit::NotAllowed,
            Self::Usage(_) => Exit::Usage,
            Self::Declined => Exit::Done,
            Self::Client(_) | Self::Unresolved(_) | Self::Output(_) => Exit::Failed,
        }
    }

    /// Returns the message. Continuation lines are indented, so that none looks like another message.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Client(ClientError::Unwritable(error)) | Self::Output(error) => {
                format!("cannot write the output: {error}")
            }
            Self::Client(error) => {
                error.to_string().lines().map(harmless).collect::<Vec<_>>().join("\n  ")
            }
            Self::Usage(detail) | Self::Unresolved(detail) => harmless(detail).into_owned(),
            Self::Declined => "Nothing was changed.".to_owned(),
        }
    }

    /// Returns the problem document (RFC 9457) that `--json` prints.
    pub(crate) fn problem(&self) -> api::Problem {
        let (status, title) = match self {
            Self::Client(error) => return error.problem(),
            Self::Usage(_) => (400, "Bad Request"),
            Self::Unresolved(_) => (404, "Not Found"),
            Self::Declined => (409, "Conflict"),
            Self::Output(_) => (500, "Internal Server Error"),
        };
        api::Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            detail: self.sentence(),
            leader: None,
            since: None,
        }
    }

    pub(crate) fn page(&self, view: &View) -> Page {
        let mut page = Page::default();
        let text = self.sentence();
        // An operator's answer is not an error.
        let is_error = !matches!(self, Self::Declined);
        for (n, line) in text.lines().enumerate() {
            let lead = match n {
                0 if is_error => red("error:") + " ",
                0 => String::new(),
                _ => "  ".to_owned(),
            };
            page.sentence(&lead, line.trim_start(), view);
        }
        page
    }
}

#[derive(Debug)]
pub(crate) struct Daemon {
    client: Client,
    /// Whether each change is only rehearsed.
    dry_run: bool,
}

impl Daemon {
    /// Returns a client of the daemon on `socket`. It sends no request yet.
    pub(crate) fn on(socket: &Path, dry_run: bool) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(socket)?, dry_run })
    }

    /// Names the program to the event log.
    pub(crate) fn via(self, means: api::Means) -> Self {
        Self { client: self.client.via(means), ..self }
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        route: &Route,
    ) -> Result<Answer<T>, Failure> {
        Answer::read(self.client.get_raw(route).await?, &self.client)
    }

    pub(crate) async fn download(
        &self,
        route: &Route,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        Ok(self.client.download(&self.posted(route), take).await?)
    }

    /// Returns the route of a change. The daemon refuses one that it cannot rehearse.
    fn posted(&self, route: &Route) -> Route {
        route.clone().with_some("dry_run", self.dry_run.then_some(true))
    }

    /// Posts a request; `&()` is an empty body.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        route: &Route,
        body: &(impl Serialize + Sync),
    ) -> Result<Answer<T>, Failure> {
        let raw = self.client.post_raw(&self.posted(route), body).await?;
        Answer::read(raw, &self.client)
    }
}
