//! Operations on hooks: status, test, deliveries, redelivery, replay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::engine::delivery::worker::ConfiguredHook;
use crate::engine::{Engine, EngineError};
use crate::hooks::{Attempt, Message, Receiver};
use crate::model::{Actor, EventId, Timestamp, words};
use crate::store::{Delivery, DeliveryFilter, DeliveryStatus, RemovedHook};

/// The status of one hook.
#[derive(Debug, Clone)]
pub struct HookStatus {
    pub name: String,
    /// Patterns of its event types.
    pub events: Vec<String>,
    /// The program or the server, without parts of the address that may be secret.
    pub target: String,
    pub state: HookState,
    /// Counts of its deliveries.
    pub deliveries: DeliveryStatus,
    /// Age of the oldest pending delivery.
    pub lag: Duration,
    /// For a removed hook: the time until which its deliveries are stored.
    pub kept_until: Option<Timestamp>,
}

words! {
    /// State of a hook.
    pub enum HookState {
        /// The last attempt succeeded, or there was none.
        Ok = "ok",
        /// The last attempt failed.
        Failing = "failing",
        /// The server answered 410 Gone.
        Disabled = "disabled",
        /// The hook is no longer configured, and has deliveries left.
        Removed = "removed",
    }
}

/// The outcome of a sample.
#[derive(Debug, Clone)]
pub struct Sampled {
    pub event: EventId,
    pub kind: String,
    pub attempt: Attempt,
    pub took: Duration,
}

impl Engine {
    /// Returns the configured hook of a name.
    pub fn hook(&self, name: &str) -> Result<Arc<ConfiguredHook>, EngineError> {
        self.hooks().get(name).cloned().ok_or_else(|| {
            EngineError::unknown("hook", name, self.hooks().keys().map(String::as_str))
        })
    }

    /// Returns the status of all hooks. Removed hooks with deliveries come last.
    pub async fn hook_statuses(&self) -> Result<Vec<HookStatus>, EngineError> {
        let mut all = Vec::new();
        for hook in self.hooks().values() {
            let deliveries = self.store.delivery_status(&hook.config.name).await?;
            let state =
                match (self.is_gone(hook).await?, hook.work.failures.load(Ordering::Relaxed)) {
                    (true, _) => HookState::Disabled,
                    (false, 1..) => HookState::Failing,
                    (false, 0) => HookState::Ok,
                };
            let (name, events, lag) =
                (hook.config.name.clone(), hook.config.events.clone(), self.lag(&deliveries));
            all.push(HookStatus {
                name,
                events,
                target: address(&hook.config.receiver),
                state,
                deliveries,
                lag,
                kept_until: None,
            });
        }
        for RemovedHook { name, kept_until } in self.store.removed_hooks().await? {
            let deliveries = self.store.delivery_status(&name).await?;
            // A removed hook without deliveries is not listed, nor one that was just configured
            // again.
            if deliveries.pending + deliveries.failed > 0 && !self.hooks().contains_key(&name) {
                let (lag, kept_until) = (self.lag(&deliveries), Some(kept_until));
                all.push(HookStatus {
                    name,
                    events: Vec::new(),
                    target: String::new(),
                    state: HookState::Removed,
                    deliveries,
                    lag,
                    kept_until,
                });
            }
        }
        Ok(all)
    }

    fn lag(&self, deliveries: &DeliveryStatus) -> Duration {
        deliveries.oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest))
    }

    /// Sends a sample, marked as one, past the backlog.
    pub async fn test_hook(&self, name: &str, actor: &Actor) -> Result<Sampled, EngineError> {
        let hook = self.hook(name)?;
        let began = self.clock.now();
        let event = EventId(self.clock.new_id());
        let kind = sample_type(hook.config.events.first().map_or("*", String::as_str)).to_owned();
        let document = json!({
            "specversion": "1.0",
            "id": event,
            "source": "rosterd",
            "type": kind,
            "time": began,
            "subject": "sample",
            "sample": true,
            "data": { "sample": true, "actor": actor, "run": null, "account": null, "before": null, "after": null, "evidence": null },
        });
        let message = Message {
            id: event.to_string(),
            kind: kind.clone(),
            seq: None,
            head: None,
            attempt: 1,
            document: document.to_string(),
        };
        let attempt = tokio::select! {
            () = self.stop.cancelled() => return Err(EngineError::Stopping),
            attempt = self.deliver_once(&hook.config, &message) => attempt,
        };
        tracing::info!(hook = name, "hook {name}: sample sent by {actor}");
        Ok(Sampled { event, kind, attempt, took: self.clock.now().since(began) })
    }

    /// Returns the latest deliveries of a hook, also of a removed one.
    pub async fn deliveries(
        &self,
        name: &str,
        filter: &DeliveryFilter,
        limit: u64,
    ) -> Result<Vec<Delivery>, EngineError> {
        if !self.store.removed_hooks().await?.iter().any(|removed| removed.name == name) {
            self.hook(name)?;
        }
        Ok(self.store.deliveries(name, filter, limit).await?)
    }

    /// Delivers dead letters again, or the deliveries of the filter. Lifts the state `disabled`.
    pub async fn redeliver(
        &self,
        name: &str,
        filter: &DeliveryFilter,
        actor: &Actor,
    ) -> Result<u64, EngineError> {
        let hook = self.hook(name)?;
        self.store.set_gone(&hook.config.name, None).await?;
        let count = self.store.redeliver(&hook.config.name, filter, self.clock.now()).await?;
        tracing::info!(hook = name, "hook {name}: {count} deliveries repeated by {actor}");
        Ok(count)
    }

    /// Delivers all matching events since a time, delivered or not.
    pub async fn replay(
        &self,
        name: &str,
        since: Timestamp,
        actor: &Actor,
    ) -> Result<u64, EngineError> {
        let hook = self.hook(name)?;
        let count = self.store.replay(&hook.subscription(), since, self.clock.now()).await?;
        tracing::info!(
            hook = name,
            "hook {name}: {count} deliveries since {since} repeated by {actor}"
        );
        Ok(count)
    }
}

/// Returns the program, or the server without the path, because the path may authorise posts.
fn address(receiver: &Receiver) -> String {
    match receiver {
        Receiver::Exec(program) => program.path.display().to_string(),
        Receiver::Mail(mail) => format!("{}:{}", mail.server, mail.port),
        Receiver::Webhook(server) => format!("{}/…", server.url.origin().ascii_serialization()),
    }
}

/// Returns an event type that matches a pattern.
fn sample_type(wanted: &str) -> &str {
    match wanted.strip_suffix('*') {
        None => wanted,
        Some("account.") => "account.created",
        Some("domain.") => "domain.verified",
        Some("run.") => "run.failed",
        Some("plan.") => "plan.approved",
        Some("directory.") => "directory.unreachable",
        Some("digest.") => "digest.daily",
        Some("hook.") => "hook.dead_lettered",
        Some("store.") => "store.backed_up",
        Some("cluster.") => "cluster.led",
        Some("configuration.") => "configuration.reloaded",
        Some("operation.") => "operation.requested",
        Some(_) => "user.suspended",
    }
}
