//! The daemon's side: finds the runner, or starts one, and gives it orders.

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
use super::{Finished, carry_out, input, not_run, other};
use crate::model::Program;

/// A runner that is alive takes a connection at once; systemd takes it for one that is being started.
const CONNECT: Duration = Duration::from_secs(5);

/// Beyond a program's own limit, the runner has this long: it has to be started, and ends a late program in two seconds.
const BEYOND: Duration = Duration::from_secs(15);

/// Where programs are run.
#[derive(Debug, Default)]
pub struct Runner {
    place: Place,
    /// Why the runner could not be reached when it was last asked.
    trouble: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
enum Place {
    /// In this process; only for tests and benches, which have no configuration file.
    #[default]
    Here,
    /// By a service that listens on this path.
    Service { socket: PathBuf, configuration: PathBuf },
    /// By a child process, which is started when there is something to run.
    Child { configuration: PathBuf, started: tokio::sync::Mutex<Option<Box<Started>>> },
}

/// A runner that is our child.
#[derive(Debug)]
struct Started {
    /// The path of its socket, in the abstract namespace.
    socket: PathBuf,
    process: Child,
    /// Closed when we end, however: the runner then ends, too.
    _lifeline: StdStream,
}

impl Runner {
    /// The runner that listens on this path, and reads the programs from this configuration file.
    pub fn service(socket: PathBuf, configuration: PathBuf) -> Self {
        Self { place: Place::Service { socket, configuration }, trouble: Mutex::default() }
    }

    /// A runner that is a child process of this one; both have the same executable.
    pub fn child(configuration: PathBuf) -> Self {
        Self {
            place: Place::Child { configuration, started: tokio::sync::Mutex::default() },
            trouble: Mutex::default(),
        }
    }

    /// Returns why the runner could not be reached when it was last asked, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has an order carried out. An order that cannot be given counts as a program that was not run.
    pub(super) async fn run(&self, order: &Order, program: &Program, bytes: &[u8]) -> Finished {
        let stdin = match input(bytes) {
            Ok(stdin) => stdin,
            Err(error) => {
                return not_run(format!("there is no memory for the program's input: {error}"));
            }
        };
        let given = match &self.place {
            Place::Here => return carry_out(order, program, stdin, false).await,
            Place::Service { socket, configuration } => match connect(socket).await {
                Ok(stream) => give(stream, order, configuration, stdin).await,
                Err(error) => Err(error),
            },
            Place::Child { configuration, started } => {
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
            (None, true) => tracing::info!("the hook runner answers again"),
            (_, false) => {}
        }
        given.unwrap_or_else(|_| not_run(trouble.unwrap_or_default()))
    }

    fn unreached(&self, error: &io::Error) -> String {
        let remedy = match &self.place {
            Place::Service { socket, .. } => {
                format!(
                    "; it listens on {}: see systemctl status rosterd-hooks.socket rosterd-hooks.service",
                    socket.display()
                )
            }
            Place::Here | Place::Child { .. } => String::new(),
        };
        format!("the hook runner cannot be reached: {error}{remedy}")
    }
}

/// Connects to a runner. Its socket was made by root (systemd), or by ourselves.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = timeout(CONNECT, UnixStream::connect(socket))
        .await
        .map_err(|_| other("it takes no connection"))??;
    let owner = stream.peer_cred()?.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(other(&format!(
            "its socket belongs to uid {owner}, not to root or rosterd's own user"
        )));
    }
    Ok(stream)
}

/// Connects to the runner that is our child, which is started if there is none.
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

/// Starts a runner: stdin is the socket it listens on, stdout the lifeline.
fn start(configuration: &Path) -> io::Result<Started> {
    // Random, so that no other user can take the name first.
    let name = format!(
        "rosterd-hook-runner-{}-{:016x}",
        std::process::id(),
        RandomState::new().hash_one(())
    );
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let (lifeline, theirs) = StdStream::pair()?;
    // The file that we are running, also when an upgrade has put another in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg("--config").arg(configuration).args(["hook-runner", "--child"]);
    command.stdin(OwnedFd::from(listener)).stdout(OwnedFd::from(theirs));
    // A terminal's Ctrl-C is for us; the runner ends with us.
    command.process_group(0).kill_on_drop(true);
    for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(ours);
    }
    let process = command.spawn()?;
    // Abstract names begin with a null byte.
    Ok(Started { socket: format!("\0{name}").into(), process, _lifeline: lifeline })
}

/// Gives an order, and waits for what comes of it.
async fn give(
    mut stream: UnixStream,
    order: &Order,
    configuration: &Path,
    stdin: OwnedFd,
) -> io::Result<Finished> {
    let file = configuration.to_owned();
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
    timeout(order.limit() + BEYOND, exchange).await.map_err(|_| other("it does not answer"))?
}
