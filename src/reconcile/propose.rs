//! From an observation to a verdict: everything between reading the directory and writing the store.
//!
//! The caller loads [`Known`] users and rejections, makes a [`Draft`], loads the clusters that the
//! draft names, and calls [`propose`]. The property tests do the same with maps in place of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bounds::Bounds;
use super::guard::{Guarded, guard};
use super::plan::suspects;
use super::rejection::ended;
use super::{
    Admitted, Cluster, ClusterUsers, Currency, Desired, Entitlement, Fingerprint, GracePeriod,
    HoldAll, HomeCounts, Known, Limits, Membership, Metadata, Observation, PersonRow, Proposal,
    Rejected, ServerIdentity, Used, Waiting, plan,
};
use crate::model::{
    ChangeClass, Digest, Dn, Guid, HeldChange, HoldReason, Quarantine, QuarantineReason, Rejection,
    Timestamp,
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
    /// The clusters that [`Draft::clusters`] names.
    pub clusters: BTreeMap<String, Cluster>,
    /// The users among [`Draft::leavers`] who came to that cluster within the window.
    pub newcomers: ClusterUsers,
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

/// The outcome of [`propose`].
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

/// A plan before the guard, reduced to what the observation supports.
#[derive(Debug)]
pub struct Draft<'a> {
    observation: &'a Observation,
    known: Known,
    rejections: Vec<Rejection>,
    proposal: Proposal,
    warnings: Vec<PlanWarning>,
}

impl<'a> Draft<'a> {
    /// Plans the observation against the stored users and rejections.
    pub fn of(observation: &'a Observation, mut known: Known, rejections: Vec<Rejection>) -> Self {
        known.takeovers.clone_from(&observation.takeovers);
        known.rivals.clone_from(&observation.rivals);
        known.successors.clone_from(&observation.successors);
        known.reject(&rejections);
        let mut proposal = plan_confirmed(observation, &known);
        if observation.failure.is_some()
            || observation.only_suspends
            || !observation.unknown().is_empty()
        {
            proposal.restrict(|guid| observation.is_conclusive(guid));
        }
        proposal.leave_out(&observation.outdated);
        let mut warnings = Vec::new();
        if !observation.closure_is_stable {
            // A joiner in a renamed group looks like a stranger, so an address may have contenders.
            proposal.without_new_addresses();
        }
        if !observation.knows_groups() {
            let dropped = proposal.without_group_losses();
            warnings.extend((dropped > 0).then_some(PlanWarning::GroupLossesDropped(dropped)));
        }
        if observation.replica.groups == Currency::Behind {
            let dropped = proposal.without(|change| observation.replica.is_by_groups(change));
            warnings.extend((dropped > 0).then_some(PlanWarning::GroupsBehind(dropped)));
        }
        let behind = observation.replica.behind();
        let count = behind.len() as u64;
        warnings.extend((count > 0).then_some(PlanWarning::PeopleBehind(count)));
        for row in &mut proposal.people {
            row.metadata = stamps(observation, &known, row.guid);
            if observation.only_suspends || behind.contains(&row.guid) {
                row.leave(known.people.get(&row.guid));
            }
        }
        for (guid, dn) in &observation.malformed {
            quarantine_malformed(*guid, dn, &known, &mut proposal);
        }
        warnings.extend(unseen_places(&proposal));
        warnings.extend(proposal.new_notes(&known).into_iter().map(PlanWarning::Note));
        Self { observation, known, rejections, proposal, warnings }
    }

    /// Returns the clusters of the planned changes.
    pub fn clusters(&self) -> BTreeSet<String> {
        self.proposal.plan.changes.iter().filter_map(|c| c.cluster.clone()).collect()
    }

    /// Returns the users who leave each cluster: by this plan, by a waiting change, or within the
    /// window.
    pub fn leavers(
        &self,
        held: &[(Option<Guid>, Waiting)],
        grace_periods: &[GracePeriod],
        clusters: &BTreeMap<String, Cluster>,
    ) -> ClusterUsers {
        let left =
            |cluster: &Cluster| cluster.here.left.union(&cluster.elsewhere.left).copied().collect();
        let mut leavers: ClusterUsers =
            clusters.iter().map(|(name, cluster)| (name.clone(), left(cluster))).collect();
        let planned =
            self.proposal.plan.changes.iter().map(|change| (&change.cluster, change.user));
        let held = held.iter().map(|(_, waiting)| (&waiting.cluster, waiting.user));
        let periods = grace_periods.iter().map(|period| (&period.cluster, period.user));
        for (cluster, user) in planned.chain(held).chain(periods) {
            if let Some(users) = cluster.as_ref().and_then(|cluster| leavers.get_mut(cluster)) {
                users.insert(user);
            }
        }
        leavers
    }
}

/// Returns the verdict on a draft: the guard's, and the rejections that end.
pub fn propose(draft: Draft<'_>, situation: Situation<'_>) -> Verdict {
    let Draft { observation, known, rejections, proposal, warnings } = draft;
    let Situation { limits, protected, now, .. } = situation;
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
        clusters: situation.clusters,
        newcomers: situation.newcomers,
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
    let is_whole = observation.is_complete() && observation.knows_groups();
    let ended = ended(rejections, &proposal, &observation.desired, &known, is_whole, |guid| {
        observation.is_conclusive(guid)
    });
    let Guarded { admitted, held, grace_periods, quarantined } = guard(proposal, &bounds);
    Verdict { admitted, held, grace_periods, quarantined, ended, warnings }
}

/// Plans the observation. A loss of membership that no group confirmed counts as unknown. The
/// connection may have ended, or a tier changed, since the groups were read.
fn plan_confirmed(observation: &Observation, known: &Known) -> Proposal {
    let Observation { desired, policy, .. } = observation;
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
fn stamps(observation: &Observation, known: &Known, guid: Guid) -> Option<Metadata> {
    let stored = known.people.get(&guid).and_then(|person| person.metadata.clone());
    if observation.desired.get(&guid).is_some_and(Desired::is_nowhere) {
        return stored;
    }
    let seen = observation.replica.metadata.get(&guid)?;
    Some(stored.unwrap_or_default().merged(seen, observation.policy.provenance.at))
}

/// Quarantines an entry that could not be decoded. A suspension that it supports stays planned.
fn quarantine_malformed(guid: Option<Guid>, dn: &Dn, known: &Known, proposal: &mut Proposal) {
    let quarantine = Quarantine {
        object_guid: guid.unwrap_or(Guid([0; 16])),
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

/// Returns the OUs without a visible entry in which people of this plan were last seen.
fn unseen_places(proposal: &Proposal) -> Vec<PlanWarning> {
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    let unseen = proposal.plan.changes.iter().filter(|c| proposal.unwitnessed.contains(&c.user));
    for place in unseen.filter_map(|c| c.cluster.as_deref()?.strip_prefix("ou:")) {
        *places.entry(place).or_default() += 1;
    }
    let warning =
        |(place, people): (&str, u64)| PlanWarning::UnseenPlace { place: place.to_owned(), people };
    places.into_iter().map(warning).collect()
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
