//! The files of a store. The owner alone may read them.
//!
//! Root may run `directory check` or the daemon. The daemon could not open a lock or database of
//! root's. So root creates files for the owner of the store. SQLite does the same for its
//! write-ahead log.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::StoreError;

/// Read and write access for the owner alone.
const MODE: u32 = 0o600;

/// The access bits of users other than owner and group.
const OTHERS: u32 = 0o007;

/// Creates the database if there is none, so that it never has another mode or owner.
pub(super) fn create(database: &Path) -> Result<(), StoreError> {
    if let Ok(found) = fs::metadata(database) {
        // Version 0.1.0 left the mode to the umask.
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

/// Opens a file beside the database, and creates it for the owner of the store if there is none.
pub(super) fn open(path: &Path, database: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.write(true).mode(MODE);
        options
    };
    match options().create_new(true).open(path) {
        Ok(file) => {
            chown(&file, database)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = options().open(path)?;
            chown(&file, database)?;
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

/// Makes the owner of the database, or of its folder, the owner of a file that root created.
fn chown(file: &File, database: &Path) -> io::Result<()> {
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
    // In a folder of root's, such as /tmp, the file stays root's.
    if owner.uid() == 0 { Ok(()) } else { fchown(file, Some(owner.uid()), Some(owner.gid())) }
}

/// Locks the store, so that a second rosterd is refused.
pub(super) fn lock(database: &Path) -> Result<Flock<File>, StoreError> {
    let path = database.with_extension("db.lock");
    let file =
        open(&path, database).map_err(|source| StoreError::Lock { path: path.clone(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EAGAIN => StoreError::InUse { path: database.to_owned() },
        errno => StoreError::Lock { path: path.clone(), source: errno.into() },
    })
}
