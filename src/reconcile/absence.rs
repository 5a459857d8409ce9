//! The absence of a person from a read: nothing is concluded before the GUID was asked for.

use std::collections::BTreeMap;

use super::decide::Facts;
use super::{Complete, Confirmation, Desired, Finding, Look, Policy, decide};
use crate::model::{Dn, Guid, Person, Reason};

/// The decisions about absent people.
#[derive(Debug, Default)]
pub struct Absent {
    pub desired: BTreeMap<Guid, Desired>,
    /// The people without a decision.
    pub unknown: Vec<Guid>,
    /// Bases without a visible entry although people were there, and some of them are missing. Such a
    /// base counts as unread.
    pub unexplained: Vec<Dn>,
}

impl Absent {
    /// Decides about absent people by the answers of the directory.
    ///
    /// `last_seen` has the last known DN of each. `complete` is `None` after an incomplete read: then
    /// only entries and tombstones count, and a missing person is unknown.
    pub fn decide(
        found: &BTreeMap<Guid, Confirmation>,
        last_seen: &BTreeMap<Guid, Dn>,
        complete: Option<&Complete>,
        is_suspended: impl Fn(Guid) -> bool,
        policy: &Policy,
    ) -> Self {
        // An empty base that had people is believed only if all of them were found elsewhere.
        let emptied = complete.map(Complete::emptied).unwrap_or_default();
        let unexplained: Vec<Dn> = emptied
            .iter()
            .filter(|base| !all_found(base, found, last_seen, &is_suspended))
            .cloned()
            .collect();
        let emptied_and_unexplained = |dn: &Dn| unexplained.iter().any(|base| dn.is_within(base));
        let mut absent = Self::default();
        for (guid, confirmation) in found {
            let stood = last_seen.get(guid);
            match confirmation {
                Confirmation::Alive(person) => {
                    absent.desired.insert(*guid, decide(Person::clone(person), policy));
                }
                Confirmation::Tombstone(dn) => {
                    absent.desired.insert(*guid, Desired::deleted(*guid, dn.clone()));
                }
                Confirmation::Nowhere(look) => match (stood, complete) {
                    (Some(stood), Some(proof))
                        if proof.covers(stood)
                            && proof.unidentified() == 0
                            && !emptied_and_unexplained(stood) =>
                    {
                        absent
                            .desired
                            .insert(*guid, Desired::vanished(*guid, stood.clone(), *look, proof));
                    }
                    _ => absent.unknown.push(*guid),
                },
                Confirmation::Malformed(rest) => match Desired::broken(*guid, rest.clone(), policy)
                {
                    Some(desired) => drop(absent.desired.insert(*guid, desired)),
                    None => absent.unknown.push(*guid),
                },
            }
        }
        absent.unexplained = unexplained;
        absent
    }
}

/// Returns whether all active people last seen below the base were found, alive or as tombstones.
fn all_found(
    base: &Dn,
    found: &BTreeMap<Guid, Confirmation>,
    last_seen: &BTreeMap<Guid, Dn>,
    is_suspended: impl Fn(Guid) -> bool,
) -> bool {
    let of_base = last_seen.iter().filter(|(guid, dn)| dn.is_within(base) && !is_suspended(**guid));
    of_base.into_iter().all(|(guid, _)| {
        matches!(found.get(guid), Some(Confirmation::Alive(_) | Confirmation::Tombstone(_)))
    })
}

impl Desired {
    /// Returns the decision about a person who is neither alive nor a tombstone.
    /// It needs the proof that the read was complete.
    fn vanished(guid: Guid, last_seen: Dn, look: Look, _proof: &Complete) -> Self {
        let desired = Self::gone(
            guid,
            last_seen,
            Facts::Nowhere,
            Reason::Vanished,
            look == Look::Unwitnessed,
        );
        debug_assert_eq!(desired.finding(Reason::Vanished), Finding::Holds);
        desired
    }
}
