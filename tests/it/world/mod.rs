//! A company in memory: a directory, the part of it that a reader sees, and the users.
//!
//! `Company::run` calls the functions that a run of the engine calls, `Draft::of` and `propose`. Maps
//! replace the directory and the store, so that laws are tried on thousands of histories.

pub(crate) mod forest;
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

/// The true state of one person.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub life: Life,
    pub ou: String,
    pub mail: String,
    pub proxies: Vec<String>,
    pub name: String,
    pub disabled: bool,
    pub expires: Expiry,
    pub leave: Field,
    pub pro: bool,
    pub basic: bool,
}

/// A loss of sight during one run.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Loss {
    pub hidden_ous: BTreeSet<String>,
    /// People missing from the pages but found by GUID.
    pub skipped: BTreeSet<Guid>,
    /// People who are not visible at all.
    pub hidden: BTreeSet<Guid>,
    pub no_control: BTreeSet<Guid>,
    pub no_mail: BTreeSet<Guid>,
    pub no_member_of: BTreeSet<Guid>,
    /// People with malformed entries that show only the state of the account.
    pub broken: BTreeSet<Guid>,
    /// The groups whose members cannot be seen.
    pub blind_groups: BTreeSet<Guid>,
    /// The Basic group is not found at all.
    pub no_basic_group: bool,
    pub tombstones_visible: bool,
    /// The base that ends otherwise, and its end.
    pub end: Option<(usize, PageEnd)>,
    /// The number of entries after which the read ends, successfully unless `end` says otherwise.
    pub cut_after: Option<usize>,
    /// Another server answers at the end of the read.
    pub other_server: bool,
    /// Another domain controller is read than usual.
    pub on_replica: bool,
    /// The connection ends before the groups are asked for their members.
    pub groups_unasked: bool,
    /// Requests for people by GUID fail.
    pub unconfirmed: bool,
    /// The clocks of the server and of rosterd differ too much.
    pub clocks_apart: bool,
    /// The server returns people in another order.
    pub(crate) reversed: bool,
}

impl Facts {
    /// Returns whether accountExpires or the leave date has passed.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        let leave = match &self.leave {
            Field::Text(text) => leave_date(text, chrono_tz::Tz::UTC),
            _ => None,
        };
        matches!(self.expires, Expiry::At(at) if at <= now) || leave.is_some_and(|at| at <= now)
    }
}

impl Loss {
    pub(super) fn server(&self) -> ServerIdentity {
        let name = if self.on_replica { "CN=DC2" } else { "CN=DC1" };
        ServerIdentity { ds_service_name: name.to_owned(), invocation_id: None }
    }
}

impl Facts {
    /// Returns an employee in one of three OUs; every third one is Pro.
    pub(crate) fn of(n: u32) -> Self {
        Self {
            life: Life::Alive,
            ou: ["Engineering", "Sales", "Operations"][n as usize % 3].to_owned(),
            mail: format!("p{n}@example.com"),
            proxies: vec![
                format!("SMTP:p{n}@example.com"),
                format!("smtp:alias{n}@example.org"),
                format!("X500:/o={n}"),
            ],
            name: format!("Person {n}"),
            disabled: false,
            expires: Expiry::Never,
            leave: Field::Absent,
            pro: n.is_multiple_of(3),
            basic: true,
        }
    }
}

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
}

/// Returns a change as the store keeps it.
fn written(change: &Change, at: Timestamp) -> WrittenChange {
    WrittenChange {
        user: change.user,
        guid: change.guid,
        email: change.email.as_ref().map(|e| e.as_str().to_owned()),
        names: change.names.clone(),
        kind: change.kind.verb(),
        class: change.class,
        reason: change.reason(),
        before: change.before(),
        after: change.after(),
        evidence: serde_json::json!(change.evidence()),
        cluster: change.cluster.clone(),
        hold: None,
        outcome: ChangeOutcome::Applied,
        at,
    }
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

    /// Returns an observation without people.
    fn observation(&self, scope: Scope, policy: Policy, loss: &Loss) -> Observation {
        Observation::new(scope, policy, "ldaps://dc".to_owned(), self.server(loss))
    }

    /// Returns the server that is read: the one of the forest, or the one that the loss chooses.
    pub(super) fn server(&self, loss: &Loss) -> ServerIdentity {
        self.shown.as_ref().map_or_else(|| loss.server(), |shown| shown.identity.clone())
    }

    /// Runs a full run.
    pub(crate) fn run(&mut self, loss: &Loss) {
        self.run_with(loss, BTreeSet::new());
    }

    /// Approves all held changes in a new run.
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
        let mut seen = self.observation(Scope::All, policy, loss);
        match self.read(loss, &mut index, &mut seen) {
            Ok(complete) => seen.proof = Some(complete),
            Err(incomplete) => {
                seen.failure = Some(incomplete.to_string());
                seen.proof = incomplete.partial;
            }
        }
        self.find_absent(&index.unseen().collect(), loss, &mut seen);
        self.judge(&mut seen);
        self.confirm_groups(&mut seen, loss);
        if loss.no_basic_group {
            seen.failure.get_or_insert("the Basic group was not found".to_owned());
        }
        self.plan_and_apply(&seen, approved);
    }

    /// A run over another server than the one in use, which `truth` and `shown` are of.
    pub(super) fn run_other(&mut self, in_use: &BTreeMap<Guid, Metadata>, loss: &Loss) {
        let is_inactive = |user: &&User| user.status() != Status::Active;
        let links = self.users.values().filter(is_inactive).filter_map(|user| user.link.as_ref());
        let inactive: BTreeSet<Guid> = links.map(|link| link.guid).collect();
        let people: BTreeSet<Guid> =
            self.truth.keys().copied().filter(|guid| !inactive.contains(guid)).collect();
        let mut seen = self.observation(Scope::People(people.clone()), self.policy(loss), loss);
        self.find_absent(&people, loss, &mut seen);
        seen.replica.metadata = self.shown.as_ref().expect("a forest").metadata.clone();
        seen.keep_newer_suspensions(in_use, &self.stored_metadata());
        self.plan_and_apply(&seen, BTreeSet::new());
    }

    /// Returns the stamps that runs have stored.
    pub(super) fn stored_metadata(&self) -> BTreeMap<Guid, Metadata> {
        let mut stored = self.early_leavers.clone();
        for (guid, (_, person)) in &self.people {
            if let Some(metadata) = &person.metadata {
                let early = stored.remove(guid).unwrap_or_default();
                stored.insert(*guid, early.merged(metadata, self.now));
            }
        }
        stored
    }

    /// Asks for people by GUID and decides about those that are absent.
    fn find_absent(&mut self, absent: &BTreeSet<Guid>, loss: &Loss, seen: &mut Observation) {
        let found = if loss.unconfirmed { BTreeMap::new() } else { self.ask(absent, loss) };
        let unanswered: Vec<Guid> =
            absent.iter().copied().filter(|guid| !found.contains_key(guid)).collect();
        if !unanswered.is_empty() {
            seen.failure.get_or_insert("people could not be asked for".to_owned());
            seen.all_answered = false;
            seen.add_unknown(unanswered);
        }
        seen.malformed.extend(found.iter().filter_map(|(guid, c)| match c {
            Confirmation::Malformed(rest) => Some((Some(*guid), rest.dn.clone())),
            _ => None,
        }));
        let stored = |guid: &Guid| Some((*guid, self.people.get(guid)?.1.dn.clone()));
        let last_seen = absent.iter().filter_map(stored).collect();
        let known = self.load(absent, &BTreeSet::new());
        let is_suspended =
            |guid| known.of_person(guid).is_none_or(|u| u.status() != Status::Active);
        let answered = found.keys().copied().collect();
        let scoped = if seen.is_full() { None } else { Complete::of_people(&answered, &found) };
        let proof = seen.proof.as_ref().or(scoped.as_ref());
        let absent = Absent::decide(&found, &last_seen, proof, is_suspended, &seen.policy);
        if !absent.unexplained.is_empty() {
            seen.failure.get_or_insert("a base shows no entry".to_owned());
        }
        seen.add_unknown(absent.unknown);
        seen.desired.extend(absent.desired);
    }

    /// Loads users and people as the store does.
    pub(super) fn load(&self, people: &BTreeSet<Guid>, wanted: &BTreeSet<AddressKey>) -> Known {
        let mut known = Known::default();
        let is_loaded = |user: &&User| {
            user.link.as_ref().is_some_and(|link| people.contains(&link.guid))
                || people.iter().any(|guid| UserId::of_person(account(), *guid) == user.id)
                || user.addresses.keys().iter().any(|key| wanted.contains(key))
        };
        for user in self.users.values().filter(is_loaded) {
            known.add(user.clone(), account());
        }
        let stored = self.people.iter().filter(|(guid, _)| people.contains(guid));
        known.people = stored.map(|(guid, (_, person))| (*guid, person.clone())).collect();
        known
    }

    /// A scoped run: it also reads the other people who want, or hold, an address that would change
    /// hands.
    pub(crate) fn run_over(&mut self, people: &BTreeSet<Guid>) {
        let loss = Loss { tombstones_visible: true, ..Loss::default() };
        let scope = Scope::People(people.clone());
        let mut seen = self.observation(scope, self.policy(&loss), &loss);
        let mut more = people.clone();
        while !more.is_empty() {
            let is_there = |guid: &Guid| {
                self.people.contains_key(guid) || self.visible(*guid, &loss).is_some()
            };
            more.retain(is_there);
            self.find_absent(&more, &loss, &mut seen);
            let people = seen.desired.keys().copied().collect();
            let wanted = seen.desired.values().flat_map(Desired::wanted_keys).collect();
            let known = self.load(&people, &wanted);
            let wanted = newly_wanted(&seen.desired, &known);
            let shows = |truth: &Facts| {
                let proxies =
                    truth.proxies.iter().filter_map(|p| p.split_once(':')).map(|(_, text)| text);
                proxies
                    .chain([truth.mail.as_str()])
                    .filter_map(|text| Address::parse(text).ok())
                    .any(|a| wanted.contains(&a.key()))
            };
            let shown = self
                .truth
                .iter()
                .filter(|(guid, truth)| self.visible(**guid, &loss).is_some() && shows(truth))
                .map(|(guid, _)| *guid);
            let holders = wanted
                .iter()
                .filter_map(|key| known.holder(key)?.link.as_ref().map(|link| link.guid));
            more = shown.chain(holders).filter(|guid| !seen.covers(*guid)).collect();
            seen.cover(&more);
        }
        self.confirm_groups(&mut seen, &loss);
        self.plan_and_apply(&seen, BTreeSet::new());
    }

    /// Returns the users of each cluster.
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

    /// Returns the clusters over the window that began then, as the store counts them.
    fn clusters(&self, since: Timestamp) -> BTreeMap<String, Cluster> {
        let members = self.members();
        let mut belonged = members.clone();
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
            let former = users.difference(&self.newcomers(&name, since)).count() as u64;
            let present = members.get(&name).map_or(0, BTreeSet::len) as u64;
            let here = ClusterMembers { former, present, left };
            (name, Cluster { here, ..Cluster::default() })
        };
        belonged.into_iter().map(cluster).collect()
    }

    /// Returns the users who came to a cluster after that time.
    pub(crate) fn newcomers(&self, cluster: &str, since: Timestamp) -> BTreeSet<UserId> {
        let is_group = cluster.starts_with("group:");
        let comes = |class: ChangeClass, left: &Option<String>| match class {
            ChangeClass::Create | ChangeClass::Reactivate => true,
            ChangeClass::Upgrade => is_group,
            ChangeClass::Downgrade => is_group && left.as_deref().is_some_and(|l| l != cluster),
            _ => false,
        };
        let later = self.came_in.iter().filter(|(at, ..)| *at > since);
        later.filter(|(.., class, left)| comes(*class, left)).map(|(_, user, ..)| *user).collect()
    }

    /// Returns the users and changes by home, as the store counts them.
    fn homes(&self, since: Timestamp) -> HomeCounts {
        let mut homes = HomeCounts::default();
        for (name, users) in self.members() {
            if let Some(home) = name.strip_prefix("ou:") {
                homes.active.insert(home.to_owned(), users.len() as u64);
            }
        }
        let applied = self.at_home.iter().filter(|(at, _)| *at > since);
        homes.applied = applied.map(|(_, applied)| applied.clone()).collect();
        homes
    }

    /// Plans and guards an observation with the functions of the engine, then stores what follows.
    fn plan_and_apply(&mut self, seen: &Observation, approved: BTreeSet<Digest>) {
        let window = self.now.minus(self.limits.window);
        let hour = self.now.minus(Duration::from_hours(1));
        let used = ChangeClass::ALL.into_iter().map(|class| {
            let count = |since| {
                self.applied.iter().filter(|(at, c)| *c == class && *at > since).count() as u64
            };
            (class, Used { window: count(window), hour: count(hour) })
        });
        let malformed = seen.malformed.iter().filter_map(|(guid, _)| *guid);
        let people = seen.desired.keys().copied().chain(malformed).collect();
        let wanted = seen.desired.values().flat_map(Desired::wanted_keys).collect();
        let known = self.load(&people, &wanted);
        let draft = Draft::of(seen, known, self.rejections.clone());
        let clusters = self.clusters(window);
        let held = self.held_changes();
        let newcomers = draft.leavers(&held, &self.grace_periods, &clusters);
        let newcomers = newcomers
            .into_iter()
            .map(|(cluster, users)| {
                let came = self.newcomers(&cluster, window);
                (cluster, users.intersection(&came).copied().collect())
            })
            .collect();
        let situation = Situation {
            limits: &self.limits,
            is_plan_only: matches!(self.hold_all, HoldAll::Everything(_)),
            is_held_by_gate: false,
            is_new_scope: self.hold_all == HoldAll::ExceptPositive,
            active: self.started_with.unwrap_or(0),
            used: used.collect(),
            held,
            grace_periods: self.grace_periods.clone(),
            homes: self.homes(window),
            clusters,
            newcomers,
            protected: &self.protected,
            approved,
            last_server: self.last_server.clone(),
            is_quiet: self.is_quiet,
            now: self.now,
        };
        let verdict = propose(draft, situation);
        self.rejections.retain(|rejection| !verdict.ended.contains(rejection));
        if let Some(proof) = seen.proof.as_ref().filter(|_| seen.is_full() && seen.is_complete()) {
            self.counts = proof.counts().clone();
        }
        if !seen.only_suspends {
            self.remember_server(seen);
        }
        self.apply(verdict, seen);
        for (guid, metadata) in seen.leavers() {
            if self.people.get(&guid).is_none_or(|(_, person)| person.user.is_none()) {
                let noted = self.early_leavers.remove(&guid).unwrap_or_default();
                self.early_leavers.insert(guid, noted.merged(&metadata, self.now));
            }
        }
    }

    fn remember_server(&mut self, seen: &Observation) {
        let LastServer { server, identity, changed_at } = &mut self.last_server;
        let is_other = *server != Some(seen.server.clone())
            || *identity != Some(seen.identity.clone())
            || seen.replica.is_set_back;
        if is_other && server.is_some() {
            *changed_at = Some(self.now);
        }
        (*server, *identity) = (Some(seen.server.clone()), Some(seen.identity.clone()));
    }

    /// Stores a verdict as the store does.
    fn apply(&mut self, verdict: Verdict, seen: &Observation) {
        self.written.clear();
        for (change, approved) in verdict.admitted.changes() {
            self.written.push(written(change, self.now));
            match self.users.get_mut(&change.user) {
                Some(user) => user.apply(&change.kind, self.now),
                None => match &change.kind {
                    ChangeKind::Create(joined) => {
                        self.users.insert(
                            change.user,
                            User::created(change.user, account(), joined, self.now),
                        );
                    }
                    other => panic!("{} of a user that does not exist", other.verb()),
                },
            }
            if let Some(class) = change.class {
                self.came_in.push((self.now, change.user, class, change.cluster.clone()));
            }
            if let (Some(class), false) = (change.class, approved) {
                self.applied.push((self.now, class));
            }
            if let (Some(class), Some(home)) = (change.class, change.home.clone()) {
                self.at_home.push((self.now, AppliedAtHome { home, class, approved, count: 1 }));
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
                metadata: row.metadata.clone(),
            };
            self.people.insert(
                row.guid,
                (IndexRow { guid: row.guid, fingerprint: row.fingerprint }, stored),
            );
        }
        for guid in seen.replica.behind() {
            if let Some((row, _)) = self.people.get_mut(&guid) {
                row.fingerprint = Fingerprint::Revisit;
            }
        }
        // Held changes of people without a decision stay.
        let proposed: BTreeSet<Digest> = verdict.held.iter().map(|h| h.change.digest()).collect();
        let applied: BTreeSet<Digest> =
            verdict.admitted.changes().map(|(change, _)| change.digest()).collect();
        let is_settled = |digest: Digest| proposed.contains(&digest) || applied.contains(&digest);
        self.held.retain(|h| {
            h.change.guid.is_some_and(|g| !seen.is_conclusive(g)) && !is_settled(h.change.digest())
        });
        self.held.extend(verdict.held);
        self.grace_periods.retain(|s| {
            !seen.is_conclusive(s.guid)
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

    /// Undoes written changes. Returns those that are left, a line each.
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
                row.fingerprint = Fingerprint::Revisit;
            }
        }
        left.into_iter()
            .map(|l| format!("{} {}: {}", l.email.unwrap_or_default(), l.kind, l.why))
            .collect()
    }

    /// Returns the changes of the open plan, each with its person.
    fn held_changes(&self) -> Vec<(Option<Guid>, Waiting)> {
        let held = self.held.iter().filter(|h| {
            !matches!(
                h.hold,
                HoldReason::GracePeriod | HoldReason::Rejected | HoldReason::QuietHours
            )
        });
        held.filter_map(|h| {
            let Change { user, class, cluster, home, .. } = h.change.clone();
            let digest = Some(h.change.digest());
            Some((h.change.guid, Waiting { user, class: class?, cluster, home, digest }))
        })
        .collect()
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
