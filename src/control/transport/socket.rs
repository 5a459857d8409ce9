//! The socket's file: born with its mode, in place at once, and never where a link leads.

use std::fs;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Everybody may connect: authority comes from who is calling, not from the file.
const MODE: u32 = 0o666;

/// Why the control socket does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The path is a symbolic link.
    #[error("the control socket {path} is a symbolic link: remove it, or configure where it leads")]
    Symlink {
        /// The path.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path} exists and is no socket: remove it, or configure another control socket")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another daemon answers there.
    #[error(
        "another rosterd answers on {path}: stop it first, or give this one a socket of its own"
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error(
        "cannot listen on {path}: check that its directory exists and that this user may write to it"
    )]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The port of the metrics is not to be had.
    #[error(
        "cannot serve metrics on {address}: choose another address or port in metrics.listen, or end what listens there"
    )]
    Port {
        /// The address and port.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be served any longer.
    #[error("the control socket broke")]
    Serve(#[source] io::Error),
}

/// A socket that callers can connect to; they are answered once it is served.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    file: File,
}

/// The socket's file, which goes when it is listened to no longer.
#[derive(Debug)]
pub(in crate::control) struct File {
    path: PathBuf,
    /// Device and inode: another daemon's socket at the same place stays.
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
    /// The listener, and its file.
    pub(in crate::control) fn into_parts(self) -> (UnixListener, File) {
        (self.listener, self.file)
    }
}

/// Listens at `path`, in place of a socket nobody answers on any more.
pub async fn bind(path: &Path) -> Result<Listening, ServeError> {
    refuse_occupied(path).await?;
    let failed = |source| ServeError::Bind { path: path.to_owned(), source };
    // Nobody else reaches it before it has its mode and is moved to its place, in one step.
    let cradle = Cradle::beside(path).map_err(failed)?;
    let newborn = cradle.0.join("s");
    let listener = UnixListener::bind(&newborn).map_err(failed)?;
    fs::set_permissions(&newborn, fs::Permissions::from_mode(MODE)).map_err(failed)?;
    let metadata = fs::symlink_metadata(&newborn).map_err(failed)?;
    fs::rename(&newborn, path).map_err(failed)?;
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
        // A daemon too busy to accept is a daemon.
        Ok(_) => Err(ServeError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ServeError::InUse { path: path.to_owned() })
        }
        Err(source) => Err(ServeError::Bind { path: path.to_owned(), source }),
    }
}

/// A directory only this user can enter; gone when dropped.
struct Cradle(PathBuf);

impl Cradle {
    /// Beside the socket, so that moving it is a rename. The name is short: a socket's path has 107 bytes.
    fn beside(path: &Path) -> io::Result<Self> {
        let parent =
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let cradle = parent.join(format!(".{}", std::process::id()));
        let make = || fs::DirBuilder::new().mode(0o700).create(&cradle);
        match make() {
            // Left over by a process of the same id that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                drop(fs::remove_file(cradle.join("s")));
                fs::remove_dir(&cradle)?;
                make()?;
            }
            made => made?,
        }
        Ok(Self(cradle))
    }
}

impl Drop for Cradle {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0.join("s")));
        drop(fs::remove_dir(&self.0));
    }
}
