//! Kill, restart and reload of a daemon during deliveries, and followers of its log meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::script;
use crate::process::{Daemon, until};
use crate::service::Site;

/// Starts a site whose daemon has these hooks.
fn hooked(site: &Site, hooks: &str) {
    site.configure(hooks, "");
    site.done("reload");
}

fn lines(site: &Site, file: &str) -> Vec<String> {
    std::fs::read_to_string(site.folder.path().join(file))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn pending(site: &Site) -> u64 {
    site.done("status")["hooks"]["pending"].as_u64().unwrap()
}

#[test]
fn sigkill_at_any_moment_loses_no_event_and_repeats_only_running_attempts() {
    let mut site = Site::empty(150);
    // A line is written at the end of a delivery, in one write.
    let tells = script(
        site.folder.path(),
        "tells",
        "subject=$(sed 's/.*\"subject\":\"\\([^\"]*\\)\".*/\\1/'); sleep 0.02; echo \"$ROSTERD_EVENT_SEQ $ROSTERD_EVENT_ID $subject\" >> \"$0.told\"",
    );
    hooked(
        &site,
        &format!(
            "[[hook]]\nname = \"tells\"\nevents = [\"*\"]\nexec = [\"{}\"]\nconcurrency = 2\n",
            tells.display()
        ),
    );
    site.daemon.import();
    let kills = 6;
    for kill in 0..kills {
        let before = lines(&site, "tells.told").len();
        until("some are told", || {
            (lines(&site, "tells.told").len() > before + 3 + kill).then_some(())
        });
        site.daemon.signal(Signal::SIGKILL);
        site.daemon.wait();
        site.daemon = Daemon::start(site.folder.path());
    }
    until("all are told", || (pending(&site) == 0).then_some(()));
    let told: Vec<(u64, String, String)> = lines(&site, "tells.told")
        .iter()
        .map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            (words.next().unwrap().parse().unwrap(), words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    let events =
        site.done("event list --after 0 --limit 1000")["events"].as_array().unwrap().clone();
    let begun = told.iter().map(|(seq, ..)| *seq).min().unwrap();
    for event in events.iter().filter(|event| event["seq"].as_u64().unwrap() >= begun) {
        let times = told
            .iter()
            .filter(|(seq, id, _)| event["seq"] == *seq && event["id"] == id.as_str())
            .count();
        assert!(times >= 1, "event {} was lost", event["seq"]);
    }
    let wanted = events.len() - usize::try_from(begun).unwrap() + 1;
    assert!(
        told.len() - wanted <= 2 * kills,
        "{} told of {wanted}: more than was under way was repeated",
        told.len()
    );
    for (_, _, subject) in &told {
        let its: Vec<u64> =
            told.iter().filter(|(_, _, s)| s == subject).map(|(seq, ..)| *seq).collect();
        assert!(its.is_sorted(), "{subject}: {its:?}");
    }
    assert_eq!(site.done("event verify")["intact"], true);
}

/// Configures a hook with a program that does not end, and an event for it.
fn stay(site: &Site) {
    let stays = script(
        site.folder.path(),
        "stays",
        "cat >/dev/null; echo $PPID >> \"$0.runner\"; echo $$ >> \"$0.pid\"; exec sleep 600",
    );
    hooked(
        site,
        &format!(
            "[[hook]]\nname = \"stays\"\nevents = [\"account.*\"]\nexec = [\"{}\"]\ntimeout = \"10m\"\n",
            stays.display()
        ),
    );
    site.done("account create acme --name Acme");
}

/// Returns the n-th running program of [`stay`] and its runner.
fn staying(site: &Site, n: usize) -> (Pid, Pid) {
    let pid = |file| lines(site, file).get(n).map(|pid| Pid::from_raw(pid.parse().unwrap()));
    until("it runs", || Some((pid("stays.pid")?, pid("stays.runner")?)))
}

fn runs(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_that_outlived_daemon_and_runner_is_killed_by_the_next_daemon() {
    let mut site = Site::empty(3);
    stay(&site);
    let (first, runner) = staying(&site, 0);
    // The runner first, because it would kill the program at the end of the daemon.
    kill(runner, Signal::SIGKILL).unwrap();
    site.daemon.signal(Signal::SIGKILL);
    site.daemon.wait();
    assert!(runs(first), "SIGKILL leaves it behind");
    site.daemon = Daemon::start(site.folder.path());
    // The signal was sent before the daemon answered; the kernel takes its time, and so does the log.
    until("the next daemon ends it", || (!runs(first)).then_some(()));
    let is_told = || site.daemon.log().contains("that an earlier rosterd left running");
    until("the next daemon says so", || is_told().then_some(()));
    let (second, _) = staying(&site, 1);
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    until("a stop leaves nothing behind", || (!runs(second)).then_some(()));
}

#[test]
fn a_runner_that_is_slow_kills_its_programs_after_the_stop_of_the_daemon() {
    let mut site = Site::empty(3);
    stay(&site);
    let (program, runner) = staying(&site, 0);
    kill(runner, Signal::SIGSTOP).unwrap();
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    kill(runner, Signal::SIGCONT).unwrap();
    until("a stop leaves nothing behind", || (!runs(program) && !runs(runner)).then_some(()));
}

#[test]
fn a_follower_of_the_log_misses_no_event_over_a_restart() {
    let mut site = Site::empty(3);
    site.done("account create zero --name Zero");
    let mut following = site
        .daemon
        .client("event tail --after 0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<Value>();
    let out = BufReader::new(following.stdout.take().unwrap());
    std::thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .all(|line| sender.send(serde_json::from_str(&line).unwrap()).is_ok())
    });
    let mut seen: Vec<u64> = Vec::new();
    let mut account = |site: &Site, handle: &str| {
        site.done(&format!("account create {handle} --name {handle}"));
        loop {
            let event =
                receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("the next event");
            seen.push(event["seq"].as_u64().unwrap());
            if event["data"]["after"]["handle"] == *handle {
                break;
            }
        }
    };
    account(&site, "one");
    account(&site, "two");
    for handle in ["three", "four"] {
        site.daemon.signal(if handle == "three" { Signal::SIGTERM } else { Signal::SIGKILL });
        site.daemon.wait();
        site.daemon = Daemon::start(site.folder.path());
        account(&site, handle);
    }
    following.kill().unwrap();
    following.wait().unwrap();
    let expected: Vec<u64> = (1..=*seen.last().unwrap()).collect();
    assert_eq!(seen, expected, "every event once, in order");
}

#[test]
fn no_secret_is_in_the_output_the_log_or_the_process_of_the_daemon() {
    const MARKER: &str = "TWFya2VyU2VjcmV0T2ZUaGVIb29rMTIz";
    const PATH: &str = "marker-path-of-a-chat-room";
    let site = Site::empty(5);
    let secret = site.folder.path().join("siem.secret");
    crate::folder::write(&secret, &format!("whsec_{MARKER}\n"), 0o600);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spills = script(
        site.folder.path(),
        "spills",
        "env; cat; tr '\\0' '\\n' < /proc/$PPID/cmdline; exit 1",
    );
    hooked(
        &site,
        &format!(
            "[[hook]]\nname = \"siem\"\nevents = [\"*\"]\nurl = \"http://{port}/{PATH}\"\nsecret-file = \"{}\"\n\
             [[hook]]\nname = \"spills\"\nevents = [\"*\"]\nexec = [\"{}\"]\n",
            secret.display(),
            spills.display()
        ),
    );
    site.done("account create acme --name Acme");
    site.daemon.ctl("hook test siem");
    until("both have failed", || {
        let hooks = site.done("hook list");
        hooks["hooks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hook| hook["last_error"].is_string())
            .then_some(())
    });
    until("the output of the program is shown", || {
        let newest = site.done("hook deliveries spills --limit 1").to_string();
        newest.contains("ROSTERD_HOOK=spills").then_some(())
    });
    let shown = [
        "hook list",
        "hook deliveries siem",
        "hook deliveries spills",
        "event list --limit 1000",
        "status",
        "directory list",
    ];
    let mut all: Vec<String> = shown.iter().map(|command| site.done(command).to_string()).collect();
    all.push(site.daemon.log());
    all.push(site.daemon.ask("GET /v1/metrics", ""));
    all.push(std::fs::read_to_string(format!("/proc/{}/environ", site.daemon.pid())).unwrap());
    all.push(std::fs::read_to_string(format!("/proc/{}/cmdline", site.daemon.pid())).unwrap());
    let password = site.sim.service_password();
    for text in &all {
        for secret in [MARKER, PATH, password.as_str()] {
            assert!(!text.contains(secret), "{secret} shows in: {text}");
        }
    }
}

#[test]
fn the_log_is_listed_by_person_account_and_time_and_as_csv() {
    let site = Site::running();
    let user = site.done("user list --status active")["users"][0].clone();
    let (id, email, guid) = (
        user["id"].as_str().unwrap(),
        user["primary_email"].as_str().unwrap(),
        user["directory"]["object_guid"].as_str().unwrap(),
    );
    site.done(&format!("user suspend {id} --reason =cmd"));
    let kinds = |command: &str| -> Vec<String> {
        let events = site.done(command)["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    for who in [id, email, guid] {
        assert_eq!(
            kinds(&format!("event list --person {who}")),
            ["user.created", "user.suspended"],
            "{who}"
        );
    }
    assert_eq!(kinds(&format!("event list --person {id} --type user.suspended")).len(), 1);
    let acme = kinds("event list --account acme --limit 1000");
    assert_eq!(acme.len(), kinds("event list --limit 1000").len(), "there is only one: {acme:?}");
    site.done("account create other --name Other");
    assert_eq!(kinds("event list --account other"), ["account.created"]);
    assert_eq!(kinds("event list --until 2020-01-01"), [""; 0]);
    assert_eq!(kinds("event list --since 1h --type account.created").len(), 2);
    assert_eq!(site.daemon.ctl("event list --account nobody").0, 1);

    let csv = |command: &str| {
        let mut client = std::process::Command::new(env!("CARGO_BIN_EXE_rosterctl"));
        let done = client
            .arg("--socket")
            .arg(site.folder.path().join("control.sock"))
            .args(command.split(' '))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let text = csv(&format!("event list --csv --person {id}"));
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(
        rows.headers().unwrap().iter().take(4).collect::<Vec<_>>(),
        ["seq", "time", "type", "subject"]
    );
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!(
        rows.iter().map(|row| (&row[2], &row[3])).collect::<Vec<_>>(),
        [("user.created", id), ("user.suspended", id)]
    );
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@'])));
}

#[test]
fn an_edited_log_is_reported_with_the_first_broken_event() {
    let mut site = Site::running();
    let verified = site.done("event verify");
    let head = verified["head"].as_str().unwrap().to_owned();
    assert_eq!(
        (&verified["intact"], verified["entries"].as_u64() > Some(40)),
        (&json!(true), true)
    );
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    let url = format!("sqlite://{}", site.folder.path().join("rosterd.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use sqlx::Connection as _;
        sqlx::any::install_default_drivers();
        let mut store = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query("DELETE FROM events WHERE seq > 40").execute(&mut store).await.unwrap();
        store.close().await.unwrap();
    });
    site.daemon = Daemon::start(site.folder.path());
    let (code, checked) = site.daemon.ctl(&format!("event verify --head {head}"));
    assert_eq!((code, &checked["intact"]), (1, &json!(false)), "{checked:#}");
    assert!(checked["broken_at"].as_u64() >= Some(41), "{checked:#}");
    assert_eq!(site.daemon.ctl("event verify --head 5:nonsense").0, 1);
}
