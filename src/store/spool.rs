//! Spools: values of a run that wait outside of memory.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::SpooledTempFile;

use super::database::Store;
use super::error::StoreError;

/// The bytes of a spool that stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// Values in order, one line of JSON each. Beyond some bytes they are not in memory but in a file, which
/// has no name and is gone with the process.
pub struct Spool<T> {
    lines: SpooledTempFile,
    values: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Spool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").finish_non_exhaustive()
    }
}

impl Store {
    /// Returns an empty spool. Its file is beside the store, because both have personal data.
    pub fn spool<T>(&self) -> Spool<T> {
        let folder = self.file().and_then(Path::parent).map(Path::to_owned);
        let folder: PathBuf = folder.unwrap_or_else(std::env::temp_dir);
        let lines = tempfile::spooled_tempfile_in(IN_MEMORY, folder);
        Spool { lines, values: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// Adds a value, before the first one is read.
    pub fn push(&mut self, value: &T) -> Result<(), StoreError> {
        let written = serde_json::to_vec(value).map_err(io::Error::from);
        let written = written.and_then(|mut line| {
            line.push(b'\n');
            self.lines.write_all(&line)
        });
        written.map_err(unwritable)
    }

    /// Reads the values from the first one on.
    pub fn read(&mut self) -> Result<impl Iterator<Item = Result<T, StoreError>>, StoreError> {
        self.lines.rewind().map_err(unwritable)?;
        let lines = BufReader::new(&mut self.lines).split(b'\n');
        Ok(lines.map(|line| {
            let value = line.and_then(|line| serde_json::from_slice(&line).map_err(Into::into));
            value.map_err(unwritable)
        }))
    }
}

fn unwritable(error: io::Error) -> StoreError {
    StoreError::Disk { what: "keep changes of a run", source: sqlx::Error::Io(error) }
}
