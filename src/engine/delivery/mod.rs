//! Deliveries of events to hooks.

pub(super) mod hooks;
pub(super) mod removed_hooks;
pub(super) mod worker;
