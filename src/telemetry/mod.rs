//! What the daemon tells of itself: [logs](init) for people, [metrics](page) for Prometheus.
//!
//! Neither ever names a person above debug: users are told by id, changes by number. Nothing here decides or
//! waits for anything; what is counted is counted where it happens, in [`Counters`], and what stands is handed
//! over as a [`Standing`] when somebody asks.

mod counters;
mod logs;
mod metrics;
mod process;

pub use counters::{Counters, Delivered};
pub use logs::{chain, init};
pub use metrics::{
    AccountStanding, DirectoryStanding, Format, HookSeries, Standing, StoreStanding, page,
};
