//! Reports of a daemon: an auditor's question, exports of any length, and the last sign-in.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adsim::names;
use rosterd::engine::Selection;
use rosterd::model::{Actor, Event, EventCause, Mode};
use serde_json::{Value, json};

use crate::ctl::Output;
use crate::firm::{Firm, alice, dn_of, held_plan};
use crate::socket::{Office, rosterctl, rosterctl_to};

/// Returns the records of a CSV text by the names of its columns.
fn records(csv: &str) -> Vec<Value> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let record = |record: csv::StringRecord| {
        names.iter().cloned().zip(record.iter().map(|cell| json!(cell))).collect()
    };
    reader.records().map(|one| record(one.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leavers_of_a_quarter_are_exported_with_cause_and_approver() {
    let office = Office::open().await;
    let firm = &office.firm;
    let active: Vec<_> =
        firm.users().await.into_iter().filter(|user| user.link.is_some()).take(3).collect();
    let [disabled, held, suspended] = [&active[0], &active[1], &active[2]];
    let id = suspended.id.to_string();
    firm.reconfigure(|config| {
        (config.mode, config.limits.grace_period) = (Mode::Apply, Duration::ZERO)
    });
    firm.sync().await;
    firm.sim.edit(|ad| ad.disable(dn_of(disabled).as_str()));
    firm.sync().await;
    firm.reconfigure(|config| config.mode = Mode::PlanOnly);
    firm.sim.edit(|ad| {
        for group in [names::PRO, names::PRO_NESTED, names::BASIC] {
            ad.remove_member(group, dn_of(held).as_str());
        }
    });
    firm.sync().await;
    let plan = held_plan(firm).await;
    let all = Selection::default();
    firm.engine.approve_part(plan.id, &all, "HR-117", alice().into()).await.unwrap();
    firm.engine.suspend(&id, "lost laptop", &Actor("bob".to_owned())).await.unwrap();

    let (_, csv, err) = rosterctl(&office, "report leavers --since 90d --csv").await;
    assert_eq!(err, "");
    let left: Vec<[String; 5]> = records(&csv)
        .iter()
        .map(|row| {
            ["primary_email", "cause", "approved_by", "comment", "department"]
                .map(|name| row[name].as_str().unwrap().to_owned())
        })
        .collect();
    let address =
        |user: &rosterd::model::User| user.addresses.primary.as_ref().unwrap().to_string();
    let department =
        |user: &rosterd::model::User| user.profile.department.clone().unwrap_or_default();
    assert_eq!(
        left,
        [
            [&address(disabled), "disabled", "automatic", "", &department(disabled)]
                .map(str::to_owned),
            [&address(held), "no-group", "alice", "HR-117", &department(held)].map(str::to_owned),
            [&address(suspended), "operator", "bob", "lost laptop", &department(suspended)]
                .map(str::to_owned),
        ]
    );
    // The approval is part of the hash-chained log, so it cannot be written later.
    let events = firm.events("user.suspended").await;
    let approval = &events[1]["data"]["approval"];
    assert_eq!(
        (&approval["plan"], &approval["by"], &approval["comment"]),
        (&json!(plan.id), &json!("alice"), &json!("HR-117"))
    );
    assert_eq!(events[0]["data"].get("approval"), None);

    firm.engine.activate(&id, &alice()).await.unwrap();
    let (_, json, _) = rosterctl(&office, "report leavers --json").await;
    let report: Value = serde_json::from_str(&json).unwrap();
    let returned: Vec<bool> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["returned_at"].is_string())
        .collect();
    assert_eq!((report["report"].as_str(), returned), (Some("leavers"), vec![false, false, true]));
}

/// An output that notes the longest piece written to it.
#[derive(Clone, Default)]
struct Pieces(Output, Arc<Mutex<usize>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut longest = self.1.lock().unwrap();
        *longest = bytes.len().max(*longest);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_any_length_is_complete_and_written_page_by_page() {
    let office = Office::open().await;
    let before = office.firm.events("user.created").await.len();
    let cause = EventCause {
        actor: Actor::rosterd(),
        run: None,
        account: None,
        at: office.firm.clock.now(),
    };
    let created =
        |n: usize| Event::about("user.created", format!("{n}"), &cause, Value::Null, Value::Null);
    let events: Vec<Event> = (0..4_500).map(created).collect();
    office.firm.engine.store.record(&events, &office.firm.clock).await.unwrap();
    let all = before + 4_500;
    for (command, count) in [
        (
            "report joiners --csv",
            &(|text: &str| text.lines().count() - 1) as &dyn Fn(&str) -> usize,
        ),
        ("report joiners --json", &|text| {
            serde_json::from_str::<Value>(text).unwrap()["rows"].as_array().unwrap().len()
        }),
    ] {
        let pieces = Pieces::default();
        rosterctl_to(&office, command, pieces.clone()).await;
        let (text, longest) = (pieces.0.text(), *pieces.1.lock().unwrap());
        assert_eq!(count(&text), all, "{command}");
        assert!(
            longest < text.len() / 3,
            "{command} wrote {longest} of {} bytes at once",
            text.len()
        );
    }
    let (_, text, _) = rosterctl(&office, "report joiners --limit 10").await;
    let more = format!(
        "… {},{:03} more: --limit, --csv or --html FILE",
        (all - 10) / 1_000,
        (all - 10) % 1_000
    );
    assert!(text.contains(&more), "{}", &text[text.len() - 200..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_review_has_each_person_below_its_manager_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let office = Office::open().await;
    let file = office.firm.folder.path().join("review.html");
    let command = format!("report access-review --by department --html {}", file.display());
    let (_, out, _) = rosterctl(&office, &command).await;
    let page = std::fs::read_to_string(&file).unwrap();
    let people = office.firm.active().await;
    assert_eq!(out, format!("{}: {people} people with access\n", file.display()));
    assert_eq!(page.matches("☐ keep ☐ remove").count(), people);
    assert!(page.matches("<h2>").count() > 2, "a heading for each department");
    let (_, table, _) = rosterctl(&office, "report access-review --limit 5").await;
    let names: Vec<String> = table
        .lines()
        .filter(|line| line.contains('@') && !line.starts_with(' '))
        .map(str::to_lowercase)
        .collect();
    assert!(names.len() == 5 && names.is_sorted(), "{table}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let unfinished = office.firm.folder.path().join("review.html.part");
    assert!(!unfinished.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_sign_in_of_a_user_is_kept_to_the_hour() {
    let firm = Firm::running(3, |_| {}).await;
    let user = firm.users().await.into_iter().find(|user| user.link.is_some()).unwrap();
    let address = user.addresses.primary.clone().unwrap().to_string();
    let password = firm.sim.default_password();
    let last = || async {
        let last = firm.engine.store.last_sign_ins_of([user.id]).await.unwrap();
        last.get(&user.id).copied()
    };
    assert_eq!(last().await, None);
    firm.sign_in(&address, Some("wrong")).await;
    assert_eq!(last().await, None, "a refused sign-in counts for nothing");
    firm.sign_in(&address, Some(&password)).await;
    let first = last().await.expect("a sign-in");
    firm.later(Duration::from_mins(30));
    firm.sign_in(&address, Some(&password)).await;
    assert_eq!(last().await, Some(first), "within the hour nothing is written");
    firm.later(Duration::from_mins(31));
    firm.sign_in(&address, Some(&password)).await;
    assert!(last().await > Some(first));
    firm.engine.remove(&user.id.to_string(), &alice()).await.ok();
}
