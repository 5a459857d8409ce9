//! The daemon: wiring, readiness and shutdown. Holds no logic of its own.

mod check;
mod notify;
mod reload;
mod runner;
mod settings;
mod signals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::control::{self, Callers};
use crate::engine::{DirectoryConfig, Engine, EngineError, Rules};
use crate::hooks::{Hook, Runner};
use crate::store::{LogKeys, Store, StoreError};

pub use check::check_directory;
pub use reload::Reload;
pub use runner::{Orders, confine, run_hooks};
pub use settings::setup;
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
    /// What holds for all directories.
    pub rules: Rules,
    /// Where Prometheus finds the metrics, besides the control socket.
    pub metrics: Option<SocketAddr>,
    /// The directories.
    pub directories: Vec<DirectoryConfig>,
    /// The hooks.
    pub hooks: Vec<Hook>,
    /// Where their programs are run.
    pub runner: RunnerAt,
    /// The file of the event log's keys.
    pub log_keys: Option<PathBuf>,
}

/// Where the programs of hooks and gates are run. A reload does not change it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RunnerAt {
    /// In this process; for tests and demonstrations, which have no executable of their own to start.
    #[default]
    Here,
    /// In a child process, by the programs of this configuration file.
    Child(PathBuf),
    /// In the service that listens on `socket`.
    Service {
        /// The path of its socket.
        socket: PathBuf,
        /// The configuration file, as the service knows it, too.
        configuration: PathBuf,
    },
}

impl From<RunnerAt> for Runner {
    fn from(at: RunnerAt) -> Self {
        match at {
            RunnerAt::Here => Self::default(),
            RunnerAt::Child(configuration) => Self::child(configuration),
            RunnerAt::Service { socket, configuration } => Self::service(socket, configuration),
        }
    }
}

/// Why the daemon could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket, or the port of the metrics.
    #[error(transparent)]
    Control(#[from] control::ServeError),
    /// A use case.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It was asked for by this name.
    #[error("no directory \"{0}\" is configured")]
    NoDirectory(String),
    /// The store is its.
    #[error("rosterd is running, and knows more: use rosterctl directory check")]
    Running,
    /// The keys of the event log.
    #[error("the keys of the event log cannot be read from {file}: {error}")]
    LogKeys {
        /// The file of the keys.
        file: PathBuf,
        /// The error of reading it.
        error: std::io::Error,
    },
    /// The hook runner could not start.
    #[error("the hook runner cannot start: {0}")]
    HookRunner(String),
    /// A part that has to run all the time ended by itself.
    #[error("{0} ended unexpectedly; rosterd stops rather than go on without it")]
    Ended(&'static str),
}

/// The parts at work.
struct Daemon {
    engine: Arc<Engine>,
    callers: Arc<Callers>,
    read: reload::Read,
    store_url: String,
    socket: PathBuf,
    metrics: Option<SocketAddr>,
    parts: JoinSet<Result<(), DaemonError>>,
    stop: CancellationToken,
}

/// Reads the keys of the event log.
fn keys_of(file: Option<&Path>) -> Result<LogKeys, DaemonError> {
    let Some(file) = file else { return Ok(LogKeys::default()) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| DaemonError::LogKeys { file: file.to_owned(), error })?;
    Ok(LogKeys::of(&text))
}

/// Runs until `stop`. `on_ready` is called when the socket answers: an unreachable directory is no failed start.
pub async fn run(
    setup: Setup,
    reload: Reload,
    clock: Clock,
    stop: CancellationToken,
    on_ready: impl FnOnce(),
) -> Result<(), DaemonError> {
    let store = Arc::new(Store::open(&setup.store).await?);
    let cut = store.cancel_cut_runs(clock.now()).await?;
    if cut > 0 {
        tracing::warn!(
            "runs that were cut off when rosterd last ended: {cut}; the next ones do the rest"
        );
    }
    let listening = control::bind(&setup.control.socket).await?;
    let port = match setup.metrics {
        Some(address) => Some(control::bind_port(address).await?),
        None => None,
    };
    let Setup { store: store_url, control, rules, metrics, directories, hooks, runner, log_keys } =
        setup;
    let Reload { read, reloader, mut asked } = reload;
    let engine = Engine::new(Arc::clone(&store), clock, directories, rules, stop.clone())
        .with_runner(runner.into());
    let engine = Arc::new(engine);
    engine.reconfigure_hooks(hooks);
    engine.key_log(keys_of(log_keys.as_deref())?).await?;
    engine.end_leftovers();
    let callers = Arc::new(Callers::new(&control));
    let mut daemon = Daemon {
        engine,
        callers,
        read,
        store_url,
        socket: control.socket,
        metrics,
        parts: JoinSet::new(),
        stop,
    };

    let (asked_on, callers) = (Arc::clone(&daemon.engine), Arc::clone(&daemon.callers));
    daemon.keep("the control socket", |until| async move {
        Ok(control::serve(listening, asked_on, callers, reloader, until).await?)
    });
    if let Some(port) = port {
        let shown = Arc::clone(&daemon.engine);
        daemon.keep("the port of the metrics", |until| async move {
            control::export(port, shown, until).await;
            Ok(())
        });
    }
    let claims = Arc::clone(&daemon.engine);
    daemon.keep("the check of pending claims", |_| async move {
        claims.keep_claims().await;
        Ok(())
    });
    let reminding = Arc::clone(&daemon.engine);
    daemon.keep("what operators are told again", |_| async move {
        reminding.keep_reminding().await;
        Ok(())
    });
    let reporting = Arc::clone(&daemon.engine);
    daemon.keep("sign-in-reports", |_| async move {
        reporting.keep_reporting_sign_ins().await;
        Ok(())
    });
    let forgetting = Arc::clone(&daemon.engine);
    daemon.keep("retention", |_| async move {
        forgetting.keep_retention().await;
        Ok(())
    });
    let remembered = Arc::clone(&daemon.engine);
    daemon.keep("the memory of removed hooks", |_| async move {
        remembered.keep_removed_hooks().await;
        Ok(())
    });
    daemon.keep_directories();
    daemon.keep_hooks();
    let told = Arc::clone(&daemon.engine);
    daemon.keep("the word to systemd", |until| async move {
        notify::keep_telling(told, until).await;
        Ok(())
    });
    notify::tell(&[NotifyState::Ready]);
    on_ready();
    let directories = daemon
        .engine
        .configured()
        .directories
        .keys()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    tracing::info!("rosterd {} is ready: directories {directories}", env!("CARGO_PKG_VERSION"));

    // A part may be done (a directory is configured no longer). One that fails takes the daemon with it: no ghost that
    // answers status and syncs nobody.
    let outcome = loop {
        tokio::select! {
            () = daemon.stop.cancelled() => break Ok(()),
            Some(ask) = asked.recv() => daemon.reload(ask).await,
            ended = daemon.parts.join_next() => match ended {
                Some(Ok(Ok(()))) | None => {}
                Some(Ok(Err(error))) => break Err(error),
                Some(Err(panic)) => {
                    tracing::error!("a part of rosterd panicked: {panic}");
                    break Err(DaemonError::Ended("a part of rosterd"));
                }
            },
        }
    };
    notify::tell(&[NotifyState::Stopping]);
    daemon.stop.cancel();
    if tokio::time::timeout(DRAIN, async { while daemon.parts.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::warn!("not everything ended in time; what was under way is rolled back");
        daemon.parts.shutdown().await;
    }
    store.close().await;
    tracing::info!("rosterd has stopped");
    outcome
}

impl Daemon {
    /// Has a part run until the daemon stops. That it ends earlier is an error.
    fn keep<F>(&mut self, what: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), DaemonError>> + Send + 'static,
    {
        let stop = self.stop.clone();
        let running = part(stop.clone());
        self.parts.spawn(async move {
            running.await?;
            if stop.is_cancelled() { Ok(()) } else { Err(DaemonError::Ended(what)) }
        });
    }

    /// Has every directory kept that is not kept yet.
    fn keep_directories(&mut self) {
        for directory in self.engine.configured().directories.values() {
            if directory.claim_task() {
                let (engine, directory) = (Arc::clone(&self.engine), Arc::clone(directory));
                self.parts.spawn(async move {
                    engine.run_triggers(Arc::clone(&directory)).await;
                    if directory.cancel_token().is_cancelled() {
                        Ok(())
                    } else {
                        Err(DaemonError::Ended("a directory's schedule"))
                    }
                });
            }
        }
    }

    /// Has every hook told that is not told yet.
    fn keep_hooks(&mut self) {
        for hook in self.engine.hooks().values() {
            if hook.claim_task() {
                let (engine, hook) = (Arc::clone(&self.engine), Arc::clone(hook));
                self.parts.spawn(async move {
                    engine.run_deliveries(Arc::clone(&hook)).await;
                    if hook.cancel_token().is_cancelled() {
                        Ok(())
                    } else {
                        Err(DaemonError::Ended("the deliveries of a hook"))
                    }
                });
            }
        }
    }
}
