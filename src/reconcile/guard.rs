//! Splits a plan into admitted and held changes. A run has no other way to [`Admitted`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bounds::Bounds;
use super::components::{Moves, components, numbered};
use super::grace::GraceCause;
use super::{Cluster, ClusterMembers, GracePeriod, HoldAll, PersonRow, Proposal, Waiting};
use crate::model::{
    Actor, Change, ChangeClass, ChangeKind, Guid, HeldChange, HoldReason, Origin, Quarantine,
    Reason, UserId,
};

/// Changes that may be applied. Only [`Ruling::split`] and [`Admitted::by_operator`] make them.
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

    /// Returns a plan of a run that applies nothing.
    pub(super) fn none() -> Self {
        Self { changes: Vec::new(), people: Vec::new(), origin: Origin::Run }
    }

    /// Adds what is admitted of another slice of the same plan.
    pub(super) fn append(&mut self, mut other: Self) {
        self.changes.append(&mut other.changes);
        self.people.append(&mut other.people);
    }

    /// Returns the changes in batches for transactions, of at most `size` where components allow it.
    /// Changes of one user, and of users who exchange an address, stay together.
    pub fn batches(&self, size: usize) -> Vec<Vec<(&Change, bool)>> {
        let changes: Vec<&Change> = self.changes.iter().map(|(c, _)| c).collect();
        let components = components(&changes);
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

/// The part of a planned change that the guard counts. The change itself is large, and a run may have a
/// million.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Candidate {
    slice: usize,
    /// The position in the plan of the slice.
    at: usize,
    user: UserId,
    guid: Option<Guid>,
    class: Option<ChangeClass>,
    cluster: Option<Arc<str>>,
    home: Option<Arc<str>>,
    moves: Moves,
    is_positive: bool,
    can_wait: bool,
    /// Whether the open plan has it.
    is_known: bool,
    /// The absence that a second observation has to confirm.
    grace: Option<GraceCause>,
    /// Whether the server has heard of everything that it depends on.
    is_proven: bool,
    /// The reason of a suspension that is no link.
    suspends: Option<Reason>,
    /// The causes that a reactivation leaves.
    remaining: Box<[Reason]>,
    /// Whether no operator decides about it.
    is_bookkeeping: bool,
    /// The hold that does not depend on other changes.
    own: Option<HoldReason>,
    mark: Mark,
}

/// The ruling on one change.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// An operator approved it. An approved change passes all limits.
    approved: bool,
    hold: Option<HoldReason>,
}

impl Candidate {
    /// Returns whether the limits decide on the change: it is neither approved nor held yet.
    fn is_open(&self) -> bool {
        !self.mark.approved && self.mark.hold.is_none()
    }

    /// Returns whether the change counts against a limit, held for another reason or not.
    fn is_pending(&self) -> bool {
        !self.mark.approved && self.mark.hold != Some(HoldReason::Rejected)
    }
}

/// The planned changes of a run as the guard counts them, slice by slice.
#[derive(Debug, Default)]
pub struct Tally {
    slices: usize,
    candidates: Vec<Candidate>,
    /// Clusters and homes, because many changes have the same ones.
    names: BTreeSet<Arc<str>>,
}

impl Tally {
    /// Adds the changes of the next slice.
    pub fn add(&mut self, proposal: &Proposal, bounds: &Bounds<'_>) {
        self.candidates.reserve(proposal.plan.changes.len());
        for (at, change) in proposal.plan.changes.iter().enumerate() {
            let is_rejected = bounds.rejected.covers(change);
            let approved = !is_rejected
                && !bounds.approved.is_empty()
                && bounds.approved.contains(&change.digest());
            let remaining: Box<[Reason]> = match &change.kind {
                ChangeKind::Reactivate { remaining, .. } => remaining.iter().copied().collect(),
                _ => Box::default(),
            };
            let can_wait = change.can_wait();
            let cluster = self.name(change.cluster.as_deref());
            let home = self.name(change.home.as_deref());
            self.candidates.push(Candidate {
                slice: self.slices,
                at,
                user: change.user,
                guid: change.guid,
                class: change.class,
                cluster,
                home,
                moves: Moves::of(change),
                is_positive: change.is_positive(),
                can_wait,
                is_known: bounds.is_quiet
                    && can_wait
                    && !bounds.held.is_empty()
                    && bounds.held.contains(&change.digest()),
                grace: GraceCause::of(change),
                is_proven: bounds.replica.proves(change),
                suspends: match &change.kind {
                    ChangeKind::Suspend { cause, .. } => Some(cause.reason),
                    _ => None,
                },
                remaining,
                is_bookkeeping: is_bookkeeping(change),
                own: individual_hold(change, &proposal.unwitnessed, bounds),
                mark: Mark { approved, hold: is_rejected.then_some(HoldReason::Rejected) },
            });
        }
        self.slices += 1;
    }

    fn name(&mut self, name: Option<&str>) -> Option<Arc<str>> {
        let name = name?;
        let known = self.names.get(name).cloned();
        Some(known.unwrap_or_else(|| {
            let new: Arc<str> = name.into();
            self.names.insert(Arc::clone(&new));
            new
        }))
    }

    /// Returns the users whom the changes take out of a cluster, each with the cluster.
    pub fn leaving(&self) -> impl Iterator<Item = (&str, UserId)> {
        self.candidates.iter().filter_map(|c| Some((c.cluster.as_deref()?, c.user)))
    }

    /// Rules on all changes together.
    pub fn rule(self, bounds: &Bounds<'_>) -> Ruling {
        let Self { slices, mut candidates, .. } = self;
        // A limit may admit the first changes alone, so their order is that of a plan of one slice.
        if slices > 1 {
            candidates.sort_by_key(|candidate| candidate.guid);
        }
        // The first hold of a change is the one that operators see, so the most specific pass is first.
        // Rejections precede all, because neither an approval nor a limit changes them. Clusters and
        // limits also count the changes that earlier passes held, because scoped runs are measured like
        // full ones. The grace period follows, because a change held for another reason waits for an
        // operator. Quiet hours come after the limits, because a change of the open plan stays in it.
        // Holds are propagated last, whatever made them.
        with_rejected(&mut candidates);
        individual(&mut candidates);
        clusters(&mut candidates, bounds);
        limits_of_ous(&mut candidates, bounds);
        limits(&mut candidates, bounds);
        let grace_periods = grace(&mut candidates, bounds);
        quiet(&mut candidates, bounds);
        propagate(&mut candidates);

        let is_waiting = candidates.iter().any(|c| c.mark.hold.is_some() && !c.is_bookkeeping);
        candidates.sort_unstable_by_key(|candidate| (candidate.slice, candidate.at));
        let mut marks = vec![Vec::new(); slices];
        for Candidate { slice, mark, .. } in candidates {
            marks[slice].push(mark);
        }
        Ruling { marks, is_waiting, grace_periods }
    }
}

/// The ruling of the guard on each change of a run. It is carried out slice by slice.
#[derive(Debug)]
pub struct Ruling {
    /// The marks of each slice, in the order of its changes.
    marks: Vec<Vec<Mark>>,
    /// Whether a change is held.
    pub is_waiting: bool,
    /// The absences that a later observation has to confirm.
    pub grace_periods: Vec<GracePeriod>,
}

/// One slice as a ruling splits it.
#[derive(Debug)]
pub struct Ruled {
    pub admitted: Admitted,
    pub held: Vec<HeldChange>,
    pub quarantined: Vec<Quarantine>,
}

impl Ruling {
    /// Splits the plan of a slice, which the guard has ruled on.
    pub fn split(&self, slice: usize, proposal: Proposal) -> Ruled {
        let Proposal { plan, mut people, unwitnessed: _ } = proposal;
        let marks = &self.marks[slice];
        debug_assert_eq!(marks.len(), plan.changes.len());
        // A vector that grows takes twice its size, which counts in an import.
        let waiting = marks.iter().filter(|mark| mark.hold.is_some()).count();
        let mut held = Vec::with_capacity(waiting);
        let mut admitted = Vec::with_capacity(marks.len() - waiting);
        let mut late = Late::default();
        for (change, mark) in plan.changes.into_iter().zip(marks) {
            let Some(hold) = mark.hold else {
                admitted.push((change, mark.approved));
                continue;
            };
            late.add(&change);
            // No operator decides about bookkeeping: a later run plans it again.
            if !is_bookkeeping(&change) {
                held.push(HeldChange { change, hold });
            }
        }
        late.revisit(&mut people);
        Ruled {
            admitted: Admitted { changes: admitted, people, origin: Origin::Run },
            held,
            quarantined: plan.quarantined,
        }
    }

    /// Returns the changes of a slice that are applied, each with whether an operator approved it.
    pub fn admitted<'a>(
        &'a self,
        slice: usize,
        proposal: &'a Proposal,
    ) -> impl Iterator<Item = (&'a Change, bool)> {
        let ruled = proposal.plan.changes.iter().zip(&self.marks[slice]);
        ruled.filter(|(_, mark)| mark.hold.is_none()).map(|(change, mark)| (change, mark.approved))
    }
}

/// Returns whether the change only ends the effect of an earlier decision.
fn is_bookkeeping(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Override { .. })
}

/// Splits a proposal of one slice into admitted and held changes.
pub fn guard(proposal: Proposal, bounds: &Bounds<'_>) -> Guarded {
    let mut tally = Tally::default();
    tally.add(&proposal, bounds);
    let ruling = tally.rule(bounds);
    let Ruled { admitted, held, quarantined } = ruling.split(0, proposal);
    Guarded { admitted, held, grace_periods: ruling.grace_periods, quarantined }
}

/// Holds changes that need an address which a rejected change would have released, transitively.
/// A user who releases an address does not wait for the user who was to get it.
fn with_rejected(candidates: &mut [Candidate]) {
    let mut kept: BTreeSet<u64> = BTreeSet::new();
    let mut fresh: Vec<usize> =
        (0..candidates.len()).filter(|at| candidates[*at].mark.hold.is_some()).collect();
    while !fresh.is_empty() {
        kept.extend(fresh.iter().flat_map(|at| candidates[*at].moves.leaves.iter()));
        let needs = |at: &usize| {
            let Candidate { moves, mark, is_positive, .. } = &candidates[*at];
            mark.hold.is_none() && !is_positive && moves.takes.iter().any(|key| kept.contains(key))
        };
        fresh = (0..candidates.len()).filter(needs).collect();
        for at in &fresh {
            candidates[*at].mark.hold = Some(HoldReason::Rejected);
        }
    }
}

/// Holds each change for reasons that do not depend on other changes.
fn individual(candidates: &mut [Candidate]) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.is_open()) {
        candidate.mark.hold = candidate.own;
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
    let mut leaving: BTreeMap<Arc<str>, BTreeSet<UserId>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| !candidate.mark.approved) {
        if let Some(cluster) = &candidate.cluster {
            leaving.entry(Arc::clone(cluster)).or_default().insert(candidate.user);
        }
    }
    for waiting in &bounds.waiting {
        if let Some(users) = waiting.cluster.as_deref().and_then(|cluster| leaving.get_mut(cluster))
        {
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
    let events: BTreeSet<&str> =
        leaving.keys().map(|cluster| &**cluster).filter(|cluster| is_event(cluster)).collect();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.is_open()) {
        if candidate.cluster.as_deref().is_some_and(|cluster| events.contains(cluster)) {
            candidate.mark.hold = Some(HoldReason::Cluster);
        }
    }
}

/// Holds the classes that exceed the limit of an OU: all its changes of the class.
///
/// A limit of an OU holds no positive suspension. Changes are counted as for the directory.
fn limits_of_ous(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
    for ou in &bounds.ous {
        for (class, limit) in &ou.limits {
            let is_below = |candidate: &Candidate| {
                candidate.class == Some(*class)
                    && !candidate.is_positive
                    && ou.hold(candidate.home.as_deref())
            };
            let is_waiting =
                |waiting: &&Waiting| waiting.class == *class && ou.hold(waiting.home.as_deref());
            let is_pending = |candidate: &&Candidate| is_below(candidate) && candidate.is_pending();
            let pending = candidates.iter().filter(is_pending).count()
                + bounds.waiting.iter().filter(is_waiting).count();
            if ou.are_exceeded(*class, *limit, pending as u64) {
                for candidate in candidates.iter_mut().filter(|c| c.is_open() && is_below(c)) {
                    candidate.mark.hold = Some(HoldReason::OuLimit);
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
        let is_of_class =
            |candidate: &&mut Candidate| candidate.class == Some(class) && candidate.is_open();
        let used = bounds.used.get(&class).copied().unwrap_or_default();
        let allowed = bounds.limits.allowed(class, bounds.active);
        let admitted = if class == ChangeClass::Confirmed {
            let left = allowed
                .saturating_sub(used.window)
                .max(bounds.limits.hourly(class).saturating_sub(used.hour));
            usize::try_from(left).unwrap_or(usize::MAX)
        } else {
            let is_pending =
                |candidate: &&Candidate| candidate.class == Some(class) && candidate.is_pending();
            let pending = candidates.iter().filter(is_pending).count()
                + bounds.waiting.iter().filter(|waiting| waiting.class == class).count();
            if used.window + pending as u64 > allowed { 0 } else { usize::MAX }
        };
        for candidate in candidates.iter_mut().filter(is_of_class).skip(admitted) {
            candidate.mark.hold = Some(HoldReason::Limit);
        }
    }
}

/// Holds absences and downgrades until a later observation confirms them. Returns the grace periods.
fn grace(candidates: &mut [Candidate], bounds: &Bounds<'_>) -> Vec<GracePeriod> {
    let mut periods = Vec::new();
    for candidate in candidates.iter_mut().filter(|c| !c.mark.approved) {
        if let Some(period) = recheck(candidate, bounds) {
            if period.due.is_some() {
                candidate.mark.hold = Some(HoldReason::GracePeriod);
            }
            periods.push(period);
        }
    }
    periods
}

/// Returns the grace period of a change; `None` when it needs none, or a second observation confirmed it.
fn recheck(candidate: &Candidate, bounds: &Bounds<'_>) -> Option<GracePeriod> {
    let Candidate { user, mark: Mark { hold, .. }, .. } = *candidate;
    let cause = candidate.grace?;
    let guid = candidate.guid?;
    let first_seen = bounds.first_seen.get(&(user, cause)).copied().unwrap_or(bounds.now);
    let deferred_until = bounds.deferred_until.filter(|_| !candidate.is_proven);
    let settled =
        first_seen.plus(bounds.limits.grace_period).max(deferred_until.unwrap_or(first_seen));
    let is_settled = bounds.now >= settled;
    if is_settled && hold.is_none() {
        return None;
    }
    let due = (hold.is_none() && !is_settled).then_some(settled);
    Some(GracePeriod {
        user,
        guid,
        cause,
        first_seen,
        due,
        cluster: candidate.cluster.as_deref().map(str::to_owned),
        home: candidate.home.as_deref().map(str::to_owned),
    })
}

/// Holds changes that can wait until quiet hours are over. Changes beyond a limit wait as well, so that
/// no operator is called at night. Changes of the open plan stay there.
fn quiet(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
    if !bounds.is_quiet {
        return;
    }
    for candidate in candidates.iter_mut().filter(|c| !c.mark.approved && c.can_wait) {
        let is_new = match candidate.mark.hold {
            None => true,
            Some(HoldReason::Limit | HoldReason::OuLimit | HoldReason::Cluster) => {
                !candidate.is_known
            }
            Some(_) => false,
        };
        if is_new {
            candidate.mark.hold = Some(HoldReason::QuietHours);
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
        .filter(|candidate| candidate.mark.hold != Some(HoldReason::Rejected))
        .collect();
    let components = numbered(linked.iter().map(|candidate| (None, &candidate.moves)));
    let mut held: BTreeMap<usize, HoldReason> = BTreeMap::new();
    for (candidate, component) in linked.iter().zip(&components) {
        if let Some(hold) = candidate.mark.hold {
            held.entry(*component).or_insert(hold);
        }
    }
    for (candidate, component) in linked.iter_mut().zip(&components) {
        if candidate.mark.hold.is_none() && !candidate.is_positive {
            candidate.mark.hold = held.get(component).copied();
        }
    }
}

/// Holds the lifting of a cause while the cause that replaces it is held. Otherwise the user would be
/// active meanwhile.
fn lifted_for_another_cause(candidates: &mut [Candidate]) {
    let mut waiting: BTreeMap<(UserId, Reason), HoldReason> = BTreeMap::new();
    for Candidate { user, suspends, mark, .. } in candidates.iter() {
        if let (Some(reason), Some(hold)) = (suspends, mark.hold) {
            waiting.insert((*user, *reason), hold);
        }
    }
    for candidate in candidates.iter_mut().filter(|c| c.mark.hold.is_none()) {
        let Candidate { user, remaining, mark, .. } = candidate;
        mark.hold = remaining.iter().find_map(|reason| waiting.get(&(*user, *reason)).copied());
    }
}

/// The people with changes that are not applied, and the users of such changes.
#[derive(Default)]
struct Late {
    people: BTreeSet<Guid>,
    uncreated: BTreeSet<UserId>,
    unlinked: BTreeSet<UserId>,
}

impl Late {
    fn add(&mut self, change: &Change) {
        self.people.extend(change.guid);
        match change.kind {
            ChangeKind::Create(_) if change.version.is_none() => {
                self.uncreated.insert(change.user);
            }
            ChangeKind::Link { .. } | ChangeKind::Move { .. } => {
                self.unlinked.insert(change.user);
            }
            _ => {}
        }
    }

    /// Has the next run read these people again. Drops rows of people whose user is not created or linked
    /// yet, because they have no user to refer to.
    fn revisit(&self, people: &mut Vec<PersonRow>) {
        for person in people.iter_mut().filter(|p| self.people.contains(&p.guid)) {
            person.put_off();
        }
        let is_one_of = |users: &BTreeSet<UserId>, p: &PersonRow| {
            p.user.is_some_and(|user| users.contains(&user))
        };
        people.retain(|p| p.quarantine.is_some() || !is_one_of(&self.uncreated, p));
        people.retain(|p| !is_one_of(&self.unlinked, p));
    }
}
