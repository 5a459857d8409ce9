//! The rosterds that share one store: what each of them is, and who leads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The part of one rosterd in sharing a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sharing {
    /// Its name, which no other rosterd on the store has.
    pub node: String,
    /// The time for which a leader may be silent before another one takes over.
    pub lease: Duration,
    /// Whether it may lead.
    pub takeover: bool,
}

impl Sharing {
    /// The lease where none is configured.
    pub const LEASE: Duration = Duration::from_secs(10);

    /// Returns the time for which a leader trusts its lease without an answer of the database. It
    /// ends before another one leads.
    pub fn trust(&self) -> Duration {
        self.lease * 7 / 10
    }

    /// Returns the time between two beats of a leader.
    pub fn beat(&self) -> Duration {
        self.lease / 5
    }
}

/// The rosterd that leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    pub node: String,
    /// The number of its term. It never falls.
    pub epoch: u64,
    /// The time at which its term began.
    pub since: Timestamp,
}

/// A rosterd on a shared store, by its own word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub node: String,
    pub version: String,
    /// A hash of what its configuration decides.
    pub configuration: String,
    /// Whether it may lead.
    pub takeover: bool,
    pub health: NodeHealth,
    /// The time at which it was last heard of.
    pub heard: Timestamp,
}

/// The state of a rosterd, by its own word.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Its status line.
    pub line: String,
    /// The directories that its last checks could not read, each with the reason; `None` before the first
    /// check.
    pub unreadable: Option<Vec<String>>,
}

impl NodeHealth {
    /// Returns whether its last checks could read all directories.
    pub fn reads_all(&self) -> bool {
        self.unreadable.as_ref().is_some_and(Vec::is_empty)
    }
}
