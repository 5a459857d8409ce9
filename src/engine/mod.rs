//! The use cases: runs, their triggers, and the operations of operators.
//!
//! [`sync`] is the pipeline of a run. The other modules start runs or work beside them.

mod admin;
mod backoff;
mod bind;
mod configured;
mod delivery;
mod directory;
mod dns_answer;
mod health;
mod housekeeping;
mod outside_servers;
mod periodic;
mod registry;
mod scope_warning;
mod server_status;
mod servers;
mod sign_in;
mod status;
pub mod sync;
mod targets;
mod term;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::directory::DirectoryError;
use crate::hooks::Runner;
use crate::model::{DirectoryName, Sharing, Timestamp, nearest};
use crate::store::{AccountRefused, ClaimRefused, Store, StoreError};

use periodic::FailedTasks;
use sign_in::{Attempts, Budget, Refusals};
use term::Turn;
use triggers::clock_step::ClockStep;

pub use crate::directory::CheckReport;
pub use crate::hooks::{Attempt, AttemptOutcome};
pub use crate::model::{CheckOutcome, CheckStep};
pub use admin::accounts::AccountError;
pub use admin::directories::DirectoryChangeError;
pub use admin::domains::{ClaimError, Release, ReleaseEffect, Touched};
pub use admin::explain::{Entry, Explanation};
pub use admin::held::{Approval, HeldError, Selection};
pub use admin::invitations::{AddressCountError, Invitation};
pub use admin::rehearsal::Rehearsal;
pub use admin::search::{PageCursorError, Sort, UserPage, UserQuery};
pub use admin::targets::{TargetCondition, TargetError, TargetStatus};
pub use admin::undo::{RunUnderWay, Undone};
pub use admin::users::UserError;
pub use bind::{BindSuspended, check_directory};
pub use configured::{Configured, Rules};
pub use delivery::hooks::{HookState, HookStatus, Sampled};
pub use delivery::worker::ConfiguredHook;
pub use directory::{Directory, DirectoryConfig, Phase, Progress, UnderWay};
pub use health::{Attention, Health};
pub use housekeeping::retention::Forgotten;
pub use housekeeping::{LOSS_ACCEPTED, TaskFuture};
pub use periodic::Periodic;
pub use registry::{Configurable, Registry, ReloadOutcome};
pub use server_status::ServerStatus;
pub use servers::NoServer;
pub use sign_in::{Decision, Denied, FLOOR, REPORTED_EVERY, RefusalReason, SignIn};
pub use status::{DirectoryCondition, DirectoryStatus, QuietWait};
pub use sync::stages::{DryRun, PlannedRun, Request, Scope};
pub use targets::record::{PlannedStep, TargetPlan};
pub use targets::request::{TargetRequest, TargetScope};
pub use targets::{Target, TargetConfig};
pub use term::cluster::{ClusterStatus, LeaderError};
pub use term::{Claimed, Term};
pub use triggers::changes::FollowError;
pub use triggers::following::Following;

/// The error of a use case. Each kind has its own type beside the use case.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no {what} \"{name}\"{}", meant(near.as_deref()))]
    NotFound {
        what: &'static str,
        name: String,
        /// The known name that it may mean.
        near: Option<String>,
    },
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Invitation(#[from] AddressCountError),
    #[error(transparent)]
    Page(#[from] PageCursorError),
    #[error(transparent)]
    Held(#[from] HeldError),
    #[error(transparent)]
    Undo(#[from] RunUnderWay),
    #[error(transparent)]
    DirectoryChange(#[from] DirectoryChangeError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    NoServer(#[from] NoServer),
    #[error(transparent)]
    BindSuspended(#[from] BindSuspended),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("the database has lost no commits since they were last accepted: rosterctl status")]
    NoLoss,
    /// The plan of a run changed as often as a run may plan again.
    #[error(
        "claims, or the plan that gates were asked about, changed {0} times during the run; the next run starts again"
    )]
    Unsettled(usize),
    #[error(
        "the run took longer than {}: raise timeouts.run, or find out why the server is slow",
        humantime::format_duration(*.0)
    )]
    TooLong(Duration),
    /// The servers of another directory, which did not answer a short time ago.
    #[error("its servers did not answer a short time ago, and are not waited for: {0}")]
    Silent(String),
    /// A server that shows the groups of another directory.
    #[error(
        "{server} has not heard of the last change of these groups that another server showed; only if that one is gone for good: rosterctl directory trust-server {directory}"
    )]
    GroupsBehind { server: String, directory: DirectoryName },
    /// A target does not answer, or refuses rosterd.
    #[error("{0}")]
    Target(String),
    #[error(transparent)]
    TargetChange(#[from] TargetError),
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("rosterd is stopping")]
    Stopping,
    #[error("another rosterd leads now, and its next run does the rest")]
    TermEnded,
    #[error("the configuration was reloaded meanwhile, and the next run goes by the new one")]
    Reloaded,
    /// The error of a manual run that several callers wait for.
    #[error(transparent)]
    OfRun(Arc<EngineError>),
}

impl From<ClaimRefused> for EngineError {
    fn from(error: ClaimRefused) -> Self {
        match error {
            ClaimRefused::Store(error) => Self::Store(error),
            refused => Self::Claim(ClaimError::Refused(refused)),
        }
    }
}

impl From<AccountRefused> for EngineError {
    fn from(error: AccountRefused) -> Self {
        match error {
            AccountRefused::Store(error) => Self::Store(error),
            refused => Self::Account(AccountError::Refused(refused)),
        }
    }
}

/// The use cases as methods, without sockets and signals.
#[derive(Debug)]
pub struct Engine {
    pub store: Arc<Store>,
    pub clock: Clock,
    configured: watch::Sender<Arc<Configured>>,
    hooks: watch::Sender<Arc<Registry<ConfiguredHook>>>,
    targets: watch::Sender<Arc<Registry<Target>>>,
    pub started_at: Timestamp,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
    /// Held while changes are planned and applied: observations may overlap, applied plans never
    /// do.
    apply_lock: Mutex<()>,
    attempts: Attempts,
    budget: Budget,
    refusals: Refusals,
    clock_step: ClockStep,
    failed_tasks: FailedTasks,
    turn: Turn,
    /// The number of changed people who are planned at once.
    slice: usize,
    /// The place where the programs of hooks and gates run.
    pub runner: Runner,
}

/// Returns the end of an error about a name: the known one that it may mean.
fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean {near}?"))
}

impl EngineError {
    /// Returns the error about a name that is none of the known ones.
    pub(in crate::engine) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        let near = nearest(name, known).map(str::to_owned);
        Self::NotFound { what, name: name.to_owned(), near }
    }
}

impl Engine {
    /// Returns an engine over an open store.
    pub fn new(
        store: Arc<Store>,
        clock: Clock,
        directories: Vec<DirectoryConfig>,
        rules: Rules,
        stop: CancellationToken,
    ) -> Self {
        let turn = Turn::of(&stop);
        let (directories, _) = Registry::default().replaced(directories, &turn.hold());
        Self {
            started_at: clock.now(),
            attempts: Attempts::new(&clock),
            store,
            clock,
            configured: watch::Sender::new(Arc::new(Configured { directories, rules })),
            hooks: watch::Sender::default(),
            targets: watch::Sender::default(),
            stop,
            apply_lock: Mutex::default(),
            budget: Budget::default(),
            refusals: Refusals::default(),
            clock_step: ClockStep::default(),
            failed_tasks: FailedTasks::default(),
            turn,
            slice: sync::plan::SLICE,
            runner: Runner::default(),
        }
    }

    /// Plans so many changed people at once. Fewer take less memory, and the outcome is the same.
    #[must_use]
    pub fn with_slices_of(mut self, people: usize) -> Self {
        self.slice = people;
        self
    }

    /// Replaces the place where the programs of hooks and gates run.
    #[must_use]
    pub fn with_runner(mut self, runner: Runner) -> Self {
        self.runner = runner;
        self
    }

    /// Takes part in sharing the store.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Sharing) -> Self {
        self.turn = self.turn.in_cluster(cluster);
        self
    }

    /// Returns the configured directory of a name.
    pub fn directory(&self, name: &str) -> Result<Arc<Directory>, EngineError> {
        let found =
            DirectoryName::parse(name).and_then(|n| self.configured().directories.get(&n).cloned());
        found.ok_or_else(|| {
            let configured = self.configured();
            let known = configured.directories.keys().map(DirectoryName::as_str);
            EngineError::unknown("directory", name, known)
        })
    }
}
