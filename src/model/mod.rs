//! The nouns: what rosterd talks about, without I/O, clock or async.
//!
//! Everything here is a value that can be compared, ordered and printed. What these values mean for
//! each other is decided in [`crate::reconcile`]; nothing in this module reads or writes anything.

mod account;
mod addresses;
mod apply;
mod cause;
mod change;
mod claim;
mod class;
mod cron;
mod discovery;
mod dn;
mod email;
mod event;
mod filter;
mod group_name;
mod ids;
mod observation;
mod overrides;
mod person;
mod plan;
mod program;
mod rejection;
mod secret;
mod server_url;
mod settings;
mod status;
mod time;
mod user;
mod written;

pub use account::{Account, AccountKind, AccountRef, Handle, HandleError, Policies, PolicyError};
pub use addresses::Addresses;
pub use cause::{By, Cause, Causes, Evidence, Reason};
pub use change::{Actor, Change, ChangeKind, Digest, Joined, Origin};
pub use claim::{Claim, ClaimState, ClaimedDomains, RecordSeen};
pub use class::Class;
pub use cron::{Cron, CronError};
pub use discovery::Discovery;
pub use dn::Dn;
pub use email::{Address, AddressError, AddressKey, Domain, DomainError};
pub use event::{Event, EventCause, Identity, KnownAs, Subject};
pub use filter::{Filter, FilterError, GroupAssertion, Truth, unknown_rule};
pub use group_name::GroupName;
pub use ids::{AccountId, ClaimId, DirectoryName, EventId, Guid, PlanId, RunId, UserId};
pub use observation::ObservationNumber;
pub use overrides::{Override, OverruledError};
pub use person::{Broken, Expiry, Field, Person, Placement, Profile, UserAccountControl};
pub use plan::{
    ChangeCounts, HeldChange, HoldReason, Plan, PlanState, Quarantine, QuarantineReason, RunState,
    Trigger,
};
pub use program::{Gate, Program};
pub use rejection::Rejection;
pub use secret::{SecretFault, secret_line};
pub use server_url::{NameSource, ServerUrl};
pub use settings::{AttributeNames, Mode, Resolver, Retention, Timeouts};
pub use status::{Standing, Status, Tier};
pub use time::Timestamp;
pub use user::{Link, User};
pub use written::WrittenChange;
