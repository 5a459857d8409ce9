//! The verbs: from what was read to what may be done. Synchronous, deterministic functions of values.
//!
//! ```text
//! Person ── decide ─► Desired ── Index::observe ─► Same | Changed | New
//! what was seen ── Ledger ─► Complete | Incomplete
//! Changed, New, absent + what is stored ── plan ─► Proposal ── guard ─► Admitted + held
//! ```
//!
//! Nothing here reads a clock, a socket or the store, and nothing here can write: time, answers and
//! stored rows are arguments. Two types carry the safety of the whole program and cannot be made
//! elsewhere: [`Complete`], without which nobody is absent, and [`Admitted`], without which nothing is
//! applied.

mod absence;
mod addresses;
mod canary;
mod checkpoint;
mod cluster;
mod completeness;
mod decide;
mod explain;
mod grace;
mod guard;
mod index;
mod limits;
mod plan;
mod proposal;
mod rejection;
mod takeover;
mod tiers;
mod undo;

pub use absence::{Absent, Confirmation, Look};
pub use addresses::{Choices, Rival, newly_wanted};
pub use canary::Canary;
pub use checkpoint::{Checkpoint, FullReadReason};
pub use cluster::Cluster;
pub use completeness::{
    AttributeCounts, Complete, Expectation, Incomplete, Ledger, Moment, PageEnd, Presence, Problem,
    ServerIdentity,
};
pub use decide::{Desired, Exclude, Finding, Observation, Policy, Primary, decide};
pub use explain::{Line, Reading, paths, read, remedies};
pub use grace::{FirstSeen, GraceCause, GracePeriod};
pub use guard::{
    Admitted, DEFERRAL, HoldAll, Rejected, Situation, Verdict, Waiting, components, guard,
};
pub use index::{Index, IndexRow, Observed, address_hash};
pub use limits::{Limit, Limits, Used};
pub use plan::{Entitlement, Known, PersonRow, StoredPerson, plan, suspects};
pub use proposal::Proposal;
pub use rejection::ended;
pub use takeover::{Takeover, Whereabouts};
pub use tiers::{Closure, ClosureGroup, Membership, TierRules, TierWish, WithoutGroup};
pub use undo::{Left, Taken, Undoing, undo};
