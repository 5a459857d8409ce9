//! The documents of the API. Scripts depend on their shape.
//!
//! Times are RFC 3339 in UTC, GUIDs dashed and lower-case, ids UUIDs. A later version may add
//! fields. The document at `/v1/openapi.json` is made from the route table and from these types,
//! comments included.
//!
//! Errors are [`Problem`] documents (RFC 9457).

#![warn(missing_docs)]

mod accounts;
mod callers;
mod changes;
mod cluster;
mod contacts;
mod directories;
mod domains;
mod events;
mod explain;
mod held;
mod hooks;
mod invitations;
mod plans;
mod problem;
mod quarantine;
mod reload;
mod runs;
mod sign_ins;
mod status;
mod targets;
mod undo;
mod users;

pub use accounts::{
    Account, Accounts, Deletion, NewAccount, NewPolicies, PolicyValue, Renaming, UserCounts,
};
pub use callers::Caller;
pub use changes::{Change, ChangedPerson};
pub use cluster::{Cluster, ClusterLeader, ClusterNode, ForgetNode, StepDown};
pub use contacts::{Contact, Contacts};
pub use directories::{
    Check, CheckStep, Directories, DirectoryRenaming, DirectoryStatus, ManagedCounts, Pause,
    Progress, QuietWait, RunUnderWay, ServerStatus,
};
pub use domains::{Domain, Domains, NewClaim, Release, ReleasedUser, TxtRecord};
pub use events::{Event, Events, LogCheck};
pub use explain::{Elsewhere, ExplainedEntry, ExplainedSteps, Explanation, Looked};
pub use held::{
    Approval, Approving, GivenApproval, HeldGroup, HeldLimit, HeldPlan, HeldPlans, Rejecting,
};
pub use hooks::{
    Deliveries, Delivery, Hook, HookCounts, Hooks, Redeliver, Redelivered, Replay, Sample,
};
pub use invitations::{Invitation, InvitationOutcome, Invitations, NewInvitations};
pub use plans::{ConfigurationPart, Plan, Previewing, Quarantined};
pub use problem::{NO_STORE, NOT_LEADER, Problem, UNKNOWN_ROUTE};
pub use quarantine::{Quarantine, QuarantinedEntry};
pub use reload::{Reloaded, ReloadedDirectory, ReloadedHook, ReloadedTarget};
pub use runs::{Accepted, Changes, Read, Run, RunDetail, Runs};
pub use sign_ins::{SignIn, SignInDecision, SignInVerdict};
pub use status::{Status, StoreStatus};
pub use targets::{
    Adoption, Disowning, Forgotten, TargetAccount, TargetAccounts, TargetCheck, TargetOutlook,
    TargetPlan, TargetPush, TargetStatus, TargetStep, TargetSync, Targets, UnmanagedAccount,
    UnmanagedAccounts,
};
pub use undo::{LeftAlone, Undo};
pub use users::{
    Activation, Done, NewNote, NewTier, Note, Relinking, ScheduledSuspension, Suspension, User,
    UserCause, UserDetail, UserLink, UserSuspension, Users,
};

pub use crate::engine::{
    CheckOutcome, Denied, DirectoryCondition as DirectoryState, HookState, Phase, ReleaseEffect,
    ReloadOutcome, TargetCondition as TargetState,
};
pub use crate::model::{
    AccountKind, ChangeClass, ChangeOutcome, ChangeVerb, ClaimState, EVENT_TYPES, HoldReason,
    InactiveReason, Means, PlanState, QuarantineReason, Reason, RunMode, RunState,
    Status as UserStatus, StepKind, Tier, Trigger,
};
pub use crate::store::DeliveryState;
