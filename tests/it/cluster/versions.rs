//! Two versions on one store: an upgrade node by node, and a node that was left behind.

use super::{Like, Site};
use crate::process::until;

/// A step of the schema that the earlier version lacks.
const STEP: i64 = 81;

/// The environment of the first node, which makes it the earlier version.
fn earlier() -> Vec<(&'static str, &'static str, String)> {
    vec![("a", "ROSTERD_TEST_WITHOUT_STEP", STEP.to_string())]
}

/// Returns how often a term has begun.
fn terms(site: &Site) -> i64 {
    site.number("SELECT epoch FROM leaders")
}

fn has_step(site: &Site) -> bool {
    site.number(&format!("SELECT COUNT(*) FROM _sqlx_migrations WHERE version = {STEP}")) == 1
}

#[test]
fn an_upgrade_node_by_node_keeps_answers_brakes_and_one_leader() {
    let like = Like { nodes: 1, environment: earlier(), ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    site.hire_ann();
    let password = site.sim.default_password();
    let place = site.place("b");
    site.nodes.push(place);

    // A newer version that does not lead changes no schema, and does not answer.
    site.nodes[1].start();
    let told = until("the newer one waits", || {
        let (_, told) = site.daemon(1).ctl("status");
        let told = told["detail"].as_str()?.to_owned();
        told.contains("earlier version").then_some(told)
    });
    assert!(told.contains("rosterctl leader step-down on a"), "{told}");
    assert_eq!(site.sign_in(1, "ann@example.com", &password), "unavailable");
    assert!(!has_step(&site));
    site.daemon(0).done("sync corp");

    // The remedy works as it is printed.
    until("b is there to lead", || (site.daemon(0).ctl("leader step-down").0 == 0).then_some(()));
    site.leads(1);
    assert!(has_step(&site));

    // The earlier one serves, and its brakes work.
    until("the earlier one follows", || {
        let status = site.daemon(0).done("status");
        let attention = status["cluster"]["attention"].to_string();
        (status["cluster"]["leader"]["node"] == "b" && attention.contains("earlier version"))
            .then_some(())
    });
    assert_eq!(site.sign_in(0, "ann@example.com", &password), "allow");
    let people = site.people(0);
    site.daemon(0).done(&format!("user suspend {}", people[0].0));
    site.sim.edit(|ad| ad.disable(people[1].1.as_str()));
    site.daemon(1).done("sync corp");
    let (code, refused) = site.daemon(1).ctl("leader step-down --to a");
    assert_ne!(code, 0, "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains("a never leads"), "{refused:#}");

    // It never leads, even if nobody else is there.
    site.kill(1);
    let epoch = terms(&site);
    let free = "SELECT (runs_out < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT - 6000000)::INT::BIGINT FROM leaders";
    until("nobody has led for two leases", || (site.number(free) == 1).then_some(()));
    assert_eq!(terms(&site), epoch);
    assert_eq!(site.daemon(0).done("status")["cluster"]["leader"], serde_json::Value::Null);

    // It started anew while the schema was newer, and is upgraded then.
    site.kill(0);
    site.start(0);
    assert_eq!(site.sign_in(0, "ann@example.com", &password), "allow");
    assert_eq!(terms(&site), epoch);
    site.kill(0);
    site.nodes[0].environment.clear();
    site.start(0);
    site.leads(0);
    site.check(0);
}

#[test]
fn a_leader_that_is_killed_is_followed_by_a_newer_version_that_changes_the_schema() {
    let like = Like { nodes: 1, environment: earlier(), ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    let place = site.place("b");
    site.nodes.push(place);
    site.nodes[1].start();
    let people = site.people(0);
    site.sim.edit(|ad| people[..5].iter().for_each(|(_, dn)| ad.disable(dn.as_str())));
    site.kill(0);
    site.leads(1);
    assert!(has_step(&site));
    let suspended = "SELECT COUNT(*) FROM events WHERE kind = 'user.suspended'";
    until("all leavers are suspended", || (site.number(suspended) == 5).then_some(()));
    site.check(1);
}

#[test]
fn a_version_ends_beside_a_step_that_it_cannot_serve_with() {
    let Some(mut site) = Site::new(Like { people: 20, ..Like::default() }) else { return };
    let step = |version: i64, name: &str| {
        let row = format!(
            "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES ({version}, '{name}', now(), TRUE, '', 0)"
        );
        site.sql(&row);
    };
    // Beside another one it serves, and the leader makes room.
    step(9_998, "another index");
    for node in 0..2 {
        until("both serve, and none leads", || {
            let cluster = site.daemon(node).done("status")["cluster"].clone();
            let attention = cluster["attention"].to_string();
            (cluster["leader"].is_null() && attention.contains("earlier version")).then_some(())
        });
    }
    step(9_999, "another table (alone)");
    for node in 0..2 {
        let mut daemon = site.nodes[node].daemon.take().unwrap();
        assert!(!daemon.wait().success());
        let log = daemon.log();
        assert!(log.contains("written by a newer rosterd (schema 9999)"), "{log}");
    }
}
