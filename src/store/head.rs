//! The part of the event log that this process has seen committed, in memory and in a file.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::log_keys::LogHead;
use crate::model::Brake;

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
    pub(super) file: Option<PathBuf>,
    /// Whether a standby of the database has each commit before it is reported.
    pub(super) is_synchronous: Option<bool>,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// The id of the store. Another one has another log.
    pub(super) store: String,
    pub(super) head: String,
    pub(super) brakes: VecDeque<Brake>,
}

/// The entries that a transaction adds to the log.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) head: Option<LogHead>,
    pub(super) brakes: Vec<Brake>,
}

impl Seen {
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
    pub(super) fn save(&mut self, store: &str) -> io::Result<()> {
        let (Some(file), Some(head)) = (&self.file, self.head) else { return Ok(()) };
        let saved =
            Saved { store: store.to_owned(), head: head.to_string(), brakes: self.brakes.clone() };
        let new = file.with_extension("new");
        let mut written = File::create(&new)?;
        written.write_all(&serde_json::to_vec(&saved)?)?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        (self.is_saved, self.saved_at) = (true, Some(Instant::now()));
        Ok(())
    }
}
