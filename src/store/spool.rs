//! Spools: values of a run that wait outside of memory.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::SpooledTempFile;

use super::database::Store;
use super::error::StoreError;

/// The bytes of a file that stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// Values in order. The newest are in memory, and earlier ones in a file, which has no name and is gone
/// with the process. So few values are never serialized.
pub struct Spool<T> {
    /// The earlier values, one line of JSON each.
    lines: SpooledTempFile,
    newest: Vec<T>,
    /// The most values in memory.
    at_most: usize,
}

impl<T> fmt::Debug for Spool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").finish_non_exhaustive()
    }
}

impl Store {
    /// Returns an empty spool that has at most so many values in memory. Its file is beside the store,
    /// because both have personal data.
    pub fn spool<T>(&self, at_most: usize) -> Spool<T> {
        let folder = self.file().and_then(Path::parent).map(Path::to_owned);
        let folder: PathBuf = folder.unwrap_or_else(std::env::temp_dir);
        let lines = tempfile::spooled_tempfile_in(IN_MEMORY, folder);
        Spool { lines, newest: Vec::new(), at_most }
    }
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// Adds a value, before the first one is read.
    pub fn push(&mut self, value: T) -> Result<(), StoreError> {
        if self.newest.len() >= self.at_most {
            for value in self.newest.drain(..) {
                let written = serde_json::to_vec(&value).map_err(io::Error::from);
                let written = written.and_then(|mut line| {
                    line.push(b'\n');
                    self.lines.write_all(&line)
                });
                written.map_err(unwritable)?;
            }
        }
        self.newest.push(value);
        Ok(())
    }

    /// Shows each value.
    pub fn show(&mut self, mut to: impl FnMut(&T)) -> Result<(), StoreError> {
        self.lines.rewind().map_err(unwritable)?;
        for value in values(&mut self.lines) {
            to(&value?);
        }
        self.newest.iter().for_each(to);
        Ok(())
    }

    /// Returns each value.
    pub fn into_values(
        mut self,
    ) -> Result<impl Iterator<Item = Result<T, StoreError>> + Send, StoreError>
    where
        T: Send,
    {
        self.lines.rewind().map_err(unwritable)?;
        Ok(values(self.lines).chain(self.newest.into_iter().map(Ok)))
    }
}

fn values<T: DeserializeOwned>(lines: impl Read) -> impl Iterator<Item = Result<T, StoreError>> {
    BufReader::new(lines).split(b'\n').map(|line| {
        let value = line.and_then(|line| serde_json::from_slice(&line).map_err(Into::into));
        value.map_err(unwritable)
    })
}

fn unwritable(error: io::Error) -> StoreError {
    StoreError::Disk { what: "keep changes of a run", source: sqlx::Error::Io(error) }
}
