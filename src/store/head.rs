//! The part of the event log that this process has seen committed, in memory and in a file.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::StoreError;
use super::log_keys::LogHead;
use crate::model::Brake;

/// The name of the file, which ends with the id of the store. Another store has another log.
const FILE: &str = "head.";

/// The brakes that are kept. Operators put on fewer in a week.
const BRAKES: usize = 1_000;

/// Whether each transaction is compared with the noted head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Watched {
    #[default]
    No,
    Yes,
    /// A loss is told and mended at present, so that nothing is noted.
    Settling,
}

/// The end of the log that this process has seen committed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The store with which this process works; `None` before its id is read.
    pub(super) store: Option<Uuid>,
    /// The folder of the file; `None` without one.
    pub(super) folder: Option<PathBuf>,
    /// The files about other stores.
    pub(super) others: Vec<PathBuf>,
    pub(super) head: Option<LogHead>,
    /// The last brakes, the oldest first.
    pub(super) brakes: VecDeque<Brake>,
    pub(super) watched: Watched,
    /// The number up to which brakes of all nodes were read.
    pub(super) read_to: Option<u64>,
    /// Whether the log lacks the head, and nothing was done about it yet.
    pub(super) is_missed: bool,
    pub(super) is_saved: bool,
    pub(super) saved_at: Option<Instant>,
    /// Whether a standby of the database has each commit before it is reported.
    pub(super) is_synchronous: Option<bool>,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Saved {
    head: String,
    brakes: VecDeque<Brake>,
}

/// The entries that a transaction adds to the log.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) head: Option<LogHead>,
    pub(super) brakes: Vec<Brake>,
}

impl Seen {
    /// Takes up what a former process noted about this store. A process works with one store.
    pub(super) fn identify(&mut self, store: Uuid) -> Result<(), StoreError> {
        match self.store {
            Some(known) if known == store => return Ok(()),
            Some(_) => return Err(StoreError::Exchanged),
            None => self.store = Some(store),
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        let saved: Option<Saved> = fs::read(file(folder, store))
            .ok()
            .and_then(|content| serde_json::from_slice(&content).ok());
        if let Some(saved) = saved
            && let Ok(head) = saved.head.parse()
        {
            (self.head, self.brakes) = (Some(head), saved.brakes);
        }
        let others = fs::read_dir(folder).into_iter().flatten().flatten();
        self.others =
            others.map(|entry| entry.path()).filter(|path| is_other(path, store)).collect();
        Ok(())
    }

    pub(super) fn note(&mut self, head: LogHead, brakes: impl IntoIterator<Item = Brake>) {
        self.is_saved &= self.head == Some(head);
        self.head = Some(head);
        for brake in brakes {
            // Its own node has noted it with the commit.
            if self.brakes.iter().all(|known| known.event != brake.event) {
                self.brakes.push_back(brake);
                self.is_saved = false;
            }
        }
        let surplus = self.brakes.len().saturating_sub(BRAKES);
        self.brakes.drain(..surplus);
    }

    /// Writes the file, whole or not at all.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let (Some(folder), Some(store), Some(head)) = (&self.folder, self.store, self.head) else {
            return Ok(());
        };
        let saved = Saved { head: head.to_string(), brakes: self.brakes.clone() };
        let (file, new) = (file(folder, store), folder.join("new-head"));
        let mut written = File::create(&new)?;
        written.write_all(&serde_json::to_vec(&saved)?)?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        (self.is_saved, self.saved_at) = (true, Some(Instant::now()));
        Ok(())
    }
}

fn file(folder: &Path, store: Uuid) -> PathBuf {
    folder.join(format!("{FILE}{store}"))
}

/// Returns whether a file is about another store.
fn is_other(path: &Path, store: Uuid) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let of = name.strip_prefix(FILE).and_then(|id| id.parse::<Uuid>().ok());
    of.is_some_and(|of| of != store)
}
