//! The files of a store: for its owner alone, and the owner's, whoever makes them.
//!
//! Root checks directories and tries the daemon out. A lock or a database that root left behind would keep the daemon
//! from starting, so root makes them for the owner of the store. SQLite itself does the same for its write-ahead log.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use super::StoreError;

/// Nobody but the owner reads what rosterd knows.
const MODE: u32 = 0o600;

/// Access of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// Makes the database if there is none, so that it never has another mode or owner.
pub(super) fn create(database: &Path) -> Result<(), StoreError> {
    if let Ok(found) = fs::metadata(database) {
        // One of a rosterd that left the mode to the umask.
        if found.mode() & OTHERS != 0 && found.uid() == nix::unistd::geteuid().as_raw() {
            let mode = Permissions::from_mode(found.mode() & 0o7777 & !OTHERS);
            fs::set_permissions(database, mode)
                .map_err(|source| StoreError::Lock { path: database.to_owned(), source })?;
        }
        return Ok(());
    }
    open(database, database)
        .map(drop)
        .map_err(|source| StoreError::Lock { path: database.to_owned(), source })
}

/// Opens a file beside the database, making it for the owner of the store if there is none.
pub(super) fn open(path: &Path, database: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.write(true).mode(MODE);
        options
    };
    match options().create_new(true).open(path) {
        Ok(file) => {
            give(&file, database)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = options().open(path)?;
            give(&file, database)?;
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// Gives a file of root's to the owner of the store: of its database, or of the folder where there is none yet.
fn give(file: &File, database: &Path) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() || file.metadata()?.uid() != 0 {
        return Ok(());
    }
    let folder =
        database.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let of_store = fs::metadata(database).ok().filter(|store| store.uid() != 0);
    let owner = match of_store {
        Some(owner) => owner,
        None => fs::metadata(folder)?,
    };
    // In a folder of everybody's (/tmp) a file of root's is root's.
    if owner.uid() == 0 { Ok(()) } else { fchown(file, Some(owner.uid()), Some(owner.gid())) }
}
