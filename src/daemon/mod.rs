//! The daemon: wiring, readiness and shutdown. Holds no logic of its own.

mod settings;
mod signals;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::control;
use crate::dns::Resolver;
use crate::engine::{DirectoryConfig, Engine};
use crate::model::Domain;
use crate::store::{Store, StoreError};

pub use settings::{checks, setup};
pub use signals::watch_signals;

/// What is not finished by then is rolled back: the next run's plan is the rest.
const DRAIN: Duration = Duration::from_secs(5);

/// Everything the daemon is told, checked.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `sqlite:///path/to/rosterd.db`.
    pub store: String,
    /// The control socket.
    pub control: control::Settings,
    /// Who answers DNS questions.
    pub resolver: Resolver,
    /// Domains whose claim needs no record.
    pub trusted: BTreeSet<Domain>,
    /// The directories.
    pub directories: Vec<DirectoryConfig>,
}

/// Why the daemon could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket.
    #[error(transparent)]
    Control(#[from] control::ServeError),
    /// A part that has to run all the time ended by itself.
    #[error("{0} ended unexpectedly; rosterd stops rather than go on without it")]
    Ended(&'static str),
}

/// Runs until `stop`. `on_ready` is called when the socket answers: an unreachable directory is no failed start.
pub async fn run(setup: Setup, clock: Clock, stop: CancellationToken, on_ready: impl FnOnce()) -> Result<(), DaemonError> {
    let store = Arc::new(Store::open(&setup.store).await?);
    let cut = store.cancel_cut_runs(clock.now()).await?;
    if cut > 0 {
        tracing::warn!(runs = cut, "runs that were cut off are over; the next ones do the rest");
    }
    let listening = control::bind(&setup.control.socket).await?;
    let engine = Arc::new(Engine::new(Arc::clone(&store), clock, setup.directories, setup.trusted, setup.resolver, stop.clone()));

    // A part that dies takes the daemon with it: no ghost that answers status and syncs nobody.
    let mut parts: JoinSet<Result<(), DaemonError>> = JoinSet::new();
    let (socket, asked, until) = (setup.control, Arc::clone(&engine), stop.clone());
    parts.spawn(async move {
        control::serve(listening, asked, &socket, until.clone()).await?;
        ended(&until, "the control socket")
    });
    for directory in engine.directories.values() {
        let (engine, directory, until) = (Arc::clone(&engine), Arc::clone(directory), stop.clone());
        parts.spawn(async move {
            engine.keep(directory).await;
            ended(&until, "a directory's schedule")
        });
    }
    let (claims, until) = (Arc::clone(&engine), stop.clone());
    parts.spawn(async move {
        claims.keep_claims().await;
        ended(&until, "the check of pending claims")
    });
    on_ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), directories = engine.directories.len(), "rosterd is ready");

    let mut outcome = Ok(());
    while let Some(part) = parts.join_next().await {
        let result = part.unwrap_or_else(|panic| {
            tracing::error!(error = %panic, "a part of rosterd panicked");
            Err(DaemonError::Ended("a part of rosterd"))
        });
        if outcome.is_ok() {
            outcome = result;
        }
        stop.cancel();
        if tokio::time::timeout(DRAIN, async { while parts.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("not everything ended in time; what was under way is rolled back");
            parts.shutdown().await;
        }
    }
    store.close().await;
    tracing::info!("rosterd has stopped");
    outcome
}

fn ended(stop: &CancellationToken, what: &'static str) -> Result<(), DaemonError> {
    if stop.is_cancelled() { Ok(()) } else { Err(DaemonError::Ended(what)) }
}
