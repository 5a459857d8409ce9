//! A day in the life of a company, from the first start of the daemon to the last.

use serde_json::{Value, json};

use super::branch::PROVISIONED;
use super::office::Office;
use super::{BASIC, DOMAIN, PRO, file_time, staff};
use crate::process::until;

/// Returns the counts that are not zero.
fn nonzero(changes: &Value) -> Value {
    let changes = changes.as_object().expect("changes").iter().filter(|(_, n)| **n != 0);
    changes.map(|(k, n)| (k.clone(), n.clone())).collect()
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_day_in_the_life_of_a_company() {
    let mut office = Office::open("[directory.safety]\ngrace-period = \"0s\"");
    begin(&office);
    claim(&office);
    let expected = PROVISIONED + 1;
    join(&office);
    marry(&office);
    swap(&office);
    leave(&office);
    reuse_an_address(&office);
    expire_unannounced(&office);
    suspend_by_operator(&office);
    lose_rights(&office);
    // One user joined, and none was removed.
    let users = office.users();
    assert_eq!(users.len(), expected + 1);
    assert_eq!(
        office.events("user.created").len(),
        expected + 1,
        "one event for each created user"
    );
    assert!(office.stop().success(), "SIGTERM exits cleanly");
    office.verify_events();
    office.start();
    assert_eq!(office.users(), users, "a restart changes no user");
    assert_eq!(nonzero(&office.sync()), json!({}), "no change is left to apply");
}

fn begin(office: &Office) {
    assert_eq!(office.status()["state"], "no-account");
    assert_eq!(nonzero(&office.sync()), json!({}), "without an account no user is created");
    let acme = office.done("account create acme --name Acme");
    assert_eq!((&acme["kind"], &acme["name"]), (&json!("team"), &json!("Acme")));
    assert_eq!(nonzero(&office.sync()), json!({}), "without a domain no user is created");
    assert_eq!(office.status()["state"], "no-domain");
    let domain = office.done("domain claim acme example.com");
    assert_eq!(domain["state"], "verified", "the configuration trusts the domain");
    let plan = office.done("plan corp");
    assert_eq!(
        (&plan["id"], plan["changes"].as_array().map(Vec::len)),
        (&Value::Null, Some(PROVISIONED))
    );
    assert!(office.users().is_empty(), "a plan changes nothing");
    assert_eq!(nonzero(&office.sync()), json!({"create": PROVISIONED}));
    let acme = office.done("account show acme");
    assert_eq!(
        (&acme["kind"], &acme["users"]["active"]),
        (&json!("enterprise"), &json!(PROVISIONED))
    );
    assert_eq!(office.status()["state"], "ok");
}

fn claim(office: &Office) {
    office.done("account create rival --name Rival");
    let (code, problem) = office.ctl("domain claim rival example.com");
    assert_eq!(code, 1, "{problem}");
    assert!(
        !problem.to_string().contains("acme"),
        "a refusal does not name the holder of the domain: {problem}"
    );
    let pending = office.done("domain claim acme example.org");
    assert_eq!(pending["state"], "pending");
    let record = |field: &str| pending["record"][field].as_str().expect("a record").to_owned();
    let looked = office.ctl("domain verify example.org").1;
    assert_ne!(looked["state"], "verified", "the record is not published yet: {looked}");
    office.lab.samba(
        "dns-txt",
        &["_rosterd-challenge.example.org", "rosterd-domain-verification=guessed", "add"],
    );
    assert_ne!(
        office.ctl("domain verify example.org").1["state"],
        "verified",
        "another token does not verify"
    );
    office.lab.samba("dns-txt", &[&record("name"), &record("value"), "add"]);
    assert_eq!(office.done("domain verify example.org")["state"], "verified");
    assert_eq!(
        nonzero(&office.sync()),
        json!({"create": 1, "update": 1}),
        "Jürgen gets a user, and Ada her secondary address"
    );
    let juergen = office.user("juergen.gross@example.org");
    assert_eq!(
        (&juergen["display_name"], &juergen["tier"]),
        (&json!("Jürgen Groß"), &json!("basic"))
    );
    assert_eq!(office.user("countess@example.org")["surname"], "Lovelace");
}

fn join(office: &Office) {
    office.lab.hire(&staff("Engineering", "Radia Perlman"), "radia.perlman", PRO);
    assert_eq!(nonzero(&office.sync()), json!({"create": 1}));
    assert_eq!(office.user("radia.perlman@example.com")["tier"], "pro");
}

fn marry(office: &Office) {
    let before = office.user("fatima.khan@example.com");
    let fatima = staff("Sales", "Fatima Khan");
    office.lab.rename(&fatima, "CN=Fatima Garcia");
    let changes = [
        ("sn", "Garcia"),
        ("displayName", "Fatima Garcia"),
        ("mail", "fatima.garcia@example.com"),
        ("sAMAccountName", "fatima.garcia"),
    ];
    office.lab.set(&staff("Sales", "Fatima Garcia"), &changes);
    let changes = nonzero(&office.sync());
    assert_eq!(
        changes.as_object().map(|c| c.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["update".to_owned()]),
        "{changes}"
    );
    let after = office.user("fatima.garcia@example.com");
    assert_eq!(
        (&after["id"], &after["surname"]),
        (&before["id"], &json!("Garcia")),
        "the same user"
    );
    assert_eq!(after["directory"]["object_guid"], before["directory"]["object_guid"]);
    assert_eq!(after["directory"]["dn"], staff("Sales", "Fatima Garcia"));
}

fn swap(office: &Office) {
    let (lena, marco) = ("lena.fischer@example.com", "marco.rossi@example.com");
    let before = [office.user(lena)["id"].clone(), office.user(marco)["id"].clone()];
    office
        .lab
        .set(&staff("Operations", "Lena Fischer"), &[("mail", marco), ("proxyAddresses", "")]);
    office.lab.set(&staff("Operations", "Marco Rossi"), &[("mail", lena), ("proxyAddresses", "")]);
    office.sync();
    assert_eq!(
        [office.user(marco)["id"].clone(), office.user(lena)["id"].clone()],
        before,
        "each has the other's address"
    );
}

fn leave(office: &Office) {
    let who = "diego.garcia@example.com";
    let diego = staff("Sales", "Diego García");
    let before = office.user(who);
    office.lab.disable(&diego);
    assert_eq!(nonzero(&office.sync()), json!({"suspend": 1}));
    let gone = office.user(who);
    assert_eq!(
        (&gone["status"], &gone["suspension"]["reason"]),
        (&json!("suspended"), &json!("disabled"))
    );
    assert_eq!(
        gone["suspension"]["causes"][0]["evidence"]["value"], "514",
        "the evidence has the value"
    );
    let (code, problem) = office.ctl(&format!("user activate {who}"));
    assert_ne!(
        office.user(who)["status"],
        "active",
        "an operator cannot lift AD's suspension: {code} {problem}"
    );
    office.lab.enable(&diego);
    assert_eq!(nonzero(&office.sync()), json!({"reactivate": 1}));
    assert_eq!(
        (&office.user(who)["id"], &office.user(who)["status"]),
        (&before["id"], &json!("active"))
    );
}

fn reuse_an_address(office: &Office) {
    let who = "hana.suzuki@example.com";
    office.lab.disable(&staff("Sales", "Hana Suzuki"));
    office.sync();
    let successor = staff("Sales", "Hana Sato");
    office.lab.hire(&successor, "hana.sato", BASIC);
    office.lab.set(&successor, &[("mail", who)]);
    assert_eq!(
        nonzero(&office.sync()),
        json!({}),
        "a leaver's address is not reassigned without an operator"
    );
    assert_eq!(office.user(who)["surname"], "Suzuki");
    let plan = office.done("plan corp");
    let quarantined = plan["quarantined"].as_array().expect("quarantined");
    let reason =
        quarantined.iter().find(|q| q["dn"] == successor.as_str()).map(|q| q["reason"].clone());
    assert_eq!(reason, Some(json!("address-held")), "{plan:#}");
    office.lab.delete(&successor);
    office.lab.enable(&staff("Sales", "Hana Suzuki"));
    office.sync();
}

fn expire_unannounced(office: &Office) {
    let who = "paula.silva@example.com";
    let paula = staff("Operations", "Paula Silva");
    let now = rosterd::clock::Clock::system().now().0 / 1_000_000;
    office.lab.set(&paula, &[("accountExpires", &file_time(now + 3))]);
    assert_eq!(office.user(who)["status"], "active");
    office.sync();
    let gone = until("rosterd notices the expiry without a notification", || {
        Some(office.user(who)).filter(|u| u["status"] == "suspended")
    });
    assert_eq!(gone["suspension"]["reason"], "expired");
    // The user is suspended before the run has recorded its counts.
    let run = until("the run has ended", || {
        let runs = office.done("run list corp");
        Some(runs["runs"][0].clone()).filter(|run| run["state"] != "running")
    });
    assert_eq!(
        (&run["trigger"], &run["changes"]["suspend"]),
        (&json!("expiry"), &json!(1)),
        "no edit in AD announced it"
    );
    office.lab.set(&paula, &[("accountExpires", "0")]);
    assert_eq!(nonzero(&office.sync()), json!({"reactivate": 1}));
}

fn suspend_by_operator(office: &Office) {
    let who = "barbara.liskov@example.com";
    let suspended = office.done(&format!("user suspend {who} --reason stolen"));
    assert_eq!(
        (&suspended["status"], &suspended["suspension"]["reason"]),
        (&json!("suspended"), &json!("operator"))
    );
    assert_eq!(nonzero(&office.sync()), json!({}), "no run lifts an operator's suspension");
    assert_eq!(office.user(who)["status"], "suspended");
    assert_eq!(office.done(&format!("user activate {who}"))["status"], "active");
}

fn lose_rights(office: &Office) {
    let active = office.status()["users"]["active"].clone();
    let sales = format!("OU=Sales,OU=Staff,{DOMAIN}");
    office.lab.samba("deny-list", &[&sales]);
    let (code, run) = office.ctl("sync corp");
    assert_eq!(
        (code, &run["state"], &run["changes"]["suspend"]),
        (3, &json!("held"), &json!(0)),
        "{run:#}"
    );
    assert_eq!(office.status()["users"]["active"], active, "invisible people are not suspended");
    let held = office.done("held list");
    assert_eq!(
        (&held["held"][0]["count"], &held["held"][0]["directory"]),
        (&json!(9), &json!("corp")),
        "{held:#}"
    );
    let shown =
        office.done(&format!("held show {}", held["held"][0]["id"].as_str().expect("an id")));
    let reasons: Vec<&str> = shown["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .filter_map(|c| c["held"].as_str())
        .collect();
    assert!(
        reasons.len() == 9 && reasons.iter().all(|r| ["no-witness", "cluster"].contains(r)),
        "{reasons:?}"
    );
    let (code, _) = office.ctl("plan corp");
    assert_eq!(code, 3, "a plan with held changes has the same exit status");
    office.lab.samba("allow-list", &[&sales]);
    assert_eq!(nonzero(&office.sync()), json!({}));
    assert_eq!(
        office.done("held list"),
        json!({"held": []}),
        "visible people are not held any more"
    );
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_person_without_a_group_is_suspended_by_an_automatic_recheck() {
    let office = Office::of_acme("[directory.safety]\ngrace-period = \"2s\"");
    office.sync();
    let karl = staff("Operations", "Karl Larsen");
    office.lab.leave(BASIC, &karl);
    assert_eq!(nonzero(&office.sync()), json!({}), "an absence from all groups needs a recheck");
    let gone = until("the recheck", || {
        Some(office.user("karl.larsen@example.com")).filter(|u| u["status"] == "suspended")
    });
    assert_eq!(gone["suspension"]["reason"], "no-group");
    assert_eq!(office.done("run list corp")["runs"][0]["trigger"], "recheck");
    office.lab.leave(BASIC, &staff("Operations", "Lena Fischer"));
    office.sync();
    office.lab.join(BASIC, &staff("Operations", "Lena Fischer"));
    until("the recheck at Lena", || {
        office.done("run list corp")["runs"]
            .as_array()
            .is_some_and(|r| r.iter().filter(|r| r["trigger"] == "recheck").count() == 2)
            .then_some(())
    });
    assert_eq!(
        office.user("lena.fischer@example.com")["status"],
        "active",
        "a person back within the grace period is not suspended"
    );
}
