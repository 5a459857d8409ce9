//! What is remembered of everybody while a directory is read: 24 bytes a person.

use std::collections::BTreeSet;

use super::{Desired, Policy, Primary};
use crate::model::{AddressKey, Guid};

/// One stored person: who, and the fingerprint of the decision that was last applied whole (0: look again).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IndexRow {
    /// The person.
    pub guid: Guid,
    /// The fingerprint.
    pub fingerprint: u64,
}

/// What a decision is to the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observed {
    /// Stored, and nothing is to be done.
    Same,
    /// Stored, and decided otherwise now.
    Changed,
    /// Not stored, and something may have to be done.
    New,
    /// Not stored, and nothing is to be done.
    Stranger,
    /// Seen a second time in this read: it moved while paging, and has to be read again by GUID.
    Twice,
}

/// The stored people of a scope, and which of them have been seen.
#[derive(Debug, Default)]
pub struct Index {
    rows: Vec<IndexRow>,
    seen: Vec<bool>,
    unmanaged: BTreeSet<u64>,
    foreign: Vec<Guid>,
    orphans: BTreeSet<Guid>,
}

/// What stands for an address among the unmanaged users' addresses.
pub fn address_hash(key: &AddressKey) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key.0.as_bytes())
}

impl Index {
    /// From the stored rows and the address hashes of the account's unmanaged users, whom a new person may turn out to be.
    pub fn new(mut rows: Vec<IndexRow>, unmanaged: BTreeSet<u64>) -> Self {
        if !rows.is_sorted() {
            rows.sort_unstable();
        }
        let seen = vec![false; rows.len()];
        Self { rows, seen, unmanaged, foreign: Vec::new(), orphans: BTreeSet::new() }
    }

    /// Adds the people whose users are linked to other directories of the account: they may have moved to this one.
    ///
    /// `orphans` are those of directories that are not configured any more; each of them counts as unseen until it is seen.
    #[must_use]
    pub fn with_foreign(mut self, mut foreign: Vec<Guid>, orphans: BTreeSet<Guid>) -> Self {
        foreign.sort_unstable();
        (self.foreign, self.orphans) = (foreign, orphans);
        self
    }

    /// Compares one decision with what is stored.
    pub fn observe(&mut self, desired: &Desired, policy: &Policy) -> Observed {
        self.orphans.remove(&desired.guid);
        match self.rows.binary_search_by(|row| row.guid.cmp(&desired.guid)) {
            Ok(at) if self.seen[at] => Observed::Twice,
            Ok(at) => {
                self.seen[at] = true;
                if self.rows[at].fingerprint == desired.fingerprint() {
                    Observed::Same
                } else {
                    Observed::Changed
                }
            }
            Err(_) => {
                let is_wanted = match &desired.primary {
                    Primary::Usable(address) => {
                        desired.is_provisionable(policy)
                            || desired.is_undecided(policy)
                            || self.unmanaged.contains(&address_hash(&address.key()))
                    }
                    // Whoever would be somebody but for the address is worth a line in the quarantine.
                    Primary::Malformed => {
                        !policy.claims.is_empty() && desired.joining_tier(policy).is_some()
                    }
                    Primary::Unclaimed(_) | Primary::Absent | Primary::Unseen => false,
                };
                let is_foreign = || self.foreign.binary_search(&desired.guid).is_ok();
                if is_wanted || is_foreign() { Observed::New } else { Observed::Stranger }
            }
        }
    }

    /// Marks a person as seen without a decision, because its entry could not be decoded.
    pub fn mark_seen(&mut self, guid: Guid) {
        self.orphans.remove(&guid);
        if let Ok(at) = self.rows.binary_search_by(|row| row.guid.cmp(&guid)) {
            self.seen[at] = true;
        }
    }

    /// The stored people that were not seen, in order.
    pub fn unseen(&self) -> impl Iterator<Item = Guid> {
        let stored =
            self.rows.iter().zip(&self.seen).filter(|(_, seen)| !**seen).map(|(row, _)| row.guid);
        stored.chain(self.orphans.iter().copied())
    }

    /// Whether the person is stored.
    pub fn knows(&self, guid: Guid) -> bool {
        self.rows.binary_search_by(|row| row.guid.cmp(&guid)).is_ok()
    }

    /// How many people are stored.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nobody is stored.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
