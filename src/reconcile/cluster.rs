//! Clusters: changes of one cause that are an event of their own (DESIGN 8).

use std::collections::BTreeSet;

use crate::model::UserId;

/// An event of its own from this many changes on ...
const CLUSTER_CHANGES: u64 = 5;
/// ... and from this share, in percent, of the users who belonged to the cluster when the window began.
const CLUSTER_PERCENT: u64 = 30;

/// The users with a group, a parent OU or a filter attribute in common, over the window that ends now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    /// How many active managed users belonged to it when the window began: those who belong to it now, and those taken out since.
    pub belonged: u64,
    /// The users that runs took out within the window without an operator's approval.
    pub left: BTreeSet<UserId>,
    /// The first number, for all other directories of the account: one group may entitle users of several, and a section may
    /// have had another name.
    pub belonged_elsewhere: u64,
    /// The users that runs of those directories took out in the same way.
    pub left_elsewhere: BTreeSet<UserId>,
}

impl Cluster {
    /// Returns whether so many changes, of so many users who belonged to the cluster, are an event that an operator decides on.
    pub fn is_event(changes: u64, belonged: u64) -> bool {
        changes >= CLUSTER_CHANGES && changes * 100 >= belonged * CLUSTER_PERCENT
    }
}
