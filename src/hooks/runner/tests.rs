//! Client and server of the hook runner over a real socket in one process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// A runner that listens in a folder, with a configuration file.
///
/// Each line of the file names a program by kind, name and path.
struct Room {
    folder: TempDir,
    runner: Runner,
    stop: CancellationToken,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn parse(text: &str) -> Result<Vec<ConfiguredProgram>, String> {
    text.lines()
        .map(|line| {
            let [kind, name, path] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err(format!("no program: {line}"));
            };
            let kind = if kind == "gate" { ProgramKind::Gate } else { ProgramKind::Hook };
            Ok(ConfiguredProgram { kind, name: name.to_owned(), program: program(Path::new(path)) })
        })
        .collect()
}

fn program(path: &Path) -> Program {
    Program { path: path.to_owned(), arguments: Vec::new(), part: None }
}

impl Room {
    /// Starts a runner for orders of this user.
    fn of(user: Uid) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("runner.sock");
        let listener = Listener::new(UnixListener::bind(&socket).unwrap(), user);
        let file = folder.path().join("rosterd.toml");
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, Programs::of(file.clone(), parse), stop.clone()));
        Self { runner: Runner::service(socket, file), folder, stop }
    }

    fn open() -> Self {
        Self::of(geteuid())
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("rosterd.toml")
    }

    /// Writes a script and configures it as the hook `vpn`.
    fn hook(&self, text: &str) -> Program {
        let program = self.script("vpn", text);
        self.configure(&format!("hook vpn {}", program.path.display()));
        program
    }

    fn script(&self, name: &str, text: &str) -> Program {
        let path = self.folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        program(&path)
    }

    async fn run(&self, kind: ProgramKind, name: &str, program: &Program) -> ProgramResult {
        let event = (kind == ProgramKind::Hook).then(|| EventSummary {
            id: "e-1".to_owned(),
            kind: "user.suspended".to_owned(),
            seq: Some(7),
            head: Some("7:ab".to_owned()),
            attempt: 2,
            text: Some("Ann was suspended".to_owned()),
        });
        let order = Order::new(kind, name, program, Duration::from_secs(20), "here", event);
        self.runner.run(&order, program, b"{\"a\":1}\n").await
    }

    /// Returns the reason why this program is not run as the hook `vpn`.
    async fn refused(&self, program: &Program) -> String {
        match self.run(ProgramKind::Hook, "vpn", program).await.status {
            Err(NoExit::NotRun(reason)) => reason,
            other => panic!("it was run: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_program_runs_by_its_name_with_the_event_on_stdin_and_in_the_environment() {
    let room = Room::open();
    let program = room.hook("cat; env | grep ROSTERD_ | sort; exit 3");
    let done = room.run(ProgramKind::Hook, "vpn", &program).await;
    assert_eq!(done.status.unwrap().code(), Some(3));
    let printed: Vec<&str> = done.output.lines().collect();
    let expected = [
        "{\"a\":1}",
        "ROSTERD_ATTEMPT=2",
        "ROSTERD_EVENT_ID=e-1",
        "ROSTERD_EVENT_SEQ=7",
        "ROSTERD_EVENT_TYPE=user.suspended",
        "ROSTERD_HOOK=vpn",
        "ROSTERD_INSTANCE=here",
        "ROSTERD_LOG_HEAD=7:ab",
        "ROSTERD_TEXT=Ann was suspended",
    ];
    assert_eq!(printed, expected);
    assert_eq!(room.runner.trouble(), None);
}

#[tokio::test]
async fn a_program_of_a_part_is_read_from_that_part_alone() {
    let room = Room::open();
    let other = room.hook("echo main");
    let parts = room.folder.path().join("conf.d");
    std::fs::create_dir(&parts).unwrap();
    let ssh = room.script("ssh", "echo part");
    std::fs::write(parts.join("10-ssh.toml"), format!("hook ssh {}", ssh.path.display())).unwrap();
    let of_part = |name: &str| Program { part: Some(name.to_owned()), ..ssh.clone() };
    let ran = room.run(ProgramKind::Hook, "ssh", &of_part("10-ssh.toml")).await;
    assert_eq!(ran.output, "part");
    assert_eq!(room.run(ProgramKind::Hook, "vpn", &other).await.output, "main");
    for (program, why) in [
        (ssh.clone(), "has no program for the hook ssh"),
        (of_part("20-ssh.toml"), "cannot be read"),
        (of_part("../rosterd.toml"), "is not the name of a file in conf.d"),
    ] {
        let ran = room.run(ProgramKind::Hook, "ssh", &program).await;
        let Err(NoExit::NotRun(reason)) = ran.status else { panic!("{why}: it ran") };
        assert!(reason.contains(why), "{why}: {reason}");
    }
}

#[tokio::test]
async fn a_hook_and_a_gate_of_one_name_are_two_programs() {
    let room = Room::open();
    let (hook, gate) =
        (room.script("hook", "echo hook"), room.script("gate", "echo $ROSTERD_GATE"));
    room.configure(&format!("hook vpn {}\ngate vpn {}", hook.path.display(), gate.path.display()));
    assert_eq!(room.run(ProgramKind::Hook, "vpn", &hook).await.output, "hook");
    assert_eq!(room.run(ProgramKind::Gate, "vpn", &gate).await.output, "vpn");
}

#[tokio::test]
async fn only_programs_that_the_configuration_names_are_run() {
    let room = Room::open();
    let other = room.script("other", "touch \"$0.ran\"");
    let program = room.hook("exit 0");
    let unnamed = room.run(ProgramKind::Hook, "other", &other).await;
    assert!(
        matches!(&unnamed.status, Err(NoExit::NotRun(reason)) if reason.contains("has no program for the hook other")),
        "{unnamed:?}"
    );
    let reason = room.refused(&other).await;
    assert!(
        reason.contains("has another program for the hook vpn")
            && reason.contains("rosterctl reload"),
        "{reason}"
    );
    let arguments = Program { arguments: vec!["--force".to_owned()], ..program.clone() };
    assert!(room.refused(&arguments).await.contains("has another program for the hook vpn"));
    let gate = room.run(ProgramKind::Gate, "vpn", &program).await;
    assert!(
        matches!(&gate.status, Err(NoExit::NotRun(reason)) if reason.contains("has no program for the gate vpn")),
        "{gate:?}"
    );
    assert!(!room.folder.path().join("other.ran").exists());
    assert_eq!(room.runner.trouble(), None, "the runner itself is well");
}

#[tokio::test]
async fn an_edit_counts_after_a_reload_and_a_broken_file_changes_no_program() {
    let room = Room::open();
    let before = room.hook("echo before");
    assert_eq!(room.run(ProgramKind::Hook, "vpn", &before).await.output, "before");
    let after = room.script("after", "echo after");
    room.configure(&format!("hook vpn {}", after.path.display()));
    assert_eq!(
        room.run(ProgramKind::Hook, "vpn", &before).await.output,
        "before",
        "rosterd was not reloaded"
    );
    assert_eq!(room.run(ProgramKind::Hook, "vpn", &after).await.output, "after");
    room.configure("half a");
    assert_eq!(room.run(ProgramKind::Hook, "vpn", &after).await.output, "after");
    assert!(room.refused(&before).await.contains("no program: half a"));
}

#[tokio::test]
async fn a_configuration_that_another_user_could_change_names_no_programs() {
    let room = Room::open();
    let program = room.hook("exit 0");
    for mode in [0o666, 0o664, 0o602] {
        std::fs::set_permissions(room.file(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(room.refused(&program).await.contains("can be written by others"), "{mode:o}");
    }
    std::fs::set_permissions(room.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    if geteuid().is_root() {
        nix::unistd::chown(&room.file(), Some(Uid::from_raw(12_345)), None).unwrap();
        assert!(room.refused(&program).await.contains("belongs to uid 12345"));
        nix::unistd::chown(&room.file(), Some(geteuid()), None).unwrap();
    }
    // A file with the same text and owner at another path.
    let elsewhere = room.folder.path().join("elsewhere.toml");
    std::fs::copy(room.file(), &elsewhere).unwrap();
    let deceiver = Runner::service(room.folder.path().join("runner.sock"), elsewhere);
    let order =
        Order::new(ProgramKind::Hook, "vpn", &program, Duration::from_secs(20), "here", None);
    let passed = deceiver.run(&order, &program, b"").await;
    assert!(
        matches!(&passed.status, Err(NoExit::NotRun(reason)) if reason.contains("passed another file")),
        "{passed:?}"
    );
    assert!(room.run(ProgramKind::Hook, "vpn", &program).await.status.unwrap().success());
}

#[tokio::test]
async fn an_order_of_another_user_is_rejected() {
    let room = Room::of(Uid::from_raw(geteuid().as_raw() + 1));
    let program = room.hook("touch \"$0.ran\"");
    let reason = room.refused(&program).await;
    // The runner closes the connection before or during the order.
    assert!(reason.contains("the hook runner cannot be reached"), "{reason}");
    assert_eq!(room.runner.trouble(), Some(reason), "status says so");
    assert!(!room.folder.path().join("vpn.ran").exists());
}

#[tokio::test]
async fn an_unreachable_runner_is_reported_until_it_answers() {
    let room = Room::open();
    let program = room.hook("exit 0");
    let socket = room.folder.path().join("runner.sock");
    let hidden = room.folder.path().join("hidden.sock");
    std::fs::rename(&socket, &hidden).unwrap();
    let reason = room.refused(&program).await;
    assert!(
        reason.contains("cannot be reached")
            && reason.contains("systemctl status rosterd-hooks.socket"),
        "{reason}"
    );
    assert!(room.runner.trouble().is_some());
    std::fs::rename(&hidden, &socket).unwrap();
    assert!(room.run(ProgramKind::Hook, "vpn", &program).await.status.unwrap().success());
    assert_eq!(room.runner.trouble(), None);
}

#[tokio::test]
async fn a_program_without_a_waiting_client_is_killed() {
    let room = Room::open();
    let program = room.hook("echo $$ > \"$0.pid\"; sleep 300 & exec sleep 300");
    let pid = room.folder.path().join("vpn.pid");
    let lives = |pid: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    };
    let started = async {
        loop {
            match std::fs::read_to_string(&pid) {
                Ok(pid) if pid.ends_with('\n') => return pid.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let pid = tokio::select! {
        done = room.run(ProgramKind::Hook, "vpn", &program) => panic!("it ended: {done:?}"),
        pid = started => pid,
    };
    let gone = async {
        while lives(&pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("it ends with the request");
}

#[tokio::test]
async fn a_check_reports_why_a_program_cannot_be_run_and_runs_none() {
    let room = Room::open();
    let program = room.hook("touch \"$0.ran\"");
    let receiver = super::super::Receiver::Exec(program.clone());
    let (events, timeout) = (vec!["*".to_owned()], Duration::from_secs(1));
    let hook = Hook {
        name: "vpn".to_owned(),
        events,
        receiver,
        timeout,
        max_age: timeout,
        concurrency: 1,
    };
    assert_eq!(refusal(&room.runner, &hook, &program).await, None);
    std::fs::set_permissions(&program.path, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(
        refusal(&room.runner, &hook, &program).await.unwrap().contains("can be written by others")
    );
    assert!(!room.folder.path().join("vpn.ran").exists());
}

#[tokio::test]
async fn an_invalid_order_is_rejected_and_the_next_one_is_run() {
    let room = Room::open();
    let program = room.hook("exit 0");
    for noise in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00",
    ] {
        let mut stream =
            tokio::net::UnixStream::connect(room.folder.path().join("runner.sock")).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, noise).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut answer = Vec::new();
        // A reset connection is equivalent.
        let _ = timeout(
            Duration::from_secs(10),
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer),
        )
        .await
        .expect("an end");
        assert!(answer.is_empty(), "{noise:?}: {answer:?}");
    }
    assert!(room.run(ProgramKind::Hook, "vpn", &program).await.status.unwrap().success());
}
