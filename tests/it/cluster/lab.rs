//! Two daemons on the two servers of a Patroni, whose leader changes while operators work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Like, Site};
use crate::process::until;

/// The servers of Patroni, stopped when dropped.
struct Patroni {
    folder: PathBuf,
    /// The port of each server by its name.
    ports: BTreeMap<String, String>,
    _parent: tempfile::TempDir,
}

impl Drop for Patroni {
    fn drop(&mut self) {
        self.lab("stop");
    }
}

impl Patroni {
    /// Returns `None` where the lab has none.
    fn start() -> Option<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        std::env::var_os("ROSTERD_LAB_PATRONI")?;
        // The user of the servers has to enter it.
        let open = std::fs::Permissions::from_mode(0o711);
        let labs =
            std::env::var_os("ROSTERD_LAB_DIR").unwrap_or_else(|| std::env::temp_dir().into());
        let parent = tempfile::Builder::new().permissions(open).tempdir_in(labs).unwrap();
        let folder = parent.path().join("patroni");
        let mut patroni = Self { folder, ports: BTreeMap::new(), _parent: parent };
        let told = patroni.lab("start");
        let port = |line: &str| {
            line.split_once('=').map(|(name, port)| (name.to_lowercase(), port.to_owned()))
        };
        patroni.ports = told.lines().filter_map(port).collect();
        Some(patroni)
    }

    fn lab(&self, verb: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/patroni");
        let done = Command::new(script).arg(verb).arg(&self.folder).output().unwrap();
        assert!(done.status.success(), "{verb}: {done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn url(&self, servers: &[&str]) -> String {
        let hosts: Vec<String> =
            servers.iter().map(|name| format!("127.0.0.1:{}", self.ports[*name])).collect();
        format!("postgres://rosterd@{}/postgres", hosts.join(","))
    }
}

/// Suspends users one after another at both nodes until `stop`. Returns those that were reported as
/// suspended.
fn suspend(site: &Site, users: &Mutex<Vec<String>>, stop: &AtomicBool) -> BTreeSet<String> {
    let mut done = BTreeSet::new();
    let mut node = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(user) = users.lock().unwrap().pop() else { break };
        node = 1 - node;
        // A command that fails, or that may be done, tells nothing.
        let Some(daemon) = &site.nodes[node].daemon else { continue };
        if daemon.ctl(&format!("user suspend {user} --reason test")).0 == 0 {
            done.insert(user);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    done
}

#[test]
#[ignore = "needs the lab: tests/run --release"]
fn nothing_reported_done_is_lost_when_patroni_and_rosterd_change_their_leaders() {
    let Some(patroni) = Patroni::start() else { return };
    // The first host takes no writes at first.
    let first = patroni.lab("leader");
    let second = if first == "a" { "b" } else { "a" };
    let url = patroni.url(&[second, &first]);
    let mut site = Site::at(url, Like { people: 300, ..Like::default() });
    assert_eq!(site.daemon(0).done("status")["store"]["attention"], json!([]));
    let people = site.people(0);
    let (leavers, rest) = people.split_at(12);
    let users = Mutex::new(rest.iter().map(|(user, _)| user.clone()).collect::<Vec<_>>());
    let leave = |site: &Site, some: &[(String, String)]| {
        site.sim.edit(|ad| some.iter().for_each(|(_, dn)| ad.disable(dn.as_str())));
    };

    // Both changes of the leader of the database, with operators at both nodes.
    let mut done = BTreeSet::new();
    for (verb, some) in [("switch", &leavers[..4]), ("kill", &leavers[4..8])] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let operator = threads.spawn(|| suspend(&site, &users, &stop));
            leave(&site, some);
            let now = patroni.lab(verb);
            assert!(patroni.ports.contains_key(&now), "{now}");
            until("rosterd works again", || {
                let user = users.lock().unwrap().pop()?;
                (site.daemon(1).ctl(&format!("user suspend {user}")).0 == 0).then_some(())
            });
            stop.store(true, Ordering::Relaxed);
            done.extend(operator.join().unwrap());
        });
    }
    // Then the leader of rosterd.
    let leader = until("a node leads", || site.leader());
    let stop = AtomicBool::new(false);
    leave(&site, &leavers[8..]);
    site.kill(leader);
    std::thread::scope(|threads| {
        let operator = threads.spawn(|| suspend(&site, &users, &stop));
        site.leads(1 - leader);
        stop.store(true, Ordering::Relaxed);
        done.extend(operator.join().unwrap());
    });
    assert!(done.len() >= 6, "operators were answered: {done:?}");

    let node = 1 - leader;
    site.url = patroni.url(&[&patroni.lab("leader")]);
    until("all leavers are suspended", || {
        let gone = |(user, _): &(String, String)| site.status_of(node, user) == "suspended";
        leavers.iter().all(gone).then_some(())
    });
    for user in &done {
        assert_eq!(site.status_of(node, user), "suspended", "{user} was reported as suspended");
    }
    // With a synchronous standby, nothing was lost and found again.
    let rewound = site.daemon(node).done("event list --type store.rewound")["events"].clone();
    assert_eq!(rewound, Value::Array(Vec::new()));
    site.check(node);
}
