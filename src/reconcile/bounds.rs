//! The bounds of a plan: the limits, and the stored facts that count against them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, ClusterUsers, FirstSeen, Limits, OuBounds, Replica, Used};
use crate::model::{Change, ChangeClass, Digest, Guid, HoldReason, Timestamp, UserId};

/// The changes that are held regardless of their number and cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldAll {
    No,
    /// All but positive suspensions, because the scope has changed.
    ExceptPositive,
    Everything(HoldReason),
}

/// A stored change that is held, or waits for a second observation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub user: UserId,
    pub class: ChangeClass,
    pub cluster: Option<String>,
    pub home: Option<String>,
    /// The digest of a held change.
    pub digest: Option<Digest>,
}

/// The changes that an operator rejected. They are held even when approved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rejected {
    /// The keys by which later runs recognise rejected changes.
    pub keys: BTreeSet<Digest>,
    /// The cluster of each rejected change of a person outside of this plan.
    pub clusters: Vec<String>,
}

impl Rejected {
    pub(super) fn covers(&self, change: &Change) -> bool {
        !self.keys.is_empty() && change.rejection_keys().iter().any(|key| self.keys.contains(key))
    }
}

/// The bounds that a plan is measured against.
#[derive(Debug)]
pub struct Bounds<'a> {
    pub limits: &'a Limits,
    /// Managed active users when the window began.
    pub active: u64,
    /// Changes that automatic runs applied.
    pub used: BTreeMap<ChangeClass, Used>,
    /// Pending changes of people outside of this plan.
    pub waiting: Vec<Waiting>,
    /// The limits of OUs, beside those of the directory.
    pub ous: Vec<OuBounds>,
    /// When each absence was first observed.
    pub first_seen: FirstSeen,
    /// The clusters that changes of this plan belong to.
    pub clusters: BTreeMap<String, Cluster>,
    /// The leavers of each cluster who came to it within the window.
    pub newcomers: ClusterUsers,
    /// People whose automatic suspension is always held.
    pub protected: &'a BTreeSet<Guid>,
    pub hold_all: HoldAll,
    /// The changes that an operator approved.
    pub approved: BTreeSet<Digest>,
    pub rejected: Rejected,
    /// The knowledge of the server.
    pub replica: &'a Replica,
    /// The time of the last change to another server.
    pub server_changed_at: Option<Timestamp>,
    /// Absences and downgrades wait until this time, unless the server has heard of everything.
    pub deferred_until: Option<Timestamp>,
    /// Whether it is quiet: changes that can wait are neither applied nor held for an operator.
    pub is_quiet: bool,
    /// The changes of the open plan.
    pub held: BTreeSet<Digest>,
    pub now: Timestamp,
}
