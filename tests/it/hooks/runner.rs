//! The hook runner: a separate process that ends with the daemon. Deliveries wait without it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use adsim::Sim;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

use super::script;
use crate::process::{Daemon, until};
use crate::service::Site;

/// Prints its parent process and its abilities.
const TELLS: &str =
    "cat >/dev/null; echo \"$PPID $(tr '\\0' ' ' < /proc/$PPID/cmdline)\" >> \"$0.told\"";

fn hook(name: &str, program: &Path) -> String {
    format!(
        "[[hook]]\nname = \"{name}\"\nevents = [\"account.*\"]\nexec = [\"{}\"]\ntimeout = \"10m\"\n",
        program.display()
    )
}

fn lines(file: PathBuf) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn attention(site: &Site) -> Vec<Value> {
    site.done("status")["hooks"]["attention"].as_array().unwrap().clone()
}

/// A hook runner as a service unit starts it, with the listening socket as stdin.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // The process may already have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    /// Starts a runner at the expected socket, as user `nobody` if the test runs as root.
    fn start(site: &Site) -> Self {
        let folder = site.folder.path();
        let socket = folder.join("runner.sock");
        // The socket of an earlier runner.
        drop(std::fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket).unwrap();
        let user = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap().name;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.arg("--config").arg(folder.join("rosterd.toml")).args([
            "hook-runner",
            "--user",
            &user,
        ]);
        if geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        Self(command.stdin(std::os::fd::OwnedFd::from(listener)).spawn().unwrap())
    }
}

/// Starts a site whose daemon expects a runner at `runner.sock`, before it listens.
fn apart(more: &str) -> Site {
    let site = Site::of(Sim::builder().people(3), more, |_, command| {
        // The last argument is the configuration.
        let folder = Path::new(command.get_args().last().unwrap()).parent().unwrap().to_owned();
        command.arg("--hook-runner").arg(folder.join("runner.sock"));
    });
    // The user of the runner may traverse the folder, and not list it.
    std::fs::set_permissions(
        site.folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    site
}

#[test]
fn the_daemon_starts_no_program_itself_and_restarts_a_killed_runner() {
    let site = Site::empty(3);
    let tells = script(site.folder.path(), "tells", TELLS);
    site.configure(&hook("tells", &tells), "");
    site.done("reload");
    site.done("account create one --name One");
    let told = || lines(site.folder.path().join("tells.told"));
    let first = until("it is told", || told().first().cloned());
    assert!(first.contains("hook-runner --child"), "{first}");
    let runner: i32 = first.split(' ').next().unwrap().parse().unwrap();
    assert_ne!(runner.to_string(), site.daemon.pid().to_string());
    kill(Pid::from_raw(runner), Signal::SIGKILL).unwrap();
    site.done("account create two --name Two");
    let second = until("it is told again", || told().get(1).cloned());
    assert!(!second.starts_with(&format!("{runner} ")), "{second}");
    assert_eq!(attention(&site), [Value::Null; 0]);
}

#[test]
fn the_runner_and_its_programs_end_with_the_daemon_in_every_case() {
    let mut site = Site::empty(3);
    let stays = script(
        site.folder.path(),
        "stays",
        "cat >/dev/null; echo \"$$ $PPID\" >> \"$0.pid\"; exec sleep 600",
    );
    site.configure(&hook("stays", &stays), "");
    site.done("reload");
    site.done("account create acme --name Acme");
    for (round, signal) in [Signal::SIGKILL, Signal::SIGTERM].into_iter().enumerate() {
        let line =
            until("it runs", || lines(site.folder.path().join("stays.pid")).get(round).cloned());
        let (program, runner) = line.split_once(' ').unwrap();
        site.daemon.signal(signal);
        site.daemon.wait();
        until("both have ended", || (!lives(program) && !lives(runner)).then_some(()));
        site.daemon = Daemon::start(site.folder.path());
    }
}

#[test]
fn deliveries_wait_for_an_unreachable_runner_and_status_reports_it() {
    let site = apart("");
    let tells = script(site.folder.path(), "tells", "cat >/dev/null; id -u");
    site.configure(&hook("tells", &tells), "");
    site.done("reload");
    for name in ["one", "two", "three"] {
        site.done(&format!("account create {name} --name {name}"));
    }
    let said = until("status says so", || attention(&site).first().cloned());
    let said = said.as_str().unwrap();
    assert!(
        said.contains("the hook runner cannot be reached") && said.contains("rosterd-hooks"),
        "{said}"
    );
    let hooks = || site.done("hook list")["hooks"][0].clone();
    assert_eq!(
        (hooks()["delivered"].as_u64(), hooks()["failed"].as_u64(), hooks()["pending"].as_u64()),
        (Some(0), Some(0), Some(3))
    );
    assert!(hooks()["last_error"].as_str().unwrap().contains("cannot be reached"), "{}", hooks());

    let _service = Service::start(&site);
    until("all are told", || (hooks()["delivered"] == 3).then_some(()));
    assert_eq!(attention(&site), [Value::Null; 0]);
    if geteuid().is_root() {
        let printed =
            site.done("hook deliveries tells --limit 1")["deliveries"][0]["output"].clone();
        assert_eq!(printed, "65534", "as the runner's user");
    }
}

#[test]
fn a_gate_that_cannot_be_run_holds_the_plan_with_its_reason() {
    let site = apart("");
    let gate = script(site.folder.path(), "gate", "exit 0");
    site.daemon.create_acme();
    site.configure(&format!("[[gate]]\nname = \"board\"\nexec = [\"{}\"]\n", gate.display()), "");
    site.done("reload");
    let (code, run) = site.daemon.ctl("sync corp");
    assert_eq!((code, &run["state"]), (3, &Value::from("held")), "{run:#}");
    let held = site.done("held list")["held"][0].clone();
    assert!(
        held.to_string()
            .contains("the gate board could not be run: the hook runner cannot be reached"),
        "{held:#}"
    );

    let _service = Service::start(&site);
    let run = site.done("sync corp");
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

#[test]
fn a_hook_can_neither_read_a_secret_nor_open_the_store_nor_act_as_an_operator() {
    if !geteuid().is_root() {
        // Only root can start a runner as another user.
        return;
    }
    let site = apart("");
    let folder = site.folder.path();
    let tries = script(
        folder,
        "tries",
        &format!(
            "cd {folder}\nfor file in password rosterd.toml rosterd.db rosterd.db-wal; do if head -c 1 $file >/dev/null 2>&1; then echo \"reads $file\"; fi; done\n\
             for word in environ mem maps; do if head -c 1 /proc/{pid}/$word >/dev/null 2>&1; then echo \"reads $word\"; fi; done\n\
             {rosterctl} --socket {folder}/control.sock account create evil --name Evil >/dev/null 2>&1; echo \"exit $?\"",
            folder = folder.display(),
            pid = site.daemon.pid(),
            rosterctl = env!("CARGO_BIN_EXE_rosterctl"),
        ),
    );
    site.configure(&hook("tries", &tries), "");
    for file in ["rosterd.toml", "rosterd.db", "rosterd.db-wal"] {
        std::fs::set_permissions(
            folder.join(file),
            std::os::unix::fs::PermissionsExt::from_mode(0o640),
        )
        .unwrap();
    }
    site.done("reload");
    let _service = Service::start(&site);
    let sample = until("the runner answers", || {
        Some(site.done("hook test tries")).filter(|sample| sample["delivered"] == true)
    });
    assert_eq!(sample["output"], "exit 5");
    assert_eq!(site.daemon.ctl("account show evil").0, 1, "there is no such account");
}

#[test]
fn a_runner_without_a_socket_reports_which_unit_starts_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    for stdin in [Stdio::null(), Stdio::from(std::os::fd::OwnedFd::from(ours))] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.arg("--config").arg(folder.path().join("rosterd.toml")).args([
            "hook-runner",
            "--user",
            "root",
        ]);
        let done = command.stdin(stdin).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(1) && said.contains("rosterd-hooks.socket"), "{said}");
    }
}
