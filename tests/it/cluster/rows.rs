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
fn a_brake_works_on_every_node_and_a_hook_of_the_leader_alone_tells_of_it() {
    let like = Like { nodes: 1, lease: LONG, people: 20, ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    let place = site.place("b");
    let file = place.folder.path().join("rosterd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, hook) = text.split_once("[[hook]]").unwrap();
    let (_, after) = hook.split_once("/hook\"]\n").unwrap();
    std::fs::write(&file, format!("{before}{after}")).unwrap();
    site.nodes.push(place);
    site.start(1);
    assert_eq!(site.daemon(1).done("hook list")["hooks"], serde_json::json!([]));
    let (user, _) = site.people(1)[0].clone();
    site.daemon(1).done(&format!("user suspend {user}"));
    assert_eq!(site.status_of(0, &user), "suspended");
    site.daemon(1).done("directory pause corp");
    assert_eq!(site.daemon(0).done("status")["directories"][0]["state"], "paused");
    site.check(0);
}

#[test]
fn a_node_without_the_key_of_the_log_writes_nothing_and_never_leads() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    folder::write(&key, "an-event-log-key-of-sufficient-length\n", 0o600);
    let more = format!("[events]\nkey-file = \"{}\"\n", key.display());
    let like = Like { nodes: 1, people: 20, more: more.clone(), ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    let place = site.place("b");
    let file = place.folder.path().join("rosterd.toml");
    let whole = std::fs::read_to_string(&file).unwrap();
    assert!(whole.contains(&more));
    std::fs::write(&file, whole.replace(&more, "")).unwrap();
    site.nodes.push(place);
    site.start(1);
    let (user, _) = site.people(1)[0].clone();
    let (code, refused) = site.daemon(1).ctl(&format!("user suspend {user}"));
    let told = refused["detail"].as_str().unwrap();
    assert!(code != 0 && told.contains("[events] key-file"), "{refused:#}");

    let epoch = site.number("SELECT epoch FROM leaders");
    site.kill(0);
    let free = "SELECT (runs_out < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT - 6000000)::INT::BIGINT FROM leaders";
    until("nobody has led for two leases", || (site.number(free) == 1).then_some(()));
    assert_eq!(site.number("SELECT epoch FROM leaders"), epoch);
    let attention = site.daemon(1).done("status")["cluster"]["attention"].to_string();
    assert!(attention.contains("no key of the event log"), "{attention}");
    std::fs::write(&file, whole).unwrap();
    site.daemon(1).done("reload");
    site.leads(1);
    site.daemon(1).done(&format!("user suspend {user}"));
    site.check(1);
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
    // A check of the second node may have begun before the first refusal was stored.
    let first = refused();
    assert!((1..=2).contains(&first), "{:?}", site.sim.log().binds());
    // The file of the second node is mended.
    folder::write(&site.nodes[1].folder.path().join("password"), "Another.Password.1", 0o600);
    let accepted = || site.sim.log().binds().iter().filter(|(_, code)| *code == 0).count();
    for turn in 1..4 {
        site.daemon(1).ctl("directory check corp");
        assert!(accepted() >= turn, "{:?}", site.sim.log().binds());
        site.daemon(0).ctl("sync corp");
    }
    assert_eq!(refused(), first, "{:?}", site.sim.log().binds());
    // The first node has its old secret until its own file is mended.
    folder::write(&site.nodes[0].folder.path().join("password"), "Another.Password.1", 0o600);
    site.daemon(0).done("sync corp");
    assert_eq!(refused(), first, "{:?}", site.sim.log().binds());
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
    site.kill(0);
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
    assert!(refused["detail"].as_str().unwrap().contains("lists a, b, c"), "{refused:#}");
    assert_eq!(site.number("SELECT COUNT(*) FROM events WHERE kind = 'cluster.led'"), 4);
    site.check(0);
}

#[test]
fn a_node_that_is_gone_is_named_until_it_is_forgotten() {
    let Some(mut site) = Site::new(Like { people: 20, ..Like::default() }) else { return };
    let (code, refused) = site.daemon(0).ctl("leader forget b");
    assert!(code != 0 && refused["detail"].as_str().unwrap().contains("b is there"), "{refused:#}");
    site.kill(1);
    let attention = until("b is missed", || {
        let attention = site.daemon(0).done("status")["cluster"]["attention"].to_string();
        attention.contains("rosterctl leader forget b").then_some(attention)
    });
    assert!(attention.contains("b was last heard of at"), "{attention}");
    let (code, refused) = site.daemon(0).ctl("leader step-down --to b");
    let told = refused["detail"].as_str().unwrap();
    assert!(code != 0 && told.contains("b was last heard of at"), "{refused:#}");
    let cluster = site.daemon(0).done("leader forget b");
    assert_eq!(cluster["attention"], serde_json::json!([]), "{cluster:#}");
    let forgotten = site.daemon(0).done("event list --type cluster.node_forgotten");
    assert_eq!(forgotten["events"].as_array().unwrap().len(), 1);
    site.start(1);
    until("it is there again", || {
        let nodes = site.daemon(0).done("leader show")["nodes"].clone();
        (nodes.as_array()?.len() == 2).then_some(())
    });
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
    let others = [
        ("b", "exclude = [\"nobody@example.com\"]"),
        ("c", "[[gate]]\nname = \"board\"\nexec = [\"/usr/bin/true\"]"),
    ];
    for (node, (name, more)) in (1..).zip(others) {
        let place = site.place(name);
        let file = place.folder.path().join("rosterd.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("exclude = []", "");
        std::fs::write(&file, format!("{text}\n{more}\n")).unwrap();
        site.nodes.push(place);
        site.start(node);
        for node in 0..=node {
            until("each node says so", || {
                let status = site.daemon(node).done("status");
                let attention = status["cluster"]["attention"].to_string();
                let is_told = format!("{name} has another configuration than the leader");
                attention.contains(&is_told).then_some(())
            });
        }
    }
    site.nodes[2].daemon = None;
    site.nodes[0].daemon = None;
    site.leads(1);
}

#[test]
fn a_killed_leader_that_starts_again_waits_for_no_lease() {
    let like = Like { lease: LONG, people: 20, ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    site.kill(0);
    site.start(0);
    site.leads(0);
    site.daemon(0).done("sync corp");
    site.check(0);
    assert_eq!(site.number("SELECT COUNT(*) FROM events WHERE kind = 'cluster.led'"), 2);
    // The lease of a leader that runs is that of another process for everybody else.
    let lease = site.nodes[0].folder.path().join("lease");
    let place = site.place("c");
    std::fs::copy(lease, place.folder.path().join("lease")).unwrap();
    site.daemon(0).done("leader step-down --to b");
    site.nodes.push(place);
    site.start(2);
    site.leads(1);
}

#[test]
fn two_daemons_of_one_name_are_told_by_both() {
    let like = Like { nodes: 1, people: 20, ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    let place = site.place("a");
    site.nodes.push(place);
    site.start(1);
    for node in 0..2 {
        until("both tell it", || {
            let attention = site.daemon(node).done("status")["cluster"]["attention"].to_string();
            attention.contains("another rosterd on this store is named a, too").then_some(())
        });
    }
    site.nodes[1].daemon = None;
    until("one of them is renamed", || {
        let attention = site.daemon(0).done("status")["cluster"]["attention"].to_string();
        (!attention.contains("is named a, too")).then_some(())
    });
}

#[test]
fn a_leader_that_is_cut_off_ends_its_programs_before_another_one_tells() {
    // The program of the first node hangs, and the next one notes whether it still runs.
    let hook = r#"case $ROSTERD_INSTANCE in
*-a) if [ -e "$0.hang" ]; then echo $$ > "$0.pid"; exec sleep 3600; fi ;;
*-b) if [ -e "$0.pid" ] && grep -qs '^State:.*[RSD] (' "/proc/$(cat "$0.pid")/status"; then echo late >> "$0.late"; fi ;;
esac"#;
    let like = Like { lease: "6s", people: 20, hook, has_far_database: true, ..Like::default() };
    let Some(site) = Site::new(like) else { return };
    site.all_told();
    let people = site.people(0);
    let file = |name: &str| site.told.with_file_name(format!("hook.{name}"));
    std::fs::write(file("hang"), "").unwrap();
    site.sim.edit(|ad| ad.disable(people[0].1.as_str()));
    until("the program hangs", || file("pid").exists().then_some(()));
    let pid = site.daemon(0).pid();

    let relay = site.nodes[0].to_database.as_ref().unwrap();
    relay.cut();
    site.leads(1);
    std::fs::remove_file(file("hang")).unwrap();
    site.sim.edit(|ad| ad.disable(people[1].1.as_str()));
    site.all_told();
    assert!(!file("late").exists(), "the program of the former leader still ran");
    let (_, told) = site.daemon(0).ctl("status");
    assert!(told["detail"].as_str().unwrap().contains("no answer in"), "{told:#}");

    relay.mend();
    until("the former leader waits, in the same process", || {
        let (code, status) = site.daemon(0).ctl("status");
        (code == 0 && status["cluster"]["leader"]["node"] == "b").then_some(())
    });
    assert_eq!(site.daemon(0).pid(), pid);
    site.check(0);
}

#[test]
fn the_order_of_a_person_outlasts_a_frozen_leader_whose_program_still_runs() {
    // The program of the first node hangs, and each one notes what it begins.
    let hook = r#"echo "$ROSTERD_INSTANCE $ROSTERD_EVENT_SEQ" >> "$0.begun"
case $ROSTERD_INSTANCE in
*-a) if [ -e "$0.hang" ]; then echo $$ > "$0.pid"; exec sleep 3600; fi ;;
esac"#;
    let like = Like { people: 20, hook, hook_timeout: "60s", ..Like::default() };
    let Some(site) = Site::new(like) else { return };
    site.all_told();
    let people = site.people(0);
    let file = |name: &str| site.told.with_file_name(format!("hook.{name}"));
    std::fs::write(file("hang"), "").unwrap();
    site.sim.edit(|ad| ad.disable(people[0].1.as_str()));
    until("the program hangs", || file("pid").exists().then_some(()));
    let hanging = "SELECT seq FROM deliveries WHERE state = 'pending' AND claimed_by = 'a'";
    let seq = site.number(hanging);
    site.daemon(0).signal(Signal::SIGSTOP);
    site.leads(1);

    // The next leader tells of others, and not of this person.
    site.sim.edit(|ad| ad.enable(people[0].1.as_str()));
    site.sim.edit(|ad| ad.disable(people[1].1.as_str()));
    let of_another = format!(
        "SELECT COUNT(*) FROM deliveries d JOIN events e ON e.seq = d.seq WHERE d.state = 'delivered' AND d.seq > {seq} AND d.subject = '{}'",
        people[1].0
    );
    until("another person is told of", || (site.number(&of_another) == 1).then_some(()));
    let begun = || std::fs::read_to_string(file("begun")).unwrap();
    let by_b = || begun().lines().any(|line| line.ends_with(&format!("-b {seq}")));
    assert!(!by_b(), "{}", begun());
    assert_eq!(site.number(hanging), seq);
    // The time of the frozen one has passed.
    site.sql(&format!("UPDATE deliveries SET next_at = 0 WHERE seq = {seq}"));
    site.sim.edit(|ad| ad.disable(people[2].1.as_str()));
    until("this person is told of", || by_b().then_some(()));
    site.daemon(0).signal(Signal::SIGCONT);
    site.check(1);
}

/// The environment in which the clock of a node is wrong by some seconds. Returns `None` without
/// libfaketime.
fn wrong_clock(
    node: &'static str,
    seconds: i64,
) -> Option<Vec<(&'static str, &'static str, String)>> {
    let library = "faketime/libfaketime.so.1";
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join(library)).find(|path| path.exists());
    assert!(
        found.is_some() || std::env::var_os("ROSTERD_LAB").is_none(),
        "no faketime: tests/lab/install"
    );
    Some(vec![
        (node, "LD_PRELOAD", found?.display().to_string()),
        (node, "FAKETIME", format!("{seconds:+}s")),
        // Elapsed time does not depend on the clock.
        (node, "DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

#[test]
fn leavers_are_suspended_by_the_next_leader_though_the_clocks_of_both_are_wrong() {
    let clocks = wrong_clock("a", 600).zip(wrong_clock("b", -600));
    let Some((ahead, behind)) = clocks else { return };
    let environment = [ahead, behind].concat();
    let Some(mut site) = Site::new(Like { environment, people: 70, ..Like::default() }) else {
        return;
    };
    let people = site.people(0);
    let some = &people[..50];
    let now = rosterd::clock::Clock::system().now().to_utc();
    site.sim.edit(|ad| {
        for (_, dn) in some {
            ad.set(dn.as_str(), "displayName", "Another Name");
        }
    });
    site.daemon(0).done("sync corp");
    let updated = "SELECT COUNT(*) FROM events WHERE kind = 'user.updated'";
    until("all names have changed", || (site.number(updated) >= 50).then_some(()));
    site.sim.edit(|ad| {
        for (_, dn) in some {
            ad.disable(dn.as_str());
        }
    });
    site.kill(0);
    site.leads(1);
    let suspended = "SELECT COUNT(*) FROM events WHERE kind = 'user.suspended'";
    until("all leavers are suspended", || (site.number(suspended) == 50).then_some(()));
    // The log has the time of the database, which is that of this process.
    let last = site.daemon(1).done("event list --limit 1")["events"][0].clone();
    let at: chrono::DateTime<chrono::Utc> = last["time"].as_str().unwrap().parse().unwrap();
    assert!((at - now).num_seconds().abs() < 120, "{last:#}");
    site.check(1);
}

#[test]
fn a_leader_that_can_read_nothing_hands_over_once_to_a_node_that_can() {
    let like = Like {
        lease: "10s",
        people: 20,
        keys: "live = false",
        has_far_directory: true,
        ..Like::default()
    };
    let Some(mut site) = Site::new(like) else { return };
    let address = |node: &super::Node| node.to_directory.as_ref().unwrap().address;
    let ways: Vec<_> = site.nodes.iter().map(address).collect();
    let server = site.directory();
    let cut = |site: &mut Site, node: usize| {
        site.nodes[node].to_directory = None;
        site.daemon(node).ctl("sync corp");
        for _ in 0..3 {
            let (code, checked) = site.daemon(node).ctl("directory check corp");
            assert_ne!(code, 0, "{checked:#}");
        }
    };
    let mend = |site: &mut Site, node: usize| {
        site.nodes[node].to_directory =
            Some(site.runtime.block_on(crate::relay::Relay::at(ways[node], &server)));
        let (_, checked) = site.daemon(node).ctl("directory check corp");
        assert!(!checked.to_string().contains("failed"), "{checked:#}");
    };
    // Two beats, each with its look at the others.
    let beats = |site: &Site| {
        let heard = "SELECT MIN(heard) FROM nodes";
        let before = site.number(heard);
        until("beats pass", || (site.number(heard) > before + 5_000_000).then_some(()));
    };
    let epoch = "SELECT epoch FROM leaders";

    // Neither can.
    cut(&mut site, 1);
    cut(&mut site, 0);
    beats(&site);
    assert_eq!(site.number(epoch), 1);
    // The other one can.
    mend(&mut site, 1);
    site.leads(1);
    assert_eq!(site.number(epoch), 2);
    until("the new leader says so", || {
        let attention = site.daemon(1).done("status")["cluster"]["attention"].to_string();
        attention.contains("a cannot read corp: ").then_some(())
    });
    // The former one can again, a moment later.
    mend(&mut site, 0);
    cut(&mut site, 1);
    beats(&site);
    assert_eq!((site.number(epoch), site.leader()), (2, Some(1)));
    site.check(1);
}
