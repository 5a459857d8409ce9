//! Roles, with real processes of real users. The kernel identifies the caller, and the user
//! database has its groups.
//!
//! The daemon and its callers see a user database of the test, mounted over the machine's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::process::until;

const USERS: &str = "\
root:x:0:0::/:/bin/sh
anna:x:61001:61101::/:/bin/sh
ben:x:61002:61100::/:/bin/sh
carla:x:61003:61100::/:/bin/sh
dora:x:61004:61100::/:/bin/sh
emil:x:61005:61100::/:/bin/sh
";

/// The operators are Anna's primary group. The others are listed as members of their groups.
const GROUPS: &str = "\
root:x:0:
people:x:61100:
admins:x:61101:
lookers:x:61102:carla
doors:x:61103:dora
";

struct Machine {
    folder: TempDir,
    daemon: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Machine {
    fn start() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test becomes other users: run tests/run as root"
        );
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(at("passwd"), USERS).unwrap();
        fs::write(at("group"), GROUPS).unwrap();
        // The build's folder may be closed to other users.
        fs::copy(env!("CARGO_BIN_EXE_rosterctl"), at("rosterctl")).unwrap();
        let home = folder.path().display();
        let configuration = format!(
            "[store]\nurl = \"sqlite://{home}/rosterd.db\"\n[control]\nsocket = \"{home}/run/control.sock\"\n\
             operators = \"admins\"\nviewers = \"lookers\"\nauthenticators = \"doors\"\n"
        );
        fs::write(at("rosterd.toml"), configuration).unwrap();
        fs::create_dir(at("run")).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut daemon = Self::with_own_users(folder.path(), env!("CARGO_BIN_EXE_rosterd"));
        let daemon = daemon
            .arg("--config")
            .arg(at("rosterd.toml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let machine = Self { folder, daemon };
        until("rosterd answers", || (machine.code("", "status") == 0).then_some(()));
        machine
    }

    /// Returns a program that sees our user database. It replaces the shell, so that its process is
    /// the started one.
    fn with_own_users(folder: &Path, program: &str) -> Command {
        let mut command = Command::new("unshare");
        let script = r#"mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@""#;
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(folder)
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command as a user: `who` are the arguments of setpriv, empty for root.
    fn run_as(&self, who: &str, command: &str) -> Output {
        let rosterctl = self.folder.path().join("rosterctl").display().to_string();
        let mut words: Vec<&str> = if who.is_empty() {
            Vec::new()
        } else {
            ["setpriv"].into_iter().chain(who.split(' ')).collect()
        };
        words.extend([&rosterctl, "--socket"]);
        let socket = self.folder.path().join("run/control.sock");
        let mut typed = Self::with_own_users(self.folder.path(), words[0]);
        typed
            .args(&words[1..])
            .arg(socket)
            .args(command.split(' '))
            .env_remove("ROSTERD_SOCKET")
            .output()
            .unwrap()
    }

    fn code(&self, who: &str, command: &str) -> i32 {
        self.run_as(who, command).status.code().unwrap()
    }
}

const ANNA: &str = "--reuid 61001 --regid 61101 --clear-groups";
const BEN: &str = "--reuid 61002 --regid 61100 --clear-groups";
const CARLA: &str = "--reuid 61003 --regid 61100 --clear-groups";
const DORA: &str = "--reuid 61004 --regid 61100 --clear-groups";
const EMIL: &str = "--reuid 61005 --regid 61100 --groups 61101,61102";
const NAMELESS: &str = "--reuid 61999 --regid 61999 --clear-groups";

#[test]
#[ignore = "needs the lab: tests/run"]
fn a_callers_roles_follow_from_all_groups_of_its_user_and_nothing_else() {
    let machine = Machine::start();
    let create = |n: usize| format!("account create acme-{n} --name Acme");
    for (n, (who, looks, changes)) in [
        ("", 0, 0),
        (ANNA, 0, 0),
        (CARLA, 0, 5),
        (DORA, 5, 5),
        (BEN, 5, 5),
        // Groups that a process gave itself, unknown to the user database.
        (EMIL, 5, 5),
        (NAMELESS, 5, 5),
        // A user without an entry is in the group of its process.
        ("--reuid 61999 --regid 61102 --clear-groups", 0, 5),
        ("--reuid 61999 --regid 61101 --clear-groups", 0, 0),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            (machine.code(who, "status"), machine.code(who, &create(n))),
            (looks, changes),
            "setpriv {who}"
        );
    }
    let said =
        |who: &str, command: &str| String::from_utf8(machine.run_as(who, command).stderr).unwrap();
    assert_eq!(
        said(BEN, "status"),
        "error: not allowed: ben (uid 61002) may not read: add the user to the group lookers or admins\n"
    );
    assert_eq!(
        said(CARLA, "reload"),
        "error: not allowed: carla (uid 61003) may not change anything: add the user to the group admins\n"
    );
    assert_eq!(
        said(NAMELESS, "status"),
        "error: not allowed: uid:61999 (uid 61999) may not read: add the user to the group lookers or admins\n"
    );
    for command in [
        "status",
        "sync",
        "plan corp",
        "user list",
        "event list",
        "backup /nowhere/x",
        "user suspend x --yes",
    ] {
        let code = machine.code(DORA, command);
        assert!(
            code == 5 || command.starts_with("backup") && code == 1,
            "the sign-in role may not {command}: {code}"
        );
    }
    let sign_in = "sign-in nobody@example.com --external";
    for (who, code) in [("", 1), (DORA, 1), (CARLA, 5), (ANNA, 5), (BEN, 5), (NAMELESS, 5)] {
        assert_eq!(
            machine.code(who, sign_in),
            code,
            "setpriv {who}: exit status 1 for a denial, 5 without an answer"
        );
    }

    let events = machine.run_as(ANNA, "--json event list --type account.created");
    let events: serde_json::Value = serde_json::from_slice(&events.stdout).unwrap();
    let actors: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["data"]["actor"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["root", "anna", "uid:61999"]);

    // A change of membership takes effect within moments, without a restart.
    fs::write(
        machine.folder.path().join("group"),
        GROUPS.replace("61101:", "61101:ben").replace("carla", ""),
    )
    .unwrap();
    until("ben is an operator", || {
        (machine.code(BEN, "account create bens --name Ben") == 0).then_some(())
    });
    until("carla is no viewer", || (machine.code(CARLA, "status") == 5).then_some(()));

    // A socket that file modes protect is not reported as a missing daemon.
    fs::set_permissions(machine.folder.path().join("run"), fs::Permissions::from_mode(0o700))
        .unwrap();
    assert_eq!(machine.code(ANNA, "status"), 5);
    assert!(
        said(ANNA, "status").starts_with("error: not allowed: this user may not connect to "),
        "{}",
        said(ANNA, "status")
    );
}

/// Opens the link of a console as Python does, and prints the statuses of some requests.
const VISIT: &str = r#"
import sys, urllib.request, urllib.parse, urllib.error, http.cookiejar
link = sys.argv[1]; origin, code = link.split("/open#")
jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
web = urllib.request.build_opener(jar)
def ask(path, body=None):
    request = urllib.request.Request(origin + path, body, {"Origin": origin})
    try: answer = web.open(request)
    except urllib.error.HTTPError as error: answer = error
    return answer.status, answer.read().decode()
if ask("/open")[0] == 403: print("refused"); sys.exit()
opened, overview = ask("/open", urllib.parse.urlencode({"code": code}).encode())
left, _ = ask("/leave", b"token=1")
print(opened, "looking only" in overview, overview.count("method=\"post\""), left)
"#;

#[test]
#[ignore = "needs the lab: tests/run"]
fn a_viewer_opens_a_console_that_only_shows_and_root_is_another_user() {
    let machine = Machine::start();
    let folder = machine.folder.path();
    let mut console = Machine::with_own_users(folder, "setpriv");
    let console = console.args(CARLA.split(' ')).arg(folder.join("rosterctl")).arg("--socket");
    let console = console.arg(folder.join("run/control.sock")).args(["--json", "console"]);
    let mut console = console.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let output = console.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let link: serde_json::Value = serde_json::from_str(&line).unwrap();
    let link = link["link"].as_str().unwrap();
    let visit = |who: &str| {
        let mut python = Machine::with_own_users(folder, "setpriv");
        let python = python.args(who.split(' ')).args(["/usr/bin/python3", "-c", VISIT, link]);
        String::from_utf8(python.output().unwrap().stdout).unwrap()
    };
    let strangers = ["--reuid 0", BEN, ANNA].map(visit);
    let carla = visit(CARLA);
    console.kill().unwrap();
    console.wait().unwrap();
    assert_eq!(strangers, ["refused\n"; 3], "they have the link, and another uid");
    assert_eq!(carla, "200 True 1 403\n", "its only form ends the console");
}
