//! The triggers of runs: schedule, reported changes, due expiries and rechecks.

pub(super) mod changes;
pub(super) mod clock_step;
pub(super) mod due;
pub(super) mod following;
mod further_servers;
pub(super) mod live;
pub(super) mod manual;
pub(super) mod schedule;
