//! Splits a plan into what is admitted and what is held. The only way to [`Admitted`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::grace::recheck;
use super::{Cluster, FirstSeen, GracePeriod, Limits, PersonRow, Proposal, Used};
use crate::model::{
    Actor, AddressKey, Change, ChangeKind, Class, Digest, Guid, HeldChange, HoldReason, Origin,
    Quarantine, Reason, Timestamp, UserId,
};

/// After a change of server, what another replica may not know yet waits at least this long.
pub const DEFERRAL: Duration = Duration::from_mins(10);

/// Whether everything is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldAll {
    /// Nothing is held as a whole.
    No,
    /// Everything but positive suspensions: who is in scope has changed.
    ExceptPositive,
    /// Everything: the directory is in plan-only mode.
    Everything(HoldReason),
}

/// What is stored of somebody who waits: held, or for a recheck.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Who.
    pub user: UserId,
    /// The class of what waits.
    pub class: Class,
    /// Its cluster.
    pub cluster: Option<String>,
}

/// The changes that an operator rejected: held whatever else is true of them, approved or not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rejected {
    /// The keys that recognise them.
    pub keys: BTreeSet<Digest>,
    /// The clusters of those that this plan says nothing about: further changes of a cluster are measured together with them.
    pub clusters: Vec<String>,
}

impl Rejected {
    fn covers(&self, change: &Change) -> bool {
        !self.keys.is_empty() && change.rejection_keys().iter().any(|key| self.keys.contains(key))
    }
}

/// What a plan is measured against.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The limits.
    pub limits: &'a Limits,
    /// Managed active users at the window's start.
    pub active: u64,
    /// What automatic runs have applied.
    pub used: BTreeMap<Class, Used>,
    /// held changes and grace periods changes of people this plan says nothing about.
    pub waiting: Vec<Waiting>,
    /// When each "gone" or "downgrade" candidate was first seen.
    pub first_seen: FirstSeen,
    /// The clusters that changes of this plan belong to.
    pub clusters: BTreeMap<String, Cluster>,
    /// The people whose automatic suspension is always held.
    pub protected: &'a BTreeSet<Guid>,
    /// Whether all is held.
    pub hold_all: HoldAll,
    /// The changes an operator has approved.
    pub approved: BTreeSet<Digest>,
    /// The changes an operator has rejected.
    pub rejected: Rejected,
    /// Until when a newly chosen server is not believed about what may be stale.
    pub deferred_until: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// What may be applied. Only [`guard`] and [`Admitted::by_operator`] make one.
#[derive(Debug)]
pub struct Admitted {
    changes: Vec<(Change, bool)>,
    people: Vec<PersonRow>,
    origin: Origin,
}

/// What the guard says.
#[derive(Debug)]
pub struct Verdict {
    /// What may be applied.
    pub admitted: Admitted,
    /// What waits, and why.
    pub held: Vec<HeldChange>,
    /// The candidates for a recheck among the people of this plan.
    pub grace_periods: Vec<GracePeriod>,
    /// What cannot be used.
    pub quarantined: Vec<Quarantine>,
}

impl Admitted {
    /// An operator's changes: admitted as such, because somebody answers for them.
    pub fn by_operator(changes: Vec<Change>, actor: Actor) -> Self {
        Self {
            changes: changes.into_iter().map(|c| (c, true)).collect(),
            people: Vec::new(),
            origin: Origin::Operator(actor),
        }
    }

    /// The changes, each with whether an operator approved it.
    pub fn changes(&self) -> impl Iterator<Item = (&Change, bool)> {
        self.changes.iter().map(|(c, approved)| (c, *approved))
    }

    /// What is to be written about the people.
    pub fn people(&self) -> &[PersonRow] {
        &self.people
    }

    /// Who wants this.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes in transactions of at most `size`: all of one user together, and with whoever it exchanges an address with.
    pub fn batches(&self, size: usize) -> Vec<Vec<(&Change, bool)>> {
        let components = numbered(self.changes.iter().map(|(c, _)| c), true);
        let mut grouped: BTreeMap<usize, Vec<(&Change, bool)>> = BTreeMap::new();
        for (at, component) in components.into_iter().enumerate() {
            grouped.entry(component).or_default().push((&self.changes[at].0, self.changes[at].1));
        }
        let mut batches: Vec<Vec<(&Change, bool)>> = Vec::new();
        for group in grouped.into_values() {
            match batches.last_mut() {
                Some(batch) if batch.len() + group.len() <= size => batch.extend(group),
                _ => batches.push(group),
            }
        }
        batches
    }
}

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// Numbers the changes by what holds together: all of one user, and of those it exchanges an address with.
pub fn components(changes: &[&Change]) -> Vec<usize> {
    numbered(changes.iter().copied(), true)
}

/// Numbers the changes by component: changes that pass an address from one to the other belong together;
/// with `by_user`, so do all of one user. The number is the position of the component's first change.
fn numbered<'a>(changes: impl Iterator<Item = &'a Change>, by_user: bool) -> Vec<usize> {
    let mut parent: Vec<usize> = Vec::new();
    let mut users: BTreeMap<UserId, usize> = BTreeMap::new();
    let mut leaving: BTreeMap<AddressKey, usize> = BTreeMap::new();
    let mut taking: BTreeMap<AddressKey, usize> = BTreeMap::new();
    for (at, change) in changes.enumerate() {
        parent.push(at);
        if by_user {
            let first = *users.entry(change.user).or_insert(at);
            join(&mut parent, first, at);
        }
        let (leaves, takes) = change.address_moves();
        for key in leaves {
            if let Some(other) = taking.get(&key) {
                join(&mut parent, *other, at);
            }
            leaving.insert(key, at);
        }
        for key in takes {
            if let Some(other) = leaving.get(&key) {
                join(&mut parent, *other, at);
            }
            taking.insert(key, at);
        }
    }
    (0..parent.len()).map(|at| root(&mut parent, at)).collect()
}

/// Judges a proposal.
pub fn guard(proposal: Proposal, situation: &Situation<'_>) -> Verdict {
    let Proposal { plan, mut people, unwitnessed } = proposal;
    let rejected = |c: &Change| situation.rejected.covers(c).then_some(HoldReason::Rejected);
    let mut holds: Vec<Option<HoldReason>> = plan.changes.iter().map(rejected).collect();
    let is_approved =
        |c: &Change| !situation.approved.is_empty() && situation.approved.contains(&c.digest());
    let approved: Vec<bool> =
        plan.changes.iter().zip(&holds).map(|(c, hold)| hold.is_none() && is_approved(c)).collect();
    hold_with_rejected(&plan.changes, &mut holds);
    let mut grace_periods = Vec::new();

    for (at, change) in plan.changes.iter().enumerate() {
        if !approved[at] && holds[at].is_none() {
            holds[at] = hold_alone(change, &unwitnessed, situation);
        }
    }
    hold_clusters(&plan.changes, &approved, situation, &mut holds);
    hold_classes(&plan.changes, &approved, situation, &mut holds);
    for (at, change) in plan.changes.iter().enumerate() {
        if approved[at] {
            continue;
        }
        if let Some(candidate) = recheck(change, holds[at], situation) {
            if candidate.due.is_some() {
                holds[at] = Some(HoldReason::GracePeriod);
            }
            grace_periods.push(candidate);
        } else if holds[at].is_none()
            && is_deferred(change)
            && situation.deferred_until.is_some_and(|until| situation.now < until)
        {
            holds[at] = Some(HoldReason::GracePeriod);
        }
    }
    hold_components(&plan.changes, &mut holds);
    hold_lifts(&plan.changes, &mut holds);

    let waiting: BTreeSet<Option<Guid>> =
        plan.changes.iter().zip(&holds).filter(|(_, h)| h.is_some()).map(|(c, _)| c.guid).collect();
    for person in people.iter_mut().filter(|p| waiting.contains(&Some(p.guid))) {
        person.put_off();
    }
    // A person whose user is not created yet has no row to point to.
    let uncreated: BTreeSet<UserId> = plan
        .changes
        .iter()
        .zip(&holds)
        .filter(|(c, h)| {
            h.is_some() && matches!(c.kind, ChangeKind::Create(_)) && c.version.is_none()
        })
        .map(|(c, _)| c.user)
        .collect();
    people.retain(|p| p.quarantine.is_some() || p.user.is_none_or(|u| !uncreated.contains(&u)));
    let unlinked: BTreeSet<UserId> = plan
        .changes
        .iter()
        .zip(&holds)
        .filter(|(c, h)| {
            h.is_some() && matches!(c.kind, ChangeKind::Link { .. } | ChangeKind::Move { .. })
        })
        .map(|(c, _)| c.user)
        .collect();
    people.retain(|p| p.user.is_none_or(|u| !unlinked.contains(&u)));

    let mut admitted = Vec::new();
    let mut held = Vec::new();
    for ((change, hold), approved) in plan.changes.into_iter().zip(holds).zip(approved) {
        match hold {
            None => admitted.push((change, approved)),
            Some(hold) => held.push(HeldChange { change, hold }),
        }
    }
    Verdict {
        admitted: Admitted { changes: admitted, people, origin: Origin::Run },
        held,
        grace_periods,
        quarantined: plan.quarantined,
    }
}

/// What holds a change whatever the others are.
fn hold_alone(
    change: &Change,
    unwitnessed: &BTreeSet<UserId>,
    situation: &Situation<'_>,
) -> Option<HoldReason> {
    let is_suspension = matches!(change.kind, ChangeKind::Suspend { .. })
        || matches!(&change.kind, ChangeKind::Link { after, .. } if !after.causes.is_empty());
    match situation.hold_all {
        HoldAll::Everything(reason) => return Some(reason),
        HoldAll::ExceptPositive if !change.is_positive() => return Some(HoldReason::PlanOnly),
        HoldAll::ExceptPositive | HoldAll::No => {}
    }
    if is_suspension && change.guid.is_some_and(|g| situation.protected.contains(&g)) {
        return Some(HoldReason::Protected);
    }
    (change.reason() == Some(Reason::Vanished) && unwitnessed.contains(&change.user))
        .then_some(HoldReason::NoWitness)
}

/// Holds the changes that have one cause, when they are too many of those whom it could concern.
///
/// Clusters roll over the window: changes that runs applied within it count, and so do those that wait.
fn hold_clusters(
    changes: &[Change],
    approved: &[bool],
    situation: &Situation<'_>,
    holds: &mut [Option<HoldReason>],
) {
    let mut leaving: BTreeMap<&str, BTreeSet<UserId>> = BTreeMap::new();
    for (change, _) in changes.iter().zip(approved).filter(|(_, approved)| !**approved) {
        if let Some(cluster) = change.cluster.as_deref() {
            leaving.entry(cluster).or_default().insert(change.user);
        }
    }
    for waiting in &situation.waiting {
        if let Some(users) = waiting.cluster.as_deref().and_then(|cluster| leaving.get_mut(cluster))
        {
            users.insert(waiting.user);
        }
    }
    for (cluster, users) in &mut leaving {
        users.extend(
            situation.clusters.get(*cluster).into_iter().flat_map(|c| c.left.iter().copied()),
        );
    }
    for (at, change) in changes.iter().enumerate().filter(|(at, _)| !approved[*at]) {
        let Some(cluster) = change.cluster.as_deref().filter(|_| holds[at].is_none()) else {
            continue;
        };
        let rejected = situation.rejected.clusters.iter().filter(|of| *of == cluster).count();
        let count = (leaving[cluster].len() + rejected) as u64;
        let found = situation.clusters.get(cluster);
        let belonged = found.map_or(count, |c| c.belonged);
        // An event of the whole account is one, too, however the directories divide it.
        let is_wide = |c: &Cluster| {
            let elsewhere = c.left_elsewhere.difference(&leaving[cluster]).count() as u64;
            elsewhere > 0 && Cluster::is_event(count + elsewhere, c.belonged + c.belonged_elsewhere)
        };
        if Cluster::is_event(count, belonged) || found.is_some_and(is_wide) {
            holds[at] = Some(HoldReason::Cluster);
        }
    }
}

/// Holds the classes that exceed their limit (what was rejected is no part of it): whole, except `confirmed`, of which the limit goes through. What is held for
/// another reason counts: a run over a few of the same people would be measured with it, too.
fn hold_classes(
    changes: &[Change],
    approved: &[bool],
    situation: &Situation<'_>,
    holds: &mut [Option<HoldReason>],
) {
    for class in Class::ALL {
        let of_class: Vec<usize> = (0..changes.len())
            .filter(|at| {
                changes[*at].class == Some(class) && holds[*at].is_none() && !approved[*at]
            })
            .collect();
        let used = situation.used.get(&class).copied().unwrap_or_default();
        let allowed = situation.limits.allowed(class, situation.active);
        if class == Class::Confirmed {
            let left = allowed
                .saturating_sub(used.window)
                .max(situation.limits.hourly(class).saturating_sub(used.hour));
            for at in of_class.into_iter().skip(usize::try_from(left).unwrap_or(usize::MAX)) {
                holds[at] = Some(HoldReason::Limit);
            }
            continue;
        }
        let is_waiting =
            |hold: Option<HoldReason>| hold.is_some_and(|hold| hold != HoldReason::Rejected);
        let is_held = |at: &usize| {
            changes[*at].class == Some(class) && is_waiting(holds[*at]) && !approved[*at]
        };
        let held = (0..changes.len()).filter(is_held).count()
            + situation.waiting.iter().filter(|w| w.class == class).count();
        if used.window + (held + of_class.len()) as u64 > allowed {
            for at in of_class {
                holds[at] = Some(HoldReason::Limit);
            }
        }
    }
}

/// Whether a server that lags behind could wrongly ask for this.
fn is_deferred(change: &Change) -> bool {
    matches!(change.class, Some(Class::Gone | Class::Downgrade))
        || matches!(change.kind, ChangeKind::Reactivate { .. })
}

/// A cause is not lifted on the ground that another takes its place, while that one waits: the user would be active meanwhile.
fn hold_lifts(changes: &[Change], holds: &mut [Option<HoldReason>]) {
    let mut waiting: BTreeMap<(UserId, Reason), HoldReason> = BTreeMap::new();
    for (change, hold) in changes.iter().zip(holds.iter()) {
        if let (ChangeKind::Suspend { cause, .. }, Some(hold)) = (&change.kind, hold) {
            waiting.insert((change.user, cause.reason), *hold);
        }
    }
    for (change, hold) in changes.iter().zip(holds.iter_mut()).filter(|(_, hold)| hold.is_none()) {
        if let ChangeKind::Reactivate { remaining, .. } = &change.kind {
            *hold =
                remaining.iter().find_map(|reason| waiting.get(&(change.user, *reason)).copied());
        }
    }
}

/// Holds what needs an address that a rejected change would have given up, and what needs an address of that in turn.
/// A user who gives up an address waits for nobody who was to get it.
fn hold_with_rejected(changes: &[Change], holds: &mut [Option<HoldReason>]) {
    let mut kept: BTreeSet<AddressKey> = BTreeSet::new();
    let mut fresh: Vec<usize> = (0..changes.len()).filter(|at| holds[*at].is_some()).collect();
    while !fresh.is_empty() {
        kept.extend(fresh.iter().flat_map(|at| changes[*at].address_moves().0));
        let needs = |at: &usize| {
            holds[*at].is_none()
                && !changes[*at].is_positive()
                && !changes[*at].address_moves().1.is_disjoint(&kept)
        };
        fresh = (0..changes.len()).filter(needs).collect();
        for at in &fresh {
            holds[*at] = Some(HoldReason::Rejected);
        }
    }
}

/// Changes linked by an address wait together; a suspension is never among them. What was rejected is dealt with before.
fn hold_components(changes: &[Change], holds: &mut [Option<HoldReason>]) {
    let taken: Vec<usize> =
        (0..changes.len()).filter(|at| holds[*at] != Some(HoldReason::Rejected)).collect();
    let (changes, all): (Vec<&Change>, &mut [Option<HoldReason>]) =
        (taken.iter().map(|at| &changes[*at]).collect(), holds);
    let mut holds: Vec<Option<HoldReason>> = taken.iter().map(|at| all[*at]).collect();
    let component = numbered(changes.iter().copied(), false);
    let mut held: BTreeMap<usize, HoldReason> = BTreeMap::new();
    for (at, hold) in holds.iter().enumerate() {
        if let Some(hold) = hold {
            held.entry(component[at]).or_insert(*hold);
        }
    }
    for (at, hold) in holds.iter_mut().enumerate() {
        if hold.is_none() && !changes[at].is_positive() {
            *hold = held.get(&component[at]).copied();
        }
    }
    for (at, hold) in taken.into_iter().zip(holds) {
        all[at] = hold;
    }
}
