//! What is told without anything having happened: that a directory has not been read for too long, that a plan still
//! waits, and that an approval could not be carried out in time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::{Directory, Engine};
use crate::model::{Actor, Event, EventCause, PlanState, Timestamp};
use crate::store::{EventFilter, HeldPlan, StoreError};
use crate::telemetry::chain;

/// How often that is looked at.
const EVERY: Duration = Duration::from_mins(1);

/// A plan that waits is announced again this much later.
const ANNOUNCED_EVERY: Duration = Duration::from_hours(24);

const STALE: &str = "directory.stale";

impl Engine {
    /// Looks for as long as the daemon runs.
    pub async fn keep_reminding(self: Arc<Self>) {
        loop {
            if let Err(error) = self.remind().await {
                tracing::error!(
                    "what operators are to be told again cannot be read: {}",
                    chain(&error)
                );
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Tells what is to be told by now.
    pub async fn remind(&self) -> Result<(), StoreError> {
        self.check_clock().await?;
        for directory in self.configured().directories.values() {
            self.tell_stale(directory).await?;
            self.watch_pause(directory).await?;
            if let Some(plan) = self.store.current_plan(&directory.config.name).await? {
                if self.is_too_late(directory, &plan) {
                    // No run may carry it out while this is written.
                    let _applying = self.apply_lock.lock().await;
                    self.store.expire_approval(&plan, &self.clock).await?;
                }
                self.announce(directory, &plan).await?;
            }
            for plan in self.store.rejected_plans(Some(&directory.config.name)).await? {
                self.announce_leavers(directory, &plan).await?;
            }
        }
        Ok(())
    }

    /// Whether what was approved of a plan must no longer be applied.
    pub(in crate::engine) fn is_too_late(&self, directory: &Directory, plan: &HeldPlan) -> bool {
        self.approval_expires(directory, plan).is_some_and(|at| at < self.clock.now())
    }

    /// Until when an approval is tried again.
    pub fn approval_expires(&self, directory: &Directory, plan: &HeldPlan) -> Option<Timestamp> {
        plan.approved_at.map(|at| at.plus(directory.config.limits.approval_expires))
    }

    async fn announce(&self, directory: &Directory, plan: &HeldPlan) -> Result<(), StoreError> {
        if plan.state != PlanState::Open || self.was_told(plan) {
            return Ok(());
        }
        let text = format!(
            "{} changes have waited for approval since {}: rosterctl held show {}",
            plan.count, plan.created_at, plan.id
        );
        self.announce_again(directory, plan, text).await
    }

    /// Reports daily that leavers stay active by an operator's word. Other rejections are in `status` alone.
    async fn announce_leavers(
        &self,
        directory: &Directory,
        plan: &HeldPlan,
    ) -> Result<(), StoreError> {
        if self.was_told(plan) {
            return Ok(());
        }
        match self.leavers_kept(plan).await? {
            Some(text) => self.announce_again(directory, plan, text).await,
            None => Ok(()),
        }
    }

    fn was_told(&self, plan: &HeldPlan) -> bool {
        self.clock.now().since(plan.announced_at.unwrap_or(plan.created_at)) < ANNOUNCED_EVERY
    }

    async fn announce_again(
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

    /// Writes the event of a directory that has become stale and was not told of since.
    async fn tell_stale(&self, directory: &Directory) -> Result<(), StoreError> {
        let now = self.clock.now();
        let name = &directory.config.name;
        let last_read = self.store.directory(name).await?.last_complete_read;
        let since = last_read.unwrap_or(self.started_at);
        if now.since(since) <= directory.config.stale_after {
            return Ok(());
        }
        let told = EventFilter {
            kind: Some(STALE.to_owned()),
            subjects: vec![name.to_string()],
            since: Some(since),
            limit: 1,
            ..EventFilter::default()
        };
        if !self.store.events(&told).await?.is_empty() {
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
