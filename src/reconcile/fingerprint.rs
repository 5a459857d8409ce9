//! The fingerprint of a decision, by which a full read skips people who have not changed.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// The stored fingerprint of one person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Fingerprint {
    /// The next run reads and plans the person again, because the decision was not applied whole.
    Revisit,
    /// The decision that was last applied whole.
    Settled(NonZeroU64),
}

impl Fingerprint {
    /// Returns the fingerprint of a stored number; 0 stands for [`Fingerprint::Revisit`].
    pub fn from_stored(number: u64) -> Self {
        NonZeroU64::new(number).map_or(Self::Revisit, Self::Settled)
    }

    /// Returns the number to store.
    pub fn to_stored(self) -> u64 {
        match self {
            Self::Revisit => 0,
            Self::Settled(number) => number.get(),
        }
    }
}
