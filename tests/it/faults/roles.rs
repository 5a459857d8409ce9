//! Roles are sets, changes and exports are recorded, and no caller without a role blocks another.
//!
//! Callers are processes of real users, because the kernel identifies them. Only root can start
//! them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Group, geteuid};
use rosterd::engine::{DirectoryChangeError, EngineError};
use rosterd::model::{Actor, DirectoryName, Event, EventCause, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DAY, HOUR};
use crate::firm::{Firm, alice};
use crate::process::Daemon;

/// A daemon whose roles are groups of every Debian. Users without an entry are in the group of
/// their process.
struct Machine {
    daemon: Daemon,
    folder: TempDir,
}

const OPERATORS: &str = "users";
const VIEWERS: &str = "adm";
const AUTHENTICATORS: &str = "games";

/// A caller of this user, in the group of this name.
#[derive(Clone, Copy, Debug)]
struct User(u32, &'static str);

const OPERATOR: User = User(61_001, OPERATORS);
const VIEWER: User = User(61_002, VIEWERS);
const AUTHENTICATOR: User = User(61_003, AUTHENTICATORS);
const STRANGER: User = User(65_534, "nogroup");

impl Machine {
    /// `None` if the test cannot become other users.
    fn start() -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = folder.path().display();
        let configuration = format!(
            "[store]\nurl = \"sqlite://{home}/rosterd.db\"\n[control]\nsocket = \"{home}/control.sock\"\n\
             operators = \"{OPERATORS}\"\nviewers = \"{VIEWERS}\"\nauthenticators = \"{AUTHENTICATORS}\"\n"
        );
        std::fs::write(folder.path().join("rosterd.toml"), configuration).unwrap();
        Some(Self { daemon: Daemon::start(folder.path()), folder })
    }

    /// Runs a script on the socket as a user; it reads `input`, and lives until it has.
    fn runs(&self, User(uid, group): User, script: &str, arguments: &[&str]) -> Child {
        let gid = Group::from_name(group).unwrap().expect("a group").gid.as_raw();
        let socket = self.folder.path().join("control.sock");
        let mut command = Command::new("perl");
        command
            .args(["-MSocket", "-e", script])
            .arg(socket)
            .args(arguments)
            .uid(uid)
            .gid(gid)
            .current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("perl")
    }

    /// Returns the status of each request of a user: `METHOD PATH BODY`.
    fn answers(&self, user: User, requests: &[String]) -> Vec<u16> {
        let mut asking = self.runs(user, ASK, &[]);
        let mut input = asking.stdin.take().unwrap();
        for request in requests {
            writeln!(input, "{request}").unwrap();
        }
        drop(input);
        let answers = BufReader::new(asking.stdout.take().unwrap())
            .lines()
            .map(|line| line.unwrap().parse().unwrap())
            .collect();
        assert!(asking.wait().unwrap().success());
        answers
    }

    fn answer(&self, user: User, request: &str) -> u16 {
        self.answers(user, &[request.to_owned()])[0]
    }

    /// Opens connections of a user, sends `text` on each, and keeps them until the process is
    /// ended.
    fn crowd(&self, user: User, connections: usize, text: &str) -> Crowd {
        let mut process = self.runs(user, CROWD, &[&connections.to_string(), text]);
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Crowd(process)
    }

    fn head(&self) -> u64 {
        self.daemon.done("event list --limit 1")["events"][0]["seq"].as_u64().unwrap_or(0)
    }

    /// Checks that root and callers of all roles are answered within moments.
    fn everybody_is_answered(&self, why: &str) {
        let begun = Instant::now();
        assert!(self.daemon.done("status")["version"].is_string());
        assert_eq!(
            self.answer(User(61_011, OPERATORS), "GET /v1/status"),
            200,
            "an operator, {why}"
        );
        assert_eq!(self.answer(User(61_012, VIEWERS), "GET /v1/status"), 200, "a viewer, {why}");
        assert_eq!(
            self.answer(User(61_013, AUTHENTICATORS), SIGN_IN),
            200,
            "an authenticator, {why}"
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "{why}: {:?}", begun.elapsed());
    }
}

/// A process that keeps connections open.
struct Crowd(Child);

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SIGN_IN: &str =
    r#"POST /v1/sign-ins {"address": "nobody@example.com", "authenticated_by": "external"}"#;

/// Sends each line of its input as a request, and prints the status of the answer.
const ASK: &str = r#"
    my $path = shift; $| = 1;
    while (my $line = <STDIN>) {
        chomp $line; my ($method, $at, $body) = split / /, $line, 3; $body //= "";
        socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; my $tries = 0;
        until (connect($s, sockaddr_un($path))) { die $! if $tries++ > 100; select(undef, undef, undef, 0.05) }
        my $length = length $body;
        syswrite $s, "$method $at HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: $length\r\n\r\n$body";
        my ($answer, $part) = ("", ""); while (sysread $s, $part, 65536) { $answer .= $part }
        my ($status) = $answer =~ m{^HTTP/1.1 (\d+)}; print $status // 0, "\n";
    }
"#;

/// Opens this many connections, sends the text on each, and keeps them open.
const CROWD: &str = r#"
    my ($path, $count, $text) = @ARGV; $| = 1; $SIG{PIPE} = "IGNORE"; my @kept;
    $text =~ s/\\n/\r\n/g;
    for (1 .. $count) {
        socket(my $s, AF_UNIX, SOCK_STREAM, 0) or last;
        connect($s, sockaddr_un($path)) or next;
        syswrite $s, $text if length $text; push @kept, $s;
    }
    print "ready\n"; sleep 600;
"#;

/// Connects repeatedly, as fast as possible.
const FLOOD: &str = r#"
    my $path = shift; $| = 1; print "ready\n";
    while (1) { socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; connect($s, sockaddr_un($path)); close $s }
"#;

/// Returns every operation but sign-ins and long polls, with unknown names.
fn every_operation(document: &Value) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path: Vec<&str> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect();
            let roles = operation["x-rosterd-roles"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r.as_str().unwrap().to_owned())
                .collect();
            all.push((format!("{} {}", method.to_uppercase(), path.join("/")), roles));
        }
    }
    all
}

#[test]
fn a_caller_does_what_its_roles_say_and_a_viewer_changes_nothing() {
    let Some(machine) = Machine::start() else { return };
    let answer = machine.daemon.ask("GET /v1/openapi.json", "");
    let document: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let operations = every_operation(&document);
    assert!(operations.len() > 50, "{}", operations.len());
    let requests: Vec<String> = operations.iter().map(|(request, _)| request.clone()).collect();
    let before = machine.head();
    for (user, role) in [(STRANGER, "none"), (VIEWER, "viewer"), (AUTHENTICATOR, "authenticator")] {
        for ((request, roles), status) in operations.iter().zip(machine.answers(user, &requests)) {
            let may = roles.iter().any(|r| r == role || r == "anybody");
            assert_eq!(status != 403, may, "{role}: {request} is answered {status}");
        }
        assert_eq!(machine.head(), before, "{role} left an event");
    }
    assert_eq!(machine.answer(OPERATOR, SIGN_IN), 403, "an operator is no authenticator");
    assert_eq!(machine.answer(VIEWER, SIGN_IN), 403, "a viewer guesses no passwords");
    assert_eq!(machine.answer(AUTHENTICATOR, SIGN_IN), 200);
    assert_eq!(
        machine.daemon.ctl("sign-in nobody@example.com --external").0,
        1,
        "root has every role"
    );
    assert_eq!(
        machine.answer(OPERATOR, r#"POST /v1/accounts {"handle": "acme", "name": "Acme"}"#),
        200
    );
    assert_eq!(machine.answer(OPERATOR, "POST /v1/backup"), 200);
    assert_eq!(machine.answer(OPERATOR, "POST /v1/reload"), 200);
    let events = machine.daemon.done("event list");
    let told: Vec<Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| json!([event["type"], event["data"]["actor"]]))
        .collect();
    assert_eq!(
        told,
        ["account.created", "store.backed_up", "configuration.reloaded"]
            .map(|kind| json!([kind, "uid:61001"]))
    );
}

#[test]
fn long_polls_of_viewers_keep_out_neither_root_nor_operators_nor_other_viewers() {
    let Some(machine) = Machine::start() else { return };
    let poll = "GET /v1/events?after=1000000&wait=25 HTTP/1.1\\nhost: x\\n\\n";
    let _crowds: Vec<Crowd> =
        (0..4).map(|n| machine.crowd(User(61_020 + n, VIEWERS), 40, poll)).collect();
    machine.everybody_is_answered("beside the long polls of four viewers");
}

#[test]
fn hundreds_of_connections_of_a_stranger_keep_no_caller_with_a_role_out() {
    let Some(machine) = Machine::start() else { return };
    let texts = [
        "",
        "GET /v1/sta",
        "POST /v1/accounts HTTP/1.1\\nhost: x\\ncontent-length: 9\\n\\n{",
        "GET /v1/status HTTP/1.1\\nhost: x\\n\\n",
    ];
    let _crowds: Vec<Crowd> = texts
        .iter()
        .zip([65_534, 61_030, 61_031, 61_032])
        .map(|(text, uid)| machine.crowd(User(uid, "nogroup"), 300, text))
        .collect();
    machine.everybody_is_answered("beside the connections of four strangers");
    assert_eq!(
        machine.answer(User(61_033, "nogroup"), "GET /v1/status"),
        403,
        "a stranger's error names the missing role"
    );
}

#[test]
fn a_flood_of_a_strangers_connections_only_delays_root() {
    let Some(machine) = Machine::start() else { return };
    let _floods: Vec<Crowd> = (0..2).map(|_| Crowd(machine.runs(STRANGER, FLOOD, &[]))).collect();
    for _ in 0..5 {
        assert!(machine.daemon.done("status")["version"].is_string());
    }
}

async fn paused(firm: &Firm) -> Vec<(String, String)> {
    let all = firm.events("directory.*").await;
    let told = all.iter().filter(|e| {
        ["directory.paused", "directory.resumed"].contains(&e["type"].as_str().unwrap())
    });
    told.map(|e| {
        (
            e["type"].as_str().unwrap()["directory.".len()..].to_owned(),
            e["data"]["actor"].as_str().unwrap().to_owned(),
        )
    })
    .collect()
}

fn pairs(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(kind, actor)| ((*kind).to_owned(), (*actor).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_by_itself_is_announced_daily_and_names_its_actor() {
    let firm = Firm::running(3, |_| {}).await;
    let by = alice().0;
    firm.engine.pause("corp", Some(HOUR * 60), &alice()).await.expect("a pause");
    assert_eq!(paused(&firm).await, pairs(&[("paused", &by)]));
    for (hours, told) in [(23, 1), (2, 2), (1, 2), (24, 3), (1, 3)] {
        firm.later(HOUR * hours);
        firm.engine.send_reminders().await.expect("reminders");
        firm.engine.send_reminders().await.expect("reminders");
        assert_eq!(paused(&firm).await.len(), told, "{hours} hours later");
    }
    firm.later(HOUR * 11);
    firm.engine.send_reminders().await.expect("reminders");
    firm.engine.send_reminders().await.expect("reminders");
    let rosterd = Actor::rosterd().0;
    let wanted = pairs(&[
        ("paused", &by),
        ("paused", &rosterd),
        ("paused", &rosterd),
        ("resumed", &rosterd),
    ]);
    assert_eq!(paused(&firm).await, wanted);
    firm.engine.pause("corp", None, &alice()).await.expect("a pause");
    firm.engine.resume("corp", &alice()).await.expect("its end");
    firm.engine.resume("corp", &alice()).await.expect("no pause");
    assert_eq!(paused(&firm).await[4..], pairs(&[("paused", &by), ("resumed", &by)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_never_longer_than_a_week() {
    let firm = Firm::running(3, |_| {}).await;
    let refused =
        firm.engine.pause("corp", Some(DAY * 7 + HOUR), &alice()).await.expect_err("a refusal");
    assert!(
        matches!(refused, EngineError::DirectoryChange(DirectoryChangeError::PauseTooLong { .. }))
            && refused.to_string().contains("at most 7days"),
        "{refused}"
    );
    assert!(paused(&firm).await.is_empty());
    firm.engine.pause("corp", Some(DAY * 7), &alice()).await.expect("a pause");
}

/// 0.1.0 paused for ever by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_without_an_end_of_an_older_store_is_announced_daily() {
    let firm = Firm::running(3, |_| {}).await;
    let name: DirectoryName = firm.engine.directory("corp").expect("corp").config.name.clone();
    firm.engine
        .store
        .change_directory(&name, |state| state.paused_until = Some(Timestamp(i64::MAX)))
        .await
        .expect("a pause");
    for day in 1..4 {
        firm.engine.send_reminders().await.expect("reminders");
        assert_eq!(paused(&firm).await.len(), day);
        firm.later(DAY + HOUR);
    }
    firm.engine.resume("corp", &alice()).await.expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_reports_whether_a_request_left_an_event_of_its_actor() {
    let firm = Firm::of(1, |_| {}).await;
    let (store, clock) = (&firm.engine.store, &firm.clock);
    let record = |actor: Actor| {
        let cause = EventCause { actor, run: None, account: None, at: clock.now() };
        let event = Event::about("hook.tested", "vpn", &cause, Value::Null, Value::Null);
        async move { store.record(&[event], clock).await.expect("an event") }
    };
    assert!(leaves_event(record(alice())).await);
    assert!(!leaves_event(record(Actor::rosterd())).await, "another actor's");
    assert!(!leaves_event(async {}).await);
    record(alice()).await;
}

async fn leaves_event(work: impl Future<Output = ()>) -> bool {
    rosterd::store::watch_events(&alice(), None, work).await.1
}

#[test]
fn the_package_has_a_group_of_operators_that_is_not_the_daemons() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sysusers = std::fs::read_to_string(root.join("systemd/rosterd.sysusers")).unwrap();
    assert!(sysusers.lines().any(|line| line == "g rosterd-operators -"), "{sysusers}");
    let unit = std::fs::read_to_string(root.join("systemd/rosterd.service")).unwrap();
    assert!(!unit.contains("SupplementaryGroups"), "the daemon is in no group of a role");
}
