//! The wire types of the control socket: what scripts rely on. Imports nothing of rosterd.
//!
//! Times are RFC 3339 UTC as text, GUIDs dashed lower-case, ids UUIDs. Unknown fields may be added.
//! Which routes there are, who may use them, and what they take and answer is in one table (`routes`).
//! The document at `/v1/openapi.json` is made from that table and from these types, comments included.
//!
//! Errors are [`Problem`] documents (RFC 9457).

#![warn(missing_docs)]

mod accounts;
mod directories;
mod events;
mod runs;
mod users;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use accounts::{
    Account, Accounts, Deletion, Domain, Domains, Invitation, Invitations, NewAccount, NewClaim,
    NewInvitations, NewPolicies, PolicyValue, Release, ReleasedUser, Renaming, TxtRecord,
    UserCounts,
};
pub use directories::{
    Accepted, Check, CheckStep, Directories, DirectoryRenaming, DirectoryStatus, ManagedCounts,
    Pause, Progress, Reloaded, ReloadedDirectory, ReloadedHook, Status,
};
pub use events::{
    Deliveries, Delivery, Event, Events, Hook, HookCounts, Hooks, LogCheck, Redeliver, Redelivered,
    Replay, Sample,
};
pub use runs::{
    Approval, Approving, Change, Changes, HeldGroup, HeldPlan, HeldPlans, LeftAlone, Plan,
    Quarantined, Read, Rejecting, Run, RunDetail, Runs, Undo,
};
pub use users::{
    Activation, Contact, Contacts, Done, Elsewhere, ExplainedEntry, Explanation, Looked, NewTier,
    Quarantine, QuarantinedEntry, Relinking, SignIn, SignInDecision, Suspension, User, UserCause,
    UserDetail, UserLink, UserSuspension, Users,
};

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind of error: `about:blank`, or `urn:rosterd:problem:unknown-route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
}

/// The kind of a problem that says that the API of this daemon has no such route: its client may be of another version.
pub const UNKNOWN_ROUTE: &str = "urn:rosterd:problem:unknown-route";
