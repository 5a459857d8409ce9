//! `rosterctl backup`: a copy of the store. rosterctl writes it, because the daemon may write to its own folder only.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::link::{Daemon, Failure};
use super::new_file::NewFile;
use super::text::{Page, size};
use super::{Exit, Output};
use crate::control::client::Route;

/// Copy the store of the running daemon into a file
#[derive(Debug, Args)]
pub struct Arguments {
    /// The new file. To restore it: stop rosterd, put the file in place of the store, start rosterd
    file: PathBuf,
}

pub(super) async fn call(
    arguments: &Arguments,
    socket: &Path,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let Arguments { file } = arguments;
    let shown = file.display();
    if file.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!("{shown} exists: write the backup to another file")));
    }
    let mut copy = NewFile::create(file)?;
    give(copy.file(), socket).map_err(|error| copy.unwritable(&error))?;
    let mut bytes = 0;
    daemon
        .download(&Route::to(["backup"]), |piece| {
            bytes += piece.len() as u64;
            copy.write_all(piece)
        })
        .await?;
    copy.finish()?;
    let document = json!({ "file": file, "bytes": bytes });
    output.data(&document, |_| {
        Page::from(format!(
            "{shown}: {}; a store restored from it only plans at first\n",
            size(bytes)
        ))
    })?;
    Ok(Exit::Done)
}

/// Makes the owner of the socket the owner of a copy that root made. The daemon can then open it
/// after a restore.
fn give(copy: &File, socket: &Path) -> io::Result<()> {
    // Only root may change the owner of a file.
    if copy.metadata()?.uid() != 0 {
        return Ok(());
    }
    let daemon = fs::metadata(socket)?;
    if daemon.uid() == 0 { Ok(()) } else { fchown(copy, Some(daemon.uid()), Some(daemon.gid())) }
}
