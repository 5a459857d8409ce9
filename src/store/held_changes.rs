//! The held changes of a run, on their way into a plan.
//!
//! A first import holds everyone. So beyond some the changes are not in memory but in a file, which has
//! no name and is gone with the process.

use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::SpooledTempFile;

use super::database::Store;
use super::error::StoreError;
use crate::model::{Digest, HeldChange, HoldReason, Holdable, Shown};

/// The bytes of held changes that stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// Held changes in the form in which they are stored, in order.
#[derive(Debug)]
pub struct HeldChanges {
    lines: SpooledTempFile,
    digests: Vec<Digest>,
}

impl Store {
    /// Returns an empty list of held changes. Its file is beside the store, because both have personal
    /// data.
    pub fn held_changes(&self) -> HeldChanges {
        let folder = self.file().and_then(Path::parent).map(Path::to_owned);
        let folder: PathBuf = folder.unwrap_or_else(std::env::temp_dir);
        HeldChanges { lines: tempfile::spooled_tempfile_in(IN_MEMORY, folder), digests: Vec::new() }
    }
}

impl HeldChanges {
    /// Adds a held change. A rejected one is in no open plan, and is left out.
    pub fn push<C: Holdable>(&mut self, held: &HeldChange<C>) -> Result<(), StoreError> {
        if held.hold == HoldReason::Rejected {
            return Ok(());
        }
        let shown = held.change.shown();
        let written = serde_json::to_vec(&(held.hold, &shown)).map_err(io::Error::from);
        let written = written.and_then(|mut line| {
            line.push(b'\n');
            self.lines.write_all(&line)
        });
        written.map_err(unwritable)?;
        self.digests.push(shown.digest);
        Ok(())
    }

    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Reads the changes from the beginning.
    pub(super) fn read(
        &mut self,
    ) -> Result<impl Iterator<Item = Result<(HoldReason, Shown), StoreError>>, StoreError> {
        self.lines.rewind().map_err(unwritable)?;
        let lines = BufReader::new(&mut self.lines).lines();
        Ok(lines.map(|line| {
            let line = line.map_err(unwritable)?;
            serde_json::from_str(&line).map_err(|error| unwritable(error.into()))
        }))
    }
}

fn unwritable(error: io::Error) -> StoreError {
    StoreError::Disk { what: "keep held changes", source: sqlx::Error::Io(error) }
}
