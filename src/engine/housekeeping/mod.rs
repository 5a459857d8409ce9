//! The periodic tasks of the engine, four of which are here: retention, reminders, the daily digest and
//! server checks.
//! Also the keys of the event log, and commits that it lacks.

mod digest;
mod log_keys;
mod lost_commits;
pub(super) mod reminders;
pub(super) mod retention;
pub(super) mod server_checks;

use std::pin::Pin;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::admin::domains::ClaimCheck;
use crate::engine::delivery::removed_hooks::RemovedHooks;
use crate::engine::periodic::Periodic;
use crate::engine::sign_in::SignInReports;

pub use lost_commits::LOSS_ACCEPTED;

use digest::DailyDigest;
use reminders::Reminders;
use retention::RetentionTask;
use server_checks::ServerChecks;

/// A task that ends when the daemon stops.
pub type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Engine {
    /// Returns the periodic tasks of the engine, each with its name.
    pub fn periodic_tasks(self: &Arc<Self>) -> Vec<(&'static str, TaskFuture)> {
        fn of(engine: &Arc<Engine>, task: impl Periodic + 'static) -> (&'static str, TaskFuture) {
            (task.name(), Box::pin(Arc::clone(engine).drive(task)))
        }
        vec![
            of(self, ClaimCheck::new(self)),
            of(self, Reminders::new(self)),
            of(self, DailyDigest::new(self)),
            of(self, RetentionTask::new(self)),
            of(self, RemovedHooks::new(self)),
            of(self, ServerChecks::new(self)),
            of(self, SignInReports::new(self)),
        ]
    }
}
