//! [Logs](init) for operators, and [metrics](page) for Prometheus.
//!
//! Neither names a person above the level debug: they have ids of users and numbers of changes.
//! Code counts in [`Counters`] where something happens. Gauges come from a [`Snapshot`], made for
//! each scrape.

mod counters;
mod logs;
mod metrics;
mod process;
mod snapshot;

pub use counters::{Counters, Delivered};
pub use logs::{chain, init};
pub use metrics::{Format, page};
pub use snapshot::{
    AccountSeries, DirectorySeries, HookSeries, ServerSeries, Snapshot, States, StoreSnapshot,
    TargetSeries,
};
