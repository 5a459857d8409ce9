//! Hooks that are configured no longer.
//!
//! What one has not been told waits for it: whoever takes a hook out of the file for an afternoon loses nothing by that.
//! But nobody waits for ever. When its max-age has passed since it was removed, what waits is given up, which is told as
//! any dead letter is, and nothing is kept of the hook.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::model::Timestamp;
use crate::store::{RemovedHook, StoreError};
use crate::telemetry::chain;

/// How often it is looked whether the time of one is over.
const EVERY: Duration = Duration::from_mins(1);

/// Why its deliveries are given up.
const WHY: &str = "the hook is configured no longer";

impl Engine {
    /// Notes which hooks come and go, and forgets those that do not come back, for as long as the daemon runs.
    pub async fn keep_removed_hooks(self: Arc<Self>) {
        let mut hooks = self.hooks.subscribe();
        loop {
            hooks.mark_unchanged();
            if let Err(error) = self.forget_removed_hooks().await {
                tracing::error!(
                    "what is kept of hooks that are configured no longer cannot be looked at: {}",
                    chain(&error)
                );
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = hooks.changed() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Notes which hooks there are, and forgets those that were removed too long ago.
    pub async fn forget_removed_hooks(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let configured =
            self.hooks().iter().map(|(name, hook)| (name.clone(), hook.config.max_age)).collect();
        self.store.note_hooks(&configured, now).await?;
        for RemovedHook { name, kept_until } in self.store.removed_hooks().await? {
            if now < kept_until {
                continue;
            }
            let count =
                self.store.give_up(&name, Timestamp(i64::MAX), &[], WHY, &self.clock).await?;
            self.store.forget_hook(&name).await?;
            tracing::warn!(hook = %name, "hook {name}: {WHY}, and is forgotten; {count} deliveries that waited for it are dead-lettered");
        }
        Ok(())
    }
}
