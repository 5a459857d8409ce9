//! The result of reading a directory, before it is compared with the store.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Complete, Currency, Desired, LastSeen, Metadata, Policy, Replica, Rival, ServerIdentity,
    Takeover,
};
use crate::model::{AddressKey, Dn, Guid, UserId};

/// The people that a run covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    All,
    People(BTreeSet<Guid>),
}

/// The people that a run read, each decided, and how far the read can be trusted.
#[derive(Debug)]
pub struct Observation {
    pub server: String,
    pub identity: ServerIdentity,
    pub policy: Policy,
    /// The people that are new, changed or absent. Unchanged people are left out.
    pub desired: BTreeMap<Guid, Desired>,
    /// The proof that a person who was not read does not exist.
    pub proof: Option<Complete>,
    /// The reason why the run fails although people were read.
    pub failure: Option<String>,
    /// The people whose loss of a group was confirmed at the groups.
    pub membership_confirmed: BTreeSet<Guid>,
    /// Whether no group of the closure was renamed or moved during the read.
    pub closure_is_stable: bool,
    /// The entries that could not be decoded.
    pub malformed: Vec<(Option<Guid>, Dn)>,
    /// The decision about each person whose user is linked to another directory of the account.
    pub takeovers: BTreeMap<Guid, Takeover>,
    /// The users of other directories whose SID an entry had before, by the GUID of that entry. Only
    /// entries that an operator asked about have one.
    pub successors: BTreeMap<Guid, UserId>,
    /// The addresses that people of other directories of the account want, too.
    pub rivals: BTreeMap<AddressKey, Rival>,
    /// Whether the server answered for every person who was asked for by GUID.
    pub all_answered: bool,
    /// The knowledge of the server.
    pub replica: Replica,
    /// Whether another server than the one in use was read, so that only suspensions come from it.
    pub only_suspends: bool,
    scope: Scope,
    /// The people without a decision.
    unknown: BTreeSet<Guid>,
    /// The people about whom a later observation was recorded.
    pub(super) outdated: BTreeSet<Guid>,
}

impl Observation {
    /// Returns an observation without people.
    pub fn new(scope: Scope, policy: Policy, server: String, identity: ServerIdentity) -> Self {
        Self {
            server,
            identity,
            policy,
            desired: BTreeMap::new(),
            proof: None,
            failure: None,
            membership_confirmed: BTreeSet::new(),
            closure_is_stable: true,
            malformed: Vec::new(),
            takeovers: BTreeMap::new(),
            successors: BTreeMap::new(),
            rivals: BTreeMap::new(),
            all_answered: true,
            replica: Replica::default(),
            only_suspends: false,
            scope,
            unknown: BTreeSet::new(),
            outdated: BTreeSet::new(),
        }
    }

    /// Returns whether the person is in the scope of the run.
    pub fn covers(&self, guid: Guid) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::People(people) => people.contains(&guid),
        }
    }

    /// Returns whether the groups of all people are known: no group was missing, or changed meanwhile.
    pub fn knows_groups(&self) -> bool {
        self.closure_is_stable && !self.policy.closure.is_partial()
    }

    /// Adds people to the scope of a run that does not cover all.
    pub fn cover(&mut self, more: &BTreeSet<Guid>) {
        if let Scope::People(people) = &mut self.scope {
            people.extend(more);
        }
    }

    pub fn is_full(&self) -> bool {
        self.scope == Scope::All
    }

    /// Returns whether all people of the scope were read, or proved absent.
    pub fn is_complete(&self) -> bool {
        self.failure.is_none() && self.all_answered && (self.proof.is_some() || !self.is_full())
    }

    /// Marks people without a decision.
    pub fn add_unknown(&mut self, people: impl IntoIterator<Item = Guid>) {
        self.unknown.extend(people);
    }

    /// Leaves people to a later observation that was recorded first. It decided about them.
    pub fn leave_to_later(&mut self, people: BTreeSet<Guid>) {
        self.malformed.retain(|(guid, _)| !guid.is_some_and(|guid| people.contains(&guid)));
        self.unknown.extend(&people);
        self.outdated = people;
    }

    /// Takes back the decisions about people of whom the server lacks writes that another one showed.
    pub fn judge(&mut self, stored: &BTreeMap<Guid, LastSeen>) {
        for (guid, stored) in stored {
            let Some(desired) = self.desired.get_mut(guid) else { continue };
            if self.replica.judge(desired, stored) == Currency::Behind {
                let metadata = stored.metadata.clone().unwrap_or_default();
                desired.distrust(|reason| self.replica.supports(*guid, reason, &metadata));
                self.unknown.insert(*guid);
            }
        }
    }

    /// Returns the people who are seen to leave, with their stamps.
    pub fn leavers(&self) -> BTreeMap<Guid, Metadata> {
        let leavers = self.desired.values().filter(|desired| desired.is_seen_to_leave());
        let stamps = |desired: &Desired| {
            Some((desired.guid, self.replica.metadata.get(&desired.guid)?.clone()))
        };
        let undecided = self.replica.leavers.iter();
        let undecided = undecided.map(|(guid, seen)| (*guid, seen.clone().of_leaving()));
        undecided.chain(leavers.filter_map(stamps)).collect()
    }

    /// Returns the stamps by which people leave or return of whom the server lacks other writes. An older
    /// departure says nothing any more.
    pub fn undecided(&self) -> BTreeMap<Guid, Metadata> {
        let stamps = |guid| Some((guid, self.replica.metadata.get(&guid)?.clone().of_leaving()));
        self.replica.behind().into_iter().filter_map(stamps).collect()
    }

    /// Keeps the suspensions alone for which a server that is not in use shows the newest write. The server
    /// in use decides on everything else.
    ///
    /// `in_use` has the stamps that the server in use shows at present.
    pub fn keep_newer_suspensions(
        &mut self,
        in_use: &BTreeMap<Guid, Metadata>,
        stored: &BTreeMap<Guid, LastSeen>,
    ) {
        self.only_suspends = true;
        for (guid, desired) in std::mem::take(&mut self.desired) {
            self.unknown.insert(guid);
            let stored = stored.get(&guid).and_then(|stored| stored.metadata.as_ref());
            let newer = self.replica.newer_suspension(&desired, in_use.get(&guid), stored);
            self.desired.extend(newer.map(|newer| (guid, newer)));
        }
    }

    /// Returns the people that a plan is about, in order. Entries without a readable GUID are one person.
    pub fn people(&self) -> Vec<Guid> {
        let malformed = self.malformed.iter().map(|(guid, _)| person(*guid));
        let all: BTreeSet<Guid> = self.desired.keys().copied().chain(malformed).collect();
        all.into_iter().collect()
    }

    /// Returns the decisions about the people of a slice.
    pub(super) fn of_slice(&self, people: &[Guid]) -> Cow<'_, BTreeMap<Guid, Desired>> {
        let is_whole = self.desired.len() <= people.len()
            && self.desired.keys().all(|guid| people.binary_search(guid).is_ok());
        if is_whole {
            return Cow::Borrowed(&self.desired);
        }
        let decided = |guid: &Guid| Some((*guid, self.desired.get(guid)?.clone()));
        Cow::Owned(people.iter().filter_map(decided).collect())
    }

    /// Forgets the people who were planned, because the plan has what is written of them. Those who
    /// leave stay for [`leavers`](Self::leavers), and after a failure all do for
    /// [`is_conclusive`](Self::is_conclusive).
    pub fn forget_planned(&mut self) {
        if self.failure.is_none() {
            self.desired.retain(|_, desired| desired.is_seen_to_leave());
        }
    }

    pub fn unknown(&self) -> &BTreeSet<Guid> {
        &self.unknown
    }

    /// Returns whether the observation decides about the person.
    ///
    /// Held changes, grace periods and rejections of such a person are replaced by this run's. After
    /// a failure only people who were read in a base that was read to its end are decided.
    pub fn is_conclusive(&self, guid: Guid) -> bool {
        if self.only_suspends || self.unknown.contains(&guid) {
            return false;
        }
        match (&self.scope, &self.failure) {
            (Scope::People(people), None) => people.contains(&guid),
            (Scope::All, None) => true,
            (_, Some(_)) => self
                .proof
                .as_ref()
                .is_some_and(|p| self.desired.get(&guid).is_some_and(|d| p.covers(&d.dn))),
        }
    }
}

/// Returns the person of an entry that could not be decoded.
pub(super) fn person(of: Option<Guid>) -> Guid {
    of.unwrap_or(Guid([0; 16]))
}
