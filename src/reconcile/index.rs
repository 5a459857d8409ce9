//! The index of a full read: 24 bytes for each stored person, to find changed and absent people.

use std::collections::BTreeSet;

use super::{Desired, Fingerprint, Policy, Primary};
use crate::model::{AddressKey, Guid};

/// One stored person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IndexRow {
    pub guid: Guid,
    pub fingerprint: Fingerprint,
}

/// A decision compared with the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observed {
    /// The decision that is stored.
    Same,
    /// Another decision than the stored one.
    Changed,
    /// A person who is not stored, and may get a user.
    New,
    /// A person who is not stored, and gets no user.
    Stranger,
    /// A person who was read before: the entry moved during the read, and is asked for by GUID.
    Twice,
}

/// The stored people of a directory, and which of them have been read.
#[derive(Debug, Default)]
pub struct Index {
    rows: Vec<IndexRow>,
    seen: Vec<bool>,
    unmanaged: BTreeSet<u64>,
    foreign: Vec<Guid>,
    orphans: BTreeSet<Guid>,
}

/// Returns the hash by which unmanaged users are found by address.
pub fn address_hash(key: &AddressKey) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key.0.as_bytes())
}

impl Index {
    /// `unmanaged` has the address hashes of users that a new person may turn out to be.
    pub fn new(mut rows: Vec<IndexRow>, unmanaged: BTreeSet<u64>) -> Self {
        if !rows.is_sorted() {
            rows.sort_unstable();
        }
        let seen = vec![false; rows.len()];
        Self { rows, seen, unmanaged, foreign: Vec::new(), orphans: BTreeSet::new() }
    }

    /// Adds the people of other directories of the account, who may have moved to this one.
    ///
    /// `orphans` are those of directories that are no longer configured. They count as absent.
    #[must_use]
    pub fn with_foreign(mut self, mut foreign: Vec<Guid>, orphans: BTreeSet<Guid>) -> Self {
        foreign.sort_unstable();
        (self.foreign, self.orphans) = (foreign, orphans);
        self
    }

    /// Compares a decision with the stored one and marks the person as read.
    pub fn observe(&mut self, desired: &Desired, policy: &Policy) -> Observed {
        self.orphans.remove(&desired.guid);
        match self.rows.binary_search_by(|row| row.guid.cmp(&desired.guid)) {
            Ok(at) if self.seen[at] => Observed::Twice,
            Ok(at) => {
                self.seen[at] = true;
                if self.rows[at].fingerprint == Fingerprint::Settled(desired.fingerprint()) {
                    Observed::Same
                } else {
                    Observed::Changed
                }
            }
            Err(_) => {
                let is_wanted = match &desired.primary {
                    Primary::Usable(address) => {
                        desired.may_join(policy)
                            || self.unmanaged.contains(&address_hash(&address.key()))
                    }
                    // Only the address is in the way of a user, so the entry is quarantined.
                    Primary::Malformed => {
                        !policy.claims.is_empty() && desired.joining_tier(policy).is_some()
                    }
                    Primary::Unclaimed(_) | Primary::Absent => desired.is_expected(policy),
                    Primary::Unseen => false,
                };
                let is_foreign = || self.foreign.binary_search(&desired.guid).is_ok();
                if is_wanted || is_foreign() { Observed::New } else { Observed::Stranger }
            }
        }
    }

    /// Marks a person as read whose entry could not be decoded.
    pub fn mark_seen(&mut self, guid: Guid) {
        self.orphans.remove(&guid);
        if let Ok(at) = self.rows.binary_search_by(|row| row.guid.cmp(&guid)) {
            self.seen[at] = true;
        }
    }

    /// Returns the stored people that were not read, in order.
    pub fn unseen(&self) -> impl Iterator<Item = Guid> {
        let stored =
            self.rows.iter().zip(&self.seen).filter(|(_, seen)| !**seen).map(|(row, _)| row.guid);
        stored.chain(self.orphans.iter().copied())
    }

    pub fn knows(&self, guid: Guid) -> bool {
        self.rows.binary_search_by(|row| row.guid.cmp(&guid)).is_ok()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
