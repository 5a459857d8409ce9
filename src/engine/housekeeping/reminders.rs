//! Reports states that last: a directory without a complete read, an open plan, and an approval
//! that expires.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::periodic::Periodic;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Actor, Event, EventCause, PlanState, Timestamp};
use crate::store::{EventFilter, HeldPlan, StoreError};

const PERIOD: Duration = Duration::from_mins(1);

/// An open plan is reported again after this time.
const REMINDER_INTERVAL: Duration = Duration::from_hours(24);

const STALE: &str = "directory.stale";

const EXPIRING: &str = "plan.expiring";

/// The periodic task that reports stale directories, lasting pauses and pending approvals.
pub(in crate::engine) struct Reminders(Arc<Engine>);

impl Reminders {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::clone(engine))
    }
}

impl Periodic for Reminders {
    fn name(&self) -> &'static str {
        "reminders"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        Ok(self.0.send_reminders().await?)
    }
}

impl Engine {
    /// Reports everything that is due.
    pub async fn send_reminders(&self) -> Result<(), StoreError> {
        self.check_clock().await?;
        for directory in self.configured().directories.values() {
            self.report_stale(directory).await?;
            self.watch_pause(directory).await?;
            if let Some(plan) = self.store.current_plan(&directory.config.name).await? {
                if self.is_too_late(directory, &plan) {
                    // No run may apply it meanwhile.
                    let _applying = self.apply_lock.lock().await;
                    self.store.expire_approval(&plan, &self.clock).await?;
                }
                self.warn_of_expiry(directory, &plan).await?;
                self.remind_of_plan(directory, &plan).await?;
            }
            for plan in self.store.rejected_plans(Some(&directory.config.name)).await? {
                self.remind_of_leavers(directory, &plan).await?;
            }
        }
        Ok(())
    }

    /// Returns whether the approval of a plan has expired.
    pub(in crate::engine) fn is_too_late(&self, directory: &Directory, plan: &HeldPlan) -> bool {
        self.approval_expires(directory, plan).is_some_and(|at| at < self.clock.now())
    }

    /// Returns the end of an approval.
    pub fn approval_expires(&self, directory: &Directory, plan: &HeldPlan) -> Option<Timestamp> {
        plan.approved_at.map(|at| at.plus(directory.config.limits.approval_expires))
    }

    /// Records once that an approval is about to expire: in its last quarter.
    async fn warn_of_expiry(
        &self,
        directory: &Directory,
        plan: &HeldPlan,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (Some(approved_at), Some(expires_at)) =
            (plan.approved_at, self.approval_expires(directory, plan))
        else {
            return Ok(());
        };
        let last_quarter = directory.config.limits.approval_expires / 4;
        if now < expires_at.minus(last_quarter) || now > expires_at {
            return Ok(());
        }
        let warned = EventFilter {
            kinds: vec![EXPIRING.to_owned()],
            subjects: vec![plan.id.to_string()],
            since: Some(approved_at),
            limit: 1,
            ..EventFilter::default()
        };
        if !self.store.events(&warned).await?.is_empty() {
            return Ok(());
        }
        let count = self.store.approved_changes(plan.id).await?.len();
        let after = json!({ "directory": directory.config.name, "count": count, "approved_by": plan.actor, "expires_at": expires_at });
        let cause = EventCause {
            actor: Actor::rosterd(),
            run: None,
            account: Some(directory.config.account.clone()),
            at: now,
        };
        let event = Event::about(EXPIRING, plan.id, &cause, Value::Null, after);
        self.store.record(&[event], &self.clock).await
    }

    async fn remind_of_plan(
        &self,
        directory: &Directory,
        plan: &HeldPlan,
    ) -> Result<(), StoreError> {
        if plan.state != PlanState::Open || self.was_reported(plan) {
            return Ok(());
        }
        let text = format!(
            "{} changes have waited for approval since {}: rosterctl held show {}",
            plan.count, plan.created_at, plan.id
        );
        self.remind_again(directory, plan, text).await
    }

    /// Reports daily that leavers stay active because of a rejection. Other rejections are shown by
    /// `status` only.
    async fn remind_of_leavers(
        &self,
        directory: &Directory,
        plan: &HeldPlan,
    ) -> Result<(), StoreError> {
        if self.was_reported(plan) {
            return Ok(());
        }
        match self.leavers_kept(plan).await? {
            Some(text) => self.remind_again(directory, plan, text).await,
            None => Ok(()),
        }
    }

    fn was_reported(&self, plan: &HeldPlan) -> bool {
        self.clock.now().since(plan.announced_at.unwrap_or(plan.created_at)) < REMINDER_INTERVAL
    }

    async fn remind_again(
        &self,
        directory: &Directory,
        plan: &HeldPlan,
        text: String,
    ) -> Result<(), StoreError> {
        let (name, now) = (&directory.config.name, self.clock.now());
        tracing::warn!(directory = %name, "{name}: {text}");
        let cause = EventCause {
            actor: Actor::rosterd(),
            run: None,
            account: Some(directory.config.account.clone()),
            at: now,
        };
        let after = json!({ "attention": [text], "plan": plan.id, "count": plan.count, "since": plan.created_at });
        self.store
            .announce_plan(
                plan,
                Event::about("directory.attention", name.as_str(), &cause, Value::Null, after),
                &self.clock,
            )
            .await
    }

    /// Records that a directory is stale, once.
    async fn report_stale(&self, directory: &Directory) -> Result<(), StoreError> {
        let now = self.clock.now();
        let name = &directory.config.name;
        let last_read = self.store.directory(name).await?.last_complete_read;
        let since = last_read.unwrap_or(self.started_at);
        if now.since(since) <= directory.config.stale_after {
            return Ok(());
        }
        let last_report = EventFilter {
            kinds: vec![STALE.to_owned()],
            subjects: vec![name.to_string()],
            since: Some(since),
            limit: 1,
            ..EventFilter::default()
        };
        if !self.store.events(&last_report).await?.is_empty() {
            return Ok(());
        }
        let after = json!({ "last_complete_read": last_read, "stale_after": humantime::format_duration(directory.config.stale_after).to_string() });
        let cause = EventCause {
            actor: Actor::rosterd(),
            run: None,
            account: Some(directory.config.account.clone()),
            at: now,
        };
        self.store
            .record(&[Event::about(STALE, name.as_str(), &cause, Value::Null, after)], &self.clock)
            .await
    }
}
