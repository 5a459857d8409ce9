//! The daemon: wiring, readiness and shutdown, without logic of its own.

mod check;
mod copy;
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
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::control::{self, Callers};
use crate::engine::{Claimed, DirectoryConfig, Engine, EngineError, Rules, TargetConfig, Term};
use crate::hooks::{Hook, Runner};
use crate::model::{Sharing, StoreAt};
use crate::store::{CopyError, LogKeys, Store, StoreError};
use crate::telemetry::chain;

pub use check::{check_directory, check_target, store_warning};
pub use copy::{StoreFiles, copy_store};
pub use reload::Reload;
pub use runner::{Orders, confine, run_hooks};
pub use settings::setup;
pub use signals::watch_signals;

/// The reason of no answers before the first one of a database server.
const STARTING: &str =
    "rosterd is starting, and connects to its store: nothing was done; ask again in a moment";

/// Time limit of the shutdown. Transactions still open are rolled back; the next run repeats them.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Setup {
    pub store: StoreAt,
    pub control: control::Settings,
    pub rules: Rules,
    /// The address of the metrics, which the control socket serves as well.
    pub metrics: Option<SocketAddr>,
    pub directories: Vec<DirectoryConfig>,
    pub hooks: Vec<Hook>,
    pub targets: Vec<TargetConfig>,
    pub runner: RunnerAt,
    /// The file of the event log's keys.
    pub log_keys: Option<PathBuf>,
    /// The folder of the daemon's state (STATE_DIRECTORY of systemd).
    pub state: Option<PathBuf>,
    /// The part of this rosterd in sharing the store.
    pub cluster: Sharing,
}

/// The process that runs the programs of hooks and gates. A reload does not change it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RunnerAt {
    /// This process, for tests and demonstrations, which have no executable to start.
    #[default]
    Here,
    /// A child process, which reads the programs from this configuration file.
    Child(PathBuf),
    /// The service that listens on `socket`.
    Service {
        socket: PathBuf,
        /// The path of the configuration file, which is the same for the service.
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

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Copy(#[from] Box<CopyError>),
    /// The control socket, or the port of the metrics.
    #[error(transparent)]
    Control(#[from] control::ServeError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("no directory \"{0}\" is configured")]
    NoDirectory(String),
    #[error("no target \"{0}\" is configured")]
    NoTarget(String),
    /// A running daemon has the store open.
    #[error("rosterd is running: use rosterctl directory check")]
    Running,
    #[error("cannot read the keys of the event log from {file}: {error}")]
    LogKeys { file: PathBuf, error: std::io::Error },
    #[error("hook runner failed to start: {0}")]
    HookRunner(String),
    /// A task returned before the daemon was stopped.
    #[error("background task `{0}` exited unexpectedly; shutting down")]
    TaskExited(String),
    #[error("background task panicked: {0}; shutting down")]
    TaskPanicked(String),
}

impl DaemonError {
    /// Returns whether only another configuration helps.
    pub fn is_about_configuration(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Pooled) | Self::Engine(EngineError::Store(StoreError::Keyless))
        )
    }
}

struct Daemon {
    engine: Arc<Engine>,
    callers: Arc<Callers>,
    read: reload::Read,
    store_at: StoreAt,
    /// The file of the event log's keys.
    log_keys: Option<PathBuf>,
    /// Whether the store is ready, so that the tasks of each node run.
    is_open: bool,
    /// The term that was opened, so that the tasks of the leader run. It may have ended.
    term: Option<Term>,
    cluster: Sharing,
    socket: PathBuf,
    metrics: Option<SocketAddr>,
    tasks: JoinSet<Result<(), DaemonError>>,
    stop: CancellationToken,
}

fn read_keys(file: Option<&Path>) -> Result<LogKeys, DaemonError> {
    let Some(file) = file else { return Ok(LogKeys::default()) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| DaemonError::LogKeys { file: file.to_owned(), error })?;
    Ok(LogKeys::of(&text))
}

/// Runs until `stop`. Calls `on_ready` when the control socket answers, even while a directory
/// cannot be reached.
pub async fn run(
    setup: Setup,
    reload: Reload,
    clock: Clock,
    stop: CancellationToken,
    on_ready: impl FnOnce(),
) -> Result<(), DaemonError> {
    let store = Arc::new(Store::shared(&setup.store, setup.cluster.lease)?);
    if let Some(folder) = &setup.state {
        store.note_head_in(folder);
        store.note_lease_in(folder);
    }
    store.use_log_keys(read_keys(setup.log_keys.as_deref())?);
    if store.is_remote() {
        store.note_outage(Some(STARTING.to_owned()));
    } else {
        store.prepare().await?;
    }
    let listening = control::bind(&setup.control.socket).await?;
    let port = match setup.metrics {
        Some(address) => Some(control::bind_port(address).await?),
        None => None,
    };
    let Setup {
        store: store_at,
        control,
        rules,
        metrics,
        directories,
        hooks,
        targets,
        runner,
        log_keys,
        state: _,
        cluster,
    } = setup;
    let Reload { read, reloader, mut asked } = reload;
    let engine = Engine::new(Arc::clone(&store), clock, directories, rules, stop.clone())
        .with_runner(runner.into());
    let engine = if store.is_remote() { engine.with_cluster(cluster.clone()) } else { engine };
    let engine = Arc::new(engine);
    engine.reconfigure_hooks(hooks);
    engine.reconfigure_targets(targets);
    let callers = Arc::new(Callers::new(&control));
    let mut daemon = Daemon {
        engine,
        callers,
        read,
        store_at,
        log_keys,
        is_open: false,
        term: None,
        cluster,
        socket: control.socket,
        metrics,
        tasks: JoinSet::new(),
        stop,
    };

    let (asked_on, callers) = (Arc::clone(&daemon.engine), Arc::clone(&daemon.callers));
    daemon.spawn("control-socket", |until| async move {
        Ok(control::serve(listening, asked_on, callers, reloader, until).await?)
    });
    if let Some(port) = port {
        let shown = Arc::clone(&daemon.engine);
        daemon.spawn("metrics", |until| async move {
            control::export(port, shown, until).await;
            Ok(())
        });
    }
    let opened = Arc::new(Notify::new());
    let (told, mut terms) = watch::channel(None);
    // Beats go on until the last task of the term has ended.
    let parted = CancellationToken::new();
    let mut sharing = tokio::spawn({
        let (engine, opened) = (Arc::clone(&daemon.engine), Arc::clone(&opened));
        engine.share_store(opened, told, parted.clone())
    });
    if !store.is_remote() {
        daemon.open();
        daemon.begin_term(daemon.engine.only_term()).await?;
    }
    let engine = Arc::clone(&daemon.engine);
    let status = notify::SystemdStatus::new(Arc::clone(&engine));
    daemon.spawn("sd-notify", |_| async move {
        engine.drive(status).await;
        Ok(())
    });
    notify::send(&[NotifyState::Ready]);
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

    // A task ends without an error when its directory or hook is removed. An error ends the daemon,
    // because a daemon that answers `status` must not be one that no longer syncs.
    let outcome = loop {
        tokio::select! {
            () = daemon.stop.cancelled() => break Ok(()),
            () = opened.notified(), if !daemon.is_open => {
                daemon.open();
            }
            Ok(()) = terms.changed() => {
                let term = terms.borrow_and_update().clone();
                if let Some(term) = term
                    && let Err(error) = daemon.begin_term(term).await
                {
                    if matches!(&error, DaemonError::Store(error) if error.is_final()) {
                        break Err(error);
                    }
                    tracing::error!("term could not begin: {}", chain(&error));
                    daemon.engine.give_up_term().await;
                }
            }
            ended = &mut sharing, if store.is_remote() => break match ended {
                Ok(Ok(())) => Err(DaemonError::TaskExited("cluster".to_owned())),
                Ok(Err(error)) => Err(error.into()),
                Err(panic) => Err(DaemonError::TaskPanicked(panic.to_string())),
            },
            Some(ask) = asked.recv() => daemon.reload(ask).await,
            ended = daemon.tasks.join_next() => match ended {
                Some(Ok(Ok(()))) | None => {}
                Some(Ok(Err(error))) => break Err(error),
                Some(Err(panic)) => {
                    break Err(DaemonError::TaskPanicked(panic.to_string()));
                }
            },
        }
    };
    if matches!(outcome, Err(DaemonError::Store(StoreError::Rewound)))
        && let Err(error) = daemon.engine.settle_lost_commits().await
    {
        tracing::error!("the next start tells what was lost: {}", chain(&error));
    }
    notify::send(&[NotifyState::Stopping]);
    daemon.stop.cancel();
    if tokio::time::timeout(DRAIN, async { while daemon.tasks.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::warn!("shutdown timed out after {DRAIN:?}; open transactions are rolled back");
        daemon.tasks.shutdown().await;
    }
    parted.cancel();
    store.resign().await;
    store.close().await;
    tracing::info!("rosterd stopped");
    outcome
}

impl Daemon {
    /// Starts a background task, which must run until the daemon stops.
    fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), DaemonError>> + Send + 'static,
    {
        let stop = self.stop.clone();
        let running = task(stop.clone());
        self.tasks.spawn(async move {
            running.await?;
            if stop.is_cancelled() { Ok(()) } else { Err(DaemonError::TaskExited(name.to_owned())) }
        });
    }

    /// Ends what a former process left, and starts the tasks of each node. The store is ready.
    fn open(&mut self) {
        self.is_open = true;
        self.engine.end_leftovers();
        for (name, task) in self.engine.lasting_tasks() {
            self.spawn(name, |_| async move {
                task.await;
                Ok(())
            });
        }
    }

    /// Starts the tasks of a term, which end with it.
    async fn begin_term(&mut self, term: Term) -> Result<(), DaemonError> {
        self.term = None;
        tokio::select! {
            done = self.engine.store.migrate() => done?,
            () = term.token.cancelled() => return Err(StoreError::NotLeader.into()),
        }
        if !self.is_open {
            self.open();
        }
        self.engine.settle_lost_commits().await?;
        self.engine.key_log(read_keys(self.log_keys.as_deref())?).await?;
        self.engine.open_term(&term).await?;
        for (_, task) in self.engine.periodic_tasks(&term.token) {
            self.tasks.spawn(async move {
                task.await;
                Ok(())
            });
        }
        self.term = Some(term);
        self.spawn_all();
        Ok(())
    }

    /// Starts the tasks of all entries of the opened term that have none.
    fn spawn_all(&mut self) {
        let Some(term) = &self.term else { return };
        let Claimed { directories, hooks, targets } = self.engine.claim_tasks(term);
        for directory in directories {
            let name = format!("directory {}", directory.config.name);
            let until = directory.cancel_token().clone();
            let engine = Arc::clone(&self.engine);
            self.spawn_entry(name, until, async move { engine.run_triggers(directory).await });
        }
        for hook in hooks {
            let name = format!("hook {}", hook.config.name);
            let until = hook.cancel_token().clone();
            let engine = Arc::clone(&self.engine);
            self.spawn_entry(name, until, async move { engine.run_deliveries(hook).await });
        }
        for target in targets {
            let name = format!("target {}", target.config.name);
            let until = target.cancel_token().clone();
            let engine = Arc::clone(&self.engine);
            self.spawn_entry(name, until, async move { engine.follow_users(target).await });
        }
    }

    /// Starts the task of an entry, which must run until `until`.
    fn spawn_entry(
        &mut self,
        name: String,
        until: CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            task.await;
            if until.is_cancelled() { Ok(()) } else { Err(DaemonError::TaskExited(name)) }
        });
    }
}
