//! Retention: what is forgotten after some time, if the configuration says so.
//!
//! Nobody comes back by being forgotten: whoever an operator has suspended is kept, since the directory may go on having
//! them, and of the others only those go whom the directory itself keeps out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Actor, Addresses, Change, ChangeKind, DirectoryName, Reason, Retention, Standing, Status,
    Timestamp, Trigger, User,
};
use crate::store::UserFilter;
use crate::telemetry::chain;

/// How often that is looked at.
const EVERY: Duration = Duration::from_hours(1);

/// Users that are looked at, and changed, at once.
const AT_ONCE: u64 = 500;

/// What was done is remembered for so long at least: a suspension that is lifted within it is free.
const SHORTEST_LOG: Duration = Duration::from_hours(7 * 24);

/// What was forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    /// Users whose addresses were freed.
    pub freed: u64,
    /// Users that were removed.
    pub removed: u64,
    /// Events.
    pub events: u64,
}

impl Engine {
    /// Forgets for as long as the daemon runs.
    pub async fn keep_retention(self: Arc<Self>) {
        loop {
            match self.retain().await {
                Ok(Forgotten { freed: 0, removed: 0, events: 0 }) => {}
                Ok(Forgotten { freed, removed, events }) => {
                    tracing::info!(
                        "retention: the addresses of {freed} users are free, {removed} users and {events} events are forgotten"
                    )
                }
                Err(error) => tracing::error!(
                    "retention: what is to be forgotten cannot be: {}",
                    chain(&error)
                ),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Forgets what is to be forgotten by now.
    pub async fn retain(&self) -> Result<Forgotten, EngineError> {
        let configured = self.configured();
        let Retention { release_address_after, remove_after, events } = configured.rules.retention;
        // What is removed never comes back: by a clock that is ahead, nothing is.
        let has_work =
            release_address_after.is_some() || remove_after.is_some() || events.is_some();
        if !has_work || !self.is_time_confirmed().await? {
            return Ok(Forgotten::default());
        }
        let now = self.clock.now();
        let mut forgotten = Forgotten::default();
        // Who is removed holds no address either.
        if let Some(after) = remove_after {
            forgotten.removed =
                self.change_suspended(|user| removal(user, now.minus(after))).await?;
        }
        if let Some(after) = release_address_after {
            forgotten.freed = self.change_suspended(|user| freeing(user, now.minus(after))).await?;
        }
        if let Some(after) = events {
            // The limits are counted by what was written down within their window.
            let window = configured
                .directories
                .values()
                .map(|d| d.config.limits.window)
                .max()
                .unwrap_or_default();
            forgotten.events =
                self.store.forget_log(now.minus(after.max(window).max(SHORTEST_LOG))).await?;
        }
        Ok(forgotten)
    }

    /// Changes the suspended users of whom something is to be forgotten; says how many were.
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
                limit: Some(AT_ONCE),
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
                // What is forgotten is not told anew.
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
                    directory: directory.as_str(),
                    ..OperatorRun::of(&account, &actor, Trigger::Schedule)
                };
                changed += self.write(changes, operation).await?.counts.total();
            }
            drop(applying);
        }
    }
}

/// Addresses that somebody who left long ago need not hold any more.
fn freeing(user: &User, before: Timestamp) -> Option<ChangeKind> {
    let left = [Reason::Deleted, Reason::Vanished].into_iter().filter_map(|r| user.causes.get(r));
    let is_due = left.map(|cause| cause.since).min().is_some_and(|since| since <= before);
    let holds = user.standing != Standing::Released && user.addresses.iter().next().is_some();
    (is_due && holds).then(|| ChangeKind::Readdress {
        before: user.addresses.clone(),
        after: Addresses::default(),
    })
}

/// Somebody of whom nothing need be known any more, since the directory itself keeps them out.
fn removal(user: &User, before: Timestamp) -> Option<ChangeKind> {
    let since = user.causes.iter().map(|cause| cause.since).min()?;
    let is_due = since <= before && !user.causes.has(Reason::Operator);
    is_due.then(|| ChangeKind::Remove { before: None, status: user.status() })
}
