//! The store: everything rosterd remembers, in one embedded database.
//!
//! All SQL of the program is below this module, written once over sqlx's `Any` and tested on SQLite and
//! PostgreSQL. There is one writer: it numbers and chains the events inside its transaction. Readers have
//! a pool of their own and never wait for it (WAL).
//!
//! Users change in one place only, [`Store::apply`], which takes [`Admitted`](crate::reconcile::Admitted)
//! and nothing else.

mod accounts;
mod apply;
mod approvals;
mod backup;
mod chain;
mod claims;
mod clusters;
mod counters;
mod deliveries;
mod directories;
mod events;
mod files;
mod instants;
mod links;
mod outbox;
mod people;
mod plans;
mod rejections;
mod removed;
mod rename;
mod runs;
mod scope;
mod sign_ins;
mod sql;
#[cfg(test)]
mod tests;
mod transitions;
mod users;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Transaction};
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::model::{Actor, PlanId, PlanState};
use crate::telemetry::Counters;

pub use accounts::AccountRefused;
pub use apply::{Applied, Writer};
pub use approvals::Word;
pub use chain::{ChainBreak, LogHead, LogKeys, Verified};
pub use claims::ClaimRefused;
pub use deliveries::{Delivery, DeliveryFilter, HookStanding};
pub use directories::{BindRefused, DirectoryState, LONGEST_BIND_PAUSE, Pin, PinKind};
pub use events::{AccountScope, EventFilter, StoredEvent};
pub use instants::FutureInstants;
pub use outbox::{Due, Settled, Settlement, Subscription};
pub use people::Quarantined;
pub use plans::{DecidedBy, HeldPlan, HeldRow, HeldSummary, Reheld, cause_key};
pub use removed::RemovedHook;
pub use runs::{Budget, Run};
pub use scope::ScopeState;
pub use sign_ins::{AttemptLimit, SignInAttempt};
pub use users::{UserFilter, fold};
pub use witness::watch_events;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another rosterd holds the lock.
    #[error(
        "another rosterd is running on {path}: stop it first, or give this one a store of its own"
    )]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The lock file cannot be made.
    #[error(
        "cannot lock {path}: check that the directory exists and that this user may write to it"
    )]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL is not understood.
    #[error("the store's url \"{0}\" is not understood: use sqlite:///path/to/rosterd.db")]
    Url(String),
    /// Written by a newer version.
    #[error(
        "the store was written by a newer rosterd (schema {0}): install that version again, or restore a backup made before the upgrade"
    )]
    Newer(i64),
    /// The schema could not be brought up to date.
    #[error("the store's schema cannot be brought up to date")]
    Migrate(#[source] MigrateError),
    /// The database said no.
    #[error("the store cannot {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The disk does not take it.
    #[error(
        "the store cannot {what}: its disk is full, read-only or broken; nothing of it was written: see to the disk, and the next run does the rest"
    )]
    Disk {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The file is no database, or a broken one.
    #[error(
        "the store cannot {what}: its file is damaged; put a backup in its place (rosterctl backup makes them), since rosterd never begins anew over people it may know"
    )]
    Damaged {
        /// What was being done.
        what: &'static str,
    },
    /// Only the embedded database is copied by rosterd.
    #[error(
        "the store is on a database server: back it up with that server's own tools, such as pg_dump"
    )]
    NotOurs,
    /// Another operator, or a run, changed the plan first.
    #[error("plan {plan} is {}{by} by now: read it again with rosterctl held show {plan}, and decide then", state.as_str())]
    Raced {
        /// The plan.
        plan: PlanId,
        /// Its state by now.
        state: PlanState,
        /// ` by NAME` where an operator brought it into that state.
        by: String,
    },
    /// A stored value cannot be read back.
    #[error("the store holds a {what} that cannot be read: restore a backup")]
    Corrupt {
        /// What.
        what: &'static str,
    },
}

impl StoreError {
    /// Whether the database refused these values, and may take others: not so when its disk or its file is at fault.
    fn is_about_the_values(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.as_database_error().is_some())
    }
}

/// Says what was being done when the database said no.
trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| match primary_code(&source) {
            Some(8 | 10 | 13) => StoreError::Disk { what, source },
            Some(11 | 26) => StoreError::Damaged { what },
            _ => StoreError::Database { what, source },
        })
    }
}

/// SQLite's primary result code (sqlite.org/rescode.html), where it is SQLite that speaks.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    // PostgreSQL's have five characters.
    if code.len() == 5 { None } else { code.parse::<u32>().ok().map(|code| code & 0xff) }
}

/// What kind of database it is, where that matters (opening, locking, migrating).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flavour {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    /// What this process has done since it opened the store, for the metrics: what is written is counted here, where it is
    /// written; the engine and the socket count theirs in the same ones.
    pub counters: Counters,
    readers: AnyPool,
    writer: Mutex<AnyPool>,
    /// Whether the writer's connection commits without waiting for the disk; only looked at by who holds it.
    writes_lightly: AtomicBool,
    /// Who is told of events.
    subscriptions: RwLock<Arc<[Subscription]>>,
    /// The keys of the event log's chain.
    log_keys: RwLock<LogKeys>,
    /// Counts commits that somebody may wait for.
    news: watch::Sender<u64>,
    flavour: Flavour,
    file: Option<PathBuf>,
    instance: String,
    /// Held as long as the store is open: a second rosterd is refused.
    _lock: Option<nix::fcntl::Flock<std::fs::File>>,
}

/// KiB of pages that a reader keeps: small, and enough for the hot inner nodes of a million people.
const READER_CACHE: u32 = 4 * 1024;

/// KiB of pages that the writer keeps. Only what is written takes them; an import of a company that has them all in memory
/// costs half of one that reads them back. [`Store::apply`] gives them back after a bulk.
const WRITER_CACHE: u32 = 32 * 1024;

/// Chained into the first event.
const GENESIS: [u8; 32] = [0; 32];

impl Store {
    /// Opens the store, creating it if it is new, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (flavour, file, lock) = match url.split_once(':') {
            Some(("sqlite", rest)) => {
                let path = PathBuf::from(
                    rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default(),
                );
                let lock = lock(&path)?;
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
        // A pool tries a connection that fails again and again, and then only says that it took too long.
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
        migrate(&writer, flavour).await?;
        // Readers connect after the schema is there.
        let readers = pool(4, READER_CACHE).await.doing("open its database for reading")?;
        let store = Self {
            counters: Counters::default(),
            readers,
            writer: Mutex::new(writer),
            writes_lightly: AtomicBool::new(false),
            subscriptions: RwLock::new([].into()),
            log_keys: RwLock::default(),
            news: watch::Sender::new(0),
            flavour,
            instance: instance(url, file.as_deref()),
            file,
            _lock: lock,
        };
        store.adopt_rejected_plans().await?;
        Ok(store)
    }

    /// The file it is in.
    pub fn file(&self) -> Result<PathBuf, StoreError> {
        self.file.clone().ok_or(StoreError::NotOurs)
    }

    /// What tells the rosterd of this store from others on the machine, in every run of it.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How many bytes its files have; nothing on a database server.
    pub fn size(&self) -> Option<u64> {
        let file = self.file.as_ref()?;
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        Some(size(file) + size(Path::new(&format!("{}-wal", file.display()))))
    }

    /// Closes it, after which nothing is left in the write-ahead log.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.close().await;
    }

    /// After a bulk: what the writer kept of it is of no more use.
    async fn give_memory_back(&self) -> Result<(), StoreError> {
        if self.flavour == Flavour::Sqlite {
            let writer = self.writer.lock().await;
            sqlx::query("PRAGMA shrink_memory")
                .execute(&*writer)
                .await
                .doing("give memory back")?;
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

    async fn begin(&self) -> Result<Writing<'_>, StoreError> {
        self.begin_to(Commits::Safely).await
    }

    async fn begin_to(&self, commits: Commits) -> Result<Writing<'_>, StoreError> {
        let guard = self.writer.lock().await;
        let tx = match self.begin_on(&guard, commits).await {
            Ok(tx) => tx,
            Err(_) => {
                // A transaction that the database itself gave up (a full disk) leaves a connection that begins no other.
                let broken = guard.acquire().await.doing("begin to write")?;
                broken.close().await.doing("begin to write")?;
                self.writes_lightly.store(false, Ordering::Relaxed);
                self.begin_on(&guard, commits).await.doing("begin to write")?
            }
        };
        let subscriptions =
            Arc::clone(&self.subscriptions.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Writing {
            tx,
            subscriptions,
            keys: self.log_keys(),
            has_news: false,
            actors: Vec::new(),
            news: &self.news,
            _guard: guard,
        })
    }
}

/// A hash of where a store is, however that is written.
fn instance(url: &str, file: Option<&Path>) -> String {
    let place = match file.and_then(|file| std::fs::canonicalize(file).ok()) {
        Some(file) => file.display().to_string(),
        // Without what stands before the host: a password changes.
        None => url.rsplit('@').next().unwrap_or(url).to_owned(),
    };
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(place.as_bytes()))
}

/// How a commit is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Commits {
    /// It survives a power cut.
    Safely,
    /// For what is done again if it is lost: it survives a crash of rosterd, and a power cut only after the next safe one.
    Lightly,
}

/// The one transaction that writes.
struct Writing<'a> {
    tx: Transaction<'static, Any>,
    /// Who is told of the events in it.
    subscriptions: Arc<[Subscription]>,
    /// The keys that events are chained with.
    keys: LogKeys,
    /// Whether somebody may wait for what is in it.
    has_news: bool,
    /// Actors of the events in it.
    actors: Vec<Actor>,
    news: &'a watch::Sender<u64>,
    _guard: MutexGuard<'a, AnyPool>,
}

impl Writing<'_> {
    async fn commit(self) -> Result<(), StoreError> {
        let Self { tx, subscriptions: _, keys: _, has_news, actors, news, _guard } = self;
        tx.commit().await.doing("commit")?;
        witness::note_committed(&actors);
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
                // A bulk import touches the same pages again and again: they are written back every 32 MiB, not every 4.
                "PRAGMA wal_autocheckpoint = 8192",
            ] {
                sqlx::query(pragma).execute(&mut *conn).await?;
            }
            sql::Sql::new(&format!("PRAGMA cache_size = -{cache}")).execute(&mut *conn).await?;
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Flavour::Postgres => Ok(()),
    }
}

fn lock(database: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, StoreError> {
    let path = database.with_extension("db.lock");
    let file = files::open(&path, database)
        .map_err(|source| StoreError::Lock { path: path.clone(), source })?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(
        |(_, errno)| match errno {
            nix::errno::Errno::EAGAIN => StoreError::InUse { path: database.to_owned() },
            errno => StoreError::Lock { path: path.clone(), source: errno.into() },
        },
    )
}

/// One step of the schema, in the words of each database.
struct SchemaStep {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    #[cfg(feature = "postgres")]
    postgres: &'static str,
}

macro_rules! schema_steps {
    ($($name:literal in $file:literal),* $(,)?) => {
        &[$(SchemaStep {
            version: version_of($file),
            name: $name,
            sqlite: include_str!(concat!("migrations/sqlite/", $file)),
            #[cfg(feature = "postgres")]
            postgres: include_str!(concat!("migrations/postgres/", $file)),
        }),*]
    };
}

/// Returns the version of a step: the number that its file's name begins with.
const fn version_of(file: &str) -> i64 {
    let (name, mut at, mut version) = (file.as_bytes(), 0, 0);
    while at < name.len() && name[at].is_ascii_digit() {
        version = version * 10 + (name[at] - b'0') as i64;
        at += 1;
    }
    version
}

/// The schema, step by step. A step is numbered by its file, and is never changed once it is released.
const STEPS: &[SchemaStep] = schema_steps![
    "initial" in "0001_initial.sql",
    "what every run asks" in "0002_what_every_run_asks.sql",
    "accounts in full" in "0003_accounts_in_full.sql",
    "deliveries" in "0004_deliveries.sql",
    "approval in parts" in "0005_approval_in_parts.sql",
    "removed hooks" in "0006_removed_hooks.sql",
    "changes followed" in "0007_changes_followed.sql",
    "one user a person" in "0008_one_user_a_person.sql",
    "rejections" in "0009_rejections.sql",
    "counters and causes" in "0010_counters_and_causes.sql",
    "sign-in attempts" in "0014_sign_in_attempts.sql",
    "terms" in "0015_terms.sql",
];

async fn migrate(pool: &AnyPool, flavour: Flavour) -> Result<(), StoreError> {
    let steps = STEPS.iter().map(|step| {
        let sql = match flavour {
            Flavour::Sqlite => step.sqlite,
            #[cfg(feature = "postgres")]
            Flavour::Postgres => step.postgres,
        };
        Migration::new(
            step.version,
            step.name.into(),
            MigrationType::Simple,
            sqlx::SqlSafeStr::into_sql_str(sql),
            false,
        )
    });
    let steps = steps.collect();
    match Migrator::with_migrations(steps).run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(StoreError::Newer(version)),
        Err(error) => Err(StoreError::Migrate(error)),
    }
}
