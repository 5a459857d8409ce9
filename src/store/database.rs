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
use super::log_keys::LogKeys;
use super::sql::Sql;
use super::subscription::{Follower, Subscription};
use super::{event_watch, files, schema};
use crate::model::Actor;
use crate::telemetry::Counters;

#[derive(Debug)]
pub struct Store {
    /// The counters of this process. Store, engine and socket share them.
    pub counters: Counters,
    pub(super) readers: AnyPool,
    pub(super) writer: Mutex<AnyPool>,
    /// Whether the writer's connection commits without waiting for the disk. Read under the lock.
    writes_lightly: AtomicBool,
    pub(super) subscriptions: RwLock<Arc<[Subscription]>>,
    /// The targets that follow the users of an account.
    pub(super) followers: RwLock<Arc<[Follower]>>,
    pub(super) log_keys: RwLock<LogKeys>,
    /// Counts the commits that wake waiting tasks.
    pub(super) news: watch::Sender<u64>,
    pub(super) flavour: Flavour,
    file: Option<PathBuf>,
    instance: String,
    /// The error of the last write, until a commit succeeds.
    write_error: std::sync::Mutex<Option<String>>,
    /// Held while the store is open, so that a second rosterd is refused.
    _lock: Option<nix::fcntl::Flock<File>>,
}

/// KiB of pages in a reader's cache: enough for the inner nodes of a million people.
const READER_CACHE: u32 = 4 * 1024;

/// KiB of pages in the writer's cache: an import whose pages all fit takes half the time.
/// [`Store::apply`] frees them after a bulk.
const WRITER_CACHE: u32 = 32 * 1024;

impl Store {
    /// Opens the store, creating it if it is new, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (flavour, file, lock) = match url.split_once(':') {
            Some(("sqlite", rest)) => {
                let path = PathBuf::from(
                    rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default(),
                );
                let lock = files::lock(&path)?;
                files::create(&path)?;
                (Flavour::Sqlite, Some(path), Some(lock))
            }
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => (Flavour::Postgres, None, None),
            _ => return Err(StoreError::Url(url.to_owned())),
        };
        let full = match flavour {
            Flavour::Sqlite => format!("{}?mode=rwc", url.split('?').next().unwrap_or_default()),
            #[cfg(feature = "postgres")]
            Flavour::Postgres => url.to_owned(),
        };
        let options: AnyConnectOptions =
            full.parse().map_err(|_| StoreError::Url(url.to_owned()))?;
        // A pool would retry a failing connection, and then report no more than a timeout.
        let mut first = AnyConnection::connect_with(&options).await.doing("open its database")?;
        prepare(&mut first, flavour, READER_CACHE).await.doing("open its database")?;
        first.close().await.doing("open its database")?;
        let pool = |size, cache| {
            AnyPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(Duration::from_secs(30))
                .idle_timeout(None)
                .max_lifetime(None)
                .after_connect(move |conn, _| Box::pin(prepare(conn, flavour, cache)))
                .connect_with(options.clone())
        };
        let writer = pool(1, WRITER_CACHE).await.doing("open its database")?;
        schema::migrate(&writer, flavour).await?;
        // Readers connect after the migration.
        let readers = pool(4, READER_CACHE).await.doing("open its database for reading")?;
        let store = Self {
            counters: Counters::default(),
            readers,
            writer: Mutex::new(writer),
            writes_lightly: AtomicBool::new(false),
            subscriptions: RwLock::new([].into()),
            followers: RwLock::new([].into()),
            log_keys: RwLock::default(),
            news: watch::Sender::new(0),
            flavour,
            instance: instance(url, file.as_deref()),
            file,
            write_error: std::sync::Mutex::default(),
            _lock: lock,
        };
        store.adopt_rejected_plans().await?;
        store.adopt_logon_names().await?;
        Ok(store)
    }

    /// Returns the database file; a database server has none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns an id of this store that differs from other stores on the machine.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns the size of the files in bytes; `None` on a database server.
    pub fn size(&self) -> Option<u64> {
        let file = self.file.as_ref()?;
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        Some(size(file) + size(Path::new(&format!("{}-wal", file.display()))))
    }

    /// Returns why nothing can be written at present; `None` after a successful commit.
    pub fn write_error(&self) -> Option<String> {
        self.write_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the store, and empties the write-ahead log.
    pub async fn close(&self) {
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
                let mut tx = writer.begin().await?;
                if commits == Commits::Lightly {
                    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
                }
                Ok(tx)
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<Writing<'_>, StoreError> {
        self.begin_to(Commits::Safely).await
    }

    pub(super) async fn begin_to(&self, commits: Commits) -> Result<Writing<'_>, StoreError> {
        let begun = self.begin_writing(commits).await;
        if let Err(error) = &begun {
            note(&self.write_error, Some(error));
        }
        begun
    }

    async fn begin_writing(&self, commits: Commits) -> Result<Writing<'_>, StoreError> {
        let guard = self.writer.lock().await;
        let tx = match self.begin_on(&guard, commits).await {
            Ok(tx) => tx,
            Err(_) => {
                // A transaction that SQLite rolled back (a full disk) leaves an unusable connection.
                let broken = guard.acquire().await.doing("begin to write")?;
                broken.close().await.doing("begin to write")?;
                self.writes_lightly.store(false, Ordering::Relaxed);
                self.begin_on(&guard, commits).await.doing("begin to write")?
            }
        };
        let subscriptions =
            Arc::clone(&self.subscriptions.read().unwrap_or_else(PoisonError::into_inner));
        let followers = Arc::clone(&self.followers.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Writing {
            tx,
            subscriptions,
            followers,
            keys: self.log_keys(),
            has_news: false,
            actors: Vec::new(),
            news: &self.news,
            write_error: &self.write_error,
            _guard: guard,
        })
    }
}

/// Notes the outcome of a write.
fn note(write_error: &std::sync::Mutex<Option<String>>, error: Option<&StoreError>) {
    *write_error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(ToString::to_string);
}

/// Returns a hash of the location of a store, however its URL is written.
fn instance(url: &str, file: Option<&Path>) -> String {
    let place = match file.and_then(|file| std::fs::canonicalize(file).ok()) {
        Some(file) => file.display().to_string(),
        // Without user and password, which may change.
        None => url.rsplit('@').next().unwrap_or(url).to_owned(),
    };
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(place.as_bytes()))
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
    /// The hooks that get deliveries of its events.
    pub(super) subscriptions: Arc<[Subscription]>,
    /// The targets whose counterparts its events make due.
    pub(super) followers: Arc<[Follower]>,
    pub(super) keys: LogKeys,
    /// Whether the commit wakes waiting tasks.
    pub(super) has_news: bool,
    /// The actors of its events.
    pub(super) actors: Vec<Actor>,
    news: &'a watch::Sender<u64>,
    write_error: &'a std::sync::Mutex<Option<String>>,
    _guard: MutexGuard<'a, AnyPool>,
}

impl Writing<'_> {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let Self {
            tx,
            subscriptions: _,
            followers: _,
            keys: _,
            has_news,
            actors,
            news,
            write_error,
            _guard,
        } = self;
        let committed = tx.commit().await.doing("commit");
        note(write_error, committed.as_ref().err());
        committed?;
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
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Flavour::Postgres => Ok(()),
    }
}
