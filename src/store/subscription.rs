//! Subscriptions of hooks and targets to events.

use crate::model::{Handle, TargetName};

/// The events that a hook subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub hook: String,
    /// Types, families (`user.*`) or all (`*`).
    pub events: Vec<String>,
}

/// A target that follows the users of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    pub target: TargetName,
    pub account: Handle,
}
