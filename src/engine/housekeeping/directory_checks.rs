//! Checks directories on each node of a shared store, so that a term goes to a node that can read them.
//!
//! The runs of a leader show whether it can. It checks a directory only after a run failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::periodic::Periodic;
use crate::engine::{Engine, EngineError, Health};
use crate::model::Leader;

/// Time between two rounds while all directories can be read.
const PERIOD: Duration = Duration::from_mins(5);

/// Time between two rounds while one cannot.
const RETRY: Duration = Duration::from_secs(20);

/// The periodic task that checks the directories of a node.
pub(in crate::engine) struct DirectoryChecks {
    engine: Arc<Engine>,
    /// A former leader checks at once.
    leader: watch::Receiver<Option<Leader>>,
    is_failing: bool,
}

impl DirectoryChecks {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        let leader = engine.watch_leader();
        Self { engine: Arc::clone(engine), leader, is_failing: false }
    }
}

impl Periodic for DirectoryChecks {
    fn name(&self) -> &'static str {
        "directory-checks"
    }

    fn period(&self) -> Duration {
        if self.is_failing { RETRY } else { PERIOD }
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        self.is_failing = self.engine.check_directories().await?;
        Ok(())
    }

    async fn woken(&mut self) {
        if self.leader.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Engine {
    /// Checks the directories that no run reads here. Returns whether one cannot be read.
    async fn check_directories(&self) -> Result<bool, EngineError> {
        let configured = self.configured();
        for (name, directory) in configured.directories.iter() {
            let is_read = !matches!(*directory.work.health.borrow(), Health::Failing(_));
            if self.leads() && is_read {
                self.note_reach(name, None);
            } else {
                self.check_directory(name.as_str()).await?;
            }
        }
        Ok(self.cannot_read())
    }
}
