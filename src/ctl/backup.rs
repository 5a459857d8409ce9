//! `rosterctl backup`: a copy of the store, written here and not by the daemon, which may write nowhere else.

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
    /// The file; it must not exist. To restore: stop rosterd, put it in the store's place, start rosterd
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
    // A copy that was cut off must not look like one.
    let unfinished = PathBuf::from(format!("{shown}.part"));
    let copied = copy(daemon, socket, &unfinished).await;
    let bytes = match copied.and_then(|bytes| {
        fs::rename(&unfinished, file).map(|()| bytes).map_err(|e| unwritable(file, &e))
    }) {
        Ok(bytes) => bytes,
        Err(failure) => {
            // There may be none.
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
    // It holds everybody's addresses: nobody else reads it.
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

/// Gives a copy that root makes to the daemon's user, who owns the socket: put in the store's place, it can be opened.
fn give(copy: &File, socket: &Path) -> io::Result<()> {
    // Only root owns what root makes, and may give it away.
    if copy.metadata()?.uid() != 0 {
        return Ok(());
    }
    let daemon = fs::metadata(socket)?;
    if daemon.uid() == 0 { Ok(()) } else { fchown(copy, Some(daemon.uid()), Some(daemon.gid())) }
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::Output(io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}
