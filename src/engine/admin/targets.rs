//! Targets, as operators list, plan, pause, unlock and forget them.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use crate::engine::targets::record::TargetPlan;
use crate::engine::{Engine, EngineError, Target, TargetRequest, TargetScope};
use crate::model::{
    Actor, CheckStep, CounterpartRow, CounterpartState, Due, LinkOrigin, ProvisionProblem,
    RemoteId, TargetName, Timestamp, Trigger, User, UserId, words,
};
use crate::reconcile::provision::Permission;
use crate::store::{
    CounterpartCounts, CounterpartFilter, RefusalKind, Run, Settled, SettledBy, TargetState,
    UnmanagedAccount,
};
use crate::telemetry::chain;

words! {
    /// State of a target.
    pub enum TargetCondition {
        /// The target follows the users.
        Ok = "ok",
        /// No run has ended yet.
        New = "new",
        /// The target cannot be used, or its last full run failed.
        Degraded = "degraded",
        /// The target refuses the secret.
        Unauthorized = "unauthorized",
        /// The target shows none of our accounts.
        Foreign = "foreign",
        /// Steps wait for approval, because the mode or changed rules ask for it.
        PlanOnly = "plan-only",
        Paused = "paused",
        /// The target is no longer configured.
        Removed = "removed",
    }
}

/// The status of one target.
#[derive(Debug, Clone)]
pub struct TargetStatus {
    pub name: TargetName,
    pub condition: TargetCondition,
    /// The server; `None` for a removed target.
    pub host: Option<String>,
    pub state: TargetState,
    pub counts: CounterpartCounts,
    pub unmanaged: u64,
    /// Active unmanaged accounts that have the name of a suspended user.
    pub left: u64,
    pub held: u64,
    pub token_expires: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    /// Sentences about what needs an operator, each with its remedy.
    pub attention: Vec<String>,
}

/// The reason why an operation on a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(
        "the target {0} is configured: remove its [[target]] section first, and run rosterctl reload"
    )]
    StillConfigured(TargetName),
    #[error("nothing is known of a target \"{0}\"")]
    Unknown(String),
    #[error("the pause may last at most {}", humantime::format_duration(*.0))]
    PauseTooLong(Duration),
    #[error(
        "{target} shows no account of the id {id}: see rosterctl target accounts {target} --unmanaged"
    )]
    NoAccount { target: TargetName, id: RemoteId },
    #[error(
        "the account {id} of {target} belongs to another user: rosterctl target disown {target} {owner}"
    )]
    Owned { target: TargetName, id: RemoteId, owner: UserId },
    #[error("{user} has no account at {target}")]
    NoCounterpart { target: TargetName, user: String },
}

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_hours(24 * 30);

/// Time for the steps of one user at one target, because an operator waits.
const OUTLOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Age of a pending deactivation that needs an operator.
const LATE: Duration = Duration::from_mins(5);

/// Remaining validity of a token that needs an operator.
const EXPIRES_SOON: Duration = Duration::from_hours(24 * 30);

impl Engine {
    /// Returns the status of each target, the removed ones last.
    pub async fn target_statuses(&self) -> Result<Vec<TargetStatus>, EngineError> {
        let mut statuses = Vec::new();
        let configured = self.targets();
        for target in configured.values() {
            statuses.push(self.target_status(target).await?);
        }
        for name in self.store.target_names().await? {
            if !configured.contains_key(&name)
                && let Some(state) = self.store.target(&name).await?
            {
                let counts = self.store.counterpart_counts(&name).await?;
                let attention = vec![format!(
                    "the target {name} is no longer configured, and {} of its accounts are active: configure it again, or run rosterctl target forget {name}",
                    counts.active
                )];
                statuses.push(TargetStatus {
                    condition: TargetCondition::Removed,
                    host: None,
                    counts,
                    state,
                    unmanaged: 0,
                    left: 0,
                    held: 0,
                    token_expires: None,
                    next_run: None,
                    attention,
                    name,
                });
            }
        }
        Ok(statuses)
    }

    pub async fn target_status(&self, target: &Target) -> Result<TargetStatus, EngineError> {
        let config = &target.config;
        let name = &config.name;
        let now = self.clock.now();
        let state = self.target_state(target).await?;
        let counts = self.store.counterpart_counts(name).await?;
        let (unmanaged, left) = self.store.unmanaged_counts(name).await?;
        let held = self.store.current_plan(&name.into()).await?.map_or(0, |plan| plan.count);
        let down = target.health().reported();
        let failed_run =
            target.work.failed_run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let condition = match (&state.refused, down.as_ref().or(failed_run.as_ref())) {
            _ if state.paused_until.is_some_and(|until| until > now) => TargetCondition::Paused,
            (Some(refused), _) => match refused.kind {
                RefusalKind::Unauthorized => TargetCondition::Unauthorized,
                RefusalKind::Foreign => TargetCondition::Foreign,
            },
            (None, Some(_)) => TargetCondition::Degraded,
            (None, None) if state.last_success.is_none() => TargetCondition::New,
            (None, None) if Self::permission(target, &state) != Permission::All => {
                TargetCondition::PlanOnly
            }
            (None, None) => TargetCondition::Ok,
        };
        let mut attention = Vec::new();
        if let Some(refused) = &state.refused {
            attention.push(format!(
                "{name}: nothing is sent, because {}: replace the secret, or run rosterctl target unlock {name}",
                refused.reason
            ));
        }
        if let Some(reason) = self.waits_for_directory(target, &state).await? {
            attention.push(format!("{name}: {reason}"));
        }
        if let Some((reason, since)) = &down {
            let since =
                humantime::format_duration(Duration::from_secs(now.since(*since).as_secs()));
            attention.push(format!("{name}: the target has been of no use for {since}: {reason}"));
        }
        if let Some((reason, at)) = failed_run.filter(|_| state.refused.is_none()) {
            let since = humantime::format_duration(Duration::from_secs(now.since(at).as_secs()));
            attention.push(format!(
                "{name}: the last full run failed {since} ago: {reason}: rosterctl target sync {name} tries again"
            ));
        }
        if let Some(oldest) = counts.oldest_deactivation.filter(|at| now.since(*at) > LATE) {
            let since =
                humantime::format_duration(Duration::from_secs(now.since(oldest).as_secs()));
            attention.push(format!(
                "{name}: a suspended user has been active there for {since}: see rosterctl target accounts {name} --pending"
            ));
        }
        if condition == TargetCondition::Paused && counts.pending > 0 {
            attention.push(format!(
                "{name}: {} counterparts are due and the target is paused, so that leavers stay active there: rosterctl target resume {name}",
                counts.pending
            ));
        }
        let problems = target.work.group_problems.lock().unwrap_or_else(PoisonError::into_inner);
        attention.extend(problems.iter().cloned());
        drop(problems);
        if left > 0 {
            attention.push(format!(
                "{name}: {left} active accounts have the name of a suspended user: see rosterctl target accounts {name} --left"
            ));
        }
        if counts.quarantined > 0 {
            attention.push(format!(
                "{name}: {} users cannot be provisioned: see rosterctl target accounts {name} --quarantined",
                counts.quarantined
            ));
        }
        let token_expires = target.client.token_expires(config.token_expires);
        if let Some(expires) = token_expires.filter(|at| at.since(now) < EXPIRES_SOON) {
            let verb = if expires <= now { "expired" } else { "expires" };
            attention.push(format!(
                "{name}: the token {verb} at {expires}: make a new one, and replace the file"
            ));
        }
        Ok(TargetStatus {
            name: name.clone(),
            condition,
            host: config.client.url.host_str().map(str::to_owned),
            counts,
            unmanaged,
            left,
            held,
            token_expires,
            next_run: config.full.next(now),
            attention,
            state,
        })
    }

    /// Runs over a target now: over all its accounts, or over one user.
    pub async fn sync_target(
        &self,
        name: &str,
        who: Option<&str>,
        actor: Actor,
    ) -> Result<Run, EngineError> {
        let target = self.target(name)?;
        let request = match who {
            None => TargetRequest::full(Trigger::Manual, Some(actor)),
            Some(who) => {
                let user = self.find_user(who).await?;
                TargetRequest::users(Trigger::Manual, BTreeSet::from([user.id]), Some(actor))
            }
        };
        self.run_target(&target, request).await
    }

    /// Checks what a target needs, with the connection and the secret of the daemon. Only reads.
    pub async fn check_target(&self, name: &str) -> Result<Vec<CheckStep>, EngineError> {
        Ok(self.target(name)?.check(None, &self.clock).await)
    }

    /// Returns the steps that a run would take for a user at each target of its account, or the reason
    /// why the target cannot be asked.
    pub async fn outlook_of(
        &self,
        user: &User,
    ) -> Result<Vec<(TargetName, Result<TargetPlan, String>)>, EngineError> {
        let account = self.account_of(user).await?;
        let mut outlook = Vec::new();
        for target in self.targets().values().filter(|t| t.config.account == account.handle) {
            let scope = TargetScope::Users(BTreeSet::from([user.id]));
            let planned = if target.work.run_lock.try_lock().is_err() {
                Err("a run is under way".to_owned())
            } else {
                let planning = Box::pin(self.dry_run_target(target, scope));
                match tokio::time::timeout(OUTLOOK_TIMEOUT, planning).await {
                    Ok(planned) => planned.map_err(|error| chain(&error)),
                    Err(_) => Err("it has not answered in time".to_owned()),
                }
            };
            outlook.push((target.config.name.clone(), planned));
        }
        Ok(outlook)
    }

    /// Returns the counterparts of a target, in the order of their users.
    pub async fn target_accounts(
        &self,
        name: &str,
        filter: Option<CounterpartFilter>,
        after: Option<UserId>,
        limit: u64,
    ) -> Result<Vec<CounterpartRow>, EngineError> {
        let name = self.known_target(name).await?;
        Ok(self.store.counterparts(&name, filter, after, limit).await?)
    }

    /// Returns a page of the accounts of a target that are no counterpart, or of those that leavers
    /// left.
    pub async fn unmanaged_accounts(
        &self,
        name: &str,
        left: bool,
        after: Option<&RemoteId>,
        limit: u64,
    ) -> Result<Vec<UnmanagedAccount>, EngineError> {
        let name = self.known_target(name).await?;
        Ok(self.store.unmanaged_accounts(&name, left, after, limit).await?)
    }

    /// Returns the name of a target that is configured or has a state.
    async fn known_target(&self, name: &str) -> Result<TargetName, EngineError> {
        let unknown = || EngineError::from(TargetError::Unknown(name.to_owned()));
        let name = TargetName::parse(name).ok_or_else(unknown)?;
        let is_known =
            self.targets().contains_key(&name) || self.store.target(&name).await?.is_some();
        if is_known { Ok(name) } else { Err(unknown()) }
    }

    /// Sends nothing to a target for a time, not even deactivations.
    pub async fn pause_target(
        &self,
        name: &str,
        time: Duration,
    ) -> Result<TargetStatus, EngineError> {
        if time > MAX_PAUSE {
            return Err(TargetError::PauseTooLong(MAX_PAUSE).into());
        }
        let now = self.clock.now();
        let until = now.plus(time);
        self.change(name, |state| {
            (state.paused_until, state.paused_at) = (Some(until), Some(now));
        })
        .await
    }

    pub async fn resume_target(&self, name: &str) -> Result<TargetStatus, EngineError> {
        self.change(name, |state| (state.paused_until, state.paused_at) = (None, None)).await
    }

    /// Tries a target again that refused the secret, or that was not recognised.
    pub async fn unlock_target(&self, name: &str) -> Result<TargetStatus, EngineError> {
        let target = self.target(name)?;
        let mut was_foreign = false;
        self.change_target_state(&target, |state| {
            let refused = state.refused.take();
            // Disproved capabilities are tried again.
            state.capabilities = None;
            was_foreign = refused.is_some_and(|r| r.kind == RefusalKind::Foreign);
        })
        .await?;
        if was_foreign {
            target.trust();
        }
        target.work.wake.notify_one();
        self.target_status(&target).await
    }

    async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut TargetState),
    ) -> Result<TargetStatus, EngineError> {
        let target = self.target(name)?;
        self.change_target_state(&target, change).await?;
        target.work.wake.notify_one();
        self.target_status(&target).await
    }

    /// Forgets the counterparts of a removed target. Returns their number.
    pub async fn forget_target(&self, name: &str) -> Result<u64, EngineError> {
        let name = self.known_target(name).await?;
        if self.targets().contains_key(&name) {
            return Err(TargetError::StillConfigured(name).into());
        }
        Ok(self.store.forget_target(&name).await?)
    }

    /// Makes the counterpart of a user due, as a change of the user does. `again` sends all
    /// attributes, whatever was sent before, and ends a deactivation by another client.
    pub async fn push_user(
        &self,
        name: &str,
        who: &str,
        again: bool,
    ) -> Result<CounterpartRow, EngineError> {
        let target = self.target(name)?;
        let user = self.find_user(who).await?;
        self.change_counterpart(&target, &user, |row, now| {
            if again {
                row.account.sent = None;
                row.account.deactivated_by_us |= row.account.active == Some(false);
            }
            row.problem = None;
            row.due = row.due.asked_for(now);
        })
        .await
    }

    /// Links a user to an account that exists at the target, on the word of an operator.
    pub async fn adopt_account(
        &self,
        name: &str,
        who: &str,
        id: RemoteId,
    ) -> Result<CounterpartRow, EngineError> {
        let target = self.target(name)?;
        let user = self.find_user(who).await?;
        let target_name = target.config.name.clone();
        let owners = self.store.counterparts_by_id(&target_name, std::slice::from_ref(&id)).await?;
        if let Some(owner) = owners.first().filter(|owner| owner.account.user != user.id) {
            let owner = owner.account.user;
            return Err(TargetError::Owned { target: target_name, id, owner }.into());
        }
        if !self.has_account(&target, &id).await? {
            return Err(TargetError::NoAccount { target: target_name, id }.into());
        }
        self.change_counterpart(&target, &user, |row, now| {
            row.account.state = CounterpartState::Linked;
            row.account.id = Some(id);
            row.account.origin = LinkOrigin::Adopted;
            (row.account.sent, row.account.echo) = (None, None);
            row.problem = None;
            row.due = row.due.asked_for(now);
        })
        .await
    }

    /// Ends the link of a user to an account. The account keeps its state, and is never changed
    /// again.
    pub async fn disown_account(
        &self,
        name: &str,
        who: &str,
    ) -> Result<CounterpartRow, EngineError> {
        let target = self.target(name)?;
        let user = self.find_user(who).await?;
        let name = &target.config.name;
        if self.store.counterpart(name, user.id).await?.is_none() {
            let error = TargetError::NoCounterpart { target: name.clone(), user: who.to_owned() };
            return Err(error.into());
        }
        self.change_counterpart(&target, &user, |row, _| {
            row.account.state = CounterpartState::Disowned;
            row.account.id = None;
            row.problem = None::<ProvisionProblem>;
            row.due = Due { seq: row.due.seq, ..Due::default() };
        })
        .await
    }

    async fn change_counterpart(
        &self,
        target: &Target,
        user: &User,
        change: impl FnOnce(&mut CounterpartRow, Timestamp),
    ) -> Result<CounterpartRow, EngineError> {
        let name = &target.config.name;
        let stored = self.store.counterpart(name, user.id).await?;
        let before = stored.unwrap_or_else(|| CounterpartRow::absent(user.id));
        let mut after = before.clone();
        change(&mut after, self.clock.now());
        let settled =
            Settled { before, after: after.clone(), events: Vec::new(), by: SettledBy::Push };
        self.store.settle(name, &[settled], &self.clock).await?;
        Ok(after)
    }

    /// Returns the run that a plan would be made by, without storing anything: each step with the
    /// reason that holds it.
    pub async fn plan_target(
        &self,
        name: &str,
        who: Option<&str>,
    ) -> Result<TargetPlan, EngineError> {
        let target = self.target(name)?;
        let scope = match who {
            None => TargetScope::All,
            Some(who) => TargetScope::Users(BTreeSet::from([self.find_user(who).await?.id])),
        };
        self.dry_run_target(&target, scope).await
    }
}
