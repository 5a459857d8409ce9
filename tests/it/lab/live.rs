//! Change notification by AD. No test here asks for a run.

use serde_json::{Value, json};

use super::office::Office;
use super::{BASIC, DOMAIN, Lab, PRO, staff};
use crate::process::until;

const STAFF: &str = "OU=Staff,DC=corp,DC=example,DC=com";
const GROUPS: &str = "OU=Groups,DC=corp,DC=example,DC=com";

/// Starts a daemon that follows changes, on a controller with visible deleted objects. Full runs
/// come once a year.
fn following(directory: &str) -> Office {
    let keys = format!(
        "live = true\nschedule = \"@yearly\"\n{directory}\n[directory.safety]\ngrace-period = \"0s\""
    );
    let office = Office::open_below(STAFF, &keys);
    office.lab.samba("grant-tombstones", &[]);
    office.create_acme();
    office.sync();
    live(&office);
    office
}

fn live(office: &Office) -> Value {
    until("changes are followed", || Some(office.status()).filter(|status| status["live"] == true))
}

/// An edit in AD, the person concerned, and the expected state of that user.
type Edit = (&'static str, &'static str, fn(&Lab), fn(&Value) -> bool);

fn has(user: &Value, status: &str, reason: &str) -> bool {
    user["status"] == status
        && user["suspension"]["reason"]
            == if reason.is_empty() { Value::Null } else { json!(reason) }
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn every_edit_that_concerns_a_person_is_seen_live() {
    let office = following("filter = \"(!(employeeType=robot))\"");
    let edits: &[Edit] = &[
        (
            "disabled",
            "grace.hopper",
            |ad| ad.disable(&staff("Engineering", "Grace Hopper")),
            |user| has(user, "suspended", "disabled"),
        ),
        (
            "enabled",
            "grace.hopper",
            |ad| ad.enable(&staff("Engineering", "Grace Hopper")),
            |user| has(user, "active", ""),
        ),
        (
            "described",
            "grace.hopper",
            |ad| ad.set(&staff("Engineering", "Grace Hopper"), &[("sn", "Admiral")]),
            |user| user["surname"] == "Admiral",
        ),
        (
            "renamed",
            "grace.hopper",
            |ad| ad.rename(&staff("Engineering", "Grace Hopper"), "CN=Amazing Grace"),
            |user| user["directory"]["dn"] == staff("Engineering", "Amazing Grace"),
        ),
        (
            "added to a group",
            "marco.rossi",
            |ad| ad.join(PRO, &staff("Operations", "Marco Rossi")),
            |user| user["tier"] == "pro",
        ),
        (
            "removed from it",
            "marco.rossi",
            |ad| ad.leave(PRO, &staff("Operations", "Marco Rossi")),
            |user| user["tier"] == "basic",
        ),
        (
            "removed from all groups",
            "marco.rossi",
            |ad| ad.leave(BASIC, &staff("Operations", "Marco Rossi")),
            |user| has(user, "suspended", "no-group"),
        ),
        (
            "added to a group again",
            "marco.rossi",
            |ad| ad.join(BASIC, &staff("Operations", "Marco Rossi")),
            |user| has(user, "active", ""),
        ),
        (
            "added to a nested group",
            "lena.fischer",
            |ad| {
                ad.ldif(&format!(
                    "dn: CN=Inner,{GROUPS}\nchangetype: add\nobjectClass: group\nsAMAccountName: Inner\nmember: {}\n",
                    staff("Operations", "Lena Fischer")
                ));
                ad.join(PRO, &format!("CN=Inner,{GROUPS}"));
            },
            |user| user["tier"] == "pro",
        ),
        (
            "member of an inner group that is removed",
            "lena.fischer",
            |ad| ad.leave(PRO, &format!("CN=Inner,{GROUPS}")),
            |user| user["tier"] == "basic",
        ),
        (
            "member of an inner group that is added again",
            "lena.fischer",
            |ad| ad.join(PRO, &format!("CN=Inner,{GROUPS}")),
            |user| user["tier"] == "pro",
        ),
        (
            "member of an inner group that is removed again",
            "lena.fischer",
            |ad| ad.leave(PRO, &format!("CN=Inner,{GROUPS}")),
            |user| user["tier"] == "basic",
        ),
        (
            "hired",
            "radia.perlman",
            |ad| ad.hire(&staff("Engineering", "Radia Perlman"), "radia.perlman", PRO),
            |user| has(user, "active", "") && user["tier"] == "pro",
        ),
        (
            "excluded by the filter",
            "paula.silva",
            |ad| ad.set(&staff("Operations", "Paula Silva"), &[("employeeType", "robot")]),
            |user| has(user, "suspended", "out-of-scope"),
        ),
        (
            "included again",
            "paula.silva",
            |ad| ad.set(&staff("Operations", "Paula Silva"), &[("employeeType", "staff")]),
            |user| has(user, "active", ""),
        ),
        (
            "moved out of the base",
            "paula.silva",
            |ad| ad.move_to(&staff("Operations", "Paula Silva"), &format!("OU=Leavers,{DOMAIN}")),
            |user| has(user, "suspended", "out-of-scope"),
        ),
        (
            "moved back",
            "paula.silva",
            |ad| {
                ad.move_to(
                    &format!("CN=Paula Silva,OU=Leavers,{DOMAIN}"),
                    &format!("OU=Operations,{STAFF}"),
                )
            },
            |user| has(user, "active", ""),
        ),
        (
            "moved out with a whole OU",
            "nadia.haddad",
            |ad| {
                ad.ldif(&format!(
                    "dn: OU=Night,{STAFF}\nchangetype: add\nobjectClass: organizationalUnit\n"
                ));
                ad.move_to(&staff("Operations", "Nadia Haddad"), &format!("OU=Night,{STAFF}"));
                ad.move_to(&format!("OU=Night,{STAFF}"), DOMAIN);
            },
            |user| has(user, "suspended", "out-of-scope"),
        ),
        (
            "moved in with it",
            "nadia.haddad",
            |ad| ad.move_to(&format!("OU=Night,{DOMAIN}"), STAFF),
            |user| has(user, "active", ""),
        ),
        (
            "deleted",
            "oskar.nilsson",
            |ad| ad.delete(&staff("Operations", "Oskar Nilsson")),
            |user| has(user, "suspended", "deleted"),
        ),
    ];
    for (what, who, edit, is_seen) in edits {
        edit(&office.lab);
        until(&format!("{who}, {what}"), || {
            let (code, user) = office.ctl(&format!("user show {who}@example.com"));
            (code == 0 && is_seen(&user)).then_some(())
        });
    }
    let runs = office.done("run list corp --limit 1000")["runs"].as_array().expect("runs").clone();
    let (live, others): (Vec<&Value>, Vec<&Value>) =
        runs.iter().partition(|run| run["trigger"] == "live");
    assert!(
        others.iter().all(|run| run["trigger"] == "startup" || run["trigger"] == "manual"),
        "{others:#?}"
    );
    assert!(
        live.iter().all(|run| run["mode"] == "incremental" || !run["full_read_reason"].is_null()),
        "{live:#?}"
    );
    // A run in progress is in the list until it has found nothing.
    let idle = live.iter().filter(|run| {
        run["mode"] == "incremental"
            && run["state"] != "running"
            && run["changes"].as_object().is_some_and(|all| all.values().all(|n| n == 0))
    });
    assert_eq!(idle.count(), 0, "runs without a change are not stored");
    let missed = office.sync();
    assert!(missed.as_object().is_some_and(|all| all.values().all(|n| n == 0)), "{missed}");
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn edits_during_an_outage_of_the_controller_are_seen_once_it_is_back() {
    let office = following("");
    let not_live = |why: &'static str| {
        move |status: &Value| {
            status["live"] == false && status["attention"].to_string().contains(why)
        }
    };
    office.lab.samba("freeze", &[]);
    until("a silent controller is noticed", || {
        Some(office.status()).filter(not_live("live updates are off"))
    });
    office.lab.samba("thaw", &[]);
    live(&office);
    office.lab.samba("crash", &[]);
    until("a stopped controller is noticed", || {
        Some(office.status()).filter(not_live("live updates are off"))
    });
    office.lab.samba("restart", &[]);
    office.lab.disable(&staff("Engineering", "Grace Hopper"));
    until("the edits of the outage are applied", || {
        has(&office.user("grace.hopper@example.com"), "suspended", "disabled").then_some(())
    });
    let status = live(&office);
    let quarantined = "3 entries cannot be used as they are: rosterctl user list --quarantined";
    assert_eq!(status["attention"], json!([quarantined]));
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn scheduled_runs_are_incremental_only_when_deletions_are_visible() {
    let office = Office::of_acme("schedule = \"* * * * * *\"\nlive = false");
    let last = |what: &str, is_it: fn(&Value) -> bool| {
        until(what, || {
            office.done("run list corp --limit 1")["runs"]
                .as_array()?
                .first()
                .cloned()
                .filter(is_it)
        })
    };
    let full = last("a full run", |run| {
        run["trigger"] == "schedule" && run["mode"] == "full" && !run["full_read_reason"].is_null()
    });
    assert!(
        full["full_read_reason"]
            .as_str()
            .is_some_and(|why| why.contains("sees no deleted objects")),
        "{full:#}"
    );
    office.lab.samba("grant-tombstones", &[]);
    office.lab.delete(&staff("Operations", "Oskar Nilsson"));
    last("an incremental run", |run| run["trigger"] == "schedule" && run["mode"] == "incremental");
    let (read, stale) = (
        office.status()["last_complete_read"].clone(),
        "the full read and its changes are complete",
    );
    until(stale, || (office.status()["last_complete_read"] != read).then_some(()));
    office.lab.delete(&staff("Operations", "Karl Larsen"));
    until("a deletion is applied", || {
        has(&office.user("karl.larsen@example.com"), "suspended", "deleted").then_some(())
    });
    let run = last("a delta", |run| run["mode"] == "incremental" && run["state"] == "succeeded");
    assert_eq!(run["full_read_reason"], Value::Null);
}
