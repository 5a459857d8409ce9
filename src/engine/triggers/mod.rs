//! The reasons for a run to begin: the schedule, a change that AD announces, an instant that is due.

pub(super) mod changes;
pub(super) mod clock_step;
pub(super) mod due;
pub(super) mod live;
pub(super) mod manual;
pub(super) mod schedule;
