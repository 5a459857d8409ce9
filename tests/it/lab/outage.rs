//! Outages: of the controller, its answers, and the daemon itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::branch::PROVISIONED;
use super::office::Office;
use crate::process::until;

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_crashed_controller_is_an_outage_that_ends_by_itself() {
    // Runs every second.
    let office = Office::of_acme("schedule = \"* * * * * *\"");
    until("all people are imported", || (office.users().len() == PROVISIONED).then_some(()));
    office.lab.samba("crash", &[]);
    // A run in progress is cut; the next ones find no server.
    let is_told = |status: &Value| {
        status["state"] == "degraded" && status["attention"].to_string().contains("cannot connect")
    };
    let status = until("the outage is reported", || Some(office.status()).filter(is_told));
    assert_eq!(status["users"], json!({"active": PROVISIONED, "suspended": 0}), "{status:#}");
    assert_eq!(office.events("directory.unreachable").len(), 1, "one event, not one every second");
    office.lab.samba("restart", &[]);
    let status =
        until("the recovery is reported", || Some(office.status()).filter(|s| s["state"] == "ok"));
    assert_eq!(status["users"], json!({"active": PROVISIONED, "suspended": 0}));
    assert_eq!(office.events("directory.recovered").len(), 1);
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_frozen_controller_fails_the_run_in_time_and_stalls_nothing_else() {
    let office = Office::of_acme("");
    office.sync();
    assert_eq!(office.users().len(), PROVISIONED);
    office.lab.samba("freeze", &[]);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| office.ctl("sync corp"));
        let mut asked = 0;
        while !run.is_finished() {
            let before = Instant::now();
            assert_eq!(office.users().len(), PROVISIONED);
            assert!(
                before.elapsed() < Duration::from_secs(1),
                "the socket answers while a run waits"
            );
            asked += 1;
        }
        let (code, run) = run.join().expect("a run");
        assert_eq!((code, &run["state"]), (1, &json!("failed")), "{run:#}");
        assert!(run["error"].as_str().is_some_and(|e| e.contains("within 2s")), "{run:#}");
        assert!(asked > 3, "{asked} questions in {:?}", begun.elapsed());
    });
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    office.lab.samba("thaw", &[]);
    assert_eq!(office.done("sync corp")["state"], "succeeded");
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    let office = Office::open("");
    let (status, told) = office.second_daemon();
    assert!(!status.success() && told.contains("another rosterd"), "{status}: {told}");
    office.status();
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_stop_during_a_run_takes_seconds_and_exits_cleanly() {
    let mut office = Office::of_acme("");
    office.lab.samba("freeze", &[]);
    office.ctl("sync corp --no-wait");
    until("the run waits for the controller", || {
        office.done("run list corp")["runs"]
            .as_array()
            .is_some_and(|r| r.iter().any(|r| r["state"] == "running"))
            .then_some(())
    });
    let begun = Instant::now();
    assert!(office.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    office.lab.samba("thaw", &[]);
    office.start();
    assert_eq!(
        office.done("run list corp")["runs"].as_array().map(|r| r
            .iter()
            .filter(|r| r["state"] == "running")
            .count()
            <= 1),
        Some(true)
    );
    office.sync();
    assert_eq!(office.users().len(), PROVISIONED);
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_daemon_killed_during_a_first_import_loses_and_repeats_nothing() {
    let mut office =
        Office::open("[directory.safety]\ncreate = { percent = 1, at-least = 1, at-most = 10 }");
    office.kill();
    // Milliseconds, from before the request arrives until after the approved plan was applied.
    for after in [0, 10, 20, 30, 45, 60, 80, 120, 200] {
        office.delete_store();
        office.start();
        office.create_acme();
        assert_eq!(office.ctl("sync corp").0, 3, "an import beyond the limit waits");
        let id = office.done("held list")["held"][0]["id"].as_str().expect("an id").to_owned();
        let mut approval = office.begin(&format!("held approve {id}"));
        std::thread::sleep(Duration::from_millis(after));
        office.kill();
        approval.wait().expect("rosterctl");
        office.start();
        until("all people are imported", || {
            office.ctl("sync corp");
            if let Some(id) = office.done("held list")["held"][0]["id"].as_str() {
                office.ctl(&format!("held approve {id}"));
            }
            (office.users().len() >= PROVISIONED).then_some(())
        });
        check(&office, &format!("killed after {after} ms"));
        office.kill();
        office.verify_events();
    }
}

fn check(office: &Office, when: &str) {
    let users = office.users();
    assert_eq!(users.len(), PROVISIONED, "{when}");
    let mut people: Vec<&Value> = users.iter().map(|u| &u["directory"]["object_guid"]).collect();
    people.sort_by_key(ToString::to_string);
    people.dedup();
    assert_eq!(people.len(), PROVISIONED, "{when}: one user each");
    assert_eq!(office.events("user.created").len(), PROVISIONED, "{when}: one event each");
    let changes = office.sync();
    assert!(changes.as_object().is_some_and(|c| c.values().all(|n| *n == 0)), "{when}: {changes}");
}
