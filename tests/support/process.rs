//! `rosterd` as a process, driven through `rosterctl --json`.
#![allow(dead_code, reason = "tests, benches and the demo each use some of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The time within which every awaited event must occur.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// The binaries of one build.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) rosterd: PathBuf,
    pub(crate) rosterctl: PathBuf,
}

/// A running daemon, killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    rosterctl: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Programs {
    /// The binaries of this build.
    pub(crate) fn built() -> Self {
        Self {
            rosterd: env!("CARGO_BIN_EXE_rosterd").into(),
            rosterctl: env!("CARGO_BIN_EXE_rosterctl").into(),
        }
    }

    fn daemon(&self, folder: &Path) -> Command {
        let mut command = Command::new("env");
        // A file size limit is then an error, like a full disk.
        command
            .arg("--ignore-signal=XFSZ")
            .arg(&self.rosterd)
            .arg("--config")
            .arg(folder.join("rosterd.toml"))
            // As in the unit, so that memory is measured as it will be.
            .env("MALLOC_ARENA_MAX", "2")
            .env("STATE_DIRECTORY", folder)
            .stdin(Stdio::null());
        // Root may operate every daemon; any other user who runs the tests needs the option.
        if !nix::unistd::geteuid().is_root() {
            command.arg("--own-user-operates");
        }
        command
    }
}

impl Daemon {
    pub(crate) fn command(folder: &Path) -> Command {
        Programs::built().daemon(folder)
    }

    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_as(folder, Self::command(folder))
    }

    /// Starts the daemon by this command, which may be a wrapper around it.
    pub(crate) fn start_as(folder: &Path, command: Command) -> Self {
        Self::launch(folder, command, Programs::built().rosterctl)
    }

    /// Starts the daemon of another build.
    pub(crate) fn start_of(programs: &Programs, folder: &Path) -> Self {
        Self::launch(folder, programs.daemon(folder), programs.rosterctl.clone())
    }

    /// Starts a daemon whose store may be away: its socket answers all the same.
    pub(crate) fn start_without_store(folder: &Path) -> Self {
        Self::start_without_store_as(folder, Self::command(folder))
    }

    /// Starts such a daemon by this command.
    pub(crate) fn start_without_store_as(folder: &Path, command: Command) -> Self {
        let daemon = Self::spawn(folder, command, Programs::built().rosterctl);
        let answers = || std::os::unix::net::UnixStream::connect(&daemon.socket).ok();
        until("rosterd listens", answers);
        daemon
    }

    fn launch(folder: &Path, command: Command, rosterctl: PathBuf) -> Self {
        let mut daemon = Self::spawn(folder, command, rosterctl);
        until("rosterd answers", || {
            let ended = daemon.child.try_wait().expect("a child");
            assert_eq!(ended, None, "rosterd has ended");
            (daemon.ctl("status").0 == 0).then_some(())
        });
        daemon
    }

    fn spawn(folder: &Path, mut command: Command, rosterctl: PathBuf) -> Self {
        let log = folder.join("rosterd.log");
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let child =
            command.stdout(file.try_clone().expect("a log")).stderr(file).spawn().expect("rosterd");
        Self { child, rosterctl, socket: folder.join("control.sock"), log }
    }

    pub(crate) fn client(&self, command: &str) -> Command {
        let mut client = Command::new(&self.rosterctl);
        client
            .args(["--json", "--yes", "--socket"])
            .arg(&self.socket)
            .args(command.split_whitespace())
            .stdin(Stdio::null());
        client
    }

    pub(crate) fn ctl(&self, command: &str) -> (i32, Value) {
        let done = self.client(command).output().expect("rosterctl");
        let document = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| {
            panic!(
                "rosterctl {command} printed no single document: {e}\n{}",
                String::from_utf8_lossy(&done.stdout)
            )
        });
        (done.status.code().expect("an exit status"), document)
    }

    /// Returns the document of a command that must succeed.
    pub(crate) fn done(&self, command: &str) -> Value {
        let (code, document) = self.ctl(command);
        assert_eq!(code, 0, "rosterctl {command}: {document:#}");
        document
    }

    /// Creates the account `acme`, which holds example.com.
    pub(crate) fn create_acme(&self) {
        self.done("account create acme --name Acme");
        self.done("domain claim acme example.com");
    }

    /// Makes every person of the directory a user of acme. Returns the run that did it or planned
    /// it.
    pub(crate) fn import(&self) -> Value {
        self.create_acme();
        let (code, run) = self.ctl("sync corp");
        assert!(matches!(code, 0 | 3), "{run:#}");
        while let Some(id) = self.done("held list")["held"][0]["id"].as_str() {
            let (code, approved) = self.ctl(&format!("held approve {id}"));
            assert!(matches!(code, 0 | 3), "{approved:#}");
        }
        run
    }

    /// Sends a request to the control socket. Returns head and body of the answer.
    pub(crate) fn ask(&self, request: &str, headers: &str) -> String {
        let mut stream =
            std::os::unix::net::UnixStream::connect(&self.socket).expect("a connection");
        exchange(&mut stream, request, headers)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns a line of /proc/PID/status, such as VmRSS, in MiB.
    pub(crate) fn memory(&self, line: &str) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a status");
        let kib = status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"))
            .expect("its line");
        kib.parse::<f64>().expect("a number") / 1024.0
    }

    /// Returns the log up to now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("a signal");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let ended = until("rosterd ends", || self.child.try_wait().expect("a child"));
        self.child = Command::new("true").spawn().expect("a placeholder process");
        ended
    }
}

impl Drop for Daemon {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what the daemon had to say")]
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Sends a request without a body and reads until the connection is closed.
pub(crate) fn exchange(stream: &mut (impl Read + Write), request: &str, headers: &str) -> String {
    stream
        .write_all(
            format!("{request} HTTP/1.1\r\nhost: rosterd\r\nconnection: close\r\n{headers}\r\n")
                .as_bytes(),
        )
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Polls until there is an answer.
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(TIME_LIMIT, what, ask)
}

/// Polls for this time until there is an answer.
pub(crate) fn until_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
