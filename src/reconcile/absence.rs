//! What it means that somebody was not in a read: nothing, until each was asked for by GUID.

use std::collections::BTreeMap;

use super::decide::Facts;
use super::{Complete, Desired, Finding, Policy, decide};
use crate::model::{Broken, Dn, Guid, Person, Reason};

/// What asking for one GUID found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// The entry, alive; its placement tells whether base and filter hold it.
    Alive(Box<Person>),
    /// Its tombstone.
    Tombstone(Dn),
    /// Neither, in an answer that was complete.
    Nowhere(Look),
    /// The entry is there but could not be decoded.
    Malformed(Broken),
}

/// What is known about whether a missing person could have been seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// The last known parent is readable, another person below it was read, and tombstones are not visible at all: gone.
    Witnessed,
    /// No witness; or tombstones can be seen, this one is not, and its lifetime has not passed: invisible rather than gone.
    Unwitnessed,
}

/// The people found absent by a complete read, decided.
#[derive(Debug, Default)]
pub struct Absent {
    /// Decisions, by person.
    pub desired: BTreeMap<Guid, Desired>,
    /// The people about whom nothing can be concluded.
    pub unknown: Vec<Guid>,
    /// The bases that show nobody although they had somebody, not all of whom were found: not read at all, then.
    pub unexplained: Vec<Dn>,
}

impl Absent {
    /// Decides the unseen people from what asking for each found.
    ///
    /// `last_seen` is where each stood when it was last seen; `is_suspended` tells who cannot sign in anyway. `complete` is `None` after an incomplete
    /// read: then what was found positively counts, and missing counts as nothing.
    pub fn decide(
        found: &BTreeMap<Guid, Confirmation>,
        last_seen: &BTreeMap<Guid, Dn>,
        complete: Option<&Complete>,
        is_suspended: impl Fn(Guid) -> bool,
        policy: &Policy,
    ) -> Self {
        // A base that shows nobody although it had somebody is believed only if everybody of it was found somewhere.
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
                    absent.desired.insert(
                        *guid,
                        Desired::gone(*guid, dn.clone(), Facts::Tombstone, Reason::Deleted, false),
                    );
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

/// Whether everybody who may still sign in, and last stood below the base, was found: alive elsewhere, or as a tombstone.
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
    /// Somebody who is neither alive nor a tombstone. Needs the proof that the read was complete.
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
