//! Splits a plan into admitted and held changes. A run has no other way to [`Admitted`].

mod passes;
mod tally;

use std::collections::{BTreeMap, BTreeSet};

use self::passes::{
    clusters, grace, individual, limits, limits_of_ous, propagate, quiet, with_rejected,
};
pub use self::tally::Tally;
use self::tally::{Candidate, Mark, is_bookkeeping};
use super::bounds::Bounds;
use super::components::components;
use super::{GracePeriod, PersonRow, Proposal};
use crate::model::{Actor, Change, ChangeKind, Guid, HeldChange, Origin, Quarantine, UserId};

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
    pub(in crate::reconcile) fn none() -> Self {
        Self { changes: Vec::new(), people: Vec::new(), origin: Origin::Run }
    }

    /// Adds what is admitted of another slice of the same plan.
    pub(in crate::reconcile) fn append(&mut self, mut other: Self) {
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

impl Tally {
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

/// Splits a proposal of one slice into admitted and held changes.
pub fn guard(proposal: Proposal, bounds: &Bounds<'_>) -> Guarded {
    let mut tally = Tally::default();
    tally.add(&proposal, bounds);
    let ruling = tally.rule(bounds);
    let Ruled { admitted, held, quarantined } = ruling.split(0, proposal);
    Guarded { admitted, held, grace_periods: ruling.grace_periods, quarantined }
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
