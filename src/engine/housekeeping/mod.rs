//! The periodic tasks of the engine, four of which are here: retention, reminders, the daily digest and
//! server checks.
//! Also the keys of the event log, and commits that it lacks.

mod digest;
mod directory_checks;
mod log_keys;
mod lost_commits;
pub(super) mod reminders;
pub(super) mod retention;
pub(super) mod server_checks;

use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::engine::admin::domains::ClaimCheck;
use crate::engine::delivery::removed_hooks::RemovedHooks;
use crate::engine::periodic::Periodic;
use crate::engine::sign_in::SignInReports;

pub use lost_commits::LOSS_ACCEPTED;

use digest::DailyDigest;
use directory_checks::DirectoryChecks;
use reminders::Reminders;
use retention::RetentionTask;
use server_checks::ServerChecks;

/// A task that ends when the daemon stops.
pub type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Engine {
    /// Returns the periodic tasks of the leader, each with its name. They end with the term.
    pub fn periodic_tasks(
        self: &Arc<Self>,
        term: &CancellationToken,
    ) -> Vec<(&'static str, TaskFuture)> {
        vec![
            of(self, ClaimCheck::new(self), term),
            of(self, Reminders::new(self), term),
            of(self, DailyDigest::new(self), term),
            of(self, RetentionTask::new(self), term),
            of(self, RemovedHooks::new(self), term),
        ]
    }

    /// Returns the periodic tasks of each node, with their names. They end with the daemon.
    pub fn lasting_tasks(self: &Arc<Self>) -> Vec<(&'static str, TaskFuture)> {
        let mut tasks = vec![
            of(self, ServerChecks::new(self), &self.stop),
            of(self, SignInReports::new(self), &self.stop),
        ];
        if self.shares_store() {
            tasks.push(of(self, DirectoryChecks::new(self), &self.stop));
        }
        tasks
    }
}

fn of(
    engine: &Arc<Engine>,
    task: impl Periodic + 'static,
    until: &CancellationToken,
) -> (&'static str, TaskFuture) {
    (task.name(), Box::pin(Arc::clone(engine).drive_until(task, until.clone())))
}
