//! Subscriptions of hooks to events.

/// The events that a hook subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub hook: String,
    /// Types, families (`user.*`) or all (`*`).
    pub events: Vec<String>,
}
