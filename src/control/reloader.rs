//! Requests to reload the configuration, from the socket or a signal to the daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::api::Previewing;
use crate::engine::{DirectoryConfig, ReloadOutcome};
use crate::model::{Actor, DirectoryName, TargetName};

/// Capacity of the queue. Later requests wait.
const QUEUE: usize = 16;

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub directories: BTreeMap<DirectoryName, ReloadOutcome>,
    /// A hook is never rescoped.
    pub hooks: BTreeMap<String, ReloadOutcome>,
    pub targets: BTreeMap<TargetName, ReloadOutcome>,
    /// Changed keys that take effect only when the daemon starts.
    pub needs_restart: Vec<&'static str>,
}

/// All problems of the file, one a line. The configuration stays as it was.
pub type Refused = String;

/// The origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An operation on the socket. Its event is written by `record`.
    OverTheSocket,
    /// SIGHUP. The daemon writes the event.
    BySignal,
}

/// A request to reload the configuration.
#[derive(Debug)]
pub struct Ask {
    pub by: Actor,
    pub asked: Asked,
    pub answer: oneshot::Sender<Result<Reloaded, Refused>>,
}

/// The sending end of the queue.
#[derive(Clone)]
pub struct Reloader {
    asks: mpsc::Sender<Ask>,
    parse: Parse,
}

/// Parses the texts of a configuration. The error has all of its problems.
pub type Parse = Arc<dyn Fn(&Previewing) -> Result<Vec<DirectoryConfig>, Refused> + Send + Sync>;

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asks, parse: _ } = self;
        f.debug_struct("Reloader").field("asks", asks).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Returns both ends of the queue. The daemon receives.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(QUEUE);
        let parse: Parse =
            Arc::new(|_| Err("this rosterd cannot parse another configuration".to_owned()));
        (Self { asks, parse }, asked)
    }

    /// Returns a handle that parses configurations for previews.
    #[must_use]
    pub fn parsing(
        self,
        parse: impl Fn(&Previewing) -> Result<Vec<DirectoryConfig>, Refused> + Send + Sync + 'static,
    ) -> Self {
        Self { parse: Arc::new(parse), ..self }
    }

    pub(super) fn parse(&self, previewing: &Previewing) -> Result<Vec<DirectoryConfig>, Refused> {
        (self.parse)(previewing)
    }

    /// Requests a reload and waits for its result. Returns `None` when the daemon is stopping.
    pub async fn reload(&self, by: Actor, asked: Asked) -> Option<Result<Reloaded, Refused>> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { by, asked, answer }).await.ok()?;
        answered.await.ok()
    }
}
