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
mod directories;
mod events;
mod people;
mod plans;
mod runs;
mod sql;
#[cfg(test)]
mod tests;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Transaction};
use tokio::sync::{Mutex, MutexGuard};

pub use accounts::ClaimRefused;
pub use apply::{Applied, Writer};
pub use directories::{DirectoryState, Pin, PinKind};
pub use events::{ChainBreak, EventFilter, StoredEvent};
pub use plans::{HeldPlan, HeldSummary, Reheld, StoredChange};
pub use runs::{Budget, Run};
pub use users::UserFilter;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another rosterd holds the lock.
    #[error("another rosterd is running on {path}: stop it first, or give this one a store of its own")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The lock file cannot be made.
    #[error("cannot lock {path}: check that the directory exists and that this user may write to it")]
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
    /// A stored value cannot be read back.
    #[error("the store holds a {what} that cannot be read: restore a backup")]
    Corrupt {
        /// What.
        what: &'static str,
    },
}

/// Says what was being done when the database said no.
trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { what, source })
    }
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
    readers: AnyPool,
    writer: Mutex<AnyPool>,
    flavour: Flavour,
    /// Held as long as the store is open: a second rosterd is refused.
    _lock: Option<nix::fcntl::Flock<std::fs::File>>,
}

/// Chained into the first event.
const GENESIS: [u8; 32] = [0; 32];

impl Store {
    /// Opens the store, creating it if it is new, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (flavour, lock) = match url.split_once(':') {
            Some(("sqlite", rest)) => {
                let path = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default());
                (Flavour::Sqlite, Some(lock(&path)?))
            }
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => (Flavour::Postgres, None),
            _ => return Err(StoreError::Url(url.to_owned())),
        };
        let full = match flavour {
            Flavour::Sqlite => format!("{}?mode=rwc", url.split('?').next().unwrap_or_default()),
            #[cfg(feature = "postgres")]
            Flavour::Postgres => url.to_owned(),
        };
        let options: AnyConnectOptions = full.parse().map_err(|_| StoreError::Url(url.to_owned()))?;
        let pool = |size| {
            AnyPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(Duration::from_secs(30))
                .idle_timeout(None)
                .max_lifetime(None)
                .after_connect(move |conn, _| Box::pin(prepare(conn, flavour)))
                .connect_with(options.clone())
        };
        let writer = pool(1).await.doing("open its database")?;
        migrate(&writer, flavour).await?;
        // Readers connect after the schema is there.
        let readers = pool(4).await.doing("open its database for reading")?;
        Ok(Self { readers, writer: Mutex::new(writer), flavour, _lock: lock })
    }

    /// Closes it, after which nothing is left in the write-ahead log.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.close().await;
    }

    async fn begin(&self) -> Result<Writing<'_>, StoreError> {
        let guard = self.writer.lock().await;
        let tx = match self.flavour {
            Flavour::Sqlite => guard.begin_with("BEGIN IMMEDIATE").await,
            #[cfg(feature = "postgres")]
            Flavour::Postgres => guard.begin().await,
        }
        .doing("begin to write")?;
        Ok(Writing { tx, _guard: guard })
    }
}

/// The one transaction that writes.
struct Writing<'a> {
    tx: Transaction<'static, Any>,
    _guard: MutexGuard<'a, AnyPool>,
}

impl Writing<'_> {
    async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await.doing("commit")
    }
}

async fn prepare(conn: &mut sqlx::AnyConnection, flavour: Flavour) -> Result<(), sqlx::Error> {
    match flavour {
        Flavour::Sqlite => {
            for pragma in [
                "PRAGMA journal_mode = WAL",
                // A suspension that was reported must survive a power cut.
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
                "PRAGMA busy_timeout = 10000",
                // 4 MiB of pages a connection: small, and enough for the hot inner nodes of a million people.
                "PRAGMA cache_size = -4096",
            ] {
                sqlx::query(pragma).execute(&mut *conn).await?;
            }
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Flavour::Postgres => Ok(()),
    }
}

fn lock(database: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, StoreError> {
    let path = database.with_extension("db.lock");
    let open = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|source| StoreError::Lock { path: path.clone(), source })?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EAGAIN => StoreError::InUse { path: database.to_owned() },
        errno => StoreError::Lock { path: path.clone(), source: errno.into() },
    })
}

async fn migrate(pool: &AnyPool, flavour: Flavour) -> Result<(), StoreError> {
    let sql = match flavour {
        Flavour::Sqlite => include_str!("migrations/sqlite/0001_initial.sql"),
        #[cfg(feature = "postgres")]
        Flavour::Postgres => include_str!("migrations/postgres/0001_initial.sql"),
    };
    let initial = Migration::new(1, "initial".into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(sql), false);
    match Migrator::with_migrations(vec![initial]).run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(StoreError::Newer(version)),
        Err(error) => Err(StoreError::Migrate(error)),
    }
}
