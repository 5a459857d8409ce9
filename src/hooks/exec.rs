//! Running a program for an event: no shell, a clean environment, the event on stdin, an end in any case.
//!
//! This is the inside of the hook runner: [`super::runner`] decides which program runs, and on whose behalf.
//!
//! Every program, and what it starts, has in its environment whose it is ([`INSTANCE`]): so whatever a rosterd that was killed
//! left running is found by the next one, without a note of each that might be missing in just that case.
//!
//! The program leads a process group of its own. When its time is up the group gets SIGTERM, and SIGKILL a little later.
//! When the program ends, whatever it left running in its group ends with it: a grandchild that holds the pipes open
//! holds up nobody, and none pile up. Who wants to outlive it has to leave the group (`setsid`).
//!
//! Both pipes are read at once, however much comes, and only the end is kept.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid, getpgrp};
use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::last_lines;
use crate::model::Program;

/// The variable that says which rosterd a program belongs to: of each store there is one.
pub(super) const INSTANCE: &str = "ROSTERD_INSTANCE";

/// Where programs look for others.
const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// After SIGTERM, so long before SIGKILL.
const MERCY: Duration = Duration::from_secs(2);

/// After the program's end, its pipes are read for so long.
const DRAIN: Duration = Duration::from_millis(100);

/// How much of each pipe is kept while it is read.
const KEPT: usize = 64 * 1024;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: Result<ExitStatus, Cut>,
    /// What it printed on either pipe: the end of it.
    pub(super) output: String,
}

/// Why there is no exit status.
#[derive(Debug)]
pub(super) enum Cut {
    /// It took too long.
    Late,
    /// It could not be run at all.
    NotRun(String),
}

impl Program {
    /// Returns a hash of path and arguments, by which the daemon and the hook runner find out whether they mean the same.
    pub(super) fn digest(&self) -> String {
        let Self { path, arguments } = self;
        let line = serde_json::json!([path.display().to_string(), arguments]).to_string();
        let mut text = String::new();
        for byte in sha2::Sha256::digest(line.as_bytes()) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Why this program must not be run: it has to be a file of root's or our own that nobody else can change, nor put
    /// another in its place.
    pub fn refusal(&self) -> Option<String> {
        let path = &self.path;
        if !path.is_absolute() {
            return Some(format!("{} is not an absolute path", path.display()));
        }
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return Some(format!("{} cannot be run: {error}", path.display())),
        };
        // A symbolic link is as good as where it stands: whoever can put another in its place chooses the program.
        let above_the_link = path.ancestors().skip(1).map(|folder| (1, folder));
        for (at, each) in real.ancestors().enumerate().chain(above_the_link) {
            match std::fs::metadata(each) {
                Ok(metadata) => {
                    if let Some(why) = changeable(&metadata, at > 0) {
                        return Some(format!(
                            "{} must not be run: {} {why}",
                            path.display(),
                            each.display()
                        ));
                    }
                }
                Err(error) => return Some(format!("{} cannot be run: {error}", path.display())),
            }
        }
        None
    }

    /// Begins to run, unless it [must not be](Self::refusal).
    fn begin(&self, variables: &[Variable], input: OwnedFd) -> Result<(Child, Running), String> {
        if let Some(why) = self.refusal() {
            return Err(why);
        }
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", SEARCHED)
            .env("LANG", "C.UTF-8")
            .env("HOME", "/");
        command.envs(variables.iter().map(|(name, value)| (name, value))).current_dir("/");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.stdin(input).spawn().map_err(|error| {
            format!("{} cannot be run: {}", self.path.display(), unrunnable(&error))
        })?;
        let running = Running::of(&child);
        Ok((child, running))
    }
}

/// A variable of a program's environment.
pub(super) type Variable = (&'static str, String);

/// Writes a program's input into memory, whole before it begins: whatever becomes of us, it never takes a part for all of it.
pub(super) fn input(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// How others could change what is at a path.
fn changeable(metadata: &Metadata, is_above: bool) -> Option<String> {
    let mode = metadata.permissions().mode();
    let owner = metadata.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Some(format!(
            "belongs to uid {owner}, not to root or the user that hooks run as: chown it"
        ));
    }
    // In a folder with the sticky bit, everybody can only replace what is his own.
    let is_sticky = is_above && mode & 0o1000 != 0;
    if mode & 0o022 != 0 && !is_sticky {
        return Some("can be written by others: run chmod go-w on it".to_owned());
    }
    if !is_above && !metadata.is_file() {
        return Some("is no file".to_owned());
    }
    None
}

/// How it ended, in words.
pub(super) fn said(status: ExitStatus) -> String {
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

/// Runs a program to its end, or to the end of its time.
pub(super) async fn run(
    program: &Program,
    variables: Vec<Variable>,
    input: OwnedFd,
    limit: Duration,
) -> Finished {
    let not_run = |why| Finished { status: Err(Cut::NotRun(why)), output: String::new() };
    let program = program.clone();
    // Disks take their time. Whoever stops waiting for it meanwhile drops what was begun, which ends it.
    let begun = tokio::task::spawn_blocking(move || program.begin(&variables, input)).await;
    let (mut child, mut group) = match begun {
        Ok(Ok(both)) => both,
        Ok(Err(why)) => return not_run(why),
        Err(panic) => return not_run(format!("it could not be run: {panic}")),
    };
    let deadline = Instant::now() + limit;
    let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = {
        let talk = async { tokio::join!(stdout.read(out), stderr.read(err)) };
        let ended = async {
            let status = match timeout_at(deadline, child.wait()).await {
                Ok(status) => {
                    status.map_err(|error| Cut::NotRun(format!("it cannot be waited for: {error}")))
                }
                Err(_) => {
                    group.signal(Signal::SIGTERM);
                    let _ = timeout(MERCY, child.wait()).await;
                    group.signal(Signal::SIGKILL);
                    let _ = child.wait().await;
                    Err(Cut::Late)
                }
            };
            // Whatever it left behind ends with it.
            group.end();
            status
        };
        tokio::pin!(talk, ended);
        // The pipes are read for as long as the program runs, and what is in them then a moment longer.
        tokio::select! {
            biased;
            status = &mut ended => {
                let _ = timeout(DRAIN, &mut talk).await;
                status
            }
            _ = &mut talk => ended.await,
        }
    };
    let both = [stdout.0, stderr.0].concat();
    Finished { status, output: last_lines(&both) }
}

fn unrunnable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{error}; it has to be executable (chmod +x), on a file system that is not mounted noexec"
            )
        }
        _ => error.to_string(),
    }
}

/// The group of a program that runs; it does not survive being forgotten.
#[derive(Debug)]
struct Running(Option<Pid>);

impl Running {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may have ended by itself.
            let _ = killpg(group, signal);
        }
    }

    fn end(&mut self) {
        self.signal(Signal::SIGKILL);
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of what comes out of a pipe.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let Self(bytes) = self;
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..length]);
            if bytes.len() > 2 * KEPT {
                bytes.drain(..bytes.len() - KEPT);
            }
        }
    }
}

/// The group and the session of a process that lives (proc_pid_stat(5)).
fn stat(process: &Path) -> Option<(i32, i32)> {
    let text = std::fs::read_to_string(process.join("stat")).ok()?;
    // The name is in brackets, and may hold anything, brackets too.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    (!is_dead).then_some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// Ends what a rosterd of this instance left running when it was killed: all groups of its programs, but for what has a
/// session of its own, and so has left. Returns how many there were.
pub fn end_leftovers(instance: &str) -> usize {
    let mark = format!("{INSTANCE}={instance}");
    let group_of = |process: &Path| {
        let pid: i32 = process.file_name()?.to_str()?.parse().ok()?;
        // Others' cannot be read.
        let environment = std::fs::read(process.join("environ")).ok()?;
        let is_ours =
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        let (group, session) = stat(process).filter(|_| is_ours)?;
        (session != pid).then_some(group)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let groups: BTreeSet<i32> = processes.filter_map(|process| group_of(&process.path())).collect();
    // Not ourselves, whoever started us.
    groups
        .into_iter()
        .filter(|group| {
            *group != getpgrp().as_raw() && killpg(Pid::from_raw(*group), Signal::SIGKILL).is_ok()
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script of this text, which only its owner can write.
    fn script(text: &str) -> (tempfile::TempDir, Program) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, Program { path, arguments: Vec::new() })
    }

    async fn ran(text: &str, limit: Duration) -> Finished {
        let (_folder, program) = script(text);
        let variables = vec![("ROSTERD_HOOK", "h".to_owned()), (INSTANCE, "here".to_owned())];
        run(&program, variables, input(b"{\"a\":1}\n").unwrap(), limit).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_event_is_on_stdin_and_nothing_of_ours_is_in_the_environment() {
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
                &format!("PATH={SEARCHED}"),
                "ROSTERD_HOOK=h",
                "ROSTERD_INSTANCE=here",
                "later"
            ],
            "{}",
            done.output
        );
    }

    #[tokio::test]
    async fn how_it_ends_is_told() {
        for (text, told) in [
            ("exit 3", "it ended with exit status 3"),
            ("kill -SEGV $$", "it was ended by SIGSEGV"),
            // Its event is larger than a pipe, and it reads none of it.
            ("exec 0<&-; exit 7", "it ended with exit status 7"),
        ] {
            assert_eq!(said(ran(text, LONG).await.status.unwrap()), told);
        }
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_all_of_its_group_first_kindly() {
        let begun = Instant::now();
        let done = ran(
            "trap 'echo asked' TERM; echo $$; sleep 300 & sleep 300; sleep 300",
            Duration::from_millis(300),
        )
        .await;
        assert!(matches!(done.status, Err(Cut::Late)), "{done:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let (group, asked) = done.output.split_once('\n').unwrap();
        assert_eq!(asked.lines().next(), Some("asked"), "{asked}");
        let of_group = |entry: std::fs::DirEntry| {
            stat(&entry.path()).is_some_and(|(its, _)| its.to_string() == group)
        };
        until(|| !std::fs::read_dir("/proc").unwrap().flatten().any(of_group)).await;
    }

    /// Waits for what has to come to pass.
    async fn until(is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), waiting).await.expect("it comes to pass");
    }

    fn lives(pid: &str) -> bool {
        stat(&Path::new("/proc").join(pid)).is_some()
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_the_pipes_holds_up_nobody_and_does_not_stay() {
        let begun = Instant::now();
        let done = ran("sleep 300 & echo $!; exit 0", LONG).await;
        assert!(done.status.unwrap().success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        until(|| !lives(done.output.trim())).await;
    }

    #[tokio::test]
    async fn a_flood_is_read_to_its_end_and_only_its_end_kept() {
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
            matches!(endless.status, Err(Cut::Late)) && endless.output.ends_with("y\ny"),
            "{endless:?}"
        );
    }

    #[tokio::test]
    async fn what_others_could_change_is_not_run() {
        let (folder, program) = script("exit 0");
        let other = |path: &str| Program { path: path.into(), arguments: Vec::new() };
        assert_eq!(program.refusal(), None);
        let missing = other("/no/such/program").refusal().unwrap();
        assert!(missing.contains("No such file"), "{missing}");
        assert!(other("bin/true").refusal().unwrap().contains("absolute"));
        let path = |mode| {
            std::fs::set_permissions(&program.path, std::fs::Permissions::from_mode(mode)).unwrap();
            program.refusal().unwrap_or_default()
        };
        assert!(
            path(0o775).contains("can be written by others") && path(0o757).contains("chmod go-w")
        );
        assert_eq!(path(0o755), "");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            program.refusal().unwrap().contains("can be written by others"),
            "another could be put in its place"
        );
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(other(folder.path().to_str().unwrap()).refusal().unwrap().contains("is no file"));
        let open = tempfile::tempdir().unwrap();
        let link = open.path().join("link");
        std::os::unix::fs::symlink(&program.path, &link).unwrap();
        let linked = Program { path: link, arguments: Vec::new() };
        assert_eq!(linked.refusal(), None);
        std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            linked.refusal().unwrap().contains("can be written by others"),
            "another link could be put in its place"
        );
        if geteuid().is_root() {
            nix::unistd::chown(&program.path, Some(nix::unistd::Uid::from_raw(12_345)), None)
                .unwrap();
            assert!(program.refusal().unwrap().contains("belongs to uid 12345"));
        }
    }

    #[tokio::test]
    async fn what_is_not_executable_is_told() {
        let (_folder, program) = script("exit 0");
        std::fs::set_permissions(&program.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let done = run(&program, Vec::new(), input(b"").unwrap(), LONG).await;
        let Err(Cut::NotRun(why)) = done.status else { panic!("{done:?}") };
        assert!(why.contains("chmod +x"), "{why}");
    }

    #[tokio::test]
    async fn what_outlived_its_rosterd_is_ended_and_neither_anothers_nor_what_has_left() {
        let (folder, program) = script(
            "sleep 300 </dev/null & setsid sleep 300 & echo $! >>\"$0.left\"; exec sleep 300",
        );
        let begin =
            |instance: String| program.begin(&[(INSTANCE, instance)], input(b"").unwrap()).unwrap();
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
            assert!(lives(pid), "it has left");
            nix::sys::signal::kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
        }
        assert_eq!(end_leftovers(&ours), 0, "there is nothing left");
    }
}
