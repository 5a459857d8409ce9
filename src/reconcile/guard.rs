//! Splits a plan into admitted and held changes. A run has no other way to [`Admitted`].

use std::collections::{BTreeMap, BTreeSet};

use super::bounds::Bounds;
use super::components::numbered;
use super::grace::GraceCause;
use super::{Cluster, ClusterMembers, GracePeriod, HoldAll, PersonRow, Proposal, Waiting};
use crate::model::{
    Actor, AddressKey, Change, ChangeClass, ChangeKind, Guid, HeldChange, HoldReason, Origin,
    Quarantine, Reason, UserId,
};

/// Changes that may be applied. Only [`guard`] and [`Admitted::by_operator`] make them.
#[derive(Debug)]
pub struct Admitted {
    changes: Vec<(Change, bool)>,
    people: Vec<PersonRow>,
    origin: Origin,
}

/// The outcome of [`guard`].
#[derive(Debug)]
pub struct Guarded {
    pub admitted: Admitted,
    pub held: Vec<HeldChange>,
    /// The absences among the people of this plan that a later observation has to confirm.
    pub grace_periods: Vec<GracePeriod>,
    pub quarantined: Vec<Quarantine>,
}

impl Admitted {
    /// Admits the changes of an operator. No limit applies, because the operator answers for them.
    pub fn by_operator(changes: Vec<Change>, actor: Actor) -> Self {
        Self {
            changes: changes.into_iter().map(|c| (c, true)).collect(),
            people: Vec::new(),
            origin: Origin::Operator(actor),
        }
    }

    /// Returns the changes, each with whether an operator approved it.
    pub fn changes(&self) -> impl Iterator<Item = (&Change, bool)> {
        self.changes.iter().map(|(c, approved)| (c, *approved))
    }

    /// Returns the rows to write about people.
    pub fn people(&self) -> &[PersonRow] {
        &self.people
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the changes in batches for transactions, of at most `size` where components allow it.
    /// Changes of one user, and of users who exchange an address, stay together.
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

/// One planned change on its way through the guard.
#[derive(Debug)]
struct Candidate {
    change: Change,
    /// An operator approved it. An approved change passes all limits.
    approved: bool,
    hold: Option<HoldReason>,
}

impl Candidate {
    fn of(change: Change, bounds: &Bounds<'_>) -> Self {
        let is_rejected = bounds.rejected.covers(&change);
        let approved = !is_rejected
            && !bounds.approved.is_empty()
            && bounds.approved.contains(&change.digest());
        Self { change, approved, hold: is_rejected.then_some(HoldReason::Rejected) }
    }

    /// Returns whether the limits decide on the change: it is neither approved nor held yet.
    fn is_open(&self) -> bool {
        !self.approved && self.hold.is_none()
    }

    /// Returns whether the change counts against a limit, held for another reason or not.
    fn is_pending(&self) -> bool {
        !self.approved && self.hold != Some(HoldReason::Rejected)
    }
}

/// Splits a proposal into admitted and held changes.
pub fn guard(proposal: Proposal, bounds: &Bounds<'_>) -> Guarded {
    let Proposal { plan, mut people, unwitnessed } = proposal;
    let mut candidates: Vec<Candidate> =
        plan.changes.into_iter().map(|change| Candidate::of(change, bounds)).collect();
    // The first hold of a change is the one that operators see, so the most specific pass is first.
    // Rejections precede all, because neither an approval nor a limit changes them. Clusters and
    // limits also count the changes that earlier passes held, because scoped runs are measured like
    // full ones. The grace period follows, because a change held for another reason waits for an
    // operator. Quiet hours come after the limits, because a change of the open plan stays in it.
    // Holds are propagated last, whatever made them.
    with_rejected(&mut candidates);
    individual(&mut candidates, &unwitnessed, bounds);
    clusters(&mut candidates, bounds);
    limits_of_ous(&mut candidates, bounds);
    limits(&mut candidates, bounds);
    let grace_periods = grace(&mut candidates, bounds);
    quiet(&mut candidates, bounds);
    propagate(&mut candidates);

    revisit_held(&mut people, &candidates);
    // A vector that grows takes twice its size, which counts in an import.
    let waiting = candidates.iter().filter(|candidate| candidate.hold.is_some()).count();
    let mut held = Vec::with_capacity(waiting);
    let mut admitted = Vec::with_capacity(candidates.len() - waiting);
    for Candidate { change, approved, hold } in candidates {
        match hold {
            None => admitted.push((change, approved)),
            // No operator decides about bookkeeping: a later run plans it again.
            Some(_) if matches!(change.kind, ChangeKind::Override { .. }) => {}
            Some(hold) => held.push(HeldChange { change, hold }),
        }
    }
    Guarded {
        admitted: Admitted { changes: admitted, people, origin: Origin::Run },
        held,
        grace_periods,
        quarantined: plan.quarantined,
    }
}

/// Holds changes that need an address which a rejected change would have released, transitively.
/// A user who releases an address does not wait for the user who was to get it.
fn with_rejected(candidates: &mut [Candidate]) {
    let mut kept: BTreeSet<AddressKey> = BTreeSet::new();
    let mut fresh: Vec<usize> =
        (0..candidates.len()).filter(|at| candidates[*at].hold.is_some()).collect();
    while !fresh.is_empty() {
        kept.extend(fresh.iter().flat_map(|at| candidates[*at].change.address_moves().0));
        let needs = |at: &usize| {
            let Candidate { change, hold, .. } = &candidates[*at];
            hold.is_none() && !change.is_positive() && !change.address_moves().1.is_disjoint(&kept)
        };
        fresh = (0..candidates.len()).filter(needs).collect();
        for at in &fresh {
            candidates[*at].hold = Some(HoldReason::Rejected);
        }
    }
}

/// Holds each change for reasons that do not depend on other changes.
fn individual(candidates: &mut [Candidate], unwitnessed: &BTreeSet<UserId>, bounds: &Bounds<'_>) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.is_open()) {
        candidate.hold = individual_hold(&candidate.change, unwitnessed, bounds);
    }
}

fn individual_hold(
    change: &Change,
    unwitnessed: &BTreeSet<UserId>,
    bounds: &Bounds<'_>,
) -> Option<HoldReason> {
    let is_suspension = matches!(change.kind, ChangeKind::Suspend { .. })
        || matches!(&change.kind, ChangeKind::Link { after, .. } if !after.causes.is_empty());
    // Only an operator says that two entries are one person.
    if matches!(change.kind, ChangeKind::Relink { .. }) {
        return Some(HoldReason::Relink);
    }
    match bounds.hold_all {
        HoldAll::Everything(reason) => return Some(reason),
        HoldAll::ExceptPositive if !change.is_positive() => return Some(HoldReason::PlanOnly),
        HoldAll::ExceptPositive | HoldAll::No => {}
    }
    if is_suspension && change.guid.is_some_and(|g| bounds.protected.contains(&g)) {
        return Some(HoldReason::Protected);
    }
    if bounds.replica.leaves_lift_open(change, bounds.server_changed_at) {
        return Some(HoldReason::OtherServer);
    }
    let needs_witness = match &change.kind {
        ChangeKind::Reactivate { lifted, remaining, .. } => {
            lifted.has(Reason::OutOfScope) || remaining.is_empty()
        }
        ChangeKind::Create(_) => true,
        ChangeKind::Link { after, .. } => after.causes.is_empty(),
        _ => change.reason() == Some(Reason::Vanished),
    };
    (needs_witness && unwitnessed.contains(&change.user)).then_some(HoldReason::NoWitness)
}

/// Holds changes of one cluster when they are too many of the users who belonged to it.
///
/// Clusters roll over the window: changes that runs applied within it count, and so do pending ones.
fn clusters(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
    let mut leaving: BTreeMap<String, BTreeSet<UserId>> = BTreeMap::new();
    for Candidate { change, .. } in candidates.iter().filter(|candidate| !candidate.approved) {
        if let Some(cluster) = &change.cluster {
            leaving.entry(cluster.clone()).or_default().insert(change.user);
        }
    }
    for waiting in &bounds.waiting {
        if let Some(users) = waiting.cluster.as_ref().and_then(|cluster| leaving.get_mut(cluster)) {
            users.insert(waiting.user);
        }
    }
    let is_event = |cluster: &str| {
        let rejected = bounds.rejected.clusters.iter().filter(|of| *of == cluster).count() as u64;
        let Some(found) = bounds.clusters.get(cluster) else {
            let count = leaving[cluster].len() as u64 + rejected;
            return Cluster::is_event(count, count);
        };
        let is_too_many = |whole: &ClusterMembers| {
            let users: BTreeSet<&UserId> = leaving[cluster].iter().chain(&whole.left).collect();
            let came = bounds.newcomers.get(cluster);
            let newcomers =
                came.map_or(0, |came| users.iter().filter(|u| came.contains(**u)).count());
            whole.loses_many(users.len() as u64 + rejected, newcomers as u64)
        };
        // An event of the account is one as well, however directories divide the cluster.
        is_too_many(&found.here)
            || (!found.elsewhere.left.is_empty() && is_too_many(&found.here.with(&found.elsewhere)))
    };
    for candidate in candidates.iter_mut().filter(|candidate| candidate.is_open()) {
        if candidate.change.cluster.as_deref().is_some_and(is_event) {
            candidate.hold = Some(HoldReason::Cluster);
        }
    }
}

/// Holds the classes that exceed the limit of an OU: all its changes of the class.
///
/// A limit of an OU holds no positive suspension. Changes are counted as for the directory.
fn limits_of_ous(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
    for ou in &bounds.ous {
        for (class, limit) in &ou.limits {
            let is_below = |Candidate { change, .. }: &Candidate| {
                change.class == Some(*class)
                    && !change.is_positive()
                    && ou.hold(change.home.as_ref())
            };
            let is_waiting =
                |waiting: &&Waiting| waiting.class == *class && ou.hold(waiting.home.as_ref());
            let is_pending = |candidate: &&Candidate| is_below(candidate) && candidate.is_pending();
            let pending = candidates.iter().filter(is_pending).count()
                + bounds.waiting.iter().filter(is_waiting).count();
            if ou.are_exceeded(*class, *limit, pending as u64) {
                for candidate in candidates.iter_mut().filter(|c| c.is_open() && is_below(c)) {
                    candidate.hold = Some(HoldReason::OuLimit);
                }
            }
        }
    }
}

/// Holds the classes that exceed their limit: all changes of the class, but of `confirmed` only
/// those beyond the limit.
///
/// Changes held for another reason count as well, because a scoped run over other people counts them
/// as pending. Rejected changes do not count.
fn limits(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
    for class in ChangeClass::ALL {
        let is_of_class = |candidate: &&mut Candidate| {
            candidate.change.class == Some(class) && candidate.is_open()
        };
        let used = bounds.used.get(&class).copied().unwrap_or_default();
        let allowed = bounds.limits.allowed(class, bounds.active);
        let admitted = if class == ChangeClass::Confirmed {
            let left = allowed
                .saturating_sub(used.window)
                .max(bounds.limits.hourly(class).saturating_sub(used.hour));
            usize::try_from(left).unwrap_or(usize::MAX)
        } else {
            let is_pending = |candidate: &&Candidate| {
                candidate.change.class == Some(class) && candidate.is_pending()
            };
            let pending = candidates.iter().filter(is_pending).count()
                + bounds.waiting.iter().filter(|waiting| waiting.class == class).count();
            if used.window + pending as u64 > allowed { 0 } else { usize::MAX }
        };
        for candidate in candidates.iter_mut().filter(is_of_class).skip(admitted) {
            candidate.hold = Some(HoldReason::Limit);
        }
    }
}

/// Holds absences and downgrades until a later observation confirms them. Returns the grace periods.
fn grace(candidates: &mut [Candidate], bounds: &Bounds<'_>) -> Vec<GracePeriod> {
    let mut periods = Vec::new();
    for Candidate { change, hold, .. } in candidates.iter_mut().filter(|c| !c.approved) {
        if let Some(period) = recheck(change, *hold, bounds) {
            if period.due.is_some() {
                *hold = Some(HoldReason::GracePeriod);
            }
            periods.push(period);
        }
    }
    periods
}

/// Returns the grace period of a change; `None` when it needs none, or a second observation confirmed it.
fn recheck(change: &Change, hold: Option<HoldReason>, bounds: &Bounds<'_>) -> Option<GracePeriod> {
    let cause = GraceCause::of(change)?;
    let guid = change.guid?;
    let first_seen = bounds.first_seen.get(&(change.user, cause)).copied().unwrap_or(bounds.now);
    let deferred_until = bounds.deferred_until.filter(|_| !bounds.replica.proves(change));
    let settled =
        first_seen.plus(bounds.limits.grace_period).max(deferred_until.unwrap_or(first_seen));
    let is_settled = bounds.now >= settled;
    if is_settled && hold.is_none() {
        return None;
    }
    let due = (hold.is_none() && !is_settled).then_some(settled);
    Some(GracePeriod {
        user: change.user,
        guid,
        cause,
        first_seen,
        due,
        cluster: change.cluster.clone(),
        home: change.home.clone(),
    })
}

/// Holds changes that can wait until quiet hours are over. Changes beyond a limit wait as well, so that
/// no operator is called at night. Changes of the open plan stay there.
fn quiet(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
    if !bounds.is_quiet {
        return;
    }
    for candidate in candidates.iter_mut().filter(|c| !c.approved && c.change.can_wait()) {
        let is_new = match candidate.hold {
            None => true,
            Some(HoldReason::Limit | HoldReason::OuLimit | HoldReason::Cluster) => {
                !bounds.held.contains(&candidate.change.digest())
            }
            Some(_) => false,
        };
        if is_new {
            candidate.hold = Some(HoldReason::QuietHours);
        }
    }
}

/// Holds changes that depend on held ones.
fn propagate(candidates: &mut [Candidate]) {
    linked_by_address(candidates);
    lifted_for_another_cause(candidates);
}

/// Holds changes together that pass an address on, except positive suspensions. Rejected changes
/// are left out, because [`with_rejected`] has held them.
fn linked_by_address(candidates: &mut [Candidate]) {
    let mut linked: Vec<&mut Candidate> = candidates
        .iter_mut()
        .filter(|candidate| candidate.hold != Some(HoldReason::Rejected))
        .collect();
    let components = numbered(linked.iter().map(|candidate| &candidate.change), false);
    let mut held: BTreeMap<usize, HoldReason> = BTreeMap::new();
    for (candidate, component) in linked.iter().zip(&components) {
        if let Some(hold) = candidate.hold {
            held.entry(*component).or_insert(hold);
        }
    }
    for (candidate, component) in linked.iter_mut().zip(&components) {
        if candidate.hold.is_none() && !candidate.change.is_positive() {
            candidate.hold = held.get(component).copied();
        }
    }
}

/// Holds the lifting of a cause while the cause that replaces it is held. Otherwise the user would be
/// active meanwhile.
fn lifted_for_another_cause(candidates: &mut [Candidate]) {
    let mut waiting: BTreeMap<(UserId, Reason), HoldReason> = BTreeMap::new();
    for Candidate { change, hold, .. } in candidates.iter() {
        if let (ChangeKind::Suspend { cause, .. }, Some(hold)) = (&change.kind, hold) {
            waiting.insert((change.user, cause.reason), *hold);
        }
    }
    for Candidate { change, hold, .. } in candidates.iter_mut().filter(|c| c.hold.is_none()) {
        if let ChangeKind::Reactivate { remaining, .. } = &change.kind {
            *hold =
                remaining.iter().find_map(|reason| waiting.get(&(change.user, *reason)).copied());
        }
    }
}

/// Has the next run read people with held changes again. Drops rows of people whose user is not created
/// or linked yet, because they have no user to refer to.
fn revisit_held(people: &mut Vec<PersonRow>, candidates: &[Candidate]) {
    let held = || candidates.iter().filter(|candidate| candidate.hold.is_some()).map(|c| &c.change);
    let waiting: BTreeSet<Option<Guid>> = held().map(|change| change.guid).collect();
    for person in people.iter_mut().filter(|p| waiting.contains(&Some(p.guid))) {
        person.put_off();
    }
    let users = |is: fn(&Change) -> bool| -> BTreeSet<UserId> {
        held().filter(|change| is(change)).map(|change| change.user).collect()
    };
    let uncreated = users(|c| matches!(c.kind, ChangeKind::Create(_)) && c.version.is_none());
    let unlinked = users(|c| matches!(c.kind, ChangeKind::Link { .. } | ChangeKind::Move { .. }));
    people.retain(|p| p.quarantine.is_some() || p.user.is_none_or(|u| !uncreated.contains(&u)));
    people.retain(|p| p.user.is_none_or(|u| !unlinked.contains(&u)));
}
