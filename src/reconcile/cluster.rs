//! Clusters: changes of one cause that are an event of their own and wait for an operator.

use std::collections::BTreeSet;

use crate::model::UserId;

/// Fewer changes are no event: they occur on ordinary days.
const CLUSTER_CHANGES: u64 = 5;
/// The share of an event, in percent of the users who belonged to the cluster when the window began.
const CLUSTER_PERCENT: u64 = 30;

/// The users who share a group, a parent OU or a filter attribute, over the window that ends now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    /// Active managed users who belonged to it when the window began. They belong to it now, or have
    /// left since.
    pub belonged: u64,
    /// Users that runs took out within the window without an approval.
    pub left: BTreeSet<UserId>,
    /// `belonged` of the other directories of the account, because one group may entitle users of several.
    pub belonged_elsewhere: u64,
    /// `left` of the other directories of the account.
    pub left_elsewhere: BTreeSet<UserId>,
}

impl Cluster {
    /// Returns whether so many changes are an event that an operator decides on.
    pub fn is_event(changes: u64, belonged: u64) -> bool {
        changes >= CLUSTER_CHANGES && changes * 100 >= belonged * CLUSTER_PERCENT
    }
}
