//! Nouns: the values that rosterd computes with, without I/O, clock or async.
//!
//! Each value can be compared, ordered and printed. [`crate::reconcile`] decides what the values
//! mean for each other.

mod account;
mod actor;
mod approval;
mod brake;
mod cause;
mod change;
mod check;
mod claim;
mod class;
mod credential;
mod cron;
mod digest;
mod discovery;
mod dn;
mod document;
mod effect;
mod email;
mod event;
mod event_types;
mod filter;
mod group_name;
mod ids;
mod keytab;
mod leave_date;
mod link;
mod mail;
mod nearest;
mod note;
mod observation;
mod overrides;
mod person;
mod plan;
mod profile;
mod program;
mod quarantine;
mod quiet;
mod rejection;
mod run;
mod secret;
mod server_url;
mod settings;
mod sharing;
mod sid;
mod store_at;
mod target;
mod tier;
mod time;
mod user;
mod words;
mod written;

pub use account::{Account, AccountKind, AccountRef, Handle, HandleError, Policies, PolicyError};
pub use actor::{Actor, Means, Origin};
pub use approval::{Approver, GivenApproval};
pub use brake::{Brake, BrakeTurn};
pub use cause::{By, Cause, Causes, Evidence, Reason};
pub use change::{Change, ChangeKind, ChangeVerb};
pub use check::{CheckOutcome, CheckStep};
pub use claim::{Claim, ClaimState, ClaimedDomains, RecordSeen};
pub use class::ChangeClass;
pub use credential::Credential;
pub use cron::{Cron, CronError};
pub use digest::Digest;
pub use discovery::Discovery;
pub use dn::Dn;
pub use email::{Address, AddressError, AddressKey, Addresses, Domain, DomainError};
pub use event::{Approval, Event, EventCause, Identity, KnownAs, Subject};
pub use event_types::{EVENT_TYPES, event_types};
pub use filter::{Filter, FilterError, GroupAssertion, Truth, unknown_rule};
pub use group_name::GroupName;
pub use ids::{AccountId, ClaimId, DirectoryName, EventId, Guid, PlanId, RunId, UserId};
pub use keytab::{Keytab, KeytabFault, KeytabKey};
pub use leave_date::leave_date;
pub use link::Link;
pub use mail::{Mail, MailLogin, MailTls};
pub use nearest::nearest;
pub use note::{Note, NoteError, NoteText};
pub use observation::ObservationNumber;
pub use overrides::{Override, OverruledError};
pub use person::{Broken, Expiry, Field, Person, Placement, UserAccountControl};
pub use plan::{HeldChange, HoldReason, Plan, PlanState};
pub use profile::{AttributeNames, LOGON_NAMES, Names, Profile};
pub use program::{Gate, Program};
pub use quarantine::{Quarantine, QuarantineReason};
pub use quiet::QuietHours;
pub use rejection::Rejection;
pub use run::{ChangeCounts, RunMode, RunState, Trigger};
pub use secret::{SecretFault, secret_line};
pub use server_url::{NameSource, ServerUrl};
pub use settings::{FollowedServers, Mode, Resolver, Retention, Timeouts};
pub use sharing::{Leader, Node, NodeHealth, Sharing};
pub use sid::Sid;
pub use store_at::{DatabaseHost, DatabaseServer, StoreAt};
pub use target::{
    Adopt, Counterpart, CounterpartRow, CounterpartState, DriftAction, Due, InactiveReason, Lane,
    LeaverAction, LinkOrigin, MatchAttribute, ProposedStep, ProvisionProblem, Rate, RemoteId,
    StepKind, StepOrigin, TargetCredential, TargetGroup, TargetName,
};
pub use tier::Tier;
pub use time::Timestamp;
pub use user::{Joined, Standing, Status, User};
pub(crate) use words::words;
pub use written::{ChangeOutcome, Holdable, Shown, WrittenChange};
