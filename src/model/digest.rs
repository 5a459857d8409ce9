//! Digests, by which changes and plans are recognised from run to run.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The hash by which a change is recognised from plan to plan.
///
/// It covers user, kind, before, after and reason. It covers no times and no servers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Returns the digest of a plan: the hash of its changes' digests in order.
    pub fn of_all(mut digests: Vec<Self>) -> Self {
        digests.sort_unstable();
        let mut hash = sha2::Sha256::new();
        for digest in digests {
            hash.update(digest.0);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
