//! Faults that reviewers found, by kind. Each test states the rule of the design that the fault broke.

mod addresses;
mod brakes;
mod clocks;
mod decisions;
mod files;
mod filters;
mod hooks;
mod identity;
mod kerberos;
mod rights;
mod roles;
mod servers;
mod sight;
mod sign_in;

use std::time::Duration;

pub(crate) use crate::firm::{
    again, checkpoint, dn_of, followed, guid_of, held_plan, hide_completely, no_full_runs,
    see_tombstones, sync, tick,
};

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const TEN_YEARS: Duration = Duration::from_hours(24 * 3_653);
