//! Hooks and the event log: names of people in events, and the proof of the log.

use rosterd::model::{Actor, Change, ChangeKind, Profile, RunId, Status};
use rosterd::reconcile::Admitted;
use rosterd::store::{Applied, Writer};
use serde_json::{Value, json};

use super::{again, dn_of, guid_of};
use crate::firm::{Firm, alice};
use crate::process::Daemon;
use crate::service::Site;

/// Returns the names of the event's user, before and after.
fn names(event: &Value) -> [[String; 3]; 2] {
    ["before", "after"].map(|when| {
        let known = &event["data"]["user"][when];
        ["sam_account_name", "primary_email", "employee_id"]
            .map(|name| known[name].as_str().unwrap_or_default().to_owned())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_one_edit_names_the_user_as_before_and_as_after_that_edit() {
    let firm = Firm::running(20, |_| {}).await;
    let user = firm.users().await.into_iter().find(|user| user.status() == Status::Active).unwrap();
    let (dn, sam) = (dn_of(&user), user.profile.sam_account_name.clone().unwrap());
    let mail = user.addresses.primary.clone().unwrap();
    firm.sim.edit(|ad| {
        ad.set(dn.as_str(), "employeeID", "E-77");
    });
    firm.sync().await;
    firm.sim.edit(|ad| {
        ad.set(dn.as_str(), "sAMAccountName", "Ann.O'Lee");
        ad.set("Ann.O'Lee", "userPrincipalName", "Ann.OLee@corp.example.com");
        ad.set("Ann.O'Lee", "mail", "Ann.OLee@Example.com");
        ad.disable("Ann.O'Lee");
    });
    assert_eq!(firm.sync().await.counts.suspend, 1);
    let of_user = |events: Vec<Value>| {
        events.into_iter().filter(|e| e["subject"] == user.id.to_string()).collect::<Vec<_>>()
    };
    let suspended = of_user(firm.events("user.suspended").await);
    let updated = of_user(firm.events("user.updated").await);
    let before = [sam.clone(), mail.as_str().to_owned(), "E-77".to_owned()];
    let after = [
        "Ann.O'Lee".to_owned(),
        again(&firm, &user).await.addresses.primary.unwrap().as_str().to_owned(),
        "E-77".to_owned(),
    ];
    assert_ne!(before[1], after[1]);
    assert_eq!(suspended.len(), 1);
    // The previous event is about the employee id.
    for event in suspended.iter().chain(&updated[1..]) {
        assert_eq!(names(event), [before.clone(), after.clone()], "{event:#}");
        let is = &event["data"]["user"]["after"];
        assert_eq!(
            (&is["user_principal_name"], &is["status"]),
            (&json!("Ann.OLee@corp.example.com"), &json!("suspended")),
            "{event:#}"
        );
        assert_eq!(
            (&is["object_guid"], &is["directory"]),
            (&json!(guid_of(&user)), &json!("corp")),
            "{event:#}"
        );
    }
    assert_eq!(updated.len(), 3, "{updated:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_names_the_entry_where_it_is_after_a_move() {
    let firm = Firm::running(20, |_| {}).await;
    let user = firm.users().await.into_iter().find(|user| user.status() == Status::Active).unwrap();
    let was = dn_of(&user);
    firm.sim.edit(|ad| {
        ad.disable(was.as_str());
        ad.rename(was.as_str(), "Moved");
    });
    assert_eq!(firm.sync().await.counts.suspend, 1);
    let event = firm.events("user.suspended").await.pop().unwrap();
    let [before, after] = ["before", "after"]
        .map(|when| event["data"]["user"][when]["dn"].as_str().unwrap().to_owned());
    assert_eq!(before, was);
    assert!(after.starts_with("CN=Moved,"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logon_names_missing_from_an_older_store_are_added_without_an_event() {
    let firm = Firm::running(20, |_| {}).await;
    let users = firm.users().await;
    let account = firm.engine.account("acme").await.unwrap();
    // As 0.1.0 stored them.
    let forget = |user: &rosterd::model::User| {
        let after =
            Profile { sam_account_name: None, user_principal_name: None, ..user.profile.clone() };
        Change::by_hand(
            user,
            ChangeKind::Update { before: Box::new(user.profile.clone()), after: Box::new(after) },
        )
    };
    let observed_from = firm.engine.store.next_observation().await.unwrap();
    let writer = || Writer {
        right: rosterd::store::Right::Leader,
        run: RunId(firm.clock.new_id()),
        directory: None,
        account: rosterd::model::AccountRef { id: account.id, handle: account.handle.clone() },
        actor: Actor("upgrade".to_owned()),
        observed_from,
        clock: &firm.clock,
        asked: &[],
    };
    let admitted = Admitted::by_operator(users.iter().map(forget).collect(), alice());
    firm.engine.store.apply(&admitted, &writer(), &mut Applied::default()).await.unwrap();
    let told = firm.events("user.*").await.len();
    let run = firm.sync().await;
    assert_eq!(
        (run.error.as_deref(), run.held, run.counts.suspend + run.counts.reactivate),
        (None, 0, 0),
        "{run:?}"
    );
    assert_eq!(run.counts.update, users.len() as u64);
    assert_eq!(firm.events("user.*").await.len(), told, "hooks are told nothing of it");
    for user in firm.users().await {
        assert!(user.profile.sam_account_name.is_some(), "{user:?}");
    }
    // A change of another attribute in the same run is an event.
    let dn = dn_of(&users[0]);
    firm.engine
        .store
        .apply(
            &Admitted::by_operator(firm.users().await.iter().map(forget).collect(), alice()),
            &writer(),
            &mut Applied::default(),
        )
        .await
        .unwrap();
    let told = firm.events("user.*").await.len();
    firm.sim.edit(|ad| ad.set(dn.as_str(), "title", "Chief"));
    firm.sync().await;
    assert_eq!(firm.events("user.*").await.len(), told + 1);
}

#[test]
fn the_log_of_a_key_file_says_what_it_proves_and_its_head_is_in_the_journal() {
    let mut site = Site::running();
    let verify = |site: &Site, more: &str| site.done(&format!("event verify{more}"));
    let check = verify(&site, "");
    assert_eq!((&check["intact"], &check["keyed_from"]), (&json!(true), &Value::Null), "{check:#}");
    let proves = |check: &Value| check["proves"].as_str().unwrap().to_owned();
    assert!(
        proves(&check).contains("can compute the whole chain anew")
            && proves(&check).contains("only a noted head shows that"),
        "{check:#}"
    );
    // The log line of the last run has a head that the event log still contains.
    let log = site.daemon.log();
    let (_, noted) = log.rsplit_once("log_head=").expect("a head in the log");
    let noted = noted.split_whitespace().next().unwrap().trim_matches('"').to_owned();
    let check = verify(&site, &format!(" --head {noted}"));
    assert!(proves(&check).contains("The noted head is"), "{check:#}");

    let key = site.folder.path().join("events.key");
    crate::folder::write(&key, "short", 0o600);
    let events = format!("[events]\nkey-file = \"{}\"\n", key.display());
    site.configure(&events, "");
    let (code, refused) = site.daemon.ctl("reload");
    assert!(
        code == 1 && refused["detail"].as_str().unwrap().contains("is shorter than 32 characters"),
        "{refused:#}"
    );
    crate::folder::write(&key, "0123456789abcdef0123456789abcdef0123456789\n", 0o600);
    let last = verify(&site, "")["entries"].as_u64().unwrap();
    site.done("reload");
    let keyed = crate::process::until("the log is keyed", || {
        Some(site.done("event verify")).filter(|check| check["keyed_from"].is_u64())
    });
    let first = keyed["keyed_from"].as_u64().unwrap();
    assert!(first > last, "{keyed:#}");
    assert_eq!(site.done("event list --type log.keyed")["events"].as_array().unwrap().len(), 1);
    site.done("account create widgets --name Widgets");
    site.daemon.signal(nix::sys::signal::Signal::SIGTERM);
    site.daemon.wait();
    site.daemon = Daemon::start(site.folder.path());
    let check = verify(&site, "");
    assert_eq!(
        (&check["intact"], &check["keyed_from"]),
        (&json!(true), &json!(first)),
        "{check:#}"
    );
    assert!(proves(&check).contains("without the key, none of them can be edited"), "{check:#}");
    assert_eq!(
        site.done("event list --type log.keyed")["events"].as_array().unwrap().len(),
        1,
        "once is enough"
    );
}
