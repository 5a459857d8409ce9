//! The client in the daemon: connects to the runner or starts one, and sends orders.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::order::{self, Order};
use super::{ProgramResult, execute, input, io_error, not_run};
use crate::model::Program;
use crate::sources;

/// Time limit for connecting. A live runner accepts at once, and systemd accepts for one that
/// starts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for an answer beyond the limit of the program. The runner needs it to start, and to kill a
/// late program.
const ANSWER_GRACE: Duration = Duration::from_secs(15);

/// Client of the hook runner.
#[derive(Debug, Default)]
pub struct Runner {
    location: Location,
    /// Error of the last order, if the runner was unreachable.
    trouble: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
/// Location of the process that runs programs.
enum Location {
    /// This process, for tests and benches without a configuration file.
    #[default]
    Here,
    /// A service that listens on this path.
    Service { socket: PathBuf, configuration: PathBuf },
    /// A child process, started by the first order.
    Child { configuration: PathBuf, started: tokio::sync::Mutex<Option<Box<Started>>> },
}

/// A runner that is a child process.
#[derive(Debug)]
struct Started {
    /// Path of the socket in the abstract namespace.
    socket: PathBuf,
    process: Child,
    /// The kernel closes it when the daemon ends, and then the runner ends, too.
    _lifeline: StdStream,
}

impl Runner {
    /// Uses the runner that listens on this path and reads this configuration file.
    pub fn service(socket: PathBuf, configuration: PathBuf) -> Self {
        Self { location: Location::Service { socket, configuration }, trouble: Mutex::default() }
    }

    /// Uses a child process with the same executable.
    pub fn child(configuration: PathBuf) -> Self {
        Self {
            location: Location::Child { configuration, started: tokio::sync::Mutex::default() },
            trouble: Mutex::default(),
        }
    }

    /// Returns the error of the last order, if the runner was unreachable.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs an order. An order that cannot be sent counts as a program that was not started.
    pub(super) async fn run(
        &self,
        order: &Order,
        program: &Program,
        bytes: &[u8],
    ) -> ProgramResult {
        let stdin = match input(bytes) {
            Ok(stdin) => stdin,
            Err(error) => {
                return not_run(format!("allocating the program's input failed: {error}"));
            }
        };
        let given = match &self.location {
            Location::Here => return execute(order, program, stdin, false).await,
            Location::Service { socket, configuration } => match connect(socket).await {
                Ok(stream) => give(stream, order, configuration, stdin).await,
                Err(error) => Err(error),
            },
            Location::Child { configuration, started } => {
                match connect_child(configuration, started).await {
                    Ok(stream) => give(stream, order, configuration, stdin).await,
                    Err(error) => Err(error),
                }
            }
        };
        let trouble = given.as_ref().err().map(|error| self.unreached(error));
        let is_new = {
            let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = last.is_some() != trouble.is_some();
            last.clone_from(&trouble);
            is_new
        };
        match (&trouble, is_new) {
            (Some(trouble), true) => tracing::error!("{trouble}"),
            (None, true) => tracing::info!("the hook runner is reachable again"),
            (_, false) => {}
        }
        given.unwrap_or_else(|_| not_run(trouble.unwrap_or_default()))
    }

    fn unreached(&self, error: &io::Error) -> String {
        let remedy = match &self.location {
            Location::Service { socket, .. } => {
                format!(
                    "; it listens on {}: see systemctl status rosterd-hooks.socket rosterd-hooks.service",
                    socket.display()
                )
            }
            Location::Here | Location::Child { .. } => String::new(),
        };
        format!("the hook runner cannot be reached: {error}{remedy}")
    }
}

/// Connects to a runner whose socket belongs to root (systemd) or the user of this process.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = timeout(CONNECT_TIMEOUT, UnixStream::connect(socket))
        .await
        .map_err(|_| io_error("it does not accept a connection"))??;
    let owner = stream.peer_cred()?.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(io_error(&format!(
            "its socket belongs to uid {owner}, not to root or rosterd's own user"
        )));
    }
    Ok(stream)
}

/// Connects to the child process, and starts one if none is running.
async fn connect_child(
    configuration: &Path,
    started: &tokio::sync::Mutex<Option<Box<Started>>>,
) -> io::Result<UnixStream> {
    let mut started = started.lock().await;
    if let Some(child) = started.as_mut()
        && child.process.try_wait()?.is_none()
    {
        return connect(&child.socket).await;
    }
    let child = started.insert(Box::new(start(configuration)?));
    connect(&child.socket).await
}

/// Starts a runner, with the listening socket as stdin and the lifeline as stdout.
fn start(configuration: &Path) -> io::Result<Started> {
    // Random, so that no other user can claim the name first.
    let name = format!(
        "rosterd-hook-runner-{}-{:016x}",
        std::process::id(),
        RandomState::new().hash_one(())
    );
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let (lifeline, theirs) = StdStream::pair()?;
    // The running executable, even after an upgrade has replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command.arg("--config").arg(configuration).args(["hook-runner", "--child"]);
    command.stdin(OwnedFd::from(listener)).stdout(OwnedFd::from(theirs));
    // Ctrl-C in a terminal must reach the daemon only. The runner ends with the lifeline, after it has
    // killed its programs. A SIGKILL would leave them running.
    command.process_group(0);
    for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(ours);
    }
    let process = command.spawn()?;
    // Abstract names begin with a null byte.
    Ok(Started { socket: format!("\0{name}").into(), process, _lifeline: lifeline })
}

/// Sends an order and waits for the answer.
async fn give(
    mut stream: UnixStream,
    order: &Order,
    configuration: &Path,
    stdin: OwnedFd,
) -> io::Result<ProgramResult> {
    let configuration = &sources::file_of(configuration, order.part.as_deref());
    let file = configuration.clone();
    let opened =
        tokio::task::spawn_blocking(move || File::open(file)).await.map_err(io::Error::other)?;
    let configuration = match opened {
        Ok(file) => file,
        Err(error) => {
            return Ok(not_run(format!("{} cannot be read: {error}", configuration.display())));
        }
    };
    let exchange = async {
        order.send(&mut stream, configuration.as_fd(), stdin.as_fd()).await?;
        order::receive(&mut stream).await
    };
    timeout(order.limit() + ANSWER_GRACE, exchange)
        .await
        .map_err(|_| io_error("it does not answer"))?
}
