//! Hooks as operators see them: how they do, a sample, what they were told, and telling it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::delivery::worker::HookAtWork;
use crate::engine::{Engine, EngineError};
use crate::hooks::{Attempt, Message, Target};
use crate::model::{Actor, Event, EventCause, EventId, Timestamp};
use crate::store::{Delivery, DeliveryFilter, HookStanding, LogHead, LogKeys, RemovedHook};

/// How one hook does.
#[derive(Debug, Clone)]
pub struct HookStatus {
    /// Its name.
    pub name: String,
    /// Which events it is told.
    pub events: Vec<String>,
    /// The program, or the server without what may be secret of its address.
    pub target: String,
    /// One of [`HOOK_STATES`].
    pub state: &'static str,
    /// How its deliveries stand.
    pub standing: HookStanding,
    /// How long the oldest delivery that is not done has been waiting.
    pub lag: Duration,
    /// Of one that is configured no longer: until when its deliveries are kept.
    pub kept_until: Option<Timestamp>,
}

/// The states a hook can be in: what it was last told it took; it did not; its address is gone for good; it is configured
/// no longer.
pub const HOOK_STATES: [&str; 4] = ["ok", "failing", "disabled", REMOVED];

const REMOVED: &str = "removed";

/// What came of a sample.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The event's id.
    pub event: EventId,
    /// Its type.
    pub kind: String,
    /// What the hook made of it.
    pub attempt: Attempt,
    /// How long it took.
    pub took: Duration,
}

impl Engine {
    /// Chains the event log with these keys from now on. The first entry with a key says so.
    pub async fn key_log(&self, keys: LogKeys) -> Result<(), EngineError> {
        let cause =
            EventCause { actor: Actor::rosterd(), run: None, account: None, at: self.clock.now() };
        let mark = |head: LogHead| {
            Event::about(
                "log.keyed",
                "log",
                &cause,
                Value::Null,
                json!({ "keyed_from": head.seq + 1 }),
            )
        };
        if let Some(head) = self.store.chain_with(keys, mark, &self.clock).await? {
            tracing::info!(log_head = %head, "the event log is chained with a key from entry {} on", head.seq + 1);
        }
        Ok(())
    }

    /// The hook of this name.
    pub fn hook(&self, name: &str) -> Result<Arc<HookAtWork>, EngineError> {
        self.hooks()
            .get(name)
            .cloned()
            .ok_or_else(|| EngineError::NotFound { what: "hook", name: name.to_owned() })
    }

    /// How all hooks do; those that are configured no longer and left deliveries behind come last.
    pub async fn hook_statuses(&self) -> Result<Vec<HookStatus>, EngineError> {
        let mut all = Vec::new();
        for hook in self.hooks().values() {
            let standing = self.store.hook_standing(&hook.config.name).await?;
            let state =
                match (self.is_gone(hook).await?, hook.work.failures.load(Ordering::Relaxed)) {
                    (true, _) => "disabled",
                    (false, 1..) => "failing",
                    (false, 0) => "ok",
                };
            let (name, events, lag) =
                (hook.config.name.clone(), hook.config.events.clone(), self.lag(&standing));
            all.push(HookStatus {
                name,
                events,
                target: target(&hook.config.target),
                state,
                standing,
                lag,
                kept_until: None,
            });
        }
        for RemovedHook { name, kept_until } in self.store.removed_hooks().await? {
            let standing = self.store.hook_standing(&name).await?;
            // Nobody misses one that has nothing left to do; and one that came back this moment is above.
            if standing.pending + standing.failed > 0 && !self.hooks().contains_key(&name) {
                let (lag, kept_until) = (self.lag(&standing), Some(kept_until));
                all.push(HookStatus {
                    name,
                    events: Vec::new(),
                    target: String::new(),
                    state: REMOVED,
                    standing,
                    lag,
                    kept_until,
                });
            }
        }
        Ok(all)
    }

    fn lag(&self, standing: &HookStanding) -> Duration {
        standing.oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest))
    }

    /// Sends a hook a sample, clearly marked as one, and past everything else that it is to be told.
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
            attempt = self.tell(&hook.config, &message) => attempt,
        };
        tracing::info!(hook = name, "hook {name}: {actor} sent it a sample");
        Ok(Sampled { event, kind, attempt, took: self.clock.now().since(began) })
    }

    /// The latest deliveries of a hook, also of one that is configured no longer.
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

    /// Delivers again what was given up, or what the filter names; a hook whose address was gone is asked again.
    pub async fn redeliver(
        &self,
        name: &str,
        filter: &DeliveryFilter,
        actor: &Actor,
    ) -> Result<u64, EngineError> {
        let hook = self.hook(name)?;
        self.store.note_gone(&hook.config.name, None).await?;
        let count = self.store.redeliver(&hook.config.name, filter, self.clock.now()).await?;
        tracing::info!(hook = name, "hook {name}: {actor} has {count} deliveries made again");
        Ok(count)
    }

    /// Tells a hook everything it wants to know since then, whether it was told before or not.
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
            "hook {name}: {actor} has it told everything since {since}: {count} deliveries"
        );
        Ok(count)
    }
}

/// The program, or the server: the path of an address may be what lets somebody post there.
fn target(target: &Target) -> String {
    match target {
        Target::Exec(program) => program.path.display().to_string(),
        Target::Webhook(server) => format!("{}/…", server.url.origin().ascii_serialization()),
    }
}

/// The type that a sample for a hook that wants these events has.
fn sample_type(wanted: &str) -> &str {
    match wanted.strip_suffix('*') {
        None => wanted,
        Some("account.") => "account.created",
        Some("domain.") => "domain.verified",
        Some("run.") => "run.failed",
        Some("plan.") => "plan.approved",
        Some("directory.") => "directory.unreachable",
        Some("hook.") => "hook.dead_lettered",
        Some("store.") => "store.backed_up",
        Some("configuration.") => "configuration.reloaded",
        Some("operation.") => "operation.requested",
        Some(_) => "user.suspended",
    }
}
