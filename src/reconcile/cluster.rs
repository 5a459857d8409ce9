//! Clusters: changes of one cause that are an event of their own and wait for an operator.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::UserId;

/// Fewer changes are no event: they occur on ordinary days.
const CLUSTER_CHANGES: u64 = 5;
/// The share of an event, in percent of the users who belonged to the cluster when the window began.
const CLUSTER_PERCENT: u64 = 30;

/// Users by cluster.
pub type ClusterUsers = BTreeMap<String, BTreeSet<UserId>>;

/// The users who share a group, a parent OU or a filter attribute, over the window that ends now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    pub here: ClusterMembers,
    /// The other directories of the account, because one group may entitle users of several.
    pub elsewhere: ClusterMembers,
}

/// The active managed users of a cluster in one directory, or in several.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterMembers {
    /// The number that belonged to it when the window began.
    pub former: u64,
    /// The number that belongs to it now.
    pub present: u64,
    /// Users that runs took out within the window without an approval.
    pub left: BTreeSet<UserId>,
}

impl Cluster {
    /// Returns whether so many changes are an event that an operator decides on.
    pub fn is_event(changes: u64, belonged: u64) -> bool {
        changes >= CLUSTER_CHANGES && changes * 100 >= belonged * CLUSTER_PERCENT
    }
}

impl ClusterMembers {
    /// Returns the sum of two memberships that share no user.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self {
            former: self.former + other.former,
            present: self.present + other.present,
            left: self.left.union(&other.left).copied().collect(),
        }
    }

    /// Returns whether the loss of so many users is an event, of whom so many came within the window.
    ///
    /// Newcomers hide no loss among those who belonged to the cluster before.
    pub(super) fn loses_many(&self, leaving: u64, newcomers: u64) -> bool {
        Cluster::is_event(leaving, self.former.max(self.present))
            || Cluster::is_event(leaving.saturating_sub(newcomers), self.former)
    }
}
