//! How everything stands: what an operator sees first.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::engine::{Directory, Engine, EngineError, Following};
use crate::model::{
    Actor, ClaimState, Class, Event, EventCause, PlanState, Reason, RunState, Status, Timestamp,
};
use crate::store::{DirectoryState, HeldPlan, HeldSummary, REBASELINED, Run, StoreError};

/// One thing that needs attention, as a sentence.
pub type Attention = String;

/// How the last attempt to read a directory went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// There was none yet.
    #[default]
    Unknown,
    /// It went well; with what should be known all the same.
    Well(Vec<Attention>),
    /// It failed, for this reason.
    Failing(String),
    /// The last read of everybody was not complete, for this reason; only one that is makes up for it.
    Incomplete(String),
}

impl Health {
    /// What is wrong, if something is.
    fn error(&self) -> Option<&String> {
        match self {
            Self::Failing(error) | Self::Incomplete(error) => Some(error),
            Self::Unknown | Self::Well(_) => None,
        }
    }

    /// After a run. A scoped run that went well says nothing about what an earlier full run complained of.
    pub(super) fn after(run: &Run, was: &Self) -> Self {
        match (&run.error, run.state, was) {
            (Some(error), RunState::Failed, was) => {
                let is_incomplete = run.mode == "full" && run.server.is_some()
                    || matches!(was, Self::Incomplete(_)) && run.mode != "full";
                if is_incomplete {
                    Self::Incomplete(error.clone())
                } else {
                    Self::Failing(error.clone())
                }
            }
            (_, RunState::Cancelled, was) => was.clone(),
            (_, _, was @ (Self::Well(_) | Self::Incomplete(_))) if run.mode != "full" => {
                was.clone()
            }
            _ => Self::Well(run.warnings.clone()),
        }
    }

    /// The event of getting better or worse.
    pub(super) fn transition(
        &self,
        was: &Self,
        directory: &str,
        cause: &EventCause,
    ) -> Option<Event> {
        let kind = match (was.error(), self.error()) {
            (None, Some(_)) => "directory.unreachable",
            (Some(_), None) => "directory.recovered",
            (None, None) if matches!(self, Self::Well(now) if !now.is_empty()) && was != self => {
                "directory.attention"
            }
            _ => return None,
        };
        let after = match self {
            Self::Failing(error) | Self::Incomplete(error) => json!({ "error": error }),
            Self::Well(attention) => json!({ "attention": attention }),
            Self::Unknown => json!({}),
        };
        Some(Event::about(kind, directory, cause, serde_json::Value::Null, after))
    }
}

/// The states a directory can be in.
pub const STATES: [&str; 7] =
    ["ok", "starting", "degraded", "plan-only", "paused", "no-account", "no-domain"];

/// How one directory stands.
#[derive(Debug, Clone)]
pub struct DirectoryStatus {
    /// Its name.
    pub name: String,
    /// The account it is connected to.
    pub account: String,
    /// One of [`STATES`].
    pub state: &'static str,
    /// The server of the last successful run.
    pub server: Option<String>,
    /// Whether changes are followed as they happen.
    pub live: bool,
    /// When a run last began.
    pub last_attempt: Option<Timestamp>,
    /// When one last ended well.
    pub last_success: Option<Timestamp>,
    /// When one last read everything.
    pub last_complete_read: Option<Timestamp>,
    /// When the next one is due.
    pub next_run: Option<Timestamp>,
    /// Until when it is paused.
    pub paused_until: Option<Timestamp>,
    /// Whether the last complete read is older than it may be.
    pub stale: bool,
    /// Whether no bind is tried, because AD refused the service account.
    pub bind_refused: bool,
    /// Managed active users.
    pub active: u64,
    /// Managed suspended users.
    pub suspended: u64,
    /// Changes that wait for an operator.
    pub held: u64,
    /// Entries that cannot be used.
    pub quarantined: u64,
    /// What needs attention.
    pub attention: Vec<Attention>,
}

impl Engine {
    /// How a directory stands.
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
        let quarantined = self.store.quarantined(name).await?.len() as u64;
        let account = self.store.account(&config.account).await?;
        let claims = match &account {
            Some(account) => self.store.claims(Some(account.id)).await?,
            None => Vec::new(),
        };
        let has_domain = claims.iter().any(|claim| claim.state.holds());
        let health = directory.work.health.borrow().clone();
        let paused_until = state.paused_until.filter(|until| *until > now);
        let mut attention = Vec::new();
        let short = match (&account, &health) {
            (None, _) => {
                attention.push(format!(
                    "there is no account {}: create it with rosterctl account create {} --name …; until then nobody is provisioned",
                    config.account, config.account
                ));
                "no-account"
            }
            (Some(_), _) if !has_domain => {
                attention.push(format!(
                    "the account {} holds no domain: claim one with rosterctl domain claim {} DOMAIN; until then nobody is provisioned",
                    config.account, config.account
                ));
                "no-domain"
            }
            _ if paused_until.is_some() => "paused",
            (_, Health::Failing(_) | Health::Incomplete(_)) => "degraded",
            (_, Health::Unknown) if state.last_success.is_none() => "starting",
            _ if config.mode == crate::model::Mode::PlanOnly => "plan-only",
            _ => "ok",
        };
        match &health {
            Health::Failing(error) | Health::Incomplete(error) => attention.push(error.clone()),
            Health::Well(warnings) => attention.extend(warnings.iter().cloned()),
            Health::Unknown => {}
        }
        for claim in claims.iter().filter(|claim| claim.state == ClaimState::Lapsed) {
            attention.push(format!(
                "the record {} has gone from DNS: put it back, or release the domain; until then nothing changes",
                claim.record_name()
            ));
        }
        let unmanaged = match &account {
            // Before everybody was read, nobody can be missed.
            Some(account) if state.last_complete_read.is_some() => {
                self.unmanaged_count(account.id).await?
            }
            _ => 0,
        };
        if unmanaged > 0 {
            attention.push(format!("{unmanaged} users of the account's domains are in no directory: rosterctl user list --unmanaged"));
        }
        if let Some(account) = &account {
            attention.extend(self.left_behind(directory, account.id).await?);
        }
        if let Some(plan) = &plan {
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
        if quarantined > 0 {
            attention.push(format!("{quarantined} entries cannot be used as they are: rosterctl user list --quarantined"));
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
        let following = directory.following();
        if let (Following::Not(Some(why)), true) = (&following, config.live) {
            attention.push(format!(
                "changes are not followed as they happen, but seen by scheduled runs: {why}"
            ));
        }
        Ok(DirectoryStatus {
            name: name.to_string(),
            account: config.account.to_string(),
            state: short,
            server: state.server,
            live: following == Following::Live,
            last_attempt: state.last_attempt,
            last_success: state.last_success,
            last_complete_read: state.last_complete_read,
            next_run: *directory.work.next_run.borrow(),
            paused_until,
            stale,
            bind_refused: state.bind_refused.is_some(),
            active: count(Status::Active),
            suspended: count(Status::Suspended),
            held: plan.as_ref().map_or(0, |p| p.count),
            quarantined,
            attention,
        })
    }

    /// The sentences about what operators rejected, and what follows from it.
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

    /// The sentence about leavers that a rejection keeps active: the directory shows that they left.
    pub(super) async fn leavers_kept(
        &self,
        plan: &HeldPlan,
    ) -> Result<Option<Attention>, StoreError> {
        let is_positive = |line: &&HeldSummary| {
            line.class.is_some_and(|class| matches!(class, Class::Confirmed | Class::Deleted))
                && line.reason.as_deref().and_then(Reason::parse).is_some_and(Reason::is_positive)
        };
        let summary = self.store.plan_summary(plan.id).await?;
        let leavers: Vec<&HeldSummary> = summary.iter().filter(is_positive).collect();
        let count: u64 = leavers.iter().map(|line| line.count).sum();
        let reasons: BTreeSet<&str> =
            leavers.iter().filter_map(|line| line.reason.as_deref()).collect();
        let by = plan.actor.as_ref().map_or_else(|| "an operator".to_owned(), ToString::to_string);
        let (id, reasons) = (plan.id, reasons.into_iter().collect::<Vec<_>>().join(", "));
        Ok((count > 0).then(|| {
            format!(
                "{count} leavers stay active because {by} rejected their suspension as {reasons} (plan {id}): rosterctl held reopen {id} \
                 takes that back"
            )
        }))
    }

    /// Accepts bases, groups, canaries and attributes as they are now; the next run only plans what that changes.
    pub async fn rebaseline(
        &self,
        name: &str,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        let _applying = self.apply_lock.lock().await;
        let forget = |state: &mut DirectoryState| {
            state.counts = crate::reconcile::AttributeCounts::default();
            state.rights_lost = None;
            state.checkpoint = None;
            // No configuration has this hash, so the scope counts as changed.
            state.scope_hash = state.scope_hash.take().map(|_| REBASELINED.to_owned());
        };
        self.store.rebaseline(&directory.config.name, forget).await?;
        tracing::info!(
            directory = name,
            "{name}: {actor} accepts bases, groups and rights as they are now; the next run only plans"
        );
        self.directory_status(&directory).await
    }
}

/// Notes the scope that a full run went by, and returns whether it is accepted: when nothing of its plan is held or rejected
/// (`is_open`), or when the operator approved the plan.
pub(super) fn note_scope(
    directory: &Directory,
    state: &mut DirectoryState,
    at: Timestamp,
    is_open: bool,
) -> bool {
    let hash = directory.config.scope_hash();
    match &state.scope_hash {
        Some(known) if *known != hash && is_open => {
            state.plan_only_since.get_or_insert(at);
            false
        }
        _ => {
            state.scope_hash = Some(hash);
            state.plan_only_since = None;
            true
        }
    }
}

fn ago(age: Duration) -> String {
    humantime::format_duration(Duration::from_secs(age.as_secs() / 60 * 60)).to_string()
}
