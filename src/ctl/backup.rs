//! `rosterctl backup`: a copy of the store. rosterctl writes it, because the daemon may write to its own folder only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::link::{Daemon, Failure};
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
    // A partial copy has another name, so that it is never taken for a backup.
    let unfinished = PathBuf::from(format!("{shown}.part"));
    let copied = copy(daemon, socket, &unfinished).await;
    let bytes = match copied.and_then(|bytes| {
        fs::rename(&unfinished, file).map(|()| bytes).map_err(|e| unwritable(file, &e))
    }) {
        Ok(bytes) => bytes,
        Err(failure) => {
            // The partial file need not exist.
            let _ = fs::remove_file(&unfinished);
            return Err(failure);
        }
    };
    let document = json!({ "file": file, "bytes": bytes });
    output.data(&document, |_| {
        Page::from(format!(
            "{shown}: {}; a store restored from it only plans at first\n",
            size(bytes)
        ))
    })?;
    Ok(Exit::Done)
}

async fn copy(daemon: &Daemon, socket: &Path, file: &Path) -> Result<u64, Failure> {
    // The copy contains personal data, so only its owner may read it.
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut into: File = opened.map_err(|e| unwritable(file, &e))?;
    give(&into, socket).map_err(|e| unwritable(file, &e))?;
    let mut bytes = 0;
    daemon
        .download(&Route::to(["backup"]), |piece| {
            bytes += piece.len() as u64;
            into.write_all(piece)
        })
        .await?;
    into.sync_all().map_err(|e| unwritable(file, &e))?;
    Ok(bytes)
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

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::Output(io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}
