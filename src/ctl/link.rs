//! The way to the daemon, and what can go wrong on it.
//!
//! Every answer is kept twice: as it was sent, for `--json`, and as a value for people, in which everything
//! that could do something to a terminal is escaped. Views are only ever given the second.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Exit;
use super::text::{Page, harmless, harmless_value, red};
use crate::control::api;
use crate::control::client::{Client, ClientError, Route};

/// What the daemon answered.
#[derive(Debug, Clone)]
pub(super) struct Answer<T> {
    /// As it was sent.
    pub(super) raw: Value,
    /// To be shown; nothing in it can do anything to a terminal.
    pub(super) value: T,
}

impl<T: DeserializeOwned> Answer<T> {
    /// Reads an answer.
    fn read(raw: Value, client: &Client) -> Result<Self, Failure> {
        let value = client.read(harmless_value(raw.clone()))?;
        Ok(Self { raw, value })
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no answer, or none that was hoped for.
    Client(ClientError),
    /// The command line lacks something.
    Usage(String),
    /// An abbreviated id means nothing, or several things.
    Unresolved(String),
    /// The operator was asked and said no.
    Declined,
    /// Standard output cannot be written.
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
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::NoDaemon { .. }) => Exit::NoDaemon,
            Self::Client(ClientError::NotAllowed(_)) => Exit::NotAllowed,
            Self::Usage(_) => Exit::Usage,
            Self::Client(_) | Self::Unresolved(_) | Self::Declined | Self::Output(_) => {
                Exit::Failed
            }
        }
    }

    /// What happened, to what, and what to do next. Of several lines all but the first are indented: none can look like
    /// the message of something else.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Client(ClientError::Unwritable(error)) | Self::Output(error) => {
                format!("the output cannot be written: {error}")
            }
            Self::Client(error) => {
                error.to_string().lines().map(harmless).collect::<Vec<_>>().join("\n  ")
            }
            Self::Usage(detail) | Self::Unresolved(detail) => harmless(detail).into_owned(),
            Self::Declined => "nothing was changed".to_owned(),
        }
    }

    /// The document that `--json` prints for it.
    pub(super) fn problem(&self) -> api::Problem {
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
        }
    }

    /// As a message.
    pub(super) fn page(&self) -> Page {
        let mut page = Page::default();
        page.line(format!("{} {}", red("error:"), self.sentence()));
        page
    }
}

/// The daemon on the other end of a socket.
#[derive(Debug)]
pub(super) struct Daemon(Client);

impl Daemon {
    /// The daemon that listens on `socket`; nothing is sent yet.
    pub(super) fn on(socket: &Path) -> Result<Self, Failure> {
        Ok(Self(Client::new(socket)?))
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        route: &Route,
    ) -> Result<Answer<T>, Failure> {
        Answer::read(self.0.get_raw(route).await?, &self.0)
    }

    /// Asks for bytes.
    pub(super) async fn download(
        &self,
        route: &Route,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        Ok(self.0.download(route, take).await?)
    }

    /// Asks that something be done; `&()` says nothing with it.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        route: &Route,
        body: &(impl Serialize + Sync),
    ) -> Result<Answer<T>, Failure> {
        Answer::read(self.0.post_raw(route, body).await?, &self.0)
    }
}
