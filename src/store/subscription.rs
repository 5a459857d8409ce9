//! Subscriptions of hooks and targets to events.

use serde::{Deserialize, Serialize};

use crate::model::{Handle, TargetName};

/// The events that a hook subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub hook: String,
    /// Types, families (`user.*`) or all (`*`).
    pub events: Vec<String>,
}

/// A target that follows the users of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    pub target: TargetName,
    pub account: Handle,
}

/// The hooks and targets of a rosterd.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Follows {
    pub(super) hooks: Vec<Subscription>,
    pub(super) targets: Vec<Follower>,
}
