//! Commits that the database loses while several daemons work on it.

use super::{Like, Site};
use crate::pair::Pair;
use crate::process::until;

#[test]
fn a_brake_that_only_a_waiting_node_knows_is_put_on_again_by_it() {
    let Some(pair) = Pair::start("asynchronous") else { return };
    let like = Like { lease: "60s", people: 20, ..Like::default() };
    let mut site = Site::at(pair.url_of_both(), like);
    let (user, _) = site.people(1)[0].clone();
    site.hire_ann();
    let password = site.sim.default_password();
    pair.await_standby(&site.runtime);

    // The waiting node puts the brake on. The leader dies with its memory, and the database fails over.
    pair.lab("cut", &[]);
    site.daemon(1).done(&format!("user suspend {user} --reason theft"));
    let status = |site: &Site, node: usize| {
        let (code, shown) = site.daemon(node).ctl(&format!("user show {user}"));
        (code == 0).then(|| shown["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(status(&site, 1).as_deref(), Some("suspended"));
    site.kill(0);
    let noted = std::fs::read_dir(site.nodes[0].folder.path()).unwrap().flatten();
    let is_head = |path: &std::path::PathBuf| path.to_string_lossy().contains("/head.");
    let noted: Vec<_> = noted.map(|entry| entry.path()).filter(is_head).collect();
    assert_eq!(noted.len(), 1, "{noted:?}");
    std::fs::remove_file(&noted[0]).unwrap();
    pair.lab("promote", &[]);

    // A store that lacks the suspension lets no user in.
    until("the waiting node misses its commit", || {
        let (_, told) = site.daemon(1).ctl("status");
        told["detail"].as_str()?.contains("lacks commits").then_some(())
    });
    assert_eq!(site.sign_in(1, "ann@example.com", &password), "unavailable");
    site.start(0);
    site.leads(0);
    assert_eq!(status(&site, 0).as_deref(), Some("active"), "the leader knows of no brake");

    // After half a minute it waits for no leader any more.
    for _ in 0..2 {
        let begun = std::time::Instant::now();
        while status(&site, 1).is_none() && begun.elapsed().as_secs() < 19 {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    until("the brake is on again", || {
        (status(&site, 1)? == "suspended" && status(&site, 0)? == "suspended").then_some(())
    });
    let again = site.daemon(0).done("event list --type user.suspended")["events"].to_string();
    assert!(again.contains("theft (put on again: the database had lost it)"), "{again}");
    site.daemon(0).done("event verify");
    assert_eq!(site.sign_in(1, "ann@example.com", &password), "allow");
}
