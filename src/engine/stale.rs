//! Telling that a directory has not been read completely for too long: once, and again when it has been read and was
//! left alone anew.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Engine;
use crate::model::{Actor, Event, EventCause};
use crate::store::{EventFilter, StoreError};
use crate::telemetry::chain;

/// How often that is looked at.
const EVERY: Duration = Duration::from_mins(1);

const STALE: &str = "directory.stale";

impl Engine {
    /// Looks for as long as the daemon runs.
    pub async fn keep_watch_of_age(self: Arc<Self>) {
        loop {
            if let Err(error) = self.tell_stale().await {
                tracing::error!("whether directories are stale cannot be read: {}", chain(&error));
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Writes the event of each directory that has become stale and was not told of since.
    pub async fn tell_stale(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for directory in self.configured().directories.values() {
            let name = &directory.config.name;
            let last_read = self.store.directory(name).await?.last_complete_read;
            let since = last_read.unwrap_or(self.started_at);
            if now.since(since) <= directory.config.stale_after {
                continue;
            }
            let told = EventFilter {
                kind: Some(STALE.to_owned()),
                subjects: vec![name.to_string()],
                since: Some(since),
                limit: 1,
                ..EventFilter::default()
            };
            if !self.store.events(&told).await?.is_empty() {
                continue;
            }
            let after = json!({ "last_complete_read": last_read, "stale_after": humantime::format_duration(directory.config.stale_after).to_string() });
            let cause = EventCause { actor: Actor::rosterd(), run: None, account: Some(directory.config.account.clone()), at: now };
            self.store.record(&[Event::about(STALE, name.as_str(), &cause, Value::Null, after)], &self.clock).await?;
        }
        Ok(())
    }
}
