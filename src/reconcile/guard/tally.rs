//! The planned changes of a run as the guard counts them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Change, ChangeClass, ChangeKind, Guid, HoldReason, Reason, UserId};
use crate::reconcile::bounds::Bounds;
use crate::reconcile::components::Moves;
use crate::reconcile::grace::GraceCause;
use crate::reconcile::{HoldAll, Proposal};

/// The part of a planned change that the guard counts. The change itself is large, and a run may have a
/// million.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Candidate {
    pub(super) slice: usize,
    /// The position in the plan of the slice.
    pub(super) at: usize,
    pub(super) user: UserId,
    pub(super) guid: Option<Guid>,
    pub(super) class: Option<ChangeClass>,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) home: Option<Arc<str>>,
    pub(super) moves: Moves,
    pub(super) is_positive: bool,
    pub(super) can_wait: bool,
    /// Whether the open plan has it.
    pub(super) is_known: bool,
    /// The absence that a second observation has to confirm.
    pub(super) grace: Option<GraceCause>,
    /// Whether the server has heard of everything that it depends on.
    pub(super) is_proven: bool,
    /// The reason of a suspension that is no link.
    pub(super) suspends: Option<Reason>,
    /// The causes that a reactivation leaves.
    pub(super) remaining: Box<[Reason]>,
    /// Whether no operator decides about it.
    pub(super) is_bookkeeping: bool,
    /// The hold that does not depend on other changes.
    pub(super) own: Option<HoldReason>,
    pub(super) mark: Mark,
}

/// The ruling on one change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// An operator approved it. An approved change passes all limits.
    pub(super) approved: bool,
    pub(super) hold: Option<HoldReason>,
}

impl Candidate {
    /// Returns whether the limits decide on the change: it is neither approved nor held yet.
    pub(super) fn is_open(&self) -> bool {
        !self.mark.approved && self.mark.hold.is_none()
    }

    /// Returns whether the change counts against a limit, held for another reason or not.
    pub(super) fn is_pending(&self) -> bool {
        !self.mark.approved && self.mark.hold != Some(HoldReason::Rejected)
    }
}

/// The planned changes of a run as the guard counts them, slice by slice.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) slices: usize,
    pub(super) candidates: Vec<Candidate>,
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
}

/// Returns whether the change only ends the effect of an earlier decision.
pub(super) fn is_bookkeeping(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Override { .. })
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
