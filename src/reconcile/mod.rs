//! The rules: pure functions from the entries that were read to the changes that may be applied.
//!
//! ```text
//! Person ── decide ─► Desired ── Index::observe ─► Same | Changed | New
//! the read ── Ledger ─► Complete | Incomplete
//! Observation + Known ── Draft::of ─► plan of a slice ── Review ─► guard ─► Ruling
//! Ruling + plan of a slice ── split ─► Admitted + held
//! ```
//!
//! No function reads a clock, a socket or the store: time, answers and stored rows are arguments. Two
//! types carry the safety of the program and cannot be made elsewhere. No person is absent without
//! [`Complete`], and no change is applied without [`Admitted`].

mod absence;
mod addresses;
mod approvals;
mod bounds;
mod canary;
mod checkpoint;
mod choices;
mod cluster;
mod completeness;
mod components;
mod confirmation;
mod decide;
mod exclude;
mod explain;
mod fingerprint;
mod grace;
mod guard;
mod high_water_mark;
mod index;
mod knowledge;
mod known;
mod limits;
mod observation;
mod ou_rules;
mod plan;
mod proposal;
mod propose;
pub mod provision;
mod rejection;
mod slices;
mod takeover;
mod tiers;
mod undo;
mod wishes;

pub use absence::Absent;
pub use addresses::newly_wanted;
pub use approvals::{Approvals, Given};
pub use bounds::{Bounds, HoldAll, Rejected, Waiting};
pub use canary::Canary;
pub use checkpoint::{Checkpoint, FullReadReason};
pub use choices::Choices;
pub use cluster::{Cluster, ClusterMembers, ClusterUsers};
pub use completeness::{
    AttributeCounts, Complete, Expectation, Incomplete, Ledger, Moment, PageEnd, Presence, Problem,
    ServerIdentity,
};
pub use components::components;
pub use confirmation::{Confirmation, Look};
pub use decide::{Desired, Finding, LeaveDates, Policy, Primary, Provenance, decide};
pub use exclude::{Exclude, Ou};
pub use explain::{Line, Reading, Steps, paths, read, remedies};
pub use fingerprint::Fingerprint;
pub use grace::{FirstSeen, GraceCause, GracePeriod};
pub use guard::{Admitted, Guarded, Ruled, Ruling, Tally, guard};
pub use high_water_mark::{HighWaterMark, HighWaterMarks};
pub use index::{Index, IndexRow, Observed, address_hash};
pub use knowledge::{
    AttributeId, Currency, Knowledge, LastSeen, Metadata, OLDEST_STAMP, Replica, Stamp,
};
pub use known::{Known, Rival, StoredPerson};
pub use limits::{Limit, Limits, Used};
pub use observation::{Observation, Scope};
pub use ou_rules::{AppliedAtHome, HomeCounts, OuBounds, OuRule, OuRules, OuTier};
pub use plan::{plan, suspects};
pub use proposal::{Entitlement, PersonRow, Proposal};
pub use propose::{Draft, LastServer, PlanWarning, Review, Reviewed, Situation, Verdict};
pub use slices::{Division, Slice};
pub use takeover::{Takeover, Whereabouts};
pub use tiers::{
    Closure, ClosureGroup, ForeignMember, GroupMembers, Membership, TierRules, TierWish,
    WithoutGroup, foreign_members,
};
pub use undo::{Left, Taken, Undoing, undo};
