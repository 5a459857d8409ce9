//! A configured directory and the state that outlasts a reload of its configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono_tz::Tz;
use serde_json::json;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::directory::{Servers, Settings};
use crate::engine::dns_answer::DnsAnswer;
use crate::engine::outside_servers::OutsideServers;
use crate::engine::registry::{Configurable, ReloadOutcome};
use crate::engine::sign_in::LookupConnection;
use crate::engine::sync::run_log::RunLog;
use crate::engine::sync::stages::Source;
use crate::engine::{EngineError, Following, Health};
use crate::model::{
    Address, Cron, DirectoryName, Discovery, Dn, FollowedServers, Handle, Mode, QuietHours, RunId,
    RunMode, ServerUrl, Timestamp, Trigger, words,
};
use crate::reconcile::{Limits, TierRules};
use crate::store::{LogHead, Run, Store};

/// The configuration of one directory.
#[derive(Clone, PartialEq, Debug)]
pub struct DirectoryConfig {
    pub name: DirectoryName,
    /// The former name, under which its people may be stored.
    pub rename_from: Option<DirectoryName>,
    /// The account that the directory is connected to.
    pub account: Handle,
    pub mode: Mode,
    pub settings: Settings,
    /// The AD domain whose servers are looked up when none are configured.
    pub discover: Option<Discovery>,
    pub tiers: TierRules,
    /// Patterns of addresses that are never provisioned.
    pub exclude: Vec<String>,
    /// People whose automatic suspension is always held.
    pub protect: Vec<Address>,
    pub limits: Limits,
    /// The times in which changes that can wait are not applied.
    pub quiet: QuietHours,
    /// The time zone of leave dates.
    pub zone: Tz,
    pub schedule: Cron,
    /// The ticks at which a scheduled run is a full run.
    pub full: Cron,
    /// Whether change notifications start runs.
    pub live: bool,
    /// The further servers whose changes start runs.
    pub watch: FollowedServers,
    /// Whether changes are followed at all, by incremental runs or live.
    pub incremental: bool,
    /// The age of the last complete read at which the directory is stale.
    pub stale_after: Duration,
}

impl DirectoryConfig {
    /// Returns the hash of the configuration that decides who is in scope. A run under another hash
    /// than the accepted one only plans.
    pub fn scope_hash(&self) -> String {
        let s = &self.settings;
        let mut scope = vec![
            json!(s.bases),
            json!(s.filter.as_ref().map(|f| &f.0)),
            json!(s.groups.iter().map(|(t, g)| (t.as_str(), g.as_str())).collect::<Vec<_>>()),
            json!(self.tiers.without_group.as_str()),
            json!(self.exclude),
            json!(s.attributes.all()),
            json!(self.account),
        ];
        // An absent key leaves the hash of earlier versions as it was: an upgrade changes no scope.
        let excluded: BTreeSet<&str> = s.exclude_ou.iter().map(Dn::key).collect();
        scope.extend((!excluded.is_empty()).then(|| json!({ "exclude-ou": excluded })));
        let rules =
            s.rules.0.iter().filter_map(|rule| Some((rule.ou.configured.key(), rule.tier?)));
        let rules: BTreeMap<&str, &str> = rules.map(|(ou, tier)| (ou, tier.as_str())).collect();
        scope.extend((!rules.is_empty()).then(|| json!({ "rule": rules })));
        scope.extend(s.attributes.leave_date.iter().map(|name| json!({ "leave-date": name })));
        let scope = serde_json::Value::from(scope);
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(scope.to_string().as_bytes()))
    }
}

words! {
    /// Phase of a run.
    #[derive(Default)]
    pub enum Phase {
        /// No run is in progress.
        #[default]
        Idle = "",
        Connecting = "connecting",
        Reading = "reading",
        /// Reads missing people by GUID.
        Confirming = "confirming",
        /// Waits for a gate.
        Asking = "asking",
        Applying = "applying",
    }
}

/// The run that a progress is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    pub id: RunId,
    pub mode: RunMode,
    pub trigger: Trigger,
    pub started_at: Timestamp,
}

/// The progress of the run under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub run: Option<UnderWay>,
    /// Entries read so far.
    pub entries: u64,
    /// Entries of the last complete read; 0 when there was none.
    pub expected: u64,
    pub phase: Phase,
}

/// A directory under one configuration. A reload that changes it makes a new one with the same
/// [`Work`].
#[derive(Debug)]
pub struct Directory {
    pub config: DirectoryConfig,
    pub(in crate::engine) work: Arc<Work>,
    pub(in crate::engine) cancel: CancellationToken,
    has_task: AtomicBool,
    /// The connection over which sign-ins look entries up.
    pub(in crate::engine) names: LookupConnection,
}

/// The state of a directory that outlasts a reload.
#[derive(Debug, Default)]
pub(in crate::engine) struct Work {
    /// Held by a full run from its beginning to its end: full reads of one directory never overlap.
    pub(in crate::engine) full_read_lock: Mutex<()>,
    /// Held during a bind: two refused binds at the same moment would count twice in AD.
    pub(in crate::engine) bind_lock: Arc<Mutex<()>>,
    dns: std::sync::Mutex<DnsAnswer>,
    /// The health of the servers.
    pub(in crate::engine) servers: Servers,
    pub(in crate::engine) queue: Mutex<Queue>,
    pub(in crate::engine) progress: watch::Sender<Progress>,
    /// Makes the schedule compute again what is due.
    pub(in crate::engine) wake: Notify,
    pub(in crate::engine) health: watch::Sender<Health>,
    /// The servers outside the configured domains that were logged.
    pub(in crate::engine) outside: std::sync::Mutex<OutsideServers>,
    pub(in crate::engine) run_log: std::sync::Mutex<RunLog>,
    /// The next scheduled run, for `status`.
    pub(in crate::engine) next_run: watch::Sender<Option<Timestamp>>,
    pub(in crate::engine) following: watch::Sender<Following>,
    /// The runs of followed changes that are under way.
    pub(in crate::engine) followed_runs: watch::Sender<u32>,
    /// The same of each further server, by its URL, and since when.
    others: std::sync::Mutex<BTreeMap<String, (Following, Timestamp)>>,
    /// A warning for the next run: the clock was ahead.
    pub(in crate::engine) clock_note: std::sync::Mutex<Option<String>>,
    /// Microseconds by which the server's clock is behind ours.
    pub(in crate::engine) lag: AtomicI64,
    cut_off: std::sync::Mutex<CutOff>,
}

/// The runs during which the database went away.
#[derive(Debug, Default)]
pub(in crate::engine) struct CutOff {
    /// Whether no run has made up for them.
    pub(in crate::engine) is_due: bool,
    /// Those whose end is not stored.
    pub(in crate::engine) unsaved: Vec<Run>,
}

/// The outcome of a manual run; empty until it has ended.
pub(in crate::engine) type SharedRun = Option<Result<Run, Arc<EngineError>>>;

/// The manual run that was requested and has not begun. Later requests share it.
#[derive(Debug, Default)]
pub(in crate::engine) struct Queue {
    pub(in crate::engine) next: Option<watch::Receiver<SharedRun>>,
}

impl Work {
    /// Returns the last answer of DNS about the servers.
    pub(in crate::engine) fn dns(&self) -> std::sync::MutexGuard<'_, DnsAnswer> {
        self.dns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::engine) fn cut_off(&self) -> std::sync::MutexGuard<'_, CutOff> {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the changes of further servers are followed.
    pub(in crate::engine) fn others(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<String, (Following, Timestamp)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Configurable for Directory {
    type Name = DirectoryName;
    type Config = DirectoryConfig;

    fn name_of(config: &DirectoryConfig) -> DirectoryName {
        config.name.clone()
    }

    fn with(config: DirectoryConfig, former: Option<&Self>, engine: &CancellationToken) -> Self {
        Self {
            config,
            work: former.map(|former| Arc::clone(&former.work)).unwrap_or_default(),
            cancel: engine.child_token(),
            has_task: AtomicBool::new(false),
            names: LookupConnection::default(),
        }
    }

    fn renewed(&self, term: &CancellationToken) -> Self {
        let work = Work { bind_lock: Arc::clone(&self.work.bind_lock), ..Work::default() };
        Self { work: Arc::new(work), ..Self::with(self.config.clone(), None, term) }
    }

    fn config(&self) -> &DirectoryConfig {
        &self.config
    }

    fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    fn claim_task(&self) -> bool {
        !self.has_task.swap(true, Ordering::AcqRel)
    }

    fn change(before: &DirectoryConfig, after: &DirectoryConfig) -> ReloadOutcome {
        if before.scope_hash() == after.scope_hash() {
            ReloadOutcome::Changed
        } else {
            ReloadOutcome::Rescoped
        }
    }
}

impl Directory {
    /// Notes whether an error is that of a database server, so that another run does the rest. A file
    /// that fails does not work again by itself.
    pub(in crate::engine) fn note_cut_off(&self, error: &EngineError, store: &Store) {
        if store.is_remote() && matches!(error, EngineError::Store(_)) {
            self.work.cut_off().is_due = true;
            self.work.wake.notify_one();
        }
    }

    /// Writes the end of a run to the log. The follower of a further server logs its failures itself.
    pub(in crate::engine) fn log_run(&self, source: &Source, run: &Run, head: Option<LogHead>) {
        match source {
            Source::InUse => {
                self.work.run_log.lock().unwrap_or_else(PoisonError::into_inner).log(run, head);
            }
            Source::Other(_) if run.error.is_some() => {}
            Source::Other(_) => RunLog::default().log(run, head),
        }
    }

    /// Notes whether the changes of a server are followed at present. Returns whether that is new.
    pub(in crate::engine) fn note_following(
        &self,
        source: &Source,
        now: Following,
        at: Timestamp,
    ) -> bool {
        match source {
            Source::InUse => self.work.following.send_if_modified(|following| {
                let is_new = *following != now;
                *following = now;
                is_new
            }),
            Source::Other(url) => {
                let mut others = self.work.others();
                let is_new = others.get(&url.to_string()).is_none_or(|(was, _)| *was != now);
                if is_new {
                    others.insert(url.to_string(), (now, at));
                }
                is_new
            }
        }
    }

    /// Returns the configured servers, or those that DNS named last.
    pub(in crate::engine) fn known_servers(&self) -> Vec<ServerUrl> {
        match &self.config.discover {
            Some(discovery) => self.work.dns().of(&discovery.domain).unwrap_or_default(),
            None => self.config.settings.servers.clone(),
        }
    }

    /// Returns the progress of the run under way.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.work.progress.subscribe()
    }

    /// Returns whether changes are followed as they happen.
    pub fn following(&self) -> Following {
        self.work.following.borrow().clone()
    }

    /// Returns the token that is cancelled when this configuration is replaced or the engine stops.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }
}
