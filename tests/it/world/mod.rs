//! A company in memory: a directory, the part of it that a reader sees, and the users.
//!
//! `Company::run` calls the functions that a run of the engine calls, `Draft::of` and `Review`. Maps
//! replace the directory and the store, so that laws are tried on thousands of histories.

mod counts;
mod facts;
pub(crate) mod forest;
mod reading;
mod runs;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use rosterd::model::*;
use rosterd::reconcile::*;

pub(crate) use facts::{Facts, Life, Loss};
use storage::written;

pub(crate) const BASE: &str = "DC=corp,DC=example,DC=com";

#[derive(Clone)]
pub(crate) struct Company {
    pub truth: BTreeMap<Guid, Facts>,
    pub users: BTreeMap<UserId, User>,
    pub people: BTreeMap<Guid, (IndexRow, StoredPerson)>,
    pub first_seen: FirstSeen,
    /// The changes that were applied without an approval.
    pub applied: Vec<(Timestamp, ChangeClass)>,
    /// The users who came to clusters: the class of the change, and the cluster that they left.
    pub came_in: Vec<(Timestamp, UserId, ChangeClass, Option<String>)>,
    /// The users who left a cluster, and whether an operator approved it.
    pub taken_out: Vec<(Timestamp, String, UserId, bool)>,
    pub counts: AttributeCounts,
    pub held: Vec<HeldChange>,
    pub quarantined: Vec<Quarantine>,
    pub grace_periods: Vec<GracePeriod>,
    /// The people that the last run saw disabled.
    pub seen_disabled: BTreeSet<Guid>,
    pub bases: Vec<String>,
    pub claims: Vec<&'static str>,
    pub limits: Limits,
    pub last_server: LastServer,
    pub hold_all: HoldAll,
    /// The rules of OUs; their names never change.
    pub(crate) rules: OuRules,
    pub(crate) excluded: Vec<Ou>,
    pub(crate) is_quiet: bool,
    /// The changes of the window by home.
    pub(crate) at_home: Vec<(Timestamp, AppliedAtHome)>,
    pub without: WithoutGroup,
    pub protected: BTreeSet<Guid>,
    pub now: Timestamp,
    pub started_with: Option<u64>,
    /// The changes that the last run applied.
    pub written: Vec<WrittenChange>,
    pub(crate) rejections: Vec<Rejection>,
    /// The replication metadata of the present server; `None` where the test has one server.
    pub(crate) shown: Option<forest::Shown>,
    /// The stamps of people who were seen to leave before they have a user.
    pub(crate) early_leavers: BTreeMap<Guid, Metadata>,
    /// The number of people who are planned at once.
    pub(crate) slice: usize,
    /// The slices and the warnings of the last run.
    pub(crate) slices_planned: usize,
    pub(crate) warned: Vec<String>,
}

fn account() -> AccountId {
    "00000000-0000-0000-0000-000000000001".parse().expect("an id")
}

pub(crate) fn guid(n: u32) -> Guid {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    Guid(bytes)
}

pub(crate) const PRO: Guid = Guid([0xaa; 16]);
pub(crate) const BASIC: Guid = Guid([0xbb; 16]);

/// Provisioned companies by size, because provisioning takes longer than most tests.
static RUNNING: Mutex<BTreeMap<u32, Company>> = Mutex::new(BTreeMap::new());

impl Company {
    /// Returns a company of `n` people in three OUs, every third one Pro, before the first run.
    pub(crate) fn of(n: u32) -> Self {
        Self {
            truth: (0..n).map(|i| (guid(i), Facts::of(i))).collect(),
            users: BTreeMap::new(),
            people: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            applied: Vec::new(),
            came_in: Vec::new(),
            taken_out: Vec::new(),
            counts: AttributeCounts::default(),
            held: Vec::new(),
            quarantined: Vec::new(),
            grace_periods: Vec::new(),
            seen_disabled: BTreeSet::new(),
            bases: vec![BASE.to_owned()],
            claims: vec!["example.com", "example.org"],
            limits: Limits::default(),
            last_server: LastServer::default(),
            hold_all: HoldAll::No,
            rules: OuRules::default(),
            excluded: Vec::new(),
            is_quiet: false,
            at_home: Vec::new(),
            without: WithoutGroup::Suspend,
            protected: BTreeSet::new(),
            now: Timestamp(1_700_000_000_000_000),
            started_with: None,
            written: Vec::new(),
            rejections: Vec::new(),
            shown: None,
            early_leavers: BTreeMap::new(),
            slice: usize::MAX,
            slices_planned: 0,
            warned: Vec::new(),
        }
    }

    /// Rejects all held changes.
    pub(crate) fn reject_all(&mut self) {
        for held in self
            .held
            .iter()
            .filter(|h| !matches!(h.hold, HoldReason::GracePeriod | HoldReason::Rejected))
        {
            let change = written(&held.change, self.now);
            for (key, reason) in change.rejection_keys() {
                self.rejections.push(Rejection {
                    key,
                    plan: "00000000-0000-0000-0000-0000000000aa".parse().expect("an id"),
                    user: held.change.user,
                    guid: held.change.guid,
                    kind: held.change.kind.verb(),
                    reason,
                    cluster: held.change.cluster.clone(),
                    attribute: change.attribute().map(str::to_owned),
                });
            }
        }
    }

    /// Reopens all rejected changes.
    pub(crate) fn reopen_all(&mut self) {
        self.rejections.clear();
    }

    /// Returns a company with all people provisioned.
    pub(crate) fn running(n: u32) -> Self {
        let mut known = RUNNING.lock().expect("no test fails here");
        known.entry(n).or_insert_with(|| Self::of(n).at_work()).clone()
    }

    /// Provisions all people and ends the first window.
    pub(crate) fn at_work(mut self) -> Self {
        self.run(&Loss::default());
        self.approve_all(&Loss::default());
        self.applied.clear();
        self.came_in.clear();
        self.taken_out.clear();
        self.at_home.clear();
        self.started_with = Some(self.active());
        self
    }

    pub(crate) fn active(&self) -> u64 {
        self.users.values().filter(|u| u.status() == Status::Active).count() as u64
    }

    pub(crate) fn person(&mut self, n: u32) -> &mut Facts {
        self.truth.get_mut(&guid(n)).expect("a person of the company")
    }

    pub(crate) fn user(&self, n: u32) -> &User {
        self.users
            .values()
            .find(|u| u.link.as_ref().is_some_and(|l| l.guid == guid(n)))
            .expect("a user")
    }

    pub(crate) fn status(&self, n: u32) -> Status {
        self.user(n).status()
    }

    pub(crate) fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    /// Sets the clock back, and corrects stored instants in the future as the store does.
    pub(crate) fn set_back(&mut self, by: Duration) {
        self.now = self.now.minus(by);
        let now = self.now;
        self.first_seen.values_mut().for_each(|at| *at = (*at).min(now));
        self.grace_periods.iter_mut().for_each(|s| {
            (s.first_seen, s.due) = (s.first_seen.min(now), s.due.map(|due| due.min(now)))
        });
        self.applied.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        self.came_in.iter_mut().for_each(|(at, ..)| *at = (*at).min(now));
        self.taken_out.iter_mut().for_each(|(at, ..)| *at = (*at).min(now));
        self.at_home.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        for user in self.users.values_mut() {
            let causes: Vec<Cause> = user
                .causes
                .iter()
                .map(|c| Cause { since: c.since.min(now), ..c.clone() })
                .collect();
            user.causes = causes.into();
        }
    }

    fn dn(truth: &Facts, guid: Guid) -> Dn {
        Dn::new(format!("CN={guid},OU={},{BASE}", truth.ou))
    }

    fn visible(&self, guid: Guid, loss: &Loss) -> Option<&Facts> {
        self.truth.get(&guid).filter(|t| {
            t.life == Life::Alive
                && !loss.hidden.contains(&guid)
                && !loss.hidden_ous.contains(&t.ou)
        })
    }

    fn person_of(guid: Guid, truth: &Facts, loss: &Loss) -> Person {
        let mut groups = Vec::new();
        if !loss.no_member_of.contains(&guid) {
            groups.extend(truth.pro.then_some(PRO));
            groups.extend(truth.basic.then_some(BASIC));
        }
        Person {
            guid,
            sid: None,
            dn: Self::dn(truth, guid),
            placement: if truth.ou == "Elsewhere" {
                Placement::Outside {
                    attribute: "distinguishedName".to_owned(),
                    value: "OU=Elsewhere".to_owned(),
                }
            } else {
                Placement::Inside
            },
            control: (!loss.no_control.contains(&guid))
                .then_some(UserAccountControl(if truth.disabled { 514 } else { 512 })),
            expires: (!loss.no_control.contains(&guid)).then_some(truth.expires),
            groups,
            leave: if loss.no_mail.contains(&guid) { Field::Absent } else { truth.leave.clone() },
            groups_unknown: false,
            mail: if loss.no_mail.contains(&guid) {
                Field::Absent
            } else {
                Field::Text(truth.mail.clone())
            },
            proxy_addresses: truth.proxies.clone(),
            profile: Profile { display_name: Some(truth.name.clone()), ..Profile::default() },
            several: None,
        }
    }

    fn policy(&self, loss: &Loss) -> Policy {
        let mut closure = Closure::default();
        closure.add(ClosureGroup { guid: PRO, dn: Dn::new("CN=Pro"), rid: None, gives: Tier::Pro });
        if loss.no_basic_group {
            closure = closure.partial();
        } else {
            closure.add(ClosureGroup {
                guid: BASIC,
                dn: Dn::new("CN=Basic"),
                rid: None,
                gives: Tier::Basic,
            });
        }
        Policy {
            directory: DirectoryName::parse("corp").expect("a name"),
            account: account(),
            claims: ClaimedDomains(
                self.claims.iter().map(|d| Domain::parse(d).expect("a domain")).collect(),
            ),
            closure,
            tiers: TierRules {
                grouped: true,
                without_group: self.without,
                default_tier: Tier::Pro,
            },
            exclude: Exclude::new(["svc-*@example.com".to_owned()], self.excluded.clone()),
            rules: self.rules.clone(),
            leave_date: LeaveDates {
                attribute: Some("leave".to_owned()),
                zone: chrono_tz::Tz::UTC,
            },
            now: (!loss.clocks_apart).then_some(self.now),
            provenance: Provenance { server: "ldaps://dc1".to_owned(), at: self.now },
        }
    }

    /// Adds a user of the account that no directory manages.
    pub(crate) fn unmanaged(&mut self, address: &str) {
        let addresses = Addresses {
            primary: Some(Address::parse(address).expect("an address")),
            secondary: BTreeSet::new(),
        };
        let joined = Joined {
            tier: Tier::Pro,
            addresses,
            profile: Profile::default(),
            link: None,
            causes: Causes::default(),
        };
        let id = UserId::of_person(account(), Guid([0xee; 16]));
        self.users.insert(id, User::created(id, account(), &joined, self.now));
    }

    /// Returns the held changes, a line each.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.held
            .iter()
            .map(|h| {
                format!(
                    "{} {} {}",
                    h.change.email.as_ref().map_or("-", |e| e.as_str()),
                    h.change.kind.verb(),
                    h.hold
                )
            })
            .collect()
    }
}
