//! Ownership of the files that rosterd trusts. Only root and the daemon's user may change or
//! replace them.
//!
//! Every folder and symbolic link of a path is checked, because the owner of any of them can
//! replace the file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use zeroize::Zeroizing;

/// User of the daemon in the package. Root checks a configuration before the daemon starts, and
/// accepts its files.
const DAEMON: &str = "rosterd";

/// Highest number of symbolic links in one path, as in Linux.
const LINKS: usize = 40;

/// Users who may own trusted files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owners(Vec<u32>);

impl Owners {
    /// Returns root, the user of this process, and the daemon's user.
    pub fn here() -> Self {
        let daemon = User::from_name(DAEMON).ok().flatten().map(|user| user.uid.as_raw());
        Self([0, geteuid().as_raw()].into_iter().chain(daemon).collect())
    }

    fn include(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

/// Returns the reason why others can change or replace this file, with the command that prevents
/// it. `None` means that they cannot, or that the path does not exist.
pub fn refusal(path: &Path, owners: &Owners) -> Option<String> {
    match walk(path) {
        Ok(way) => way.iter().find_map(|(at, metadata)| changeable(at, metadata, owners)),
        // The reader of an absent or unreachable file reports it.
        Err(_) => None,
    }
}

/// Mode bits of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// The reason why a file with a secret is not read.
#[derive(Debug)]
pub enum SecretFileError {
    Unreadable(io::Error),
    /// All users of this machine can read it.
    OpenToAll,
}

/// Reads a file with a secret.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    if fs::metadata(path).map_err(SecretFileError::Unreadable)?.mode() & OTHERS != 0 {
        return Err(SecretFileError::OpenToAll);
    }
    fs::read(path).map(Zeroizing::new).map_err(SecretFileError::Unreadable)
}

/// Returns every component of a path in order, with links and their targets.
fn walk(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let absolute = std::path::absolute(path)?;
    let parts = |path: &Path| {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>()
    };
    let mut at = PathBuf::from("/");
    let mut way = vec![(at.clone(), fs::metadata(&at)?)];
    let (mut rest, mut links) = (parts(&absolute), 0);
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                let metadata = fs::symlink_metadata(&next)?;
                let is_link = metadata.is_symlink();
                way.push((next.clone(), metadata));
                if is_link {
                    links += 1;
                    if links > LINKS {
                        return Err(io::ErrorKind::InvalidInput.into());
                    }
                    rest.extend(parts(&fs::read_link(&next)?));
                } else {
                    at = next;
                }
            }
            _ => {}
        }
    }
    Ok(way)
}

fn changeable(at: &Path, metadata: &Metadata, owners: &Owners) -> Option<String> {
    let (mode, shown) = (metadata.mode(), at.display());
    if !owners.include(metadata.uid()) {
        let uid = metadata.uid();
        let name = User::from_uid(Uid::from_raw(uid))
            .ok()
            .flatten()
            .map_or_else(|| format!("uid {uid}"), |user| user.name);
        return Some(format!(
            "{shown} belongs to {name}, who is neither root nor the user of rosterd: run chown -h root {shown}"
        ));
    }
    // The mode of a link has no effect. In a folder with the sticky bit, users replace only their
    // own files.
    if metadata.is_symlink() || metadata.is_dir() && mode & 0o1000 != 0 {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some(format!(
            "{shown} can be written by all users of this machine: run chmod go-w {shown}"
        ));
    }
    if mode & 0o020 != 0 && metadata.gid() != 0 {
        return Some(format!("{shown} can be written by its group: run chmod g-w {shown}"));
    }
    None
}
