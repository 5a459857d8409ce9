//! Dry runs: each change of an operator can be tried on a copy of the store, and changes nothing.

use std::collections::BTreeMap;

use adsim::names;
use rosterd::model::{Mode, Status, User};
use serde_json::{Value, json};

use crate::firm::{Firm, dn_of, held_plan};
use crate::socket::{Office, rosterctl};

/// Returns all that an operator could change: users, plans, events, directories, accounts, claims.
async fn state(firm: &Firm) -> BTreeMap<&'static str, String> {
    let store = &firm.engine.store;
    let directory = firm.engine.directory("corp").unwrap();
    let name = &directory.config.name;
    BTreeMap::from([
        ("users", format!("{:?}", firm.users().await)),
        ("plans", format!("{:?}", store.plans(true).await.unwrap())),
        ("events", store.event_count().await.unwrap().to_string()),
        ("head", format!("{:?}", store.log_head().await.unwrap())),
        ("directory", format!("{:?}", store.directory(name).await.unwrap())),
        ("accounts", format!("{:?}", store.accounts().await.unwrap())),
        ("claims", format!("{:?}", store.claims(None).await.unwrap())),
        ("scheduled", format!("{:?}", store.scheduled_suspensions().await.unwrap())),
    ])
}

fn folders(firm: &Firm) -> Vec<String> {
    let entries = std::fs::read_dir(firm.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("scratch")).collect()
}

/// Returns an office with a held suspension of the returned user.
async fn office() -> (Office, User) {
    let office = Office::open().await;
    let firm = &office.firm;
    let active = |user: &User| user.link.is_some() && user.status() == Status::Active;
    let user = firm.users().await.into_iter().find(active).unwrap();
    firm.reconfigure(|config| config.mode = Mode::PlanOnly);
    firm.sim.edit(|ad| {
        for group in [names::PRO, names::PRO_NESTED, names::BASIC] {
            ad.remove_member(group, dn_of(&user).as_str());
        }
    });
    firm.sync().await;
    (office, user)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_each_change_shows_its_effect_and_changes_nothing() {
    let (office, user) = office().await;
    let firm = &office.firm;
    let plan = held_plan(firm).await.id;
    let who = user.id;
    let leavers = firm.folder.path().join("leavers.txt");
    let others: Vec<User> = firm
        .users()
        .await
        .into_iter()
        .filter(|other| other.id != who && other.status() == Status::Active)
        .take(3)
        .collect();
    let lines: Vec<String> = others.iter().map(|user| user.id.to_string()).collect();
    std::fs::write(&leavers, lines.join("\n")).unwrap();
    let leavers = leavers.display();
    let before = state(firm).await;
    for (command, shows) in [
        (format!("held approve {plan} --dry-run"), "suspend"),
        (format!("--dry-run held reject {plan}"), "Rejected"),
        (format!("user suspend --file {leavers} --reason x --dry-run"), "is suspended"),
        (format!("user suspend {who} --at 2099-01-01 --dry-run"), "will be suspended"),
        (format!("user note {who} leave --dry-run"), "has the note \"leave\""),
        ("user invite acme guest@elsewhere.test --dry-run".to_owned(), "guest@elsewhere.test"),
        ("domain release example.com --dry-run".to_owned(), "would be released"),
        ("account create lab --name Lab --dry-run".to_owned(), "lab"),
        ("directory pause corp --for 2h --dry-run".to_owned(), "paused"),
        ("sync corp --dry-run".to_owned(), "suspend"),
    ] {
        let (_, out, err) = rosterctl(&office, &command).await;
        assert!(out.starts_with("Dry run: nothing is changed"), "{command}:\n{out}{err}");
        assert!(out.contains(shows), "rosterctl {command}:\n{out}{err}");
        assert_eq!(state(firm).await, before, "rosterctl {command} changed something");
    }
    assert_eq!(folders(firm), Vec::<String>::new(), "the copies are removed");
    // The same commands have an effect without the option.
    let (_, out, _) = rosterctl(&office, &format!("held approve {plan}")).await;
    assert!(!out.contains("Dry run"), "{out}");
    assert_ne!(state(firm).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_refused_where_the_change_would_be() {
    let (office, user) = office().await;
    let before = state(&office.firm).await;
    for (command, why) in [
        ("user suspend nobody@example.com --dry-run".to_owned(), "no user has the address"),
        (format!("user activate {} --dry-run", user.id), "not suspended"),
        (format!("user tier {} basic --dry-run", user.id), "decide the tier"),
    ] {
        let (exit, _, err) = rosterctl(&office, &command).await;
        assert_eq!(exit, rosterd::ctl::Exit::Failed, "{command}");
        assert!(err.contains(why), "rosterctl {command}: {err}");
    }
    // A command that acts outside of the store is refused, and never done.
    for command in ["hook test vpn --dry-run", "reload --dry-run", "target sync app --dry-run"] {
        let (exit, _, err) = rosterctl(&office, command).await;
        assert_eq!(exit, rosterd::ctl::Exit::Failed, "{command}");
        assert!(err.contains("has no dry run"), "rosterctl {command}: {err}");
    }
    assert_eq!(state(&office.firm).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_dry_run_has_the_form_of_the_change() {
    let (mut office, user) = office().await;
    let path = format!("/v1/users/{}/suspend", user.id);
    let rehearsed =
        office.post(&format!("{path}?dry_run=true"), Some(json!({ "reason": "x" }))).await;
    let done = office.post(&path, Some(json!({ "reason": "x" }))).await;
    let without_times = |mut user: Value| {
        user["updated_at"] = Value::Null;
        let causes = user["suspension"]["causes"].as_array().unwrap().len();
        user["suspension"] = json!(causes);
        user
    };
    assert_eq!(without_times(rehearsed), without_times(done));
}
