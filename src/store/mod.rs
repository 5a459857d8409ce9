//! The store: all state of rosterd in one database, embedded or on a server.
//!
//! All SQL is below this module, written once for SQLite and PostgreSQL. There is one writer, which
//! numbers and chains the events in its transaction: a lock keeps the writers of several machines
//! apart. Readers have a pool of their own and never wait for the writer.
//!
//! Users change in one place only, [`Store::apply`], which takes nothing but
//! [`Admitted`](crate::reconcile::Admitted) changes.

mod accounts;
mod apply;
mod approvals;
mod attempts;
mod backlog;
mod backup;
mod baseline;
mod chain;
mod changes;
mod claims;
mod cluster;
mod clusters;
mod compared;
mod conflicts;
mod copy;
mod counterpart_rows;
mod counterparts;
mod counters;
mod database;
mod deliveries;
mod directories;
mod early_leavers;
mod elsewhere;
mod error;
mod event_watch;
mod events;
mod files;
mod flavour;
mod followers;
mod follows;
mod grace_periods;
mod head;
mod held_changes;
mod hold;
#[cfg(feature = "postgres")]
mod hosts;
mod index;
mod instants;
mod lease;
mod limits;
mod links;
mod log_keys;
mod lost_commits;
mod notes;
mod own_lease;
mod pending;
mod pending_addresses;
mod people;
mod person_rows;
mod plans;
mod quarantine;
mod recording;
mod rejections;
mod removed_hooks;
mod rename;
mod rows;
mod runs;
mod scheduled;
mod schema;
mod scope;
mod scratch;
mod sign_ins;
mod spool;
mod sql;
mod subscription;
mod target_groups;
mod targets;
#[cfg(test)]
mod tests;
mod transitions;
mod user_rows;
mod users;
mod value;
mod writer;

pub use accounts::AccountRefused;
pub use apply::Applied;
pub use approvals::{Consent, Decision};
pub use attempts::{Attempt, AttemptResult, DueDelivery};
pub use baseline::{BaselineKind, BaselineObject};
pub use chain::{ChainBreak, REWOUND, Verified};
pub use changes::ChangePlace;
pub use claims::ClaimRefused;
pub use copy::{Copied, CopyError, copy};
pub use counterparts::{Admission, CounterpartCounts, CounterpartFilter, Settled, SettledBy};
pub use database::{Right, Store};
pub use deliveries::{Delivery, DeliveryFilter, DeliveryState, DeliveryStatus};
pub use directories::{BindRefused, DirectoryState, FoundServers, LONGEST_BIND_PAUSE};
pub use error::StoreError;
pub use event_watch::watch_events;
pub use events::{AccountScope, EventFilter, StoredEvent};
pub use held_changes::HeldChanges;
pub use hold::{DecidedBy, Holding};
pub use instants::FutureInstants;
pub use lease::{Look, Noted};
pub use log_keys::{LogHead, LogKeys};
pub use lost_commits::Loss;
pub use pending::Mark;
pub use people::KnownBySid;
pub use plans::{HeldPlan, HeldRow, HeldSummary, cause_key};
pub use quarantine::Quarantined;
pub use removed_hooks::RemovedHook;
pub use runs::{Budget, Run, RunFilter};
pub use scheduled::ScheduledSuspension;
pub use schema::Schema;
pub use scope::ScopeState;
pub use scratch::Scratch;
pub use sign_ins::{AttemptLimit, SignInAttempt};
pub use spool::Spool;
pub use subscription::{Follower, Subscription};
pub use target_groups::Member;
pub use targets::{RefusalKind, TargetRefusal, TargetState, UnmanagedAccount};
pub use users::{UserFilter, fold};
pub use writer::Writer;
