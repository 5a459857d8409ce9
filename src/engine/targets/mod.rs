//! Targets: SCIM service providers whose accounts follow the users of an account.
//!
//! ```text
//! change of a user ─► counterpart due ─► push: steps ─► Cleared ─► requests ─► settle
//! schedule, approval, operator ─► run: list ─► steps ─► guard ─► counterparts due, held plan
//! ```
//!
//! A run sends no step. It admits steps, and makes their counterparts due. So the push is the only
//! place that changes a target, and it decides by the state of the moment.

pub(in crate::engine) mod canaries;
mod check;
mod creation;
pub(in crate::engine) mod exchange;
pub(in crate::engine) mod groups;
mod health;
mod pace;
pub(in crate::engine) mod push;
pub(in crate::engine) mod record;
pub(in crate::engine) mod request;
pub(in crate::engine) mod run;
pub(in crate::engine) mod schedule;
pub(in crate::engine) mod search;
mod sight;
pub(in crate::engine) mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::registry::Configurable;
use crate::engine::{Engine, EngineError, ReloadOutcome};
use crate::model::{
    Adopt, CounterpartRow, Cron, DriftAction, Handle, LeaverAction, MatchAttribute, Mode, Rate,
    TargetGroup, TargetName, Tier, Timestamp, UserId,
};
use crate::reconcile::provision::{Capabilities, Followed, Lesson, Mapping, Permission, Situation};
use crate::reconcile::{Exclude, Limits};
use crate::scim::{self, Client};
use crate::store::{Follower, ScopeState, TargetState};

use health::Health;
use pace::Pace;

/// The configuration of a target.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetConfig {
    pub name: TargetName,
    pub account: Handle,
    pub mode: Mode,
    pub client: scim::Settings,
    pub token_expires: Option<Timestamp>,
    pub rate: Rate,
    pub concurrency: usize,
    pub tiers: BTreeSet<Tier>,
    pub exclude: Vec<String>,
    pub adopt: Adopt,
    pub matched_by: MatchAttribute,
    pub leaver: LeaverAction,
    pub delete_after: Option<Duration>,
    pub drift: DriftAction,
    pub full: Cron,
    pub mapping: Mapping,
    pub limits: Limits,
    pub groups: Vec<TargetGroup>,
}

impl TargetConfig {
    /// Returns the hash of the rules that decide whose account has which attributes. Under other
    /// rules than the accepted ones, a target only plans.
    pub fn rules_hash(&self) -> String {
        let attributes: Vec<String> =
            self.mapping.attributes.iter().map(|attribute| format!("{attribute:?}")).collect();
        let rules = serde_json::json!([
            self.client.url.as_str(),
            self.account,
            self.tiers,
            self.exclude,
            self.matched_by,
            attributes,
            self.mapping.values,
            self.groups
                .iter()
                .map(|group| (&group.name, group.tier, &group.id))
                .collect::<Vec<_>>(),
        ]);
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(rules.to_string().as_bytes()))
    }

    pub(in crate::engine) fn situation(&self, row: &CounterpartRow, now: Timestamp) -> Situation {
        use crate::model::StepOrigin::{Followed, Found};
        Situation {
            adopt: self.adopt,
            leaver: self.leaver,
            drift: self.drift,
            matched_by: self.matched_by,
            origin: if row.due.is_followed { Followed } else { Found },
            is_overdue: self.delete_after.is_some_and(|time| {
                row.account.deactivated_by_us && row.sent_at.is_some_and(|at| now.since(at) >= time)
            }),
        }
    }
}

/// A target under one configuration.
pub struct Target {
    pub config: TargetConfig,
    pub(in crate::engine) client: Client,
    pace: Pace,
    pub(in crate::engine) work: Arc<TargetWork>,
    pub(in crate::engine) cancel: CancellationToken,
    /// The term in which this rosterd sends.
    pub(in crate::engine) term: CancellationToken,
    /// The secret with which the target showed our accounts.
    pub(in crate::engine) recognised: Mutex<Option<String>>,
    has_task: AtomicBool,
}

impl Target {
    /// Notes that an operator takes this URL with the present secret for the right service.
    pub(in crate::engine) fn trust(&self) {
        let trusted = self.client.secret_identity().map(|secret| (self.url(), secret));
        *self.work.trusted.lock().unwrap_or_else(PoisonError::into_inner) = trusted;
    }

    /// Returns whether the target showed our accounts with this secret.
    pub(in crate::engine) fn has_recognised(&self, secret: Option<&str>) -> bool {
        let known = self.recognised.lock().unwrap_or_else(PoisonError::into_inner);
        known.is_some() && known.as_deref() == secret
    }

    /// Returns the health, locked.
    pub(in crate::engine) fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.work.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an operator takes this URL with this secret for the right service.
    fn is_trusted(&self, secret: Option<&str>) -> bool {
        let trusted = self.work.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        trusted.as_ref().is_some_and(|(url, of)| *url == self.url() && Some(of.as_str()) == secret)
    }

    fn url(&self) -> String {
        self.config.client.url.to_string()
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.config.name).finish_non_exhaustive()
    }
}

/// The state of a target that outlasts a reload.
#[derive(Debug, Default)]
pub(in crate::engine) struct TargetWork {
    /// Held by the tasks, so that those of a former configuration end first.
    pub(in crate::engine) worker_lock: tokio::sync::Mutex<()>,
    /// Held by a run, because runs of one target do not overlap.
    pub(in crate::engine) run_lock: tokio::sync::Mutex<()>,
    /// Users whose steps need the admission of a run.
    asked: Mutex<BTreeSet<UserId>>,
    /// Wakes the schedule.
    pub(in crate::engine) wake: Notify,
    /// The URL and the secret of which an operator says that they lead to the right service, whatever
    /// accounts it shows.
    trusted: Mutex<Option<(String, String)>>,
    /// Accounts or rules have changed since the groups were brought up to date.
    pub(in crate::engine) has_group_work: AtomicBool,
    /// Why groups cannot be brought up to date.
    pub(in crate::engine) group_problems: Mutex<Vec<String>>,
    pub(in crate::engine) health: Mutex<Health>,
    /// Why the last full run failed, and when.
    pub(in crate::engine) failed_run: Mutex<Option<(String, Timestamp)>>,
}

impl TargetWork {
    /// Asks for a run over a user.
    pub(in crate::engine) fn ask(&self, user: UserId) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(user);
        self.wake.notify_one();
    }

    /// Takes the users over whom runs were asked for.
    pub(in crate::engine) fn take_asked(&self) -> BTreeSet<UserId> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Configurable for Target {
    type Name = TargetName;
    type Config = TargetConfig;

    fn name_of(config: &TargetConfig) -> TargetName {
        config.name.clone()
    }

    fn with(config: TargetConfig, former: Option<&Self>, engine: &CancellationToken) -> Self {
        Self {
            client: Client::new(config.client.clone()),
            pace: Pace::new(config.rate, config.concurrency),
            work: former.map(|former| Arc::clone(&former.work)).unwrap_or_default(),
            cancel: engine.child_token(),
            term: engine.clone(),
            recognised: Mutex::default(),
            has_task: AtomicBool::new(false),
            config,
        }
    }

    fn renewed(&self, term: &CancellationToken) -> Self {
        Self::with(self.config.clone(), None, term)
    }

    fn config(&self) -> &TargetConfig {
        &self.config
    }

    fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    fn claim_task(&self) -> bool {
        !self.has_task.swap(true, Ordering::AcqRel)
    }

    fn change(before: &TargetConfig, after: &TargetConfig) -> ReloadOutcome {
        if before.rules_hash() == after.rules_hash() {
            ReloadOutcome::Changed
        } else {
            ReloadOutcome::Rescoped
        }
    }
}

impl Target {
    /// Returns the token that is cancelled when this configuration is replaced or the engine stops.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }
}

impl Engine {
    /// Returns the configured targets.
    pub fn targets(&self) -> Arc<crate::engine::Registry<Target>> {
        Arc::clone(&self.targets.borrow())
    }

    /// Returns the configured target of a name.
    pub fn target(&self, name: &str) -> Result<Arc<Target>, EngineError> {
        let found = TargetName::parse(name).and_then(|name| self.targets().get(&name).cloned());
        found.ok_or_else(|| {
            let targets = self.targets();
            EngineError::unknown("target", name, targets.keys().map(TargetName::as_str))
        })
    }

    /// Replaces the targets and returns the outcome for each. The caller has to
    /// [follow the users](Engine::follow_users) for targets that were added or changed. The
    /// counterparts of a removed target stay.
    pub fn reconfigure_targets(
        &self,
        targets: Vec<TargetConfig>,
    ) -> BTreeMap<TargetName, ReloadOutcome> {
        let mut outcomes = BTreeMap::new();
        let mut former = self.targets();
        let term = self.turn.hold();
        self.targets.send_modify(|registry| {
            let (present, found) = registry.replaced(targets, &term);
            outcomes = found;
            let follower = |target: &Arc<Target>| Follower {
                target: target.config.name.clone(),
                account: target.config.account.clone(),
            };
            self.store.set_followers(present.values().map(follower).collect());
            former = std::mem::replace(registry, Arc::new(present));
        });
        former.cancel_replaced(&self.targets());
        outcomes
    }

    /// Returns the state of a target, as it is before the first run if there is none.
    pub(in crate::engine) async fn target_state(
        &self,
        target: &Target,
    ) -> Result<TargetState, EngineError> {
        let TargetConfig { name, account, .. } = &target.config;
        let stored = self.store.target(name).await?;
        Ok(stored.unwrap_or_else(|| TargetState::of_account(account.clone())))
    }

    pub(in crate::engine) async fn change_target_state(
        &self,
        target: &Target,
        change: impl FnOnce(&mut TargetState),
    ) -> Result<TargetState, EngineError> {
        let TargetConfig { name, account, .. } = &target.config;
        Ok(self.store.change_target(name, account, change).await?)
    }

    /// Returns the users whom a target follows; `None` if there is no such account.
    pub(in crate::engine) async fn followed(
        &self,
        target: &Target,
    ) -> Result<Option<Followed>, EngineError> {
        let TargetConfig { account, tiers, exclude, .. } = &target.config;
        Ok(self.store.account(account).await?.map(|account| Followed {
            account: account.id,
            handle: account.handle,
            tiers: tiers.clone(),
            exclude: Exclude::new(exclude.iter().cloned(), Vec::new()),
        }))
    }

    /// Returns what the target is found to support.
    pub(in crate::engine) async fn capabilities(
        &self,
        target: &Target,
    ) -> Result<Capabilities, EngineError> {
        let known = self.target_state(target).await?.capabilities;
        let quirks = &target.config.client.quirks;
        Ok(known.unwrap_or_else(|| {
            Capabilities::of(&crate::reconcile::provision::Declared::default(), quirks)
        }))
    }

    /// Stores what an answer showed.
    pub(in crate::engine) async fn learn(
        &self,
        target: &Target,
        lesson: Lesson,
    ) -> Result<(), EngineError> {
        let mut capabilities = self.capabilities(target).await?;
        if capabilities.learn(lesson) {
            let name = &target.config.name;
            tracing::info!(scim_target = %name, "{name}: an answer shows that the target has {lesson}");
            self.change_target_state(target, |state| state.capabilities = Some(capabilities))
                .await?;
        }
        Ok(())
    }

    /// Returns the reason why a target waits, if it does.
    pub(in crate::engine) async fn target_waits(
        &self,
        target: &Target,
    ) -> Result<Option<String>, EngineError> {
        let state = self.target_state(target).await?;
        self.waits_for_directory(target, &state).await
    }

    /// Returns the reason why a target waits for a directory of its account: the users of a restored
    /// store are those of the past until one was read whole.
    pub(in crate::engine) async fn waits_for_directory(
        &self,
        target: &Target,
        state: &TargetState,
    ) -> Result<Option<String>, EngineError> {
        if state.rules != Some(ScopeState::Restored) {
            return Ok(None);
        }
        let configured = self.configured();
        let mut reason = None;
        for directory in configured.directories.values() {
            let config = &directory.config;
            if config.account != target.config.account {
                continue;
            }
            let read_at = self.store.directory(&config.name).await?.last_complete_read;
            if read_at.is_some_and(|at| at >= self.started_at) {
                return Ok(None);
            }
            reason.get_or_insert(format!(
                "the store was restored from a backup, and nothing is sent before {0} was read whole: rosterctl sync {0}",
                config.name
            ));
        }
        Ok(reason)
    }

    /// Returns the steps that a target accepts at present.
    pub(in crate::engine) fn permission(target: &Target, state: &TargetState) -> Permission {
        let hash = target.config.rules_hash();
        match (target.config.mode, &state.rules) {
            (Mode::PlanOnly, _) => Permission::Approved,
            (Mode::Apply, Some(ScopeState::Restored)) => Permission::Followed,
            (Mode::Apply, Some(rules)) if !rules.accepts(&hash) => Permission::Leavers,
            (Mode::Apply, _) => Permission::All,
        }
    }
}
