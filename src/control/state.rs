//! State that the handlers share.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::auth::peer::Callers;
use super::metrics::Metrics;
use super::problem::Refusal;
use super::reloader::Reloader;
use crate::engine::Engine;
use crate::model::{AccountId, Handle};

/// Concurrent plans and checks. Each plan reads a whole directory.
const PLANS: usize = 2;

/// State of one socket.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) engine: Arc<Engine>,
    pub(super) plans: Semaphore,
    pub(super) reloader: Reloader,
    pub(super) metrics: Metrics,
    pub(super) callers: Arc<Callers>,
    /// Changes that operators requested and that are not finished.
    pub(super) changing: TaskTracker,
    /// Handles by account id. An entry never becomes stale, because a handle is immutable.
    handles: RwLock<BTreeMap<AccountId, Handle>>,
}

impl Control {
    pub(super) fn new(engine: Arc<Engine>, callers: Arc<Callers>, reloader: Reloader) -> Self {
        Self {
            metrics: Metrics::new(Arc::clone(&engine)),
            engine,
            plans: Semaphore::new(PLANS),
            reloader,
            callers,
            changing: TaskTracker::new(),
            handles: RwLock::default(),
        }
    }

    /// Returns the handles of at least these accounts.
    pub(super) async fn handles(
        &self,
        wanted: impl IntoIterator<Item = AccountId>,
    ) -> Result<BTreeMap<AccountId, Handle>, Refusal> {
        {
            let known = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            if wanted.into_iter().all(|id| known.contains_key(&id)) {
                return Ok(known.clone());
            }
        }
        let all: BTreeMap<_, _> =
            self.engine.store.accounts().await?.into_iter().map(|a| (a.id, a.handle)).collect();
        self.handles.write().unwrap_or_else(PoisonError::into_inner).clone_from(&all);
        Ok(all)
    }
}

/// Returns the handle of the account.
pub(super) fn handle(
    handles: &BTreeMap<AccountId, Handle>,
    id: AccountId,
) -> Result<&Handle, Refusal> {
    handles.get(&id).ok_or_else(|| Refusal::not_found("account", &id.to_string()))
}
