//! A pair of PostgreSQL servers whose standby takes over, and a database that is restored.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rosterd::clock::Clock;
use rosterd::model::{Event, EventCause};
use rosterd::store::{Loss, REWOUND, Store, StoreError};
use serde_json::{Value, json};
use sqlx::any::AnyPoolOptions;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::acme::alice;
use crate::database::{Place, state};
use crate::postgres::{administer, database, parts};
use crate::process::{Daemon, until};

/// Two servers, stopped when dropped.
pub(crate) struct Pair {
    folder: TempDir,
    primary: String,
    standby: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.lab("stop", &[]);
    }
}

impl Pair {
    /// Returns `None` without the lab.
    pub(crate) fn start(mode: &str) -> Option<Self> {
        std::env::var_os("ROSTERD_TEST_POSTGRES")?;
        // The user of the server has to enter it.
        let open = std::fs::Permissions::from_mode(0o711);
        let folder = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        let mut pair = Self { folder, primary: String::new(), standby: String::new() };
        let told = String::from_utf8(pair.lab("pair", &[mode]).stdout).unwrap();
        let port = |name| told.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        (pair.primary, pair.standby) = (port("PRIMARY="), port("STANDBY="));
        Some(pair)
    }

    pub(crate) fn lab(&self, verb: &str, more: &[&str]) -> Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/postgres");
        let folder = self.folder.path().join("servers");
        let done = Command::new(script).arg(verb).arg(folder).args(more).output().unwrap();
        assert!(done.status.success(), "{verb}: {done:?}");
        done
    }

    fn url(port: &str) -> String {
        format!("postgres://rosterd@127.0.0.1:{port}/postgres")
    }

    /// Returns the URL of a store on both servers.
    pub(crate) fn url_of_both(&self) -> String {
        format!("postgres://rosterd@127.0.0.1:{},127.0.0.1:{}/postgres", self.primary, self.standby)
    }

    /// Waits until the standby has everything.
    pub(crate) fn await_standby(&self, runtime: &Runtime) {
        let last = |port: &str| runtime.block_on(last_event(&Self::url(port)));
        until("the standby has everything", || {
            (last(&self.primary) == last(&self.standby)).then_some(())
        });
    }
}

async fn last_event(url: &str) -> i64 {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    let last = sqlx::query_scalar("SELECT MAX(seq) FROM events").fetch_one(&pool).await.unwrap();
    pool.close().await;
    last
}

fn started(place: &Place) -> Daemon {
    let daemon = Daemon::start_without_store(place.folder.path());
    until("the daemon works", || state(&daemon));
    daemon
}

/// Returns the DNs of active users.
fn active(daemon: &Daemon) -> Vec<String> {
    let users = daemon.done("user list --status active");
    let dn = |user: &Value| user["directory"]["dn"].as_str().unwrap().to_owned();
    users["users"].as_array().unwrap().iter().map(dn).collect()
}

fn events(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let listed = daemon.done(&format!("event list --type {kind}"));
    listed["events"].as_array().unwrap().clone()
}

#[test]
fn leavers_around_a_failover_to_a_synchronous_standby_are_suspended_once() {
    let Some(pair) = Pair::start("synchronous") else { return };
    let place = Place::at("postgres://rosterd@host/postgres".to_owned());
    // The first host takes no writes before the failover.
    place.configure(format!("127.0.0.1:{},127.0.0.1:{}", pair.standby, pair.primary));
    let daemon = started(&place);
    daemon.import();
    assert_eq!(daemon.done("status")["store"]["attention"], serde_json::json!([]));
    let users = active(&daemon);
    let leavers = &users[..6];
    for (n, leaver) in leavers.iter().enumerate() {
        place.sim.edit(|ad| ad.disable(leaver.as_str()));
        let asking = daemon.client("sync corp").stdout(Stdio::null()).spawn();
        if n == 3 {
            pair.lab("promote", &[]);
        }
        asking.unwrap().wait().unwrap();
    }
    until("all leavers are suspended", || {
        daemon.ctl("sync corp");
        let (code, users) = daemon.ctl("user list --status suspended");
        (code == 0 && users["users"].as_array()?.len() == leavers.len()).then_some(())
    });
    until("the directory is well", || state(&daemon).filter(|state| state == "ok"));
    let told = events(&daemon, "user.suspended");
    assert_eq!(told.len(), leavers.len(), "{told:#?}");
    assert_eq!(events(&daemon, "store.rewound"), Vec::<Value>::new());
    daemon.done("event verify");
    until("no run is under way in the store", || {
        let runs = daemon.done("run list");
        let is_over = |run: &Value| run["state"] != "running";
        runs["runs"].as_array().unwrap().iter().all(is_over).then_some(())
    });
}

#[test]
fn commits_that_a_failover_lost_are_told_and_brakes_are_put_on_again() {
    let Some(pair) = Pair::start("asynchronous") else { return };
    let place = Place::at("postgres://rosterd@host/postgres".to_owned());
    place.configure(format!("127.0.0.1:{},127.0.0.1:{}", pair.primary, pair.standby));
    let mut daemon = started(&place);
    daemon.import();
    let warned = daemon.done("status")["store"]["attention"][0].as_str().unwrap().to_owned();
    assert!(warned.contains("no synchronous standby"), "{warned}");
    let users = daemon.done("user list --status active")["users"].clone();
    let field = |n: usize, path: &str| users[n].pointer(path).unwrap().as_str().unwrap().to_owned();
    pair.await_standby(&place.runtime);

    // The standby lags behind. An operator suspends one person, and another one leaves.
    pair.lab("cut", &[]);
    daemon.done(&format!("user suspend {} --reason theft", field(0, "/id")));
    place.sim.edit(|ad| ad.disable(field(1, "/directory/dn").as_str()));
    daemon.done("sync corp");
    // A brake that was taken off again is none.
    daemon.done(&format!("user suspend {}", field(3, "/id")));
    daemon.done(&format!("user activate {}", field(3, "/id")));
    let suspended = |daemon: &Daemon| {
        let (code, users) = daemon.ctl("user list --status suspended");
        let ids = users["users"].as_array().into_iter().flatten().map(|user| user["id"].clone());
        if code == 0 { ids.collect::<Vec<_>>() } else { Vec::new() }
    };
    assert_eq!(suspended(&daemon).len(), 2);
    let lost_to = daemon.done("event list --limit 1")["events"][0]["seq"].as_u64().unwrap();
    let kept_to = place.runtime.block_on(last_event(&Pair::url(&pair.standby)));
    assert!((kept_to as u64) < lost_to);

    place.sim.edit(|ad| ad.set(field(2, "/directory/dn").as_str(), "mail", "new@example.com"));
    pair.lab("promote", &[]);
    // Its memory is about another store: it tells, ends, and systemd starts it anew.
    assert!(!daemon.wait().success(), "{}", daemon.log());
    let daemon = started(&place);
    until("both are suspended again", || (suspended(&daemon).len() == 2).then_some(()));
    let told = events(&daemon, "store.rewound");
    let after = &told[0]["data"]["after"];
    assert_eq!(
        (told.len(), &after["from"], &after["to"]),
        (1, &json!(kept_to + 1), &json!(lost_to)),
        "{told:#?}"
    );
    assert_eq!(after["brakes"][0]["subject"], field(0, "/id"), "{told:#?}");
    assert_eq!(told[0]["seq"], lost_to + 1);
    let again = json!(events(&daemon, "user.suspended")).to_string();
    assert!(again.contains("theft (put on again: the database had lost it)"), "{again}");
    let verified = daemon.done("event verify");
    assert!(
        verified["proves"].as_str().unwrap().contains("entries that the database lost"),
        "{verified:#}"
    );

    // The change of a person who is no leaver waits for approval.
    assert_eq!(daemon.done("held list")["held"].as_array().unwrap().len(), 1);
    let attention = |daemon: &Daemon| daemon.done("status")["store"]["attention"].to_string();
    assert!(attention(&daemon).contains("the database has lost commits"), "{}", attention(&daemon));
    daemon.done("event accept-loss");
    assert!(!attention(&daemon).contains("lost commits"), "{}", attention(&daemon));
    assert_ne!(daemon.ctl("event accept-loss").0, 0);
}

#[tokio::test]
async fn a_gap_in_the_log_is_intact_only_if_the_next_entry_tells_of_it() {
    let Some(url) = database().await else { return };
    let (store, clock) = (Store::open(&url).await.unwrap(), Clock::system());
    let cause = EventCause { actor: alice(), run: None, account: None, at: clock.now() };
    let event = || Event::about("run.failed", "corp", &cause, Value::Null, Value::Null);
    store.record(&[event(), event(), event(), event(), event()], &clock).await.unwrap();
    store.trust_log().await.unwrap();
    let noted = store.log_head().await.unwrap();
    administer(&url, "DELETE FROM events WHERE seq > 3").await;
    let refused = store.record(&[event()], &clock).await;
    assert!(matches!(refused, Err(StoreError::Rewound)), "{refused:?}");
    let mut loss = store.lost_commits().await.unwrap().expect("a loss");
    let about = |loss: &Loss| {
        let after = json!({ "from": loss.first, "to": loss.last.seq });
        Event::about(REWOUND, "store", &cause, Value::Null, after)
    };
    assert!(store.tell_loss(&mut loss, about, &clock).await.unwrap());
    assert!(!store.tell_loss(&mut loss, about, &clock).await.unwrap(), "it is told once");
    store.trust_log().await.unwrap();
    store.record(&[event()], &clock).await.unwrap();
    let verified = store.verify_log(None).await.unwrap().unwrap();
    assert_eq!((verified.head.seq, verified.lost), (7, 2));
    let lost = store.verify_log(Some(noted)).await.unwrap().unwrap_err();
    assert!(lost.finding.contains("among the entries that the database has lost"), "{lost:?}");
    for (forged, seq) in [
        ("UPDATE events SET document = REPLACE(document, '\"to\":5', '\"to\":6') WHERE seq = 6", 4),
        ("DELETE FROM events WHERE seq = 2", 2),
    ] {
        administer(&url, forged).await;
        assert_eq!(store.verify_log(None).await.unwrap().map_err(|b| b.seq).unwrap_err(), seq);
    }
}

fn stopped(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
}

/// Replaces a text in the configuration.
fn rewrite(place: &Place, from: &str, to: &str) {
    let file = place.folder.path().join("rosterd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_dump_restored_elsewhere_lets_runs_only_plan_and_a_lost_pause_is_on_again() {
    let Some(url) = Place::database() else { return };
    let place = Place::at(url.clone());
    let (_, server, name) = parts(&url);
    place.configure(server);
    let mut daemon = started(&place);
    daemon.import();
    stopped(&mut daemon);
    let elsewhere = url.replace(name, "postgres");
    let sql = |sql: &str| place.runtime.block_on(administer(&elsewhere, sql));
    sql(&format!("CREATE DATABASE {name}_dump TEMPLATE {name}"));
    let mut daemon = started(&place);
    daemon.done("directory pause corp --for 3h");
    let until_when = daemon.done("status")["directories"][0]["paused_until"].clone();
    let mover = active(&daemon)[0].clone();
    stopped(&mut daemon);
    place.sim.edit(|ad| ad.set(mover.as_str(), "mail", "new@example.com"));

    // Another name of the database, and a further host, lead to the same store.
    let (host, port) = server.split_once(':').unwrap();
    let hosts = format!("localhost:{port},{host}:{port}/{name}_dump\"");
    rewrite(&place, &format!("{server}/{name}\""), &hosts);
    let daemon = started(&place);
    until("the pause is on again", || {
        let status = daemon.done("status");
        (status["directories"][0]["paused_until"] == until_when).then_some(())
    });
    assert_eq!(events(&daemon, "store.rewound").len(), 1);
    daemon.done("event verify");
    daemon.done("directory resume corp");
    until("the change waits for approval", || {
        (daemon.done("held list")["held"].as_array()?.len() == 1).then_some(())
    });
}

#[test]
fn another_store_has_lost_nothing_and_the_notes_about_the_former_one_are_told() {
    let Some(url) = Place::database() else { return };
    let place = Place::at(url.clone());
    place.configure(parts(&url).1);
    let mut daemon = started(&place);
    daemon.import();
    stopped(&mut daemon);

    let other = Place::database().unwrap();
    rewrite(&place, parts(&url).2, parts(&other).2);
    let mut daemon = started(&place);
    daemon.create_acme();
    let attention = |daemon: &Daemon| daemon.done("status")["store"]["attention"].to_string();
    let told = attention(&daemon);
    assert!(told.contains("has worked with another store than"), "{told}");
    assert_eq!(events(&daemon, "store.rewound"), Vec::<Value>::new());
    // The remedy works as it is printed.
    let remedy = told.split_once("rm ").unwrap().1.split('"').next().unwrap();
    let note = std::fs::read(remedy).unwrap();
    let done = Command::new("sh").args(["-c", &format!("rm {remedy}")]).status().unwrap();
    assert!(done.success() && !attention(&daemon).contains("another store"));
    stopped(&mut daemon);

    // The notes about a store hold whenever it comes back.
    std::fs::write(remedy, note).unwrap();
    rewrite(&place, parts(&other).2, parts(&url).2);
    place
        .runtime
        .block_on(administer(&url, "DELETE FROM events WHERE seq = (SELECT MAX(seq) FROM events)"));
    let daemon = started(&place);
    assert_eq!(events(&daemon, "store.rewound").len(), 1);
}

#[tokio::test]
async fn a_process_whose_database_gets_another_store_ends_and_tells_no_loss() {
    let Some(url) = database().await else { return };
    let (store, clock) = (Store::open(&url).await.unwrap(), Clock::system());
    let cause = EventCause { actor: alice(), run: None, account: None, at: clock.now() };
    let event = || Event::about("run.failed", "corp", &cause, Value::Null, Value::Null);
    store.record(&[event(), event()], &clock).await.unwrap();
    store.trust_log().await.unwrap();
    let other =
        "UPDATE identity SET id = uuid_send(gen_random_uuid()); DELETE FROM events WHERE seq = 2";
    administer(&url, other).await;
    let watched = store.watch_server().await.unwrap_err();
    assert!(matches!(watched, StoreError::Exchanged) && watched.is_final(), "{watched}");
    let lost = store.lost_commits().await;
    assert!(matches!(lost, Err(StoreError::Exchanged)), "{lost:?}");
}

#[test]
fn a_daemon_killed_in_a_silent_transaction_leaves_no_lock_to_the_next() {
    let Some(url) = Place::database() else { return };
    let place = Place::at(url.clone());
    let relay = place.runtime.block_on(crate::relay::Relay::to(parts(&url).1));
    place.configure(relay.address);
    let mut daemon = started(&place);
    daemon.create_acme();
    // A transaction that has its locks takes long.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.handle = 'slow' THEN PERFORM pg_sleep(2); END IF; RETURN NEW; END $$; CREATE TRIGGER slow AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION slow()";
    place.runtime.block_on(administer(&url, slow));
    let mut asking =
        daemon.client("account create slow --name Slow").stdout(Stdio::null()).spawn().unwrap();
    let is_slow = "DO $$ BEGIN WHILE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep') LOOP PERFORM pg_stat_clear_snapshot(); END LOOP; END $$";
    place.runtime.block_on(administer(&url, is_slow));
    relay.silence();
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    asking.wait().unwrap();

    let begun = std::time::Instant::now();
    let daemon = started(&place);
    daemon.done("account create next --name Next");
    // The lease of the killed one runs out, and its locks are gone before.
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    let accounts = daemon.done("account list").to_string();
    assert!(accounts.contains("next") && !accounts.contains("slow"), "{accounts}");
}
