//! Histories from a seed: leaders are killed, frozen, cut off and replaced while people leave and come
//! back. Each change of a user takes a while, so that a leader is often hit inside a transaction.
//!
//! `ROSTERD_CLUSTER_SEED=7 ROSTERD_CLUSTER_ROUNDS=1000` plays one history for as long as wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Like, Node, Site};
use crate::process::{until, until_within};

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

/// A statement on a connection that was cut ends after 20 seconds, and the work is then begun anew.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);

/// The time that each change of a user takes.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END'; CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()";

#[rstest::rstest]
fn no_change_is_lost_or_made_twice_whatever_happens_to_the_leaders(
    #[values(1, 2, 3, 4)] history: u64,
) {
    // Another seed is played once.
    let seed = number("ROSTERD_CLUSTER_SEED", history);
    if history > 1 && std::env::var_os("ROSTERD_CLUSTER_SEED").is_some() {
        return;
    }
    let like = Like { nodes: 3, has_far_database: true, ..Like::default() };
    let Some(mut site) = Site::new(like) else { return };
    site.sql(SLOW);
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
        match chance.below(5) {
            0 => {
                site.kill(leader);
                // The process that starts again at once leads again.
                if chance.below(2) == 0 {
                    leading(&site.nodes, Some(leader));
                }
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
            3 => {
                let relay = site.nodes[leader].to_database.as_ref().unwrap();
                relay.cut();
                if chance.below(2) == 0 {
                    leading(&site.nodes, Some(leader));
                } else {
                    std::thread::sleep(Duration::from_millis(100 * chance.below(30) as u64));
                }
                relay.mend();
            }
            _ => {
                let asked = chance.below(3);
                site.daemon(asked).ctl("leader step-down");
            }
        }
        let leader = leading(&site.nodes, None);
        let what = format!("seed {seed}, round {round}: the users follow");
        until_within(LONGEST_SILENCE, &what, || {
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
