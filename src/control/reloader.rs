//! The way from the socket, or a signal, to whoever can read the configuration again.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use crate::engine::Outcome;
use crate::model::{Actor, DirectoryName};

/// More than this nobody asks at once; later ones wait.
const WAITING: usize = 16;

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// What it means for each directory.
    pub directories: BTreeMap<DirectoryName, Outcome>,
    /// What it means for each hook; none is ever rescoped.
    pub hooks: BTreeMap<String, Outcome>,
    /// Keys that changed in the file and take effect only when the daemon starts.
    pub needs_restart: Vec<&'static str>,
}

/// Why the configuration stays as it was: all that is wrong with the file, one problem a line.
pub type Refused = String;

/// The way by which a reload was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By an operation on the socket, whose event the router records.
    OverTheSocket,
    /// By SIGHUP; the daemon records the event.
    BySignal,
}

/// Request to read the configuration again.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub by: Actor,
    /// The way of the request.
    pub asked: Asked,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Reloaded, Refused>>,
}

/// Asks for a reload.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Ask>);

impl Reloader {
    /// With the other end, which the daemon answers.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(WAITING);
        (Self(asks), asked)
    }

    /// Has the configuration read again, and waits for what comes of it; `None` when the daemon is stopping.
    pub async fn reload(&self, by: Actor, asked: Asked) -> Option<Result<Reloaded, Refused>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask { by, asked, answer }).await.ok()?;
        answered.await.ok()
    }
}
