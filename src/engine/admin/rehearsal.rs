//! Rehearsals: an operation on a copy of the store shows its effect and changes nothing.

use std::sync::Arc;

use tokio_util::sync::DropGuard;

use crate::engine::{Engine, EngineError, Rules};
use crate::store::Scratch;

/// An engine over a copy of the store. Its end removes the copy.
#[derive(Debug)]
pub struct Rehearsal {
    pub engine: Arc<Engine>,
    copy: Scratch,
    _stop: DropGuard,
}

impl Engine {
    /// Returns an engine with the present configuration over a copy of the store.
    ///
    /// It reads directories and targets as this one does. No hook gets its events, no target its
    /// changes, and no gate its plans, because these act outside of the store.
    pub async fn rehearsal(&self) -> Result<Rehearsal, EngineError> {
        let copy = Scratch::copy_of(&self.store).await?;
        let configured = self.configured();
        let rules = Rules { gates: Vec::new(), ..configured.rules.clone() };
        let directories = configured.directories.values().map(|d| d.config.clone()).collect();
        let stop = self.stop.child_token();
        let store = Arc::clone(&copy.store);
        let engine = Self::new(store, self.clock.clone(), directories, rules, stop.clone());
        let targets = self.targets();
        engine.reconfigure_targets(targets.values().map(|target| target.config.clone()).collect());
        Ok(Rehearsal { engine: Arc::new(engine), copy, _stop: stop.drop_guard() })
    }
}

impl Rehearsal {
    /// Closes the copy before it is removed.
    pub async fn end(self) {
        self.copy.store.close().await;
    }
}
