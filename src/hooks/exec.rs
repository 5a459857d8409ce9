//! Execution of a program: no shell, a clean environment, the event on stdin, and a time limit.
//!
//! [`super::runner`] decides which program runs. The environment of each program, and of its
//! children, names the rosterd instance ([`INSTANCE`](super::leftovers::INSTANCE)). The next
//! rosterd finds the programs of a killed one by that variable. A list of processes could be
//! incomplete.
//!
//! A program leads a process group of its own. At the time limit the group gets SIGTERM, and
//! SIGKILL after [`KILL_GRACE`]. At the end of the program its group is killed, so that a
//! grandchild with open pipes delays nothing. A process that must outlive the program leaves the
//! group with `setsid`.
//!
//! Both pipes are drained concurrently, and only the end of the output is kept.

use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::last_lines;
use crate::model::Program;

/// PATH of all programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An environment variable.
pub(super) type Variable = (&'static str, String);

/// Time between SIGTERM and SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// Time for reading the pipes after the end of the program.
const DRAIN_GRACE: Duration = Duration::from_millis(100);

/// Bytes of each pipe that are kept.
const MAX_OUTPUT: usize = 64 * 1024;

/// Result of a program.
#[derive(Debug)]
pub(super) struct ProgramResult {
    pub(super) status: Result<ExitStatus, NoExit>,
    /// The end of the output on both pipes.
    pub(super) output: String,
}

/// Reason why there is no exit status.
#[derive(Debug)]
pub(super) enum NoExit {
    /// The time limit passed.
    TimedOut,
    /// The program was not started.
    NotRun(String),
}

/// Writes the input of a program into memory before it starts, so that it never reads a partial
/// document.
pub(super) fn input(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Describes an exit status.
pub(super) fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal)
                .map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned());
            format!("it was ended by {name}")
        }
        (None, None) => "it ended in an unknown way".to_owned(),
    }
}

impl Program {
    /// Starts the program unless it is [refused](Self::refusal).
    fn spawn(
        &self,
        variables: &[Variable],
        input: OwnedFd,
    ) -> Result<(Child, ProcessGroup), String> {
        if let Some(reason) = self.refusal() {
            return Err(reason);
        }
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", "/");
        command.envs(variables.iter().map(|(name, value)| (name, value))).current_dir("/");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.stdin(input).spawn().map_err(|error| {
            format!("{} cannot be run: {}", self.path.display(), spawn_problem(&error))
        })?;
        let running = ProcessGroup::of(&child);
        Ok((child, running))
    }
}

fn spawn_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{error}; it has to be executable (chmod +x), on a file system that is not mounted noexec"
            )
        }
        _ => error.to_string(),
    }
}

/// Runs a program until it ends or its time limit passes.
pub(super) async fn run(
    program: &Program,
    variables: Vec<Variable>,
    input: OwnedFd,
    limit: Duration,
) -> ProgramResult {
    let not_run =
        |reason| ProgramResult { status: Err(NoExit::NotRun(reason)), output: String::new() };
    let program = program.clone();
    // Starting a program may block on the disk. If this future is dropped, the process group is
    // killed.
    let spawned = tokio::task::spawn_blocking(move || program.spawn(&variables, input)).await;
    let (mut child, mut group) = match spawned {
        Ok(Ok(both)) => both,
        Ok(Err(reason)) => return not_run(reason),
        Err(panic) => return not_run(format!("it could not be run: {panic}")),
    };
    let deadline = Instant::now() + limit;
    let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = {
        let talk = async { tokio::join!(stdout.read(out), stderr.read(err)) };
        let ended = async {
            let status = match timeout_at(deadline, child.wait()).await {
                Ok(status) => status
                    .map_err(|error| NoExit::NotRun(format!("it cannot be waited for: {error}"))),
                Err(_) => {
                    group.signal(Signal::SIGTERM);
                    let _ = timeout(KILL_GRACE, child.wait()).await;
                    group.signal(Signal::SIGKILL);
                    let _ = child.wait().await;
                    Err(NoExit::TimedOut)
                }
            };
            // The rest of the group ends with the program.
            group.end();
            status
        };
        tokio::pin!(talk, ended);
        // The pipes are read until the program ends, and drained for a moment longer.
        tokio::select! {
            biased;
            status = &mut ended => {
                let _ = timeout(DRAIN_GRACE, &mut talk).await;
                status
            }
            _ = &mut talk => ended.await,
        }
    };
    let both = [stdout.0, stderr.0].concat();
    ProgramResult { status, output: last_lines(&both) }
}

/// The process group of a running program, killed on drop.
#[derive(Debug)]
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // The group may already have ended.
            let _ = killpg(group, signal);
        }
    }

    fn end(&mut self) {
        self.signal(Signal::SIGKILL);
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of the output of a pipe.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let Self(bytes) = self;
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..length]);
            if bytes.len() > 2 * MAX_OUTPUT {
                bytes.drain(..bytes.len() - MAX_OUTPUT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::super::leftovers::{INSTANCE, end_leftovers, stat};
    use super::*;

    /// A script of this text, which only its owner can write.
    fn script(text: &str) -> (tempfile::TempDir, Program) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, Program { path, arguments: Vec::new(), part: None })
    }

    async fn ran(text: &str, limit: Duration) -> ProgramResult {
        let (_folder, program) = script(text);
        let variables = vec![("ROSTERD_HOOK", "h".to_owned()), (INSTANCE, "here".to_owned())];
        run(&program, variables, input(b"{\"a\":1}\n").unwrap(), limit).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_event_is_on_stdin_and_the_environment_of_the_daemon_is_not_inherited() {
        let done = ran("cat; pwd; env | sort; echo later >&2", LONG).await;
        assert!(done.status.unwrap().success());
        let said: Vec<&str> = done
            .output
            .lines()
            .filter(|l| !l.starts_with("PWD=") && !l.starts_with("_="))
            .collect();
        assert_eq!(
            said,
            [
                "{\"a\":1}",
                "/",
                "HOME=/",
                "LANG=C.UTF-8",
                &format!("PATH={PATH}"),
                "ROSTERD_HOOK=h",
                "ROSTERD_INSTANCE=here",
                "later"
            ],
            "{}",
            done.output
        );
    }

    #[tokio::test]
    async fn an_exit_status_is_described() {
        for (text, description) in [
            ("exit 3", "it ended with exit status 3"),
            ("kill -SEGV $$", "it was ended by SIGSEGV"),
            // The program does not read its input.
            ("exec 0<&-; exit 7", "it ended with exit status 7"),
        ] {
            assert_eq!(describe_exit(ran(text, LONG).await.status.unwrap()), description);
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_gets_sigterm_and_then_its_group_is_killed() {
        let begun = Instant::now();
        let done = ran(
            "trap 'echo asked' TERM; echo $$; sleep 300 & sleep 300; sleep 300",
            Duration::from_millis(300),
        )
        .await;
        assert!(matches!(done.status, Err(NoExit::TimedOut)), "{done:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let (group, asked) = done.output.split_once('\n').unwrap();
        assert_eq!(asked.lines().next(), Some("asked"), "{asked}");
        let of_group = |entry: std::fs::DirEntry| {
            stat(&entry.path()).is_some_and(|(its, _)| its.to_string() == group)
        };
        until(|| !std::fs::read_dir("/proc").unwrap().flatten().any(of_group)).await;
    }

    /// Waits for a condition.
    async fn until(is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), waiting).await.expect("the condition becomes true");
    }

    fn lives(pid: &str) -> bool {
        stat(&Path::new("/proc").join(pid)).is_some()
    }

    #[tokio::test]
    async fn a_grandchild_with_open_pipes_delays_nothing_and_is_killed() {
        let begun = Instant::now();
        let done = ran("sleep 300 & echo $!; exit 0", LONG).await;
        assert!(done.status.unwrap().success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        until(|| !lives(done.output.trim())).await;
    }

    #[tokio::test]
    async fn a_flood_of_output_is_drained_and_only_its_end_kept() {
        let done = ran(
            "head -c 30000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo; echo the end",
            LONG,
        )
        .await;
        assert!(done.status.unwrap().success());
        assert_eq!(done.output.lines().last(), Some("the end"));
        assert!(done.output.len() <= super::super::LENGTH);
        let endless = ran("yes", Duration::from_millis(500)).await;
        assert!(
            matches!(endless.status, Err(NoExit::TimedOut)) && endless.output.ends_with("y\ny"),
            "{endless:?}"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_not_executable_is_reported_with_its_remedy() {
        let (_folder, program) = script("exit 0");
        std::fs::set_permissions(&program.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let done = run(&program, Vec::new(), input(b"").unwrap(), LONG).await;
        let Err(NoExit::NotRun(reason)) = done.status else { panic!("{done:?}") };
        assert!(reason.contains("chmod +x"), "{reason}");
    }

    #[tokio::test]
    async fn only_programs_of_this_instance_that_have_not_left_their_group_are_killed() {
        let (folder, program) = script(
            "sleep 300 </dev/null & setsid sleep 300 & echo $! >>\"$0.left\"; exec sleep 300",
        );
        let begin =
            |instance: String| program.spawn(&[(INSTANCE, instance)], input(b"").unwrap()).unwrap();
        let (ours, anothers) =
            (format!("{}", std::process::id()), format!("{}, another", std::process::id()));
        let ((mut child, _group), (mut another, _its_group)) =
            (begin(ours.clone()), begin(anothers));
        let left = || std::fs::read_to_string(folder.path().join("hook.left")).unwrap_or_default();
        until(|| left().lines().count() == 2).await;
        assert_eq!(end_leftovers(&ours), 1);
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        assert!(another.try_wait().unwrap().is_none());
        for pid in left().lines() {
            assert!(lives(pid), "the process has left the group");
            nix::sys::signal::kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
        }
        assert_eq!(end_leftovers(&ours), 0, "no program is left");
    }
}
