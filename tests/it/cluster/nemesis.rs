//! Histories from a seed: leaders are killed, frozen and replaced while people leave and come back.
//!
//! `ROSTERD_CLUSTER_SEED=7 ROSTERD_CLUSTER_ROUNDS=1000` plays one history for as long as wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Like, Node, Site};
use crate::process::until;

/// Rounds of one history.
const ROUNDS: u64 = 8;

/// Chance from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// Waits for the node that leads by its own word, among those that are not frozen.
fn leading(nodes: &[Node], frozen: Option<usize>) -> usize {
    until("a node leads", || {
        let mut others = nodes.iter().enumerate().filter(|(at, _)| Some(*at) != frozen);
        let leads = |(_, node): &(usize, &Node)| node.leader().as_ref() == Some(&node.name);
        others.find(leads).map(|(at, _)| at)
    })
}

#[test]
fn no_change_is_lost_or_made_twice_whatever_happens_to_the_leaders() {
    let seed = number("ROSTERD_CLUSTER_SEED", 1);
    let Some(mut site) = Site::new(Like { nodes: 3, ..Like::default() }) else { return };
    let people = site.people(0);
    let mut chance = Chance(seed);
    let mut disabled = BTreeSet::new();
    for round in 0..number("ROSTERD_CLUSTER_ROUNDS", ROUNDS) {
        let leader = leading(&site.nodes, None);
        for _ in 0..3 {
            let who = chance.below(people.len());
            let dn = people[who].1.as_str();
            if disabled.remove(&who) {
                site.sim.edit(|ad| ad.enable(dn));
            } else {
                disabled.insert(who);
                site.sim.edit(|ad| ad.disable(dn));
            }
        }
        match chance.below(4) {
            0 => {
                site.daemon(leader).signal(Signal::SIGKILL);
                site.nodes[leader].daemon = None;
                site.start(leader);
            }
            1 => {
                site.daemon(leader).signal(Signal::SIGSTOP);
                leading(&site.nodes, Some(leader));
                site.daemon(leader).signal(Signal::SIGCONT);
            }
            2 => {
                site.daemon(leader).signal(Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(100 * chance.below(30) as u64));
                site.daemon(leader).signal(Signal::SIGCONT);
            }
            _ => {
                let asked = chance.below(3);
                site.daemon(asked).ctl("leader step-down");
            }
        }
        let leader = leading(&site.nodes, None);
        let what = format!("seed {seed}, round {round}: the users follow");
        until(&what, || {
            let (code, users) =
                site.daemon(leader).ctl("user list --status suspended --limit 1000");
            let suspended: Option<BTreeSet<&str>> = users["users"]
                .as_array()
                .map(|all| all.iter().filter_map(|u| u["id"].as_str()).collect());
            let wanted: BTreeSet<&str> =
                disabled.iter().map(|who| people[*who].0.as_str()).collect();
            (code == 0 && suspended == Some(wanted)).then_some(())
        });
    }
    site.check(leading(&site.nodes, None));
}
