//! The use cases: what a run is, when runs happen, and what operators may do.
//!
//! [`sync`] is the whole pipeline on one screen; the other modules are its steps and its neighbours.

mod admin;
mod bind;
mod delivery;
mod housekeeping;
mod registry;
mod servers;
mod sign_in;
mod status;
pub mod sync;
mod triggers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::directory::{DirectoryError, Settings};
use crate::hooks::Runner;
use crate::model::{Address, Cron, DirectoryName, Discovery, Handle, Mode, Timestamp};
use crate::reconcile::{Limits, TierRules};
use crate::store::{AccountRefused, ClaimRefused, LogHead, Run, Store, StoreError};

use sign_in::{Attempts, Budget, Names, Refusals};

pub use crate::directory::{CheckOutcome, CheckReport, CheckStep};
pub use crate::hooks::{Attempt, AttemptOutcome};
pub use admin::domains::{Effect, Release, Touched};
pub use admin::explain::{Entry, Explanation};
pub use admin::held::{Approval, Selection};
pub use admin::invitations::Invitation;
pub use admin::search::{Sort, UserPage, UserQuery};
pub use admin::undo::Undone;
pub use bind::check_directory;
pub use delivery::hooks::{HOOK_STATES, HookStatus, Sampled};
pub use delivery::worker::HookAtWork;
pub use housekeeping::retention::Forgotten;
pub use registry::{Configured, Outcome, Rules};
pub use sign_in::{Decision, Denied, FLOOR, REPORTED_EVERY, RefusalReason, SignIn};
pub use status::{Attention, DirectoryStatus, Health, STATES};
pub use sync::stages::{DryRun, PlannedRun, Request, Scope};
pub use triggers::live::Following;

/// One directory as it is configured.
#[derive(Clone, PartialEq, Debug)]
pub struct DirectoryConfig {
    /// Its name.
    pub name: DirectoryName,
    /// The name that it had before, under which its people may be stored.
    pub rename_from: Option<DirectoryName>,
    /// The account it is connected to.
    pub account: Handle,
    /// Whether plans are applied.
    pub mode: Mode,
    /// How it is read.
    pub settings: Settings,
    /// The AD domain whose servers are looked up, when none are configured.
    pub discover: Option<Discovery>,
    /// How groups become tiers.
    pub tiers: TierRules,
    /// Addresses nobody is provisioned for.
    pub exclude: Vec<String>,
    /// People whose automatic suspension is always held.
    pub protect: Vec<Address>,
    /// The limits.
    pub limits: Limits,
    /// When runs are due.
    pub schedule: Cron,
    /// When they are to read everybody, and not only what has changed since.
    pub full: Cron,
    /// Whether changes are acted on as AD announces them.
    pub live: bool,
    /// Whether changes are followed at all: by incremental runs, and as AD announces them.
    pub incremental: bool,
    /// How old the last complete read may become.
    pub stale_after: Duration,
}

impl DirectoryConfig {
    /// What decides who is in scope, as a hash: when it differs from the last run's, that run only plans.
    pub fn scope_hash(&self) -> String {
        let s = &self.settings;
        let scope = serde_json::json!([
            s.bases,
            s.filter.as_ref().map(|f| &f.0),
            s.groups.iter().map(|(t, g)| (t.as_str(), g.as_str())).collect::<Vec<_>>(),
            self.tiers.without_group.as_str(),
            self.exclude,
            s.attributes.all(),
            self.account
        ]);
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(scope.to_string().as_bytes()))
    }
}

/// How far a run has come; what a progress bar shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries read.
    pub entries: u64,
    /// Entries of the last complete read, 0 when there was none.
    pub expected: u64,
    /// What is being done.
    pub phase: &'static str,
}

/// One directory under one configuration. A reload makes another one of it; the work goes on.
#[derive(Debug)]
pub struct Directory {
    /// As configured.
    pub config: DirectoryConfig,
    work: Arc<Work>,
    /// Ends what is done under this configuration.
    cancel: CancellationToken,
    has_task: AtomicBool,
    /// The connection over which sign-ins look entries up.
    names: Names,
}

/// What a directory is doing, whatever its configuration.
#[derive(Debug, Default)]
struct Work {
    /// Two full runs of one directory never read at once.
    full_read_lock: Mutex<()>,
    /// The service account is tried by one at a time.
    bind_lock: Mutex<()>,
    /// Manual runs that wait share the next one.
    queue: Mutex<Queue>,
    progress: watch::Sender<Progress>,
    wake: Notify,
    /// What went wrong at the last attempt, for `status`.
    health: watch::Sender<Health>,
    /// The servers outside the configured domains that the log has named.
    outside: std::sync::Mutex<servers::Warned>,
    /// What the log has said of it.
    run_log: std::sync::Mutex<sync::run_log::RunLog>,
    /// When the next scheduled run is due, for `status`.
    next_run: watch::Sender<Option<Timestamp>>,
    /// Whether changes are followed as they happen.
    following: watch::Sender<Following>,
    /// What the next run is to warn of: the clock was ahead.
    clock_note: std::sync::Mutex<Option<String>>,
    /// By how many microseconds the server's clock is behind ours.
    lag: std::sync::atomic::AtomicI64,
}

/// Runs of one directory that were asked for and not begun.
#[derive(Debug, Default)]
struct Queue {
    next: Option<watch::Receiver<Option<Result<Run, String>>>>,
}

impl Directory {
    /// A directory that nothing has happened to yet; it ends with the engine.
    fn new(config: DirectoryConfig, engine: &CancellationToken) -> Self {
        Self::at_work(config, Arc::default(), engine)
    }

    fn at_work(config: DirectoryConfig, work: Arc<Work>, engine: &CancellationToken) -> Self {
        Self {
            config,
            work,
            cancel: engine.child_token(),
            has_task: AtomicBool::new(false),
            names: Names::default(),
        }
    }

    /// Says in the log how a run ended.
    fn log_run(&self, run: &Run, head: Option<LogHead>) {
        self.work.run_log.lock().unwrap_or_else(PoisonError::into_inner).log(run, head);
    }

    /// How far the run in progress has come.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.work.progress.subscribe()
    }

    /// Whether its changes are followed as they happen.
    pub fn following(&self) -> Following {
        self.work.following.borrow().clone()
    }

    /// Whether nobody [keeps](Engine::run_triggers) it yet; who asks, does.
    pub fn claim_task(&self) -> bool {
        !self.has_task.swap(true, Ordering::AcqRel)
    }

    /// When nothing is done any more under this configuration.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }
}

/// Why a use case did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none of that name.
    #[error("there is no {what} \"{name}\"")]
    NotFound {
        /// What.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// It is not possible as things stand.
    #[error("{0}")]
    Refused(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The run took longer than its time limit.
    #[error("the run took longer than {}: raise timeouts.run, or look at what slows the server", humantime::format_duration(*.0))]
    TooLong(Duration),
    /// The daemon is stopping.
    #[error("rosterd is stopping")]
    Stopping,
    /// The directory's configuration was replaced meanwhile.
    #[error("the configuration was reloaded meanwhile, and the next run goes by the new one")]
    Reloaded,
}

impl From<ClaimRefused> for EngineError {
    fn from(error: ClaimRefused) -> Self {
        match error {
            ClaimRefused::Store(error) => Self::Store(error),
            refused => Self::Refused(refused.to_string()),
        }
    }
}

impl From<AccountRefused> for EngineError {
    fn from(error: AccountRefused) -> Self {
        match error {
            AccountRefused::Store(error) => Self::Store(error),
            refused => Self::Refused(refused.to_string()),
        }
    }
}

/// Everything the daemon does, without sockets and signals.
#[derive(Debug)]
pub struct Engine {
    /// The store.
    pub store: Arc<Store>,
    /// The clock.
    pub clock: Clock,
    configured: watch::Sender<Arc<Configured>>,
    hooks: watch::Sender<Arc<BTreeMap<String, Arc<HookAtWork>>>>,
    /// When the engine was made.
    pub started_at: Timestamp,
    /// Ends everything.
    pub stop: CancellationToken,
    /// Plan-and-apply never overlap.
    apply_lock: Mutex<()>,
    /// The clock that sign-in attempts are counted by.
    attempts: Attempts,
    /// How many passwords may be tried.
    budget: Budget,
    /// The refused sign-ins that no event reports yet.
    refusals: Refusals,
    /// Whether stored instants may lie in the future.
    clock_step: triggers::clock_step::ClockStep,
    /// Where the programs of hooks and gates are run.
    pub runner: Runner,
}

impl Engine {
    /// An engine over an open store.
    pub fn new(
        store: Arc<Store>,
        clock: Clock,
        directories: Vec<DirectoryConfig>,
        rules: Rules,
        stop: CancellationToken,
    ) -> Self {
        let started_at = clock.now();
        let directories = directories
            .into_iter()
            .map(|c| (c.name.clone(), Arc::new(Directory::new(c, &stop))))
            .collect();
        let configured = watch::Sender::new(Arc::new(Configured { directories, rules }));
        let (hooks, attempts) = (watch::Sender::default(), Attempts::new(&clock));
        let (budget, refusals, runner) =
            (Budget::default(), Refusals::default(), Runner::default());
        let clock_step = triggers::clock_step::ClockStep::default();
        Self {
            store,
            clock,
            configured,
            hooks,
            started_at,
            stop,
            apply_lock: Mutex::default(),
            attempts,
            budget,
            refusals,
            clock_step,
            runner,
        }
    }

    /// With this runner for the programs of hooks and gates.
    #[must_use]
    pub fn with_runner(mut self, runner: Runner) -> Self {
        self.runner = runner;
        self
    }

    /// The directory of this name.
    pub fn directory(&self, name: &str) -> Result<Arc<Directory>, EngineError> {
        let found =
            DirectoryName::parse(name).and_then(|n| self.configured().directories.get(&n).cloned());
        found.ok_or_else(|| EngineError::NotFound { what: "directory", name: name.to_owned() })
    }
}
