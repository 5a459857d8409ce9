//! The status of each directory: health, counts, and everything that needs attention.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::scope_warning::scope_warning;
use crate::engine::sync::plan::{REPLICATION, unchanged};
use crate::engine::{
    Attention, Directory, Engine, EngineError, Following, Health, Progress, ServerStatus,
};
use crate::model::{
    ChangeClass, ChangeVerb, ClaimState, DirectoryName, PlanState, Reason, Status, Timestamp, words,
};
use crate::store::{HeldPlan, HeldSummary, Mark, StoreError};

/// Servers of one site have heard of each other's writes after this time.
const REPLICATION_TIME: Duration = Duration::from_hours(1);

words! {
    /// Condition of a directory. The first one that applies from the end of the list is shown.
    pub enum DirectoryCondition {
        Ok = "ok",
        /// No run has ended since the daemon started.
        Starting = "starting",
        /// The last run failed, or its read was not complete.
        Degraded = "degraded",
        PlanOnly = "plan-only",
        Paused = "paused",
        /// The account does not exist.
        NoAccount = "no-account",
        /// The account holds no domain.
        NoDomain = "no-domain",
    }
}

/// The status of one directory.
#[derive(Debug, Clone)]
pub struct DirectoryStatus {
    pub name: String,
    pub account: String,
    pub state: DirectoryCondition,
    pub server: Option<String>,
    /// In order of preference.
    pub servers: Vec<ServerStatus>,
    pub live: bool,
    /// The run under way.
    pub running: Option<Progress>,
    /// Begin of the last run.
    pub last_attempt: Option<Timestamp>,
    /// End of the last successful run.
    pub last_success: Option<Timestamp>,
    /// End of the last complete full read.
    pub last_complete_read: Option<Timestamp>,
    /// The next scheduled run.
    pub next_run: Option<Timestamp>,
    pub paused_until: Option<Timestamp>,
    /// Whether the last complete read is older than `stale-after`.
    pub stale: bool,
    /// Whether AD refused the service account, so that no bind is sent.
    pub bind_refused: bool,
    /// Managed active users.
    pub active: u64,
    /// Managed suspended users.
    pub suspended: u64,
    /// Changes that are held for an operator.
    pub held: u64,
    /// When the first of them was held.
    pub held_since: Option<Timestamp>,
    /// When the approval of changes that are not applied yet expires.
    pub approval_expires: Option<Timestamp>,
    /// Active users whose account in the directory has expired for some time.
    pub overdue_expiries: u64,
    /// Number of quarantined entries.
    pub quarantined: u64,
    /// The changes that wait for the end of quiet hours.
    pub quiet: Option<QuietWait>,
    pub attention: Vec<Attention>,
}

/// An expired account is suspended within this time: the clock of AD decides, and a run takes time.
const EXPIRY_TOLERANCE: Duration = Duration::from_mins(5);
/// Changes that wait for the end of quiet hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietWait {
    pub until: Timestamp,
    /// The number of people by the kind of their first change.
    pub people: BTreeMap<ChangeVerb, u64>,
}

impl Engine {
    /// Returns the status of a directory.
    pub async fn directory_status(
        &self,
        directory: &Directory,
    ) -> Result<DirectoryStatus, EngineError> {
        let config = &directory.config;
        let name = &config.name;
        let now = self.clock.now();
        let state = self.store.directory(name).await?;
        let counts = self.store.managed_counts(name).await?;
        let count = |status| counts.get(&status).copied().unwrap_or(0);
        let plan = self.store.current_plan(name).await?;
        let overdue_expiries = self.store.expired_before(name, now.minus(EXPIRY_TOLERANCE)).await?;
        let held_since = match &plan {
            Some(plan) => self.store.held_since(plan.id).await?,
            None => None,
        };
        let quarantined = self.store.quarantined(name).await?.len() as u64;
        let account = self.store.account(&config.account).await?;
        let claims = match &account {
            Some(account) => self.store.claims(Some(account.id)).await?,
            None => Vec::new(),
        };
        let has_domain = claims.iter().any(|claim| claim.state.holds());
        let health = directory.work.health.borrow().clone();
        let paused_until = state.paused_until.filter(|until| *until > now);
        let write_error = self.store.write_error();
        let mut attention: Vec<Attention> = write_error.clone().into_iter().collect();
        let short = match (&account, &health) {
            (None, _) => {
                attention.push(format!(
                    "there is no account {}: create it with rosterctl account create {} --name …; until then no user is provisioned",
                    config.account, config.account
                ));
                DirectoryCondition::NoAccount
            }
            (Some(_), _) if !has_domain => {
                attention.push(format!(
                    "the account {} holds no domain: claim one with rosterctl domain claim {} DOMAIN; until then no user is provisioned",
                    config.account, config.account
                ));
                DirectoryCondition::NoDomain
            }
            _ if write_error.is_some() => DirectoryCondition::Degraded,
            _ if paused_until.is_some() => DirectoryCondition::Paused,
            (_, Health::Failing(_) | Health::Incomplete(_)) => DirectoryCondition::Degraded,
            (_, Health::Unknown) if state.last_success.is_none() => DirectoryCondition::Starting,
            _ if config.mode == crate::model::Mode::PlanOnly => DirectoryCondition::PlanOnly,
            _ => DirectoryCondition::Ok,
        };
        match &health {
            Health::Failing(error) | Health::Incomplete(error) => {
                attention.extend(Some(error.clone()).filter(|e| Some(e) != write_error.as_ref()));
            }
            Health::Well { full, partial } => {
                attention.extend(full.iter().chain(partial).cloned());
            }
            Health::Unknown => {}
        }
        for claim in claims.iter().filter(|claim| claim.state == ClaimState::Lapsed) {
            attention.push(format!(
                "the record {} has gone from DNS: put it back, or release the domain; until then nothing changes",
                claim.record_name()
            ));
        }
        let unmanaged = match &account {
            // Before the first complete read, every user would count.
            Some(account) if state.last_complete_read.is_some() => {
                self.unmanaged_count(account.id).await?
            }
            _ => 0,
        };
        if unmanaged > 0 {
            let people = match unmanaged {
                1 => "1 person has an address in your domains, but is".to_owned(),
                n => format!("{n} people have an address in your domains, but are"),
            };
            attention.push(format!("{people} not in AD: rosterctl user list --unmanaged"));
        }
        if let Some(account) = &account {
            attention.extend(self.left_behind(directory, account.id).await?);
        }
        let unseen = self.store.marked_users(name, Mark::Unseen).await?;
        if let Some(since) = unseen.values().min() {
            attention.push(format!(
                "{} since {since}, and no other directory has taken them over, so no directory decides about them: rosterctl user list --unseen, then rosterctl user explain USER",
                not_shown(unseen.len() as u64, name),
            ));
        }
        if let Some(plan) = &plan {
            if plan.state == PlanState::Open {
                let scope = state.scope.as_ref();
                attention.extend(scope.and_then(|was| scope_warning(was, &config.scope_hash())));
            }
            attention.push(match plan.state {
                PlanState::Approved => format!(
                    "{} approved changes wait for the directory to be readable (plan {})",
                    plan.count, plan.id
                ),
                _ => format!(
                    "{} changes wait for approval: rosterctl held show {}",
                    plan.count, plan.id
                ),
            });
        }
        attention.extend(self.rejected(directory).await?);
        let behind = self.store.marked_users(name, Mark::Behind).await?;
        if let Some(since) =
            behind.values().min().filter(|since| now.since(**since) >= REPLICATION_TIME)
        {
            attention.push(format!(
                "{} has not heard for {} of what another server showed about {} until it has; {REPLICATION} {name}",
                state.server.as_deref().unwrap_or("the server"),
                ago(now.since(*since)),
                unchanged(behind.len() as u64),
            ));
        }
        if quarantined > 0 {
            let entries = match quarantined {
                1 => "1 entry cannot be used as it is".to_owned(),
                n => format!("{n} entries cannot be used as they are"),
            };
            attention.push(format!("{entries}: rosterctl user list --quarantined"));
        }
        let stale = state.last_complete_read.is_some_and(|at| now.since(at) > config.stale_after)
            || (state.last_complete_read.is_none()
                && now.since(self.started_at) > config.stale_after);
        if stale {
            attention.push(format!(
                "the directory was last read completely {}",
                state
                    .last_complete_read
                    .map_or_else(|| "never".to_owned(), |at| format!("{} ago", ago(now.since(at))))
            ));
        }
        if let Some((time, error)) = directory.work.dns().failing_for(self.clock.passed())
            && time >= DNS_ATTENTION
        {
            attention.push(format!(
                "DNS has not answered about the domain controllers for {}, and its last answer is used ({error}): check this machine's DNS",
                ago(time)
            ));
        }
        let servers = self.server_statuses(directory);
        attention.extend(self.server_attention(directory, &servers));
        let following = directory.following();
        if let (Following::Inactive(Some(why)), true, None) =
            (&following, config.live, paused_until)
        {
            let next = directory.work.next_run.borrow().map(|at| format!(" (next run {at})"));
            attention.push(format!("live updates are off{}: {why}", next.unwrap_or_default()));
        }
        let quiet = self.quiet(name).await?;
        Ok(DirectoryStatus {
            name: name.to_string(),
            account: config.account.to_string(),
            state: short,
            server: state.server,
            servers,
            live: following == Following::Live && paused_until.is_none(),
            running: Some(directory.work.progress.borrow().clone()).filter(|p| p.run.is_some()),
            last_attempt: state.last_attempt,
            last_success: state.last_success,
            last_complete_read: state.last_complete_read,
            next_run: *directory.work.next_run.borrow(),
            paused_until,
            stale,
            bind_refused: state.bind_refused.is_some_and(|refused| !refused.is_over),
            active: count(Status::Active),
            suspended: count(Status::Suspended),
            held: plan.as_ref().map_or(0, |p| p.count),
            held_since,
            approval_expires: plan.as_ref().and_then(|p| self.approval_expires(directory, p)),
            overdue_expiries,
            quarantined,
            quiet,
            attention,
        })
    }

    async fn quiet(&self, name: &DirectoryName) -> Result<Option<QuietWait>, EngineError> {
        let mut wait: Option<QuietWait> = None;
        for (_, until, kind) in self.store.quiet(name).await? {
            let wait = wait.get_or_insert(QuietWait { until, people: BTreeMap::new() });
            wait.until = wait.until.max(until);
            *wait.people.entry(kind).or_default() += 1;
        }
        Ok(wait)
    }

    /// Returns the sentences about rejected plans and their consequences.
    async fn rejected(&self, directory: &Directory) -> Result<Vec<Attention>, EngineError> {
        let name = &directory.config.name;
        let mut attention = Vec::new();
        for plan in self.store.rejected_plans(Some(name)).await? {
            let by = plan.actor.as_ref().map(|a| format!(" by {a}")).unwrap_or_default();
            let said =
                plan.comment.as_ref().map(|said| format!(" (\"{said}\")")).unwrap_or_default();
            attention.push(format!(
                "{} changes were rejected{by}{said} and are not applied: rosterctl held show {}",
                plan.count, plan.id
            ));
            attention.extend(self.leavers_kept(&plan).await?);
        }
        if !attention.is_empty() && self.store.is_scope_rejected(name).await? {
            attention.push(
                "runs only plan until then, because changes of the new scope were rejected: correct base, filter or groups in the \
                 configuration, or approve the rejected changes after rosterctl held reopen"
                    .to_owned(),
            );
        }
        Ok(attention)
    }

    /// Returns the sentence about leavers that stay active because of a rejection.
    pub(super) async fn leavers_kept(
        &self,
        plan: &HeldPlan,
    ) -> Result<Option<Attention>, StoreError> {
        let is_positive = |line: &&HeldSummary| {
            line.class
                .is_some_and(|class| matches!(class, ChangeClass::Confirmed | ChangeClass::Deleted))
                && line.reason.is_some_and(Reason::is_positive)
        };
        let summary = self.store.plan_summary(plan.id).await?;
        let leavers: Vec<&HeldSummary> = summary.iter().filter(is_positive).collect();
        let count: u64 = leavers.iter().map(|line| line.count).sum();
        let reasons: BTreeSet<&str> =
            leavers.iter().filter_map(|line| line.reason.map(Reason::as_str)).collect();
        let by = plan.actor.as_ref().map_or_else(|| "an operator".to_owned(), ToString::to_string);
        let (id, reasons) = (plan.id, reasons.into_iter().collect::<Vec<_>>().join(", "));
        Ok((count > 0).then(|| {
            format!(
                "{count} leavers stay active because {by} rejected their suspension as {reasons} (plan {id}): rosterctl held reopen {id} \
                 takes that back"
            )
        }))
    }
}

/// Counts the active users whose own directory does not show them.
pub(in crate::engine) fn not_shown(users: u64, directory: &DirectoryName) -> String {
    match users {
        1 => format!("1 active user of {directory} has not been shown by it"),
        users => format!("{users} active users of {directory} have not been shown by it"),
    }
}

/// Time without an answer of DNS after which an operator should act.
const DNS_ATTENTION: Duration = Duration::from_hours(1);

fn ago(age: Duration) -> String {
    humantime::format_duration(Duration::from_secs(age.as_secs() / 60 * 60)).to_string()
}
