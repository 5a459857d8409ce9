//! Periodic work outside runs: retention and reminders.

pub(super) mod reminders;
pub(super) mod retention;
