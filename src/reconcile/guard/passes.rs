//! The passes of the guard. Each one holds changes for reasons of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::tally::{Candidate, Mark};
use crate::model::{ChangeClass, HoldReason, Reason, UserId};
use crate::reconcile::bounds::Bounds;
use crate::reconcile::components::numbered;
use crate::reconcile::{Cluster, ClusterMembers, GracePeriod, Waiting};

/// Holds changes that need an address which a rejected change would have released, transitively.
/// A user who releases an address does not wait for the user who was to get it.
pub(super) fn with_rejected(candidates: &mut [Candidate]) {
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
pub(super) fn individual(candidates: &mut [Candidate]) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.is_open()) {
        candidate.mark.hold = candidate.own;
    }
}

/// Holds changes of one cluster when they are too many of the users who belonged to it.
///
/// Clusters roll over the window: changes that runs applied within it count, and so do pending ones.
pub(super) fn clusters(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
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
pub(super) fn limits_of_ous(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
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
pub(super) fn limits(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
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
pub(super) fn grace(candidates: &mut [Candidate], bounds: &Bounds<'_>) -> Vec<GracePeriod> {
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
pub(super) fn quiet(candidates: &mut [Candidate], bounds: &Bounds<'_>) {
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
pub(super) fn propagate(candidates: &mut [Candidate]) {
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
