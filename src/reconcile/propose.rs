//! From an observation to a verdict: everything between reading the directory and writing the store.
//!
//! The caller begins a [`Review`] and adds a [`Draft`] of each slice of the people, with the [`Known`]
//! users of the slice. It loads the clusters that the review names, and has the guard rule on all slices
//! together. Then it carries the ruling out, slice by slice. The property tests do the same with maps in
//! place of the store.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bounds::Bounds;
use super::guard::{Ruling, Tally};
use super::observation::person;
use super::plan::suspects;
use super::proposal::NewNotes;
use super::rejection::ended;
use super::{
    Admitted, Cluster, ClusterUsers, Currency, Desired, Entitlement, Fingerprint, GracePeriod,
    HoldAll, HomeCounts, Known, Limits, Membership, Metadata, Observation, PersonRow, Proposal,
    Rejected, ServerIdentity, Used, Waiting, plan,
};
use crate::model::{
    Change, ChangeClass, Digest, Dn, Guid, HeldChange, HoldReason, Quarantine, QuarantineReason,
    Rejection, Timestamp, UserId,
};

/// After a change of server, changes that a lagging replica could ask for wait at least this long.
const DEFERRAL: Duration = Duration::from_mins(10);

/// The stored facts that decide which proposed changes are applied.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Situation<'a> {
    pub limits: &'a Limits,
    /// The directory is in plan-only mode.
    pub is_plan_only: bool,
    /// A gate held this plan.
    pub is_held_by_gate: bool,
    /// The scope differs from the accepted one, so only positive suspensions are applied.
    pub is_new_scope: bool,
    /// Active managed users when the window began.
    pub active: u64,
    /// Changes that automatic runs applied.
    pub used: BTreeMap<ChangeClass, Used>,
    /// The changes of the open plan, each with its person.
    pub held: Vec<(Option<Guid>, Waiting)>,
    pub grace_periods: Vec<GracePeriod>,
    /// Users and changes by home; empty where no OU has limits.
    pub homes: HomeCounts,
    /// People whose automatic suspension is always held.
    pub protected: &'a BTreeSet<Guid>,
    /// The changes that an operator approved.
    pub approved: BTreeSet<Digest>,
    pub last_server: LastServer,
    /// Whether these are quiet hours of the directory.
    pub is_quiet: bool,
    pub now: Timestamp,
}

/// The server of the last successful run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LastServer {
    pub server: Option<String>,
    pub identity: Option<ServerIdentity>,
    pub changed_at: Option<Timestamp>,
}

impl LastServer {
    /// Returns the time of the last change to another server, which may be now.
    fn changed_at(&self, observation: &Observation, now: Timestamp) -> Option<Timestamp> {
        let is_other = self.server.as_ref().is_some_and(|s| *s != observation.server)
            || self.identity.as_ref().is_some_and(|i| observation.identity.differs_from(i))
            || observation.replica.is_set_back;
        if is_other { Some(now) } else { self.changed_at }
    }
}

/// A warning of the plan. The caller adds the command that restores a right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanWarning {
    /// Downgrades and suspensions were dropped, because groups changed during the read.
    GroupLossesDropped(u64),
    /// Changes by groups were dropped, because the server has not heard of the last change of a group.
    GroupsBehind(u64),
    /// The server has not heard of what another one showed about these people.
    PeopleBehind(u64),
    /// No entry is visible any more in an OU where people were.
    UnseenPlace { place: String, people: u64 },
    /// A note about one person that earlier runs did not have.
    Note(String),
}

/// The whole plan of a run with the ruling on it.
#[derive(Debug)]
pub struct Verdict {
    pub admitted: Admitted,
    pub held: Vec<HeldChange>,
    /// The absences of this observation that a later one has to confirm.
    pub grace_periods: Vec<GracePeriod>,
    pub quarantined: Vec<Quarantine>,
    /// The rejections of changes that the directory no longer asks for.
    pub ended: Vec<Rejection>,
    pub warnings: Vec<PlanWarning>,
}

/// The part of a plan that is about all slices.
#[derive(Debug)]
pub struct Reviewed {
    pub ruling: Ruling,
    /// The rejections of changes that the directory no longer asks for.
    pub ended: Vec<Rejection>,
    pub warnings: Vec<PlanWarning>,
}

/// The plan of one slice before the guard, reduced to what the observation supports.
#[derive(Debug)]
pub struct Draft<'a> {
    desired: Cow<'a, BTreeMap<Guid, Desired>>,
    known: Known,
    proposal: Proposal,
    /// The changes that were dropped, because groups changed during the read.
    group_losses: u64,
    /// The changes that were dropped, because the server has not heard of the last change of a group.
    groups_behind: u64,
}

impl<'a> Draft<'a> {
    /// Plans the people of a slice against the stored users and rejections.
    pub fn of(
        observation: &'a Observation,
        people: &[Guid],
        mut known: Known,
        rejections: &[Rejection],
    ) -> Self {
        let desired = observation.of_slice(people);
        add_observed(&mut known, observation, &desired);
        known.reject(rejections);
        let mut proposal = plan_confirmed(observation, &desired, &known);
        if observation.failure.is_some()
            || observation.only_suspends
            || !observation.unknown().is_empty()
        {
            proposal.restrict(|guid| observation.is_conclusive(guid));
        }
        proposal.leave_out(&observation.outdated);
        if !observation.closure_is_stable {
            // A joiner in a renamed group looks like a stranger, so an address may have contenders.
            proposal.without_new_addresses();
        }
        let group_losses =
            if observation.knows_groups() { 0 } else { proposal.without_group_losses() };
        let groups_behind = match observation.replica.groups {
            Currency::Behind => proposal.without(|change| observation.replica.is_by_groups(change)),
            Currency::Current | Currency::Unproven => 0,
        };
        for row in &mut proposal.people {
            row.metadata = stamps(observation, &desired, &known, row.guid);
            if observation.only_suspends || observation.replica.is_behind(row.guid) {
                row.leave(known.people.get(&row.guid));
            }
        }
        for (guid, dn) in &observation.malformed {
            if people.binary_search(&person(*guid)).is_ok() {
                quarantine_malformed(*guid, dn, &known, &mut proposal);
            }
        }
        Self { desired, known, proposal, group_losses, groups_behind }
    }
}

/// The review of a plan: its slices are counted one after the other, and ruled on together.
#[derive(Debug)]
pub struct Review<'a> {
    observation: &'a Observation,
    bounds: Bounds<'a>,
    tally: Tally,
    /// The users who are about to leave a cluster by an earlier plan.
    leaving: Vec<(String, UserId)>,
    /// The rejections that no slice has kept so far.
    rejections: Vec<Rejection>,
    group_losses: u64,
    groups_behind: u64,
    unseen: BTreeMap<String, u64>,
    notes: NewNotes,
}

impl<'a> Review<'a> {
    /// Begins the review of a plan without slices.
    pub fn new(
        observation: &'a Observation,
        situation: Situation<'a>,
        rejections: Vec<Rejection>,
    ) -> Self {
        let Situation { limits, protected, now, .. } = situation;
        let held = situation.held.iter().map(|(_, waiting)| (&waiting.cluster, waiting.user));
        let periods = situation.grace_periods.iter().map(|period| (&period.cluster, period.user));
        let leaving = held.chain(periods).filter_map(|(of, user)| Some((of.clone()?, user)));
        let leaving = leaving.collect();
        let server_changed_at = situation.last_server.changed_at(observation, now);
        let bounds = Bounds {
            is_quiet: situation.is_quiet,
            held: situation.held.iter().filter_map(|(_, waiting)| waiting.digest).collect(),
            limits,
            active: situation.active,
            used: situation.used,
            waiting: waiting_elsewhere(observation, situation.held, &situation.grace_periods),
            ous: observation.policy.rules.bounds(&situation.homes),
            first_seen: situation
                .grace_periods
                .into_iter()
                .map(|period| ((period.user, period.cause), period.first_seen))
                .collect(),
            clusters: BTreeMap::new(),
            newcomers: ClusterUsers::new(),
            protected,
            hold_all: match () {
                () if situation.is_plan_only => HoldAll::Everything(HoldReason::PlanOnly),
                () if situation.is_held_by_gate => HoldAll::Everything(HoldReason::Gate),
                () if situation.is_new_scope => HoldAll::ExceptPositive,
                () => HoldAll::No,
            },
            approved: situation.approved,
            rejected: rejected(observation, &rejections),
            replica: &observation.replica,
            server_changed_at,
            deferred_until: server_changed_at.map(|at| at.plus(limits.grace_period.max(DEFERRAL))),
            now,
        };
        Self {
            observation,
            bounds,
            tally: Tally::default(),
            leaving,
            rejections,
            group_losses: 0,
            groups_behind: 0,
            unseen: BTreeMap::new(),
            notes: NewNotes::default(),
        }
    }

    /// Counts the next slice. Returns its plan, on which the ruling is carried out.
    pub fn add(&mut self, draft: Draft<'_>) -> Proposal {
        let Draft { desired, known, proposal, group_losses, groups_behind } = draft;
        self.tally.add(&proposal, &self.bounds);
        let rejections = std::mem::take(&mut self.rejections);
        self.rejections = ended(rejections, &proposal, &desired, &known, self.observation);
        self.group_losses += group_losses;
        self.groups_behind += groups_behind;
        note_unseen_places(&proposal, &self.bounds.approved, &mut self.unseen);
        for (person, note) in proposal.new_notes(&known) {
            self.notes.add(person, note);
        }
        proposal
    }

    /// Returns the clusters of the planned changes.
    pub fn clusters(&self) -> BTreeSet<String> {
        self.tally.leaving().map(|(cluster, _)| cluster.to_owned()).collect()
    }

    /// Returns the users who leave each cluster: by this plan, by a waiting change, or within the
    /// window.
    pub fn leavers(&self, clusters: &BTreeMap<String, Cluster>) -> ClusterUsers {
        let left =
            |cluster: &Cluster| cluster.here.left.union(&cluster.elsewhere.left).copied().collect();
        let mut leavers: ClusterUsers =
            clusters.iter().map(|(name, cluster)| (name.clone(), left(cluster))).collect();
        let earlier = self.leaving.iter().map(|(cluster, user)| (cluster.as_str(), *user));
        for (cluster, user) in self.tally.leaving().chain(earlier) {
            if let Some(users) = leavers.get_mut(cluster) {
                users.insert(user);
            }
        }
        leavers
    }

    /// Has the guard rule on all slices. `clusters` has those that [`clusters`](Self::clusters) names.
    /// `newcomers` are the [`leavers`](Self::leavers) who came to that cluster within the window.
    pub fn rule(self, clusters: BTreeMap<String, Cluster>, newcomers: ClusterUsers) -> Reviewed {
        let bounds = Bounds { clusters, newcomers, ..self.bounds };
        let behind = self.observation.replica.behind().len() as u64;
        let some = |n: u64, warning: fn(u64) -> PlanWarning| (n > 0).then(|| warning(n));
        let dropped = [
            some(self.group_losses, PlanWarning::GroupLossesDropped),
            some(self.groups_behind, PlanWarning::GroupsBehind),
            some(behind, PlanWarning::PeopleBehind),
        ];
        let unseen = self.unseen.into_iter();
        let unseen = unseen.map(|(place, people)| PlanWarning::UnseenPlace { place, people });
        let notes = self.notes.sentences().map(PlanWarning::Note);
        Reviewed {
            ruling: self.tally.rule(&bounds),
            ended: self.rejections,
            warnings: dropped.into_iter().flatten().chain(unseen).chain(notes).collect(),
        }
    }
}

impl Reviewed {
    /// Carries the ruling out on the plans of all slices.
    pub fn whole(self, slices: impl IntoIterator<Item = Proposal>) -> Verdict {
        let Self { ruling, ended, warnings } = self;
        let mut admitted = Admitted::none();
        let (mut held, mut quarantined) = (Vec::new(), Vec::new());
        for (at, proposal) in slices.into_iter().enumerate() {
            let ruled = ruling.split(at, proposal);
            admitted.append(ruled.admitted);
            held.extend(ruled.held);
            quarantined.extend(ruled.quarantined);
        }
        let Ruling { grace_periods, .. } = ruling;
        Verdict { admitted, held, grace_periods, quarantined, ended, warnings }
    }
}

/// Adds what the observation shows about the people of a slice and their users.
fn add_observed(known: &mut Known, observation: &Observation, desired: &BTreeMap<Guid, Desired>) {
    let Observation { takeovers, successors, rivals, .. } = observation;
    let linked = known.linked().filter_map(|guid| Some((guid, takeovers.get(&guid)?.clone())));
    known.takeovers = linked.collect();
    let succeeding = desired.keys().filter_map(|guid| Some((*guid, *successors.get(guid)?)));
    known.successors = succeeding.collect();
    // Most directories have no neighbour.
    if !rivals.is_empty() {
        let wanted = desired.values().flat_map(Desired::wanted_keys);
        let contested = wanted.filter_map(|key| Some((rivals.get(&key).copied()?, key)));
        known.rivals = contested.map(|(rival, key)| (key, rival)).collect();
    }
}

/// Plans the observation. A loss of membership that no group confirmed counts as unknown. The
/// connection may have ended, or a tier changed, since the groups were read.
fn plan_confirmed(
    observation: &Observation,
    desired: &BTreeMap<Guid, Desired>,
    known: &Known,
) -> Proposal {
    let policy = &observation.policy;
    let unconfirmed: Vec<Guid> = suspects(desired, known, &policy.tiers)
        .into_iter()
        .filter(|guid| !observation.membership_confirmed.contains(guid))
        .collect();
    if unconfirmed.is_empty() {
        return plan(desired, known, policy);
    }
    let mut desired = desired.clone();
    for guid in unconfirmed {
        if let Some(person) = desired.get_mut(&guid) {
            person.confirm_membership(&Membership::Unknown, policy);
        }
    }
    plan(&desired, known, policy)
}

/// Returns the stamps to store about a person; `None` where the server does not show them.
fn stamps(
    observation: &Observation,
    desired: &BTreeMap<Guid, Desired>,
    known: &Known,
    guid: Guid,
) -> Option<Metadata> {
    let stored = known.people.get(&guid).and_then(|person| person.metadata.clone());
    if desired.get(&guid).is_some_and(Desired::is_nowhere) {
        return stored;
    }
    let seen = observation.replica.metadata.get(&guid)?;
    Some(stored.unwrap_or_default().merged(seen, observation.policy.provenance.at))
}

/// Quarantines an entry that could not be decoded. A suspension that it supports stays planned.
fn quarantine_malformed(guid: Option<Guid>, dn: &Dn, known: &Known, proposal: &mut Proposal) {
    let quarantine = Quarantine {
        object_guid: person(guid),
        dn: dn.as_str().to_owned(),
        reason: QuarantineReason::MalformedEntry,
    };
    proposal.plan.quarantined.retain(|q| Some(q.object_guid) != guid);
    proposal.plan.quarantined.push(quarantine);
    let Some((guid, stored)) = guid.and_then(|g| Some((g, known.people.get(&g)?))) else { return };
    proposal.people.retain(|row| row.guid != guid);
    proposal.people.push(PersonRow {
        guid,
        user: stored.user,
        fingerprint: Fingerprint::Revisit,
        dn: None,
        expires: None,
        entitled_by: Entitlement::Unknown,
        keeps_place: true,
        quarantine: Some(QuarantineReason::MalformedEntry),
        notes: stored.notes.clone(),
        metadata: stored.metadata.clone(),
        sid: None,
    });
}

/// Counts the people of this plan by the OU in which they were last seen, where no entry is visible and no
/// operator has approved the change.
fn note_unseen_places(
    proposal: &Proposal,
    approved: &BTreeSet<Digest>,
    places: &mut BTreeMap<String, u64>,
) {
    let is_unseen =
        |c: &&Change| proposal.unwitnessed.contains(&c.user) && !approved.contains(&c.digest());
    let unseen = proposal.plan.changes.iter().filter(is_unseen);
    for place in unseen.filter_map(|c| c.cluster.as_deref()?.strip_prefix("ou:")) {
        *places.entry(place.to_owned()).or_default() += 1;
    }
}

/// Returns the pending changes of people without a decision, which count against the limits beside the
/// plan. Pending changes of decided people are in the plan again, or have ended.
fn waiting_elsewhere(
    observation: &Observation,
    held: Vec<(Option<Guid>, Waiting)>,
    grace_periods: &[GracePeriod],
) -> Vec<Waiting> {
    let is_elsewhere = |guid: Option<Guid>| !guid.is_some_and(|g| observation.is_conclusive(g));
    let held = held.into_iter().filter(|(guid, _)| is_elsewhere(*guid)).map(|(_, w)| w);
    let periods = grace_periods
        .iter()
        .filter(|period| period.due.is_some() && is_elsewhere(Some(period.guid)))
        .map(|period| Waiting {
            user: period.user,
            class: period.cause.class(),
            cluster: period.cluster.clone(),
            home: period.home.clone(),
            digest: None,
        });
    held.chain(periods).collect()
}

/// Returns the rejections as the guard needs them. A cluster is measured together with the rejected
/// changes of people without a decision.
fn rejected(observation: &Observation, rejections: &[Rejection]) -> Rejected {
    let elsewhere = rejections
        .iter()
        .filter(|rejection| !rejection.guid.is_some_and(|g| observation.is_conclusive(g)));
    Rejected {
        keys: rejections.iter().map(|rejection| rejection.key).collect(),
        clusters: elsewhere.filter_map(|rejection| rejection.cluster.clone()).collect(),
    }
}
