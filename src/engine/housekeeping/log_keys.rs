//! The keys of the event log's chain.

use serde_json::{Value, json};

use crate::engine::{Engine, EngineError};
use crate::model::{Actor, Event, EventCause};
use crate::store::{LogHead, LogKeys};

impl Engine {
    /// Chains the event log with these keys from now on. The first keyed entry is an event that
    /// says so.
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
            tracing::info!(log_head = %head, "event log is keyed from entry {}", head.seq + 1);
        }
        Ok(())
    }
}
