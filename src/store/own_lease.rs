//! The holder of the lease, in a file that its process has locked.
//!
//! The lock ends with the process, however that ends. A process that gets it on the same boot of the
//! machine knows that the former one is gone, and may end its lease. A holder is one of all stores.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

/// The file in the folder of the daemon's state.
const FILE: &str = "lease";

/// The id of this boot of the machine. Another machine, which may share the folder, has another one.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug)]
pub(super) struct OwnLease(Flock<File>);

impl OwnLease {
    /// Locks the file, and returns the holder that a process which is gone has noted in it. Fails while
    /// that process runs.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Uuid>)> {
        let path = folder.join(FILE);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| io::Error::from(error))?;
        let mut noted = String::new();
        // Another content is that of no rosterd.
        let _ = file.read_to_string(&mut noted);
        let boot = boot();
        let former = noted.split_once(' ').filter(|(at, _)| *at == boot);
        let former = former.and_then(|(_, holder)| holder.trim().parse().ok());
        Ok((Self(file), former))
    }

    pub(super) fn note(&mut self, holder: Uuid) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(format!("{} {holder}\n", boot()).as_bytes())
    }
}

/// Returns the id of this boot.
fn boot() -> String {
    fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_told_to_the_next_process_of_its_folder_and_boot_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = || OwnLease::open(folder.path());
        let holder = Uuid::from_u128(7);
        let (mut own, former) = open().unwrap();
        assert_eq!(former, None);
        own.note(Uuid::from_u128(8)).unwrap();
        own.note(holder).unwrap();
        assert!(open().is_err(), "the process still runs");
        drop(own);
        assert_eq!(open().unwrap().1, Some(holder));
        let file = folder.path().join(FILE);
        let content = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("another-boot-{content}")).unwrap();
        assert_eq!(open().unwrap().1, None);
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(open().unwrap().1, None);
    }
}
