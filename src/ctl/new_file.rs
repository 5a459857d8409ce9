//! Files that commands write. They hold personal data, so only their owner can read them. An
//! unfinished file has another name, so that it is never taken for a whole one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::link::Failure;

/// A file under construction, which is removed unless it is finished.
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let unfinished = PathBuf::from(format!("{}.part", path.display()));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = opened.map_err(|error| unwritable(&unfinished, &error))?;
        Ok(Self { file, path: path.to_owned(), unfinished })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Names the path in an error of this file.
    pub(super) fn unwritable(&self, error: &io::Error) -> Failure {
        unwritable(&self.path, error)
    }

    /// Gives the file its name. A file of that name is replaced.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.unfinished, &self.path));
        renamed.map_err(|error| self.unwritable(&error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // A finished file has no such name any more.
        let _ = fs::remove_file(&self.unfinished);
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Output(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
