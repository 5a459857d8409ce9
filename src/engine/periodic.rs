//! Periodic tasks: one driver repeats an idempotent function for as long as the daemon runs.
//!
//! Each round reads the due work from the store. So the next round makes up for one that failed or
//! crashed. The triggers of a directory and the deliveries of a hook are no periodic tasks. Events
//! wake them, their configuration ends them, and their next step depends on the last one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError};
use crate::store::StoreError;
use crate::telemetry::chain;

/// A function that is repeated.
pub trait Periodic: Send {
    /// Returns the name of the task, a noun.
    fn name(&self) -> &'static str;

    /// Returns the time from the end of a round to the beginning of the next.
    fn period(&self) -> Duration;

    /// Does what is due. Has to be idempotent.
    fn round(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Resolves when the next round is not to wait for the period.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Does what remains to be done when the daemon stops.
    fn last_round(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// The periodic tasks whose last round failed.
#[derive(Debug, Default)]
pub(in crate::engine) struct FailedTasks(Mutex<BTreeSet<&'static str>>);

impl FailedTasks {
    /// Notes how a round ended, and returns whether the task fails for the first time or recovers.
    fn note(&self, name: &'static str, has_failed: bool) -> bool {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if has_failed { failed.insert(name) } else { failed.remove(name) }
    }
}

impl Engine {
    /// Returns the names of the periodic tasks whose last round failed.
    pub fn failed_tasks(&self) -> BTreeSet<&'static str> {
        self.failed_tasks.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Repeats a task until the daemon stops. A round under way is not cut off.
    pub async fn drive(self: Arc<Self>, task: impl Periodic) {
        let until = self.stop.clone();
        self.drive_until(task, until).await;
    }

    /// Repeats a task until the end of a term, or of the daemon. A round under way is not cut off.
    pub(in crate::engine) async fn drive_until(
        self: Arc<Self>,
        mut task: impl Periodic,
        until: CancellationToken,
    ) {
        let name = task.name();
        while !until.is_cancelled() {
            let ended = task.round().await;
            let is_news = self.failed_tasks.note(name, ended.is_err());
            let period = task.period();
            match ended {
                Ok(()) if is_news => tracing::info!(task = name, "{name} has recovered"),
                // Another node has begun to lead in this round.
                Ok(()) | Err(EngineError::Store(StoreError::NotLeader)) => {}
                Err(error) => tracing::error!(
                    task = name,
                    "{name} failed: {}; the next attempt follows in {}",
                    chain(&error),
                    humantime::format_duration(period)
                ),
            }
            tokio::select! {
                () = until.cancelled() => {}
                () = task.woken() => {}
                () = sleep(period) => {}
            }
        }
        if let Err(error) = task.last_round().await {
            tracing::error!(task = name, "{name} failed at shutdown: {}", chain(&error));
        }
    }
}
