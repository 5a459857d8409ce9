//! Two or three daemons, one case at a time.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Like, Site};
use crate::folder;
use crate::process::until;

/// A lease that does not run out during a test. A change of leader has another cause then.
const LONG: &str = "60s";

#[test]
fn a_node_that_does_not_lead_answers_reads_and_names_the_leader() {
    let like = Like { lease: LONG, people: 20, ..Like::default() };
    let Some(site) = Site::new(like) else { return };
    let b = site.daemon(1);
    assert_eq!(b.done("status")["cluster"]["leader"]["node"], "a");
    let (user, _) = site.people(1)[0].clone();
    for read in ["user list", "event list", "held list", "run list", "hook list", "account list"] {
        b.done(read);
    }
    b.done(&format!("user show {user}"));
    b.done(&format!("user explain {user}"));
    let metrics = b.ask("GET /v1/metrics", "");
    assert!(metrics.contains("\nrosterd_cluster_leader 0\n"), "{metrics}");
    let metrics = site.daemon(0).ask("GET /v1/metrics", "");
    assert!(metrics.contains("\nrosterd_cluster_leader 1\n"), "{metrics}");

    for change in ["sync corp", "account create other --name Other", "directory resume corp"] {
        let (code, refused) = b.ctl(change);
        assert_eq!((code, &refused["status"]), (1, &409.into()), "{change}: {refused:#}");
        assert_eq!(refused["type"], "urn:rosterd:problem:not-leader", "{refused:#}");
        assert_eq!(refused["leader"], "a", "{refused:#}");
        assert!(refused["since"].is_string(), "{refused:#}");
        let told = refused["detail"].as_str().unwrap();
        assert!(told.contains("rosterd on a leads since") && told.contains("ask there"), "{told}");
    }
    // Nothing of the leader was cancelled.
    assert_eq!(site.number("SELECT COUNT(*) FROM runs WHERE state = 'cancelled'"), 0);
}

#[test]
fn a_brake_works_on_every_node_and_the_hook_of_the_leader_tells_of_it() {
    let Some(site) = Site::new(Like { lease: LONG, people: 20, ..Like::default() }) else { return };
    let (user, _) = site.people(1)[0].clone();
    site.daemon(1).done(&format!("user suspend {user}"));
    assert_eq!(site.status_of(0, &user), "suspended");
    site.daemon(1).done("directory pause corp");
    assert_eq!(site.daemon(0).done("status")["directories"][0]["state"], "paused");
    site.check(0);
}

#[test]
fn a_suspension_at_one_node_outlasts_a_first_sign_in_at_the_other() {
    let Some(site) = Site::new(Like { lease: LONG, people: 20, ..Like::default() }) else { return };
    site.hire_ann();
    site.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NEW; END'; CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let password = site.sim.default_password();
    std::thread::scope(|threads| {
        threads.spawn(|| site.daemon(0).done("user suspend ann@example.com"));
        std::thread::sleep(Duration::from_millis(500));
        site.sign_in(1, "ann@example.com", &password);
    });
    assert_eq!(site.status_of(0, "ann@example.com"), "suspended");
    assert_eq!(site.sign_in(1, "ann@example.com", &password), "deny");
}

#[test]
fn a_pause_at_one_node_outlasts_a_run_that_ends_at_the_other() {
    let Some(site) = Site::new(Like { lease: LONG, people: 20, ..Like::default() }) else { return };
    site.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NEW; END'; CREATE TRIGGER slow BEFORE UPDATE ON directories FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    std::thread::scope(|threads| {
        threads.spawn(|| site.daemon(0).done("sync corp"));
        std::thread::sleep(Duration::from_millis(500));
        site.daemon(1).done("directory pause corp");
    });
    assert_eq!(site.daemon(0).done("status")["directories"][0]["state"], "paused");
}

#[test]
fn wrong_passwords_are_counted_over_all_nodes() {
    let like = Like { lease: LONG, people: 20, ..Like::default() };
    let Some(site) = Site::new(like) else { return };
    site.hire_ann();
    site.sim.clear_log();
    for turn in 0..8 {
        assert_eq!(site.sign_in(turn % 2, "ann@example.com", "wrong"), "deny");
    }
    let binds = site.sim.log().binds().iter().filter(|(name, _)| name.contains("ann")).count();
    assert_eq!(binds, 3);
}

#[test]
fn a_wrong_service_password_is_tried_once_by_each_node_at_most() {
    let like = Like { lease: LONG, people: 20, ..Like::default() };
    let Some(site) = Site::new(like) else { return };
    let service = site.sim.service_dn();
    site.sim.edit(|ad| ad.set_password(service.as_str(), "Another.Password.1"));
    site.sim.clear_log();
    let refused = || site.sim.log().binds().iter().filter(|(_, code)| *code != 0).count();
    for _ in 0..4 {
        site.daemon(0).ctl("sync corp");
        site.daemon(1).ctl("directory check corp");
    }
    assert_eq!(refused(), 1);
    // The file of the second node is mended.
    folder::write(&site.nodes[1].folder.path().join("password"), "Another.Password.1", 0o600);
    let accepted = || site.sim.log().binds().iter().filter(|(_, code)| *code == 0).count();
    for turn in 1..4 {
        site.daemon(1).ctl("directory check corp");
        assert!(accepted() >= turn, "{:?}", site.sim.log().binds());
        site.daemon(0).ctl("sync corp");
    }
    assert!(refused() <= 2, "{:?}", site.sim.log().binds());
}

#[test]
fn a_leader_that_is_killed_is_followed_without_a_full_read() {
    let Some(mut site) = Site::new(Like::default()) else { return };
    // A deletion is seen without a full read where deleted objects are.
    site.sim.edit(|ad| {
        ad.show_tombstones(true);
        let gone = ad.add_person(adsim::NewPerson::new("gone"));
        ad.delete(gone);
    });
    site.daemon(0).done("sync corp");
    let people = site.people(0);
    let full = "SELECT COUNT(*) FROM runs WHERE mode = 'full'";
    let before = site.number(full);
    site.sim.edit(|ad| people[..20].iter().for_each(|(_, dn)| ad.disable(dn.as_str())));
    site.nodes[0].daemon().signal(Signal::SIGKILL);
    site.nodes[0].daemon = None;
    site.sim.edit(|ad| people[20..40].iter().for_each(|(_, dn)| ad.disable(dn.as_str())));
    site.leads(1);
    let suspended = "SELECT COUNT(*) FROM events WHERE kind = 'user.suspended'";
    until("all leavers are suspended", || (site.number(suspended) == 40).then_some(()));
    assert_eq!(site.number(full), before);
    // The former leader comes back, and waits.
    site.start(0);
    assert_eq!(site.leader(), Some(1));
    site.check(0);
    assert_eq!(site.number(suspended), 40);
}

#[test]
fn a_leader_that_was_frozen_writes_nothing_and_waits() {
    let Some(site) = Site::new(Like::default()) else { return };
    let pid = site.daemon(0).pid();
    site.daemon(0).signal(Signal::SIGSTOP);
    site.leads(1);
    site.daemon(0).signal(Signal::SIGCONT);
    let waits =
        || (site.daemon(0).done("status")["cluster"]["leader"]["node"] == "b").then_some(());
    until("the first node waits", waits);
    assert_eq!(site.daemon(0).pid(), pid);
    let (code, refused) = site.daemon(0).ctl("sync corp");
    assert_eq!((code, &refused["leader"]), (1, &"b".into()), "{refused:#}");
    // It leads again if it is its turn, in the same process.
    site.daemon(1).done("leader step-down --to a");
    site.leads(0);
    site.daemon(0).done("sync corp");
    site.check(0);
}

#[test]
fn a_step_down_hands_over_at_once_from_every_node() {
    let like = Like { nodes: 3, lease: LONG, people: 20, ..Like::default() };
    let Some(site) = Site::new(like) else { return };
    let begun = Instant::now();
    let cluster = site.daemon(2).done("leader step-down --to b");
    assert_eq!(cluster["leader"]["node"], "b", "{cluster:#}");
    site.leads(1);
    let cluster = site.daemon(2).done("leader take");
    assert_eq!(cluster["leader"]["node"], "c", "{cluster:#}");
    let cluster = site.daemon(0).done("leader step-down");
    assert_ne!(cluster["leader"]["node"], "c", "{cluster:#}");
    // A lease would have run out after a minute.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let (code, refused) = site.daemon(0).ctl("leader step-down --to nowhere");
    assert_eq!((code, &refused["status"]), (1, &404.into()), "{refused:#}");
    assert_eq!(site.number("SELECT COUNT(*) FROM events WHERE kind = 'cluster.led'"), 4);
    site.check(0);
}

#[test]
fn a_second_daemon_cancels_no_run_and_ends_no_program_of_the_leader() {
    let like = Like { nodes: 1, lease: LONG, people: 20, hook: "sleep 4", ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    let place = site.place("b");
    site.nodes.push(place);
    site.start(1);
    site.check(0);
    assert_eq!(site.number("SELECT COUNT(*) FROM runs WHERE state = 'cancelled'"), 0);
    let attempts = "SELECT COALESCE(MAX(attempts), 0) FROM deliveries WHERE state = 'delivered'";
    assert_eq!(site.number(attempts), 1);
}

#[test]
fn commands_at_two_nodes_meet_no_error_of_the_database() {
    let Some(site) = Site::new(Like { lease: LONG, ..Like::default() }) else { return };
    let people = site.people(0);
    std::thread::scope(|threads| {
        for node in 0..2 {
            let (site, people) = (&site, &people);
            threads.spawn(move || {
                for n in 0..10 {
                    let (code, told) =
                        site.daemon(node).ctl(&format!("account create x{node}{n} --name X"));
                    assert!(code == 0 || told["status"] == 409, "{told:#}");
                    let (user, _) = &people[node * 10 + n];
                    site.daemon(node).done(&format!("user suspend {user}"));
                }
            });
        }
    });
    site.check(0);
}

#[test]
fn a_node_with_another_configuration_is_named_and_takes_over_later() {
    let Some(mut site) = Site::new(Like { nodes: 1, people: 20, ..Like::default() }) else {
        return;
    };
    let place = site.place("b");
    let file = place.folder.path().join("rosterd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("exclude = []", "");
    std::fs::write(&file, format!("{text}\nexclude = [\"nobody@example.com\"]\n")).unwrap();
    site.nodes.push(place);
    site.start(1);
    for node in 0..2 {
        until("both nodes say so", || {
            let attention = site.daemon(node).done("status")["cluster"]["attention"].to_string();
            attention.contains("b has another configuration than the leader").then_some(())
        });
    }
    site.nodes[0].daemon = None;
    site.leads(1);
}
