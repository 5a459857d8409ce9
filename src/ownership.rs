//! Ownership of the files that rosterd trusts: only root and the daemon's user may change one, or put another in its place.
//!
//! A path is walked from the root of the file system, through every symbolic link, because the owner of any folder on
//! the way decides what the path leads to.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

/// User of the daemon in the package. Root checks a configuration before the daemon starts, and accepts its files.
const DAEMON: &str = "rosterd";

/// Symbolic links on one way; as many as Linux follows.
const LINKS: usize = 40;

/// Users who may own what is trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owners(Vec<u32>);

impl Owners {
    /// Root, the user of this process, and the daemon's.
    pub fn here() -> Self {
        let daemon = User::from_name(DAEMON).ok().flatten().map(|user| user.uid.as_raw());
        Self([0, geteuid().as_raw()].into_iter().chain(daemon).collect())
    }

    fn include(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

/// Returns how others could change what is at this path, as a sentence with the command that mends it; `None` where they
/// cannot, and where the path leads nowhere.
pub fn refusal(path: &Path, owners: &Owners) -> Option<String> {
    match walk(path) {
        Ok(way) => way.iter().find_map(|(at, metadata)| changeable(at, metadata, owners)),
        // A file that does not exist, or cannot be reached, is reported by whoever reads it.
        Err(_) => None,
    }
}

/// Everything on the way to a path, links and their targets too, in order.
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
    // The mode of a link means nothing; in a folder with the sticky bit, everybody can only replace what is his own.
    if metadata.is_symlink() || metadata.is_dir() && mode & 0o1000 != 0 {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some(format!(
            "{shown} can be written by everybody on this machine: run chmod go-w {shown}"
        ));
    }
    if mode & 0o020 != 0 && metadata.gid() != 0 {
        return Some(format!("{shown} can be written by its group: run chmod g-w {shown}"));
    }
    None
}
