//! Hooks that are not configured any more.
//!
//! The backlog of a removed hook is kept, because an administrator may configure the hook again.
//! When its max-age has passed since the removal, the backlog is dead-lettered and the hook
//! forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::periodic::Periodic;
use crate::engine::{ConfiguredHook, Engine, EngineError, Registry};
use crate::store::{RemovedHook, StoreError};

const PERIOD: Duration = Duration::from_mins(1);

/// The reason of its dead letters.
const WHY: &str = "the hook is not configured any more";

/// The periodic task that notes which hooks are configured, and forgets the removed ones in time.
pub(in crate::engine) struct RemovedHooks {
    engine: Arc<Engine>,
    configured: watch::Receiver<Arc<Registry<ConfiguredHook>>>,
}

impl RemovedHooks {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self { configured: engine.hooks.subscribe(), engine: Arc::clone(engine) }
    }
}

impl Periodic for RemovedHooks {
    fn name(&self) -> &'static str {
        "removed-hooks"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        self.configured.mark_unchanged();
        Ok(self.engine.forget_removed_hooks().await?)
    }

    async fn woken(&mut self) {
        if self.configured.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Engine {
    /// Notes the configured hooks, and forgets those that were removed longer ago than their
    /// max-age.
    pub async fn forget_removed_hooks(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let configured =
            self.hooks().iter().map(|(name, hook)| (name.clone(), hook.config.max_age)).collect();
        self.store.note_hooks(&configured, now).await?;
        for RemovedHook { name, kept_until } in self.store.removed_hooks().await? {
            if now < kept_until {
                continue;
            }
            let count = self.store.dead_letter(&name, None, &[], WHY, &self.clock).await?;
            self.store.forget_hook(&name).await?;
            tracing::warn!(hook = %name, "hook {name}: removed for longer than its max-age: {count} deliveries are dead-lettered");
        }
        Ok(())
    }
}
