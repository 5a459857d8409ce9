//! Retention: data that is forgotten after some time, where configured.
//!
//! A user that an operator suspended is never removed, because the next sync would recreate it.
//! Other users are removed only where the directory itself excludes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::periodic::Periodic;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Actor, Addresses, Change, ChangeKind, DirectoryName, Reason, Retention, Standing, Status,
    Timestamp, Trigger, User,
};
use crate::store::UserFilter;

const PERIOD: Duration = Duration::from_hours(1);

/// Users per page and transaction.
const PAGE_SIZE: u64 = 500;

/// Minimum age of forgotten events: lifting a suspension within this time is free.
const MIN_EVENT_AGE: Duration = Duration::from_hours(7 * 24);

/// Counts of what was forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    /// Users whose addresses were released.
    pub freed: u64,
    /// Number of removed users.
    pub removed: u64,
    pub events: u64,
}

/// The periodic task that applies the configured retention.
pub(in crate::engine) struct RetentionTask(Arc<Engine>);

impl RetentionTask {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::clone(engine))
    }
}

impl Periodic for RetentionTask {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        let forgotten = self.0.apply_retention().await?;
        if forgotten != Forgotten::default() {
            let Forgotten { freed, removed, events } = forgotten;
            tracing::info!(
                "retention: released the addresses of {freed} users, removed {removed} users and {events} events"
            );
        }
        Ok(())
    }
}

impl Engine {
    /// Removes the data whose retention has ended.
    pub async fn apply_retention(&self) -> Result<Forgotten, EngineError> {
        let configured = self.configured();
        let Retention { release_address_after, remove_after, events } = configured.rules.retention;
        // A removal is final. So nothing is removed while no server confirms the clock.
        let has_work =
            release_address_after.is_some() || remove_after.is_some() || events.is_some();
        if !has_work || !self.is_time_confirmed().await? {
            return Ok(Forgotten::default());
        }
        let now = self.clock.now();
        let mut forgotten = Forgotten::default();
        // A removed user holds no address either.
        if let Some(after) = remove_after {
            forgotten.removed =
                self.change_suspended(|user| removal(user, now.minus(after))).await?;
        }
        if let Some(after) = release_address_after {
            forgotten.freed = self.change_suspended(|user| freeing(user, now.minus(after))).await?;
        }
        if let Some(after) = events {
            // Limits count the changes within their window.
            let window = configured
                .directories
                .values()
                .map(|d| d.config.limits.window)
                .max()
                .unwrap_or_default();
            forgotten.events =
                self.store.forget_log(now.minus(after.max(window).max(MIN_EVENT_AGE))).await?;
        }
        Ok(forgotten)
    }

    /// Changes the suspended users for which `change` returns one, and returns their number.
    async fn change_suspended(
        &self,
        change: impl Fn(&User) -> Option<ChangeKind> + Send + Sync,
    ) -> Result<u64, EngineError> {
        let actor = Actor::rosterd();
        let (mut changed, mut after) = (0, None);
        loop {
            let applying = self.apply_lock.lock().await;
            let filter = UserFilter {
                status: Some(Status::Suspended),
                after,
                limit: Some(PAGE_SIZE),
                ..UserFilter::default()
            };
            let users = self.store.users(&filter).await?;
            let Some(last) = users.last() else { return Ok(changed) };
            after = Some(last.id);
            let mut of_directory: BTreeMap<&DirectoryName, (&User, Vec<Change>)> = BTreeMap::new();
            for user in &users {
                let Some((link, kind)) =
                    user.link.as_ref().and_then(|link| Some((link, change(user)?)))
                else {
                    continue;
                };
                // The event does not repeat what is forgotten.
                let change = Change { guid: None, email: None, ..Change::by_hand(user, kind) };
                of_directory
                    .entry(&link.directory)
                    .or_insert_with(|| (user, Vec::new()))
                    .1
                    .push(change);
            }
            for (directory, (first, changes)) in of_directory {
                let account = self.account_of(first).await?.reference();
                let operation = OperatorRun {
                    directory: Some(directory),
                    ..OperatorRun::of(&account, &actor, Trigger::Schedule)
                };
                changed += self.write(changes, operation).await?.counts.total();
            }
            drop(applying);
        }
    }
}

/// Returns the release of the addresses of a user who left before a time.
fn freeing(user: &User, before: Timestamp) -> Option<ChangeKind> {
    let left = [Reason::Deleted, Reason::Vanished].into_iter().filter_map(|r| user.causes.get(r));
    let is_due = left.map(|cause| cause.since).min().is_some_and(|since| since <= before);
    let holds = user.standing != Standing::Released && user.addresses.iter().next().is_some();
    (is_due && holds).then(|| ChangeKind::Readdress {
        before: user.addresses.clone(),
        after: Addresses::default(),
    })
}

/// Returns the removal of a user whose suspension began before a time and comes from the directory.
fn removal(user: &User, before: Timestamp) -> Option<ChangeKind> {
    let since = user.causes.iter().map(|cause| cause.since).min()?;
    let is_due = since <= before && !user.causes.has(Reason::Operator);
    is_due.then(|| ChangeKind::Remove { before: None, status: user.status() })
}
