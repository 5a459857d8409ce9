//! The end of a rejection: an observation shows that the directory no longer asks for the change.
//!
//! A missing proposal is no such evidence. An attribute may be unreadable, or groups may have
//! changed during the read.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::Finding;
use super::{Desired, Fingerprint, Known, Observation, Proposal};
use crate::model::{ChangeVerb, Digest, Guid, Rejection};

/// Returns the rejections that end with this proposal of one slice, whose people are `desired`. A rejection
/// that ends with the proposals of all slices ends.
///
/// Only after a complete read with stable groups, a creation that is not proposed is no longer asked for.
pub(super) fn ended(
    rejections: Vec<Rejection>,
    proposal: &Proposal,
    desired: &BTreeMap<Guid, Desired>,
    known: &Known,
    observation: &Observation,
) -> Vec<Rejection> {
    if rejections.is_empty() {
        return rejections;
    }
    let is_whole = observation.is_complete() && observation.knows_groups();
    let proposed: BTreeSet<Digest> =
        proposal.plan.changes.iter().flat_map(|change| change.rejection_keys()).collect();
    let decided_whole: BTreeSet<Guid> = proposal
        .people
        .iter()
        .filter(|person| person.fingerprint != Fingerprint::Revisit)
        .map(|person| person.guid)
        .collect();
    let is_over = |rejection: &Rejection| {
        let Some(guid) = rejection.guid.filter(|guid| observation.is_conclusive(*guid)) else {
            return false;
        };
        if proposed.contains(&rejection.key) {
            return false;
        }
        let user = known.of_person(guid);
        let has_cause = |reason| user.is_some_and(|user| user.causes.has(reason));
        match (desired.get(&guid), rejection.kind, rejection.reason) {
            (Some(d), ChangeVerb::Suspend, Some(reason)) => {
                let evidence = rejection.attribute.as_deref();
                has_cause(reason)
                    || d.finding(reason) == Finding::Refuted
                        && !d.unwitnessed
                        && !d.has_lost_leave_date(reason, evidence)
            }
            (Some(d), ChangeVerb::Reactivate, Some(reason)) => {
                d.finding(reason) == Finding::Holds || user.is_some() && !has_cause(reason)
            }
            (Some(d), ChangeVerb::Create, _) if user.is_none() => {
                is_whole
                    && (d.is_fully_readable() || !d.is_alive())
                    && !proposal.plan.quarantined.iter().any(|q| q.object_guid == guid)
            }
            (Some(_), _, _) => decided_whole.contains(&guid),
            // Another slice has the person.
            (None, _, _) if observation.desired.contains_key(&guid) => true,
            (None, _, _) => is_whole && user.is_none() && !known.people.contains_key(&guid),
        }
    };
    rejections.into_iter().filter(is_over).collect()
}
