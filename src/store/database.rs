//! The database: pools of connections, and the one transaction that writes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Transaction};
use tokio::sync::{Mutex, MutexGuard, watch};

use super::error::{Doing as _, StoreError};
use super::flavour::Flavour;
use super::head::{Added, Seen};
#[cfg(feature = "postgres")]
use super::hosts::{self, Hosts};
use super::lease::{self, Fence};
use super::log_keys::{LogHead, LogKeys};
use super::own_lease::OwnLease;
use super::sql::Sql;
use super::subscription::Follows;
use super::{event_watch, files, limits, schema};
use crate::model::{Actor, Sharing, StoreAt};
use crate::telemetry::Counters;
#[cfg(feature = "postgres")]
use crate::telemetry::chain;

#[derive(Debug)]
pub struct Store {
    /// The counters of this process. Store, engine and socket share them.
    pub counters: Counters,
    pub(super) readers: AnyPool,
    pub(super) writer: Mutex<AnyPool>,
    /// Whether the writer's connection commits without waiting for the disk. Read under the lock.
    writes_lightly: AtomicBool,
    pub(super) follows: RwLock<Arc<Follows>>,
    pub(super) log_keys: RwLock<LogKeys>,
    /// Counts the commits that wake waiting tasks.
    pub(super) news: watch::Sender<u64>,
    pub(super) flavour: Flavour,
    place: Place,
    /// The connection that tests whether a server answers.
    pub(super) watching: Mutex<Option<AnyConnection>>,
    pub(super) fence: RwLock<Fence>,
    pub(super) own_lease: std::sync::Mutex<Option<OwnLease>>,
    /// The end of the log that this process has seen committed.
    pub(super) seen: std::sync::Mutex<Seen>,
    /// The time for which a leader may be silent.
    pub(super) lease: Duration,
    /// The error of the last write, until a commit succeeds.
    write_error: std::sync::Mutex<Option<String>>,
    /// The reason why the store does not answer.
    outage: std::sync::Mutex<Option<String>>,
}

#[derive(Debug)]
enum Place {
    File {
        path: PathBuf,
        /// Held while the store is open, so that a second rosterd is refused.
        _lock: nix::fcntl::Flock<File>,
    },
    #[cfg(feature = "postgres")]
    Server(Hosts),
}

impl Place {
    fn flavour(&self) -> Flavour {
        match self {
            Self::File { .. } => Flavour::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Server(_) => Flavour::Postgres,
        }
    }
}

/// There is one writer on all machines, as there is one in a process. The transaction sees what was
/// committed before it had the lock, so no other one can make it fail.
#[cfg(feature = "postgres")]
const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE write_lock IN EXCLUSIVE MODE";
#[cfg(feature = "postgres")]
const BEGIN_LIGHTLY: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL synchronous_commit = off; LOCK TABLE write_lock IN EXCLUSIVE MODE";

/// KiB of pages in a reader's cache: enough for the inner nodes of a million people.
const READER_CACHE: u32 = 4 * 1024;

/// KiB of pages in the writer's cache: an import whose pages all fit takes half the time.
/// [`Store::end_bulk`] frees them.
const WRITER_CACHE: u32 = 32 * 1024;

impl Store {
    /// Opens the store of a URL, creating it if it is new, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_at(&StoreAt::parse(url).map_err(|_| StoreError::Url)?).await
    }

    /// Opens a store as [`Self::open`] does.
    pub async fn open_at(at: &StoreAt) -> Result<Self, StoreError> {
        let store = Self::at(at)?;
        store.prepare().await?;
        store.open_fence();
        store.adopt().await?;
        Ok(store)
    }

    /// Returns a store that is not connected yet: [`Self::prepare`] makes it ready.
    pub fn at(at: &StoreAt) -> Result<Self, StoreError> {
        Self::shared(at, Sharing::LEASE)
    }

    /// Returns a store that others share, whose leader may be silent for this time.
    pub fn shared(at: &StoreAt, lease: Duration) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let place = match at {
            StoreAt::File(path) => {
                let lock = files::lock(path)?;
                files::create(path)?;
                Place::File { path: path.clone(), _lock: lock }
            }
            #[cfg(feature = "postgres")]
            StoreAt::Server(server) => Place::Server(Hosts::of(server)),
            #[cfg(not(feature = "postgres"))]
            StoreAt::Server(_) => return Err(StoreError::Url),
        };
        let options = match &place {
            Place::File { path, .. } => {
                let url = format!("sqlite://{}?mode=rwc", path.display());
                url.parse().map_err(|_| StoreError::Url)?
            }
            #[cfg(feature = "postgres")]
            Place::Server(hosts) => hosts.options()?,
        };
        let flavour = place.flavour();
        Ok(Self {
            counters: Counters::default(),
            readers: pool(flavour, 4, READER_CACHE, lease, &options),
            writer: Mutex::new(pool(flavour, 1, WRITER_CACHE, lease, &options)),
            lease,
            writes_lightly: AtomicBool::new(false),
            follows: RwLock::default(),
            log_keys: RwLock::default(),
            news: watch::Sender::new(0),
            flavour,
            place,
            watching: Mutex::default(),
            fence: RwLock::new(match flavour {
                Flavour::Sqlite => Fence::Open,
                #[cfg(feature = "postgres")]
                Flavour::Postgres => Fence::Waiting,
            }),
            own_lease: std::sync::Mutex::default(),
            seen: std::sync::Mutex::default(),
            write_error: std::sync::Mutex::default(),
            outage: std::sync::Mutex::default(),
        })
    }

    /// Connects for the first time, and brings the schema up to date.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::File { path, .. } => {
                // A pool would retry a failing connection, and then report no more than a timeout.
                let url = format!("sqlite://{}?mode=rwc", path.display());
                let options: AnyConnectOptions = url.parse().map_err(|_| StoreError::Url)?;
                let mut first =
                    AnyConnection::connect_with(&options).await.doing("open its database")?;
                prepare(&mut first, self.flavour, READER_CACHE, self.lease)
                    .await
                    .doing("open its database")?;
                first.close().await.doing("open its database")?;
                schema::migrate(&*self.writer.lock().await).await
            }
            #[cfg(feature = "postgres")]
            Place::Server(_) => {
                self.refuse_pooler().await?;
                self.migrate().await
            }
        }
    }

    /// Refuses a server behind a pooler that gives each transaction another connection.
    pub(super) async fn refuse_pooler(&self) -> Result<(), StoreError> {
        #[cfg(feature = "postgres")]
        if let Place::Server(hosts) = &self.place {
            let (mut first, options) = hosts.connect(self.lease).await?;
            if let Err(error) = hosts::refuse_pooled(&mut first, &options).await {
                return Err(if hosts::is_pooled(&error) {
                    StoreError::Pooled
                } else {
                    StoreError::Unreachable(chain(&error))
                });
            }
            first.close().await.doing("open its database")?;
            self.use_host(options).await;
        }
        Ok(())
    }

    /// Brings the schema of a server up to date, as the leader or while nobody leads. A file was
    /// [prepared](Self::prepare).
    pub async fn migrate(&self) -> Result<(), StoreError> {
        #[cfg(feature = "postgres")]
        if let Place::Server(hosts) = &self.place {
            let (mut conn, _) = hosts.connect(self.lease).await?;
            limits::lift(&mut conn).await.doing("begin to write")?;
            lease::migrate(&mut conn, self.fence()).await?;
            self.identify(&mut conn).await?;
            conn.close().await.doing("open its database")?;
        }
        Ok(())
    }

    /// Adds what an earlier version did not store.
    pub async fn adopt(&self) -> Result<(), StoreError> {
        self.adopt_rejected_plans().await?;
        self.adopt_logon_names().await
    }

    /// Lets an operator's command write, while no daemon works on the store.
    pub(super) fn open_fence(&self) {
        self.set_fence(Fence::Open);
    }

    /// Returns the database file; a database server has none.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            #[cfg(feature = "postgres")]
            Place::Server(_) => None,
        }
    }

    /// Returns whether the store is on a server, which may be down while rosterd starts.
    pub fn is_remote(&self) -> bool {
        self.file().is_none()
    }

    /// Returns whether the configuration says that a failover of the server loses no commit.
    pub(super) fn is_durable(&self) -> bool {
        match &self.place {
            Place::File { .. } => true,
            #[cfg(feature = "postgres")]
            Place::Server(hosts) => hosts.is_durable(),
        }
    }

    /// Returns why the store does not answer; `None` while it does.
    pub fn outage(&self) -> Option<String> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether the store answers.
    pub fn note_outage(&self, outage: Option<String>) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = outage;
    }

    /// Asks a server whether it answers and takes writes, and goes to another one if not.
    pub async fn watch_server(&self) -> Result<(), StoreError> {
        #[cfg(feature = "postgres")]
        if let Place::Server(hosts) = &self.place {
            let mut watching = self.watching.lock().await;
            if let Some(mut conn) = watching.take()
                && let Ok(true) = limits::takes_writes(&mut conn).await
            {
                self.watch_log(&mut conn).await?;
                *watching = Some(conn);
                return Ok(());
            }
            let (mut conn, options) = hosts.connect(self.lease).await?;
            self.use_host(options).await;
            self.watch_log(&mut conn).await?;
            *watching = Some(conn);
        }
        Ok(())
    }

    pub(super) fn set_fence(&self, fence: Fence) {
        *self.fence.write().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    pub(super) fn fence(&self) -> Fence {
        *self.fence.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes further connections to this host. Those to another one fail their next test.
    #[cfg(feature = "postgres")]
    async fn use_host(&self, options: AnyConnectOptions) {
        self.readers.set_connect_options(options.clone());
        self.writer.lock().await.set_connect_options(options);
    }

    /// Returns a mark that other stores on the machine do not have. A copy of a file has another mark,
    /// and a server that is reached in another way has the same. The store is ready.
    pub fn mark(&self) -> String {
        match &self.place {
            Place::File { path, .. } => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                let path = path.display().to_string();
                format!("{:016x}", xxhash_rust::xxh3::xxh3_64(path.as_bytes()))
            }
            #[cfg(feature = "postgres")]
            Place::Server(_) => self.id().map_or_else(String::new, |id| id.simple().to_string()),
        }
    }

    /// Returns the size of the files in bytes; `None` on a database server.
    pub fn size(&self) -> Option<u64> {
        let file = self.file()?;
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        Some(size(file) + size(Path::new(&format!("{}-wal", file.display()))))
    }

    /// Returns why nothing can be written at present; `None` after a successful commit.
    pub fn write_error(&self) -> Option<String> {
        self.write_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the store, and empties the write-ahead log.
    pub async fn close(&self) {
        self.save_noted_head();
        self.readers.close().await;
        self.writer.lock().await.close().await;
    }

    /// Frees the writer's cache after a bulk.
    pub(super) async fn shrink_memory(&self) -> Result<(), StoreError> {
        if self.flavour == Flavour::Sqlite {
            let writer = self.writer.lock().await;
            sqlx::query("PRAGMA shrink_memory").execute(&*writer).await.doing("free its memory")?;
        }
        Ok(())
    }

    async fn begin_on(
        &self,
        writer: &AnyPool,
        commits: Commits,
    ) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.flavour {
            Flavour::Sqlite => {
                let lightly = commits == Commits::Lightly;
                if self.writes_lightly.load(Ordering::Relaxed) != lightly {
                    let pragma = if lightly {
                        "PRAGMA synchronous = NORMAL"
                    } else {
                        "PRAGMA synchronous = FULL"
                    };
                    sqlx::query(pragma).execute(writer).await?;
                    self.writes_lightly.store(lightly, Ordering::Relaxed);
                }
                writer.begin_with("BEGIN IMMEDIATE").await
            }
            #[cfg(feature = "postgres")]
            Flavour::Postgres => {
                let begin = match commits {
                    Commits::Safely => BEGIN,
                    Commits::Lightly => BEGIN_LIGHTLY,
                };
                limits::within(limits::STATEMENT, writer.begin_with(begin)).await
            }
        }
    }

    /// Begins a transaction of the leader.
    pub(super) async fn begin(&self) -> Result<Writing<'_>, StoreError> {
        self.begin_to(Commits::Safely).await
    }

    pub(super) async fn begin_to(&self, commits: Commits) -> Result<Writing<'_>, StoreError> {
        self.begin_as(Right::Leader, commits).await
    }

    /// Begins a transaction that needs no leader.
    pub(super) async fn begin_anyone(&self) -> Result<Writing<'_>, StoreError> {
        self.begin_as(Right::Anyone, Commits::Safely).await
    }

    pub(super) async fn begin_as(
        &self,
        right: Right,
        commits: Commits,
    ) -> Result<Writing<'_>, StoreError> {
        let begun = self.begin_writing(right, commits).await;
        match &begun {
            // The store could be written, by another process.
            Ok(_) | Err(StoreError::NotLeader) => {}
            Err(error) => note(&self.write_error, Some(error)),
        }
        begun
    }

    async fn begin_writing(
        &self,
        right: Right,
        commits: Commits,
    ) -> Result<Writing<'_>, StoreError> {
        let guard = self.writer.lock().await;
        let mut tx = match self.begin_on(&guard, commits).await {
            Ok(tx) => tx,
            Err(_) => {
                // A transaction that SQLite rolled back (a full disk) leaves an unusable connection.
                let broken = guard.acquire().await.doing("begin to write")?;
                broken.close().await.doing("begin to write")?;
                self.writes_lightly.store(false, Ordering::Relaxed);
                self.begin_on(&guard, commits).await.doing("begin to write")?
            }
        };
        if right == Right::Leader {
            lease::prove(&mut tx, self.fence()).await?;
        }
        Ok(Writing {
            tx,
            follows: self.follows(),
            is_of_other_node: matches!(self.fence(), Fence::Waiting | Fence::Former(_)),
            keys: self.log_keys(),
            has_news: false,
            actors: Vec::new(),
            noted: self.watched_head(),
            number_after: 0,
            added: Added::default(),
            store: self,
            news: &self.news,
            write_error: &self.write_error,
            guard,
        })
    }
}

/// Returns a pool that connects when it is used.
fn pool(
    flavour: Flavour,
    size: u32,
    cache: u32,
    lease: Duration,
    options: &AnyConnectOptions,
) -> AnyPool {
    let pool = AnyPoolOptions::new()
        .max_connections(size)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |conn, _| Box::pin(prepare(conn, flavour, cache, lease)));
    let pool = match flavour {
        Flavour::Sqlite => pool.acquire_timeout(Duration::from_secs(30)),
        #[cfg(feature = "postgres")]
        Flavour::Postgres => pool
            .acquire_timeout(limits::CONNECT * 2)
            .test_before_acquire(false)
            .before_acquire(|conn, _| Box::pin(limits::takes_writes(conn)))
            .after_release(|conn, _| Box::pin(limits::is_idle(conn))),
    };
    pool.connect_lazy_with(options.clone())
}

/// Notes the outcome of a write.
fn note(write_error: &std::sync::Mutex<Option<String>>, error: Option<&StoreError>) {
    *write_error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(ToString::to_string);
}

/// The right to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Right {
    /// Only the leader writes this, and proves in the transaction that it leads.
    #[default]
    Leader,
    /// Every rosterd on the store writes this: a brake, or the bookkeeping of sign-ins. It concerns
    /// few rows, and what it decides by is read in the same transaction.
    Anyone,
}

/// The durability of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Commits {
    /// The commit survives a power cut.
    Safely,
    /// The commit survives a crash of rosterd, and a power cut after the next safe commit. For
    /// writes that are repeated if they are lost.
    Lightly,
}

/// The write transaction. There is one at a time.
pub(super) struct Writing<'a> {
    pub(super) tx: Transaction<'static, Any>,
    /// The hooks that get deliveries of its events, and the targets whose counterparts these make due.
    pub(super) follows: Arc<Follows>,
    /// Whether another node leads, whose hooks and targets count.
    pub(super) is_of_other_node: bool,
    pub(super) keys: LogKeys,
    /// Whether the commit wakes waiting tasks.
    pub(super) has_news: bool,
    /// The actors of its events.
    pub(super) actors: Vec<Actor>,
    /// The head that the log has to contain, until it was looked for.
    pub(super) noted: Option<LogHead>,
    /// The number after which entries are numbered, whatever the last one is.
    pub(super) number_after: u64,
    pub(super) added: Added,
    store: &'a Store,
    news: &'a watch::Sender<u64>,
    write_error: &'a std::sync::Mutex<Option<String>>,
    pub(super) guard: MutexGuard<'a, AnyPool>,
}

impl Writing<'_> {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let Self {
            tx,
            follows: _,
            is_of_other_node: _,
            keys: _,
            has_news,
            actors,
            noted: _,
            number_after: _,
            added,
            store,
            news,
            write_error,
            guard: _guard,
        } = self;
        let committed = limits::within(limits::STATEMENT, tx.commit()).await;
        let committed = StoreError::of_commit(committed);
        note(write_error, committed.as_ref().err());
        committed?;
        store.note_added(added);
        event_watch::note_committed(&actors);
        if has_news {
            news.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}

async fn prepare(
    conn: &mut AnyConnection,
    flavour: Flavour,
    cache: u32,
    lease: Duration,
) -> Result<(), sqlx::Error> {
    match flavour {
        Flavour::Sqlite => {
            for pragma in [
                "PRAGMA journal_mode = WAL",
                // A suspension that was reported must survive a power cut.
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
                "PRAGMA busy_timeout = 10000",
                // A bulk import writes the same pages many times: checkpoint every 32 MiB, not every 4.
                "PRAGMA wal_autocheckpoint = 8192",
            ] {
                sqlx::query(pragma).execute(&mut *conn).await?;
            }
            Sql::new(&format!("PRAGMA cache_size = -{cache}")).execute(&mut *conn).await?;
            let _ = lease;
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Flavour::Postgres => limits::set(conn, lease).await,
    }
}
