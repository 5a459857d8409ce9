//! A company in memory: a true directory, what a reader can see of it, and the users rosterd keeps.
//!
//! `Company::run` takes the steps of `engine::sync` with the directory and the store replaced by maps, so
//! that laws can be tried on thousands of histories.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use rosterd::model::*;
use rosterd::reconcile::*;

pub(crate) const BASE: &str = "DC=corp,DC=example,DC=com";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Tombstone,
    Purged,
}

/// What is true of one person.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub life: Life,
    pub ou: String,
    pub mail: String,
    pub proxies: Vec<String>,
    pub name: String,
    pub disabled: bool,
    pub expires: Expiry,
    pub pro: bool,
    pub basic: bool,
}

/// What the reader cannot see, or is told wrongly, in one run.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is something else that goes wrong")]
pub(crate) struct Loss {
    pub hidden_ous: BTreeSet<String>,
    /// Missing from the stream although there; found by GUID.
    pub skipped: BTreeSet<Guid>,
    /// Not to be seen at all.
    pub hidden: BTreeSet<Guid>,
    pub no_control: BTreeSet<Guid>,
    pub no_mail: BTreeSet<Guid>,
    pub no_member_of: BTreeSet<Guid>,
    /// Of whose entry nothing can be used but the account's state.
    pub broken: BTreeSet<Guid>,
    /// The groups whose members cannot be seen.
    pub blind_groups: BTreeSet<Guid>,
    /// The Basic group is not found at all.
    pub no_basic_group: bool,
    pub tombstones_visible: bool,
    /// How a base ends, and which one.
    pub end: Option<(usize, PageEnd)>,
    /// The read ends after so many entries, with success as far as `end` does not say otherwise.
    pub cut_after: Option<usize>,
    /// Another server answers at the end of the read.
    pub other_server: bool,
    /// Asking for people by GUID fails.
    pub unconfirmed: bool,
    /// The server's clock and ours are far apart.
    pub clocks_apart: bool,
    /// The server returns people in another order.
    pub(crate) reversed: bool,
}

#[derive(Clone)]
pub(crate) struct Company {
    pub truth: BTreeMap<Guid, Facts>,
    pub users: BTreeMap<UserId, User>,
    pub people: BTreeMap<Guid, (IndexRow, StoredPerson)>,
    pub first_seen: FirstSeen,
    /// What was applied unasked: when, as what, and what it took whom out of.
    pub applied: Vec<(Timestamp, Class)>,
    /// Who was taken out of which cluster when, and whether an operator was asked.
    pub taken_out: Vec<(Timestamp, String, UserId, bool)>,
    pub counts: AttributeCounts,
    pub held: Vec<HeldChange>,
    pub quarantined: Vec<Quarantine>,
    pub grace_periods: Vec<GracePeriod>,
    /// Whose account was seen to be disabled in the last run.
    pub seen_disabled: BTreeSet<Guid>,
    pub bases: Vec<String>,
    pub claims: Vec<&'static str>,
    pub limits: Limits,
    pub hold_all: HoldAll,
    pub without: WithoutGroup,
    pub protected: BTreeSet<Guid>,
    pub now: Timestamp,
    pub started_with: Option<u64>,
    /// What the last run applied.
    pub written: Vec<WrittenChange>,
    /// What an operator has rejected.
    pub(crate) rejections: Vec<Rejection>,
}

/// A change as the store writes it down.
fn written(change: &Change, at: Timestamp) -> WrittenChange {
    WrittenChange {
        user: change.user,
        guid: change.guid,
        email: change.email.as_ref().map(|e| e.as_str().to_owned()),
        kind: change.kind.as_str().to_owned(),
        class: change.class,
        reason: change.reason().map(|r| r.as_str().to_owned()),
        before: change.before(),
        after: change.after(),
        evidence: serde_json::json!(change.evidence()),
        cluster: change.cluster.clone(),
        hold: None,
        outcome: "applied".to_owned(),
        at,
    }
}

pub(crate) fn guid(n: u32) -> Guid {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    Guid(bytes)
}

pub(crate) const PRO: Guid = Guid([0xaa; 16]);
pub(crate) const BASIC: Guid = Guid([0xbb; 16]);

/// Companies at work, by size: provisioning one takes longer than most tests.
static RUNNING: Mutex<BTreeMap<u32, Company>> = Mutex::new(BTreeMap::new());

impl Company {
    /// A company of `n` people in three OUs, every third of them pro, not yet read.
    pub(crate) fn of(n: u32) -> Self {
        let truth = (0..n).map(|i| {
            let truth = Facts {
                life: Life::Alive,
                ou: ["Engineering", "Sales", "Operations"][i as usize % 3].to_owned(),
                mail: format!("p{i}@example.com"),
                proxies: vec![
                    format!("SMTP:p{i}@example.com"),
                    format!("smtp:alias{i}@example.org"),
                    format!("X500:/o={i}"),
                ],
                name: format!("Person {i}"),
                disabled: false,
                expires: Expiry::Never,
                pro: i % 3 == 0,
                basic: true,
            };
            (guid(i), truth)
        });
        Self {
            truth: truth.collect(),
            users: BTreeMap::new(),
            people: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            applied: Vec::new(),
            taken_out: Vec::new(),
            counts: AttributeCounts::default(),
            held: Vec::new(),
            quarantined: Vec::new(),
            grace_periods: Vec::new(),
            seen_disabled: BTreeSet::new(),
            bases: vec![BASE.to_owned()],
            claims: vec!["example.com", "example.org"],
            limits: Limits::default(),
            hold_all: HoldAll::No,
            without: WithoutGroup::Suspend,
            protected: BTreeSet::new(),
            now: Timestamp(1_700_000_000_000_000),
            started_with: None,
            written: Vec::new(),
            rejections: Vec::new(),
        }
    }

    /// Rejects all that is held, as an operator does.
    pub(crate) fn reject_all(&mut self) {
        for held in self
            .held
            .iter()
            .filter(|h| !matches!(h.hold, HoldReason::GracePeriod | HoldReason::Rejected))
        {
            for (key, reason) in written(&held.change, self.now).rejection_keys() {
                self.rejections.push(Rejection {
                    key,
                    plan: "00000000-0000-0000-0000-0000000000aa".parse().expect("an id"),
                    user: held.change.user,
                    guid: held.change.guid,
                    kind: held.change.kind.as_str().to_owned(),
                    reason,
                    cluster: held.change.cluster.clone(),
                });
            }
        }
    }

    /// Takes every rejection back.
    pub(crate) fn reopen_all(&mut self) {
        self.rejections.clear();
    }

    /// The same, with everybody provisioned.
    pub(crate) fn running(n: u32) -> Self {
        let mut known = RUNNING.lock().expect("no test fails here");
        known.entry(n).or_insert_with(|| Self::of(n).at_work()).clone()
    }

    /// Everybody provisioned, and the first day over.
    pub(crate) fn at_work(mut self) -> Self {
        self.run(&Loss::default());
        self.approve_all(&Loss::default());
        self.applied.clear();
        self.taken_out.clear();
        self.started_with = Some(self.active());
        self
    }

    pub(crate) fn active(&self) -> u64 {
        self.users.values().filter(|u| u.status() == Status::Active).count() as u64
    }

    pub(crate) fn person(&mut self, n: u32) -> &mut Facts {
        self.truth.get_mut(&guid(n)).expect("somebody of the company")
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

    /// Sets the clock back by so much, and corrects what was stored while it was ahead, as the store does.
    pub(crate) fn set_back(&mut self, by: Duration) {
        self.now = self.now.minus(by);
        let now = self.now;
        self.first_seen.values_mut().for_each(|at| *at = (*at).min(now));
        self.grace_periods.iter_mut().for_each(|s| {
            (s.first_seen, s.due) = (s.first_seen.min(now), s.due.map(|due| due.min(now)))
        });
        self.applied.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        self.taken_out.iter_mut().for_each(|(at, ..)| *at = (*at).min(now));
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
        if !loss.no_basic_group {
            closure.add(ClosureGroup {
                guid: BASIC,
                dn: Dn::new("CN=Basic"),
                rid: None,
                gives: Tier::Basic,
            });
        }
        Policy {
            directory: DirectoryName::parse("corp").expect("a name"),
            account: "00000000-0000-0000-0000-000000000001".parse().expect("an id"),
            claims: ClaimedDomains(
                self.claims.iter().map(|d| Domain::parse(d).expect("a domain")).collect(),
            ),
            closure,
            tiers: TierRules {
                grouped: true,
                without_group: self.without,
                default_tier: Tier::Pro,
            },
            exclude: Exclude::new(["svc-*@example.com".to_owned()]),
            now: (!loss.clocks_apart).then_some(self.now),
            observed: Observation { server: "ldaps://dc1".to_owned(), at: self.now },
        }
    }

    /// One run over the whole directory, as the engine makes it.
    pub(crate) fn run(&mut self, loss: &Loss) {
        self.run_with(loss, BTreeSet::new());
    }

    /// Approves all that is held, on a fresh look.
    pub(crate) fn approve_all(&mut self, loss: &Loss) {
        let approved = self.held.iter().map(|h| h.change.digest()).collect();
        self.run_with(loss, approved);
    }

    fn run_with(&mut self, loss: &Loss, approved: BTreeSet<Digest>) {
        let policy = self.policy(loss);
        let unmanaged = self
            .users
            .values()
            .filter(|u| u.link.is_none())
            .flat_map(|u| u.addresses.keys())
            .map(|k| address_hash(&k));
        let mut index =
            Index::new(self.people.values().map(|(row, _)| *row).collect(), unmanaged.collect());
        self.seen_disabled.clear();
        let mut desired = BTreeMap::new();
        let mut malformed = BTreeSet::new();
        let complete = self.read(loss, &policy, &mut index, &mut desired, &mut malformed);
        let (mut failed, mut proof) = match &complete {
            Ok(complete) => (false, Some(complete)),
            Err(incomplete) => (true, incomplete.partial.as_ref()),
        };
        let mut known = Known::default();
        for user in self.users.values() {
            known.add(user.clone(), policy.account);
        }
        known.people = self.people.iter().map(|(g, (_, p))| (*g, p.clone())).collect();
        known.rejected = self
            .rejections
            .iter()
            .filter(|r| r.kind == "suspend")
            .filter_map(|r| Some((r.user, r.reason?)))
            .collect();

        let mut unknown = BTreeSet::new();
        if loss.unconfirmed && index.unseen().next().is_some() {
            (failed, proof) = (true, None);
        } else if proof.is_some() {
            let found = self.ask(&index.unseen().collect::<Vec<_>>(), loss);
            let last_seen = found.keys().map(|g| (*g, self.people[g].1.dn.clone())).collect();
            malformed.extend(
                found
                    .iter()
                    .filter(|(_, c)| matches!(c, Confirmation::Malformed(_)))
                    .map(|(g, _)| *g),
            );
            let is_suspended =
                |guid| known.of_person(guid).is_none_or(|u| u.status() != Status::Active);
            let absent = Absent::decide(&found, &last_seen, proof, is_suspended, &policy);
            failed |= !absent.unexplained.is_empty();
            unknown.extend(absent.unknown);
            desired.extend(absent.desired);
        }
        self.confirm_groups(&mut desired, &known, loss, &policy);
        failed |= loss.no_basic_group;

        let mut proposal = plan(&desired, &known, &policy);
        let judged: BTreeSet<Guid> = self
            .truth
            .keys()
            .copied()
            .filter(|g| !unknown.contains(g))
            .filter(|g| {
                !failed || proof.is_some_and(|p| desired.get(g).is_some_and(|d| p.covers(&d.dn)))
            })
            .collect();
        if failed {
            proposal.restrict(|guid| judged.contains(&guid));
        } else if let Ok(complete) = &complete {
            self.counts = complete.counts().clone();
        }
        if loss.no_basic_group {
            proposal.without_group_losses();
        }
        for guid in malformed.into_iter().filter(|g| known.people.contains_key(g)) {
            let user = known.people[&guid].user;
            let quarantine = Some(QuarantineReason::MalformedEntry);
            proposal.people.retain(|p| p.guid != guid);
            let notes = BTreeSet::new();
            proposal.people.push(PersonRow {
                guid,
                user,
                fingerprint: 0,
                dn: None,
                expires: None,
                entitled_by: Entitlement::Unknown,
                keeps_place: true,
                quarantine,
                notes,
            });
        }
        let over = ended(self.rejections.clone(), &proposal, &desired, &known, !failed, |guid| {
            judged.contains(&guid)
        });
        self.judge_and_apply(proposal, approved, &judged);
        self.rejections.retain(|r| !over.contains(r));
    }

    /// A run over some people, as the engine makes it: it also reads everybody else who wants an address that would change
    /// hands, and who holds it.
    pub(crate) fn run_over(&mut self, people: &BTreeSet<Guid>) {
        let loss = Loss { tombstones_visible: true, ..Loss::default() };
        let policy = self.policy(&loss);
        let mut known = Known::default();
        for user in self.users.values() {
            known.add(user.clone(), policy.account);
        }
        known.people = self.people.iter().map(|(g, (_, p))| (*g, p.clone())).collect();
        let (mut judged, mut desired) = (BTreeSet::new(), BTreeMap::new());
        let mut more = people.clone();
        while !more.is_empty() {
            let is_there = |guid: &Guid| {
                self.people.contains_key(guid) || self.visible(*guid, &loss).is_some()
            };
            let asked: Vec<Guid> = more.iter().copied().filter(is_there).collect();
            let found = self.ask(&asked, &loss);
            let absent = Absent::decide(&found, &BTreeMap::new(), None, |_| false, &policy);
            desired.extend(absent.desired);
            judged.append(&mut more);
            let wanted = newly_wanted(&desired, &known);
            let shows = |truth: &Facts| {
                let proxies =
                    truth.proxies.iter().filter_map(|p| p.split_once(':')).map(|(_, text)| text);
                proxies
                    .chain([truth.mail.as_str()])
                    .filter_map(|text| Address::parse(text).ok())
                    .any(|a| wanted.contains(&a.key()))
            };
            more.extend(
                self.truth
                    .iter()
                    .filter(|(guid, truth)| self.visible(**guid, &loss).is_some() && shows(truth))
                    .map(|(g, _)| *g),
            );
            more.extend(
                wanted
                    .iter()
                    .filter_map(|key| known.holder(key)?.link.as_ref().map(|link| link.guid)),
            );
            more.retain(|guid| !judged.contains(guid));
        }
        self.confirm_groups(&mut desired, &known, &loss, &policy);
        self.judge_and_apply(plan(&desired, &known, &policy), BTreeSet::new(), &judged);
    }

    /// Who belongs to each cluster now.
    pub(crate) fn members(&self) -> BTreeMap<String, BTreeSet<UserId>> {
        let mut members: BTreeMap<String, BTreeSet<UserId>> = BTreeMap::new();
        for (_, person) in self.people.values() {
            let Some(user) = person
                .user
                .filter(|u| self.users.get(u).is_some_and(|u| u.status() == Status::Active))
            else {
                continue;
            };
            let clusters = [
                Some(format!("ou:{}", person.home)),
                person.entitled_by.map(|g| format!("group:{g}")),
            ];
            for cluster in clusters.into_iter().flatten() {
                members.entry(cluster).or_default().insert(user);
            }
        }
        members
    }

    /// The clusters over the window that began then, as the store counts them.
    fn clusters(&self, since: Timestamp) -> BTreeMap<String, Cluster> {
        let mut belonged = self.members();
        let mut left: BTreeMap<String, BTreeSet<UserId>> = BTreeMap::new();
        for (at, cluster, user, is_asked) in self.taken_out.iter().filter(|(at, ..)| *at > since) {
            debug_assert!(*at <= self.now);
            belonged.entry(cluster.clone()).or_default().insert(*user);
            if !is_asked {
                left.entry(cluster.clone()).or_default().insert(*user);
            }
        }
        let cluster = |(name, users): (String, BTreeSet<UserId>)| {
            let left = left.remove(&name).unwrap_or_default();
            (name, Cluster { belonged: users.len() as u64, left, ..Cluster::default() })
        };
        belonged.into_iter().map(cluster).collect()
    }

    fn judge_and_apply(
        &mut self,
        proposal: Proposal,
        approved: BTreeSet<Digest>,
        judged: &BTreeSet<Guid>,
    ) {
        let window = self.now.minus(self.limits.window);
        let hour = self.now.minus(Duration::from_hours(1));
        let used = Class::ALL.into_iter().map(|class| {
            let count = |since| {
                self.applied.iter().filter(|(at, c)| *c == class && *at > since).count() as u64
            };
            (class, Used { window: count(window), hour: count(hour) })
        });
        let situation = Situation {
            limits: &self.limits,
            active: self.started_with.unwrap_or(0),
            used: used.collect(),
            waiting: self.waiting_elsewhere(judged),
            first_seen: self.first_seen.clone(),
            clusters: self.clusters(window),
            protected: &self.protected,
            hold_all: self.hold_all,
            approved,
            rejected: Rejected {
                keys: self.rejections.iter().map(|r| r.key).collect(),
                clusters: Vec::new(),
            },
            deferred_until: None,
            now: self.now,
        };
        let verdict = guard(proposal, &situation);
        self.written.clear();
        for (change, approved) in verdict.admitted.changes() {
            self.written.push(written(change, self.now));
            match self.users.get_mut(&change.user) {
                Some(user) => user.apply(&change.kind, self.now),
                None => match &change.kind {
                    ChangeKind::Create(joined) => {
                        let account =
                            "00000000-0000-0000-0000-000000000001".parse().expect("an id");
                        self.users.insert(
                            change.user,
                            User::created(change.user, account, joined, self.now),
                        );
                    }
                    other => panic!("{} of a user that does not exist", other.as_str()),
                },
            }
            if let (Some(class), false) = (change.class, approved) {
                self.applied.push((self.now, class));
            }
            self.taken_out.extend(
                change.cluster.clone().map(|cluster| (self.now, cluster, change.user, approved)),
            );
        }
        for row in verdict.admitted.people() {
            let stood = self.people.get(&row.guid).map(|(_, p)| p.clone());
            let dn =
                row.dn.clone().or_else(|| stood.as_ref().map(|s| s.dn.clone())).expect("seen once");
            let entitled_by = match (row.entitled_by, &stood) {
                (Entitlement::By(_) | Entitlement::Nothing, Some(stood)) if row.keeps_place => {
                    stood.entitled_by
                }
                (Entitlement::By(group), _) => Some(group),
                (Entitlement::Nothing, _) => None,
                (Entitlement::Unknown, stood) => stood.as_ref().and_then(|s| s.entitled_by),
            };
            let home = match &stood {
                Some(stood) if row.keeps_place => stood.home.clone(),
                _ => dn.parent().map(|p| p.key().to_owned()).unwrap_or_default(),
            };
            let stored = StoredPerson {
                dn,
                home,
                entitled_by,
                user: row.user,
                seen_at: self.now,
                notes: row.notes.clone(),
            };
            self.people.insert(
                row.guid,
                (IndexRow { guid: row.guid, fingerprint: row.fingerprint }, stored),
            );
        }
        // What this run says nothing about waits as it did.
        let proposed: BTreeSet<Digest> = verdict.held.iter().map(|h| h.change.digest()).collect();
        let applied: BTreeSet<Digest> =
            verdict.admitted.changes().map(|(change, _)| change.digest()).collect();
        let is_settled = |digest: Digest| proposed.contains(&digest) || applied.contains(&digest);
        self.held.retain(|h| {
            h.change.guid.is_some_and(|g| !judged.contains(&g)) && !is_settled(h.change.digest())
        });
        self.held.extend(verdict.held);
        self.grace_periods.retain(|s| {
            !judged.contains(&s.guid)
                && !verdict
                    .grace_periods
                    .iter()
                    .any(|new| (new.user, new.cause) == (s.user, s.cause))
        });
        self.grace_periods.extend(verdict.grace_periods);
        self.first_seen =
            self.grace_periods.iter().map(|s| ((s.user, s.cause), s.first_seen)).collect();
        self.quarantined = verdict.quarantined;
        let mut holders: BTreeMap<AddressKey, UserId> = BTreeMap::new();
        for user in self.users.values().filter(|u| u.standing != Standing::Released) {
            for key in user.addresses.keys() {
                assert_eq!(holders.insert(key.clone(), user.id), None, "two users hold {}", key.0);
            }
        }
    }

    /// Takes back what was written; returns what is left alone, a line each.
    pub(crate) fn undo(&mut self, done: &[WrittenChange]) -> Vec<String> {
        let mut holders = BTreeMap::new();
        for user in self.users.values() {
            let held =
                user.addresses.keys().into_iter().filter(|_| user.standing != Standing::Released);
            holders.extend(held.map(|key| (key, user.id)));
        }
        let run = "00000000-0000-0000-0000-0000000000ff".parse().expect("an id");
        let Undoing { changes, left } =
            undo(Taken { run, at: self.now }, done, &self.users, &holders);
        self.written.clear();
        for change in &changes {
            self.written.push(written(change, self.now));
            self.users.get_mut(&change.user).expect("a user").apply(&change.kind, self.now);
            if matches!(change.kind, ChangeKind::Unlink { .. }) {
                self.people.retain(|guid, _| Some(*guid) != change.guid);
            }
            for (row, _) in
                self.people.values_mut().filter(|(row, _)| Some(row.guid) == change.guid)
            {
                row.fingerprint = 0;
            }
        }
        left.into_iter()
            .map(|l| format!("{} {}: {}", l.email.unwrap_or_default(), l.kind, l.why))
            .collect()
    }

    /// What waits of people a run says nothing about.
    fn waiting_elsewhere(&self, judged: &BTreeSet<Guid>) -> Vec<Waiting> {
        let is_elsewhere = |guid: &Guid| !judged.contains(guid);
        let held = self.held.iter().filter(|h| {
            !matches!(h.hold, HoldReason::GracePeriod | HoldReason::Rejected)
                && h.change.guid.as_ref().is_some_and(is_elsewhere)
        });
        let held = held.filter_map(|h| {
            Some(Waiting {
                user: h.change.user,
                class: h.change.class?,
                cluster: h.change.cluster.clone(),
            })
        });
        let grace_periods =
            self.grace_periods.iter().filter(|s| s.due.is_some() && is_elsewhere(&s.guid));
        held.chain(grace_periods.map(|s| Waiting {
            user: s.user,
            class: s.cause.class(),
            cluster: s.cluster.clone(),
        }))
        .collect()
    }

    /// Adds a user of the account that no directory manages.
    pub(crate) fn unmanaged(&mut self, address: &str) {
        let account = "00000000-0000-0000-0000-000000000001".parse().expect("an id");
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
        let id = UserId::of_person(account, Guid([0xee; 16]));
        self.users.insert(id, User::created(id, account, &joined, self.now));
    }

    /// What waits, in a line each.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.held
            .iter()
            .map(|h| {
                format!(
                    "{} {} {}",
                    h.change.email.as_ref().map_or("-", |e| e.as_str()),
                    h.change.kind.as_str(),
                    h.hold
                )
            })
            .collect()
    }
}
