//! The holder of the lease, in a file that its process has locked.
//!
//! The lock ends with the process, however that ends. A process that gets it on the same boot of the
//! machine knows that the former one is gone, and may end its lease.

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
    pub(super) fn open(folder: &Path, store: &str) -> io::Result<(Self, Option<Uuid>)> {
        let path = folder.join(FILE);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| io::Error::from(error))?;
        let mut noted = String::new();
        // Another content is that of no rosterd.
        let _ = file.read_to_string(&mut noted);
        let place = place(store);
        let former = noted.split_once(' ').filter(|(at, _)| *at == place);
        let former = former.and_then(|(_, holder)| holder.trim().parse().ok());
        Ok((Self(file), former))
    }

    pub(super) fn note(&mut self, store: &str, holder: Uuid) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(format!("{} {holder}\n", place(store)).as_bytes())
    }
}

/// Returns the store and the boot to which a holder belongs.
fn place(store: &str) -> String {
    let boot = fs::read_to_string(BOOT).unwrap_or_default();
    format!("{store}.{}", boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_told_to_the_next_process_of_its_folder_and_store_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = |store: &str| OwnLease::open(folder.path(), store);
        let holder = Uuid::from_u128(7);
        let (mut own, former) = open("a").unwrap();
        assert_eq!(former, None);
        own.note("a", Uuid::from_u128(8)).unwrap();
        own.note("a", holder).unwrap();
        assert!(open("a").is_err(), "the process still runs");
        drop(own);
        assert_eq!(open("b").unwrap().1, None);
        assert_eq!(open("a").unwrap().1, Some(holder));
        let file = folder.path().join(FILE);
        let content = fs::read_to_string(&file).unwrap();
        fs::write(&file, content.replacen('.', ".another-boot-", 1)).unwrap();
        assert_eq!(open("a").unwrap().1, None);
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(open("a").unwrap().1, None);
    }
}
