//! The socket file. It appears at its path with its mode in one step, and a symbolic link is never
//! followed.

use std::fs;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Every user may connect, because roles come from the caller and not from the file.
const MODE: u32 = 0o666;

/// The control socket or the metrics port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("control socket {path} is a symbolic link: remove it, or configure its target")]
    Symlink { path: PathBuf },
    #[error("{path} exists and is not a socket: remove it, or configure another path")]
    NotASocket { path: PathBuf },
    #[error(
        "another rosterd answers on {path}: stop it first, or give this one a socket of its own"
    )]
    InUse { path: PathBuf },
    #[error(
        "cannot listen on {path}: check that its directory exists and that this user may write to it"
    )]
    Bind {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot serve metrics on {address}: choose another address in metrics.listen, or stop the program that listens there"
    )]
    Port {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("control socket failed")]
    Serve(#[source] io::Error),
}

/// A socket that callers can connect to. They are answered once it is served.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    file: File,
}

/// The socket file. It is removed when the socket is no longer served.
#[derive(Debug)]
pub(in crate::control) struct File {
    path: PathBuf,
    /// Device and inode. They keep a socket of another daemon at the same path from being removed.
    identity: (u64, u64),
}

impl Drop for File {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Listening {
    pub(in crate::control) fn into_parts(self) -> (UnixListener, File) {
        (self.listener, self.file)
    }
}

/// Listens at `path`. Replaces a socket on which no daemon answers.
pub async fn bind(path: &Path) -> Result<Listening, ServeError> {
    refuse_occupied(path).await?;
    let failed = |source| ServeError::Bind { path: path.to_owned(), source };
    // No other user can reach the socket before it has its mode and is renamed to its path.
    let staging = StagingDir::beside(path).map_err(failed)?;
    let staged = staging.0.join("s");
    let listener = UnixListener::bind(&staged).map_err(failed)?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(MODE)).map_err(failed)?;
    let metadata = fs::symlink_metadata(&staged).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)?;
    let file = File { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    Ok(Listening { listener, file })
}

async fn refuse_occupied(path: &Path) -> Result<(), ServeError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ServeError::Bind { path: path.to_owned(), source }),
    };
    if kind.is_symlink() {
        return Err(ServeError::Symlink { path: path.to_owned() });
    }
    if !kind.is_socket() {
        return Err(ServeError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path).await {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        // A daemon with a full backlog is running, too.
        Ok(_) => Err(ServeError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ServeError::InUse { path: path.to_owned() })
        }
        Err(source) => Err(ServeError::Bind { path: path.to_owned(), source }),
    }
}

/// A directory that only this user can enter. It is removed when dropped.
struct StagingDir(PathBuf);

impl StagingDir {
    /// Creates the directory beside the socket, so that moving the socket is a rename.
    ///
    /// The name is short, because the path of a socket has 107 bytes at most.
    fn beside(path: &Path) -> io::Result<Self> {
        let parent =
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let staging = parent.join(format!(".{}", std::process::id()));
        let make = || fs::DirBuilder::new().mode(0o700).create(&staging);
        match make() {
            // A killed process with the same id has left it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                drop(fs::remove_file(staging.join("s")));
                fs::remove_dir(&staging)?;
                make()?;
            }
            made => made?,
        }
        Ok(Self(staging))
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0.join("s")));
        drop(fs::remove_dir(&self.0));
    }
}
