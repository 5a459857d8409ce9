//! Errors of the store.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

use crate::model::{PlanId, PlanState};

/// The reason why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "another rosterd is running on {path}: stop it first, or give this one a store of its own"
    )]
    InUse { path: PathBuf },
    #[error(
        "cannot lock {path}: check that the directory exists and that this user may write to it"
    )]
    Lock {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the store's URL is not understood: use sqlite:///path/to/rosterd.db")]
    Url,
    #[error("the store's password cannot be read from {path}: correct password-file")]
    Password {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the store does not answer ({0}): nothing was saved; rosterd tries again every 2s")]
    Unreachable(String),
    #[error(
        "the store is behind a pooler that gives each transaction another connection: use session pooling (PgBouncer: pool_mode = session), or connect to PostgreSQL itself"
    )]
    Pooled,
    #[error("another rosterd leads now, and this one writes nothing: nothing was saved; ask there")]
    NotLeader,
    #[error(
        "the store lacks commits that were confirmed: nothing was saved; rosterd starts again, and tells what was lost"
    )]
    Rewound,
    #[error(
        "the database has another store than before: nothing was saved; rosterd starts again with it"
    )]
    Exchanged,
    #[error(
        "the event log is chained with a key, and this rosterd has none: nothing was saved; name the file of the key in [events] key-file, and restart rosterd"
    )]
    Keyless,
    #[error(
        "rosterd on {0} leads, and is of an earlier version: this one answers when it leads; to hand over, rosterctl leader step-down on {0}"
    )]
    Standby(String),
    #[error(
        "the store is of an earlier version: rosterd brings it up to date when it leads, and answers then"
    )]
    Older,
    #[error("the store did not confirm a commit: it may be done; look before you repeat it")]
    Unconfirmed(#[source] sqlx::Error),
    #[error(
        "the store was written by a newer rosterd (schema {0}): install that version again, or restore a backup made before the upgrade"
    )]
    Newer(i64),
    #[error("the store's schema cannot be brought up to date")]
    Migrate(#[source] MigrateError),
    #[error("the store cannot {what}")]
    Database {
        what: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "the database is not writable (cannot {what}: disk full, read-only or broken?): nothing was saved; the next run does the rest once the disk has space"
    )]
    Disk {
        what: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "the store cannot {what}: its file is damaged; put a backup in its place (rosterctl backup makes them), since rosterd never begins anew over people it may know"
    )]
    Damaged { what: &'static str },
    #[error(
        "the store is on a database server: back it up with that server's own tools, such as pg_dump"
    )]
    NoBackup,
    #[error(
        "the store is on a database server, which gives no copy for a dry run or for another configuration: rosterctl plan, run undo --dry-run and domain release --dry-run need none"
    )]
    NoCopy,
    #[error("plan {plan} is {}{by} by now: read it again with rosterctl held show {plan}, and decide then", state.as_str())]
    Raced {
        plan: PlanId,
        state: PlanState,
        /// ` by NAME` where an operator decided it.
        by: String,
    },
    #[error("the store holds a {what} that cannot be read: restore a backup")]
    Corrupt { what: &'static str },
}

impl StoreError {
    /// Returns the outcome of a commit. An error without an answer of the database tells nothing
    /// about what is stored.
    pub(super) fn of_commit(ended: Result<(), sqlx::Error>) -> Result<(), Self> {
        match ended {
            Err(error @ sqlx::Error::Io(_)) => Err(Self::Unconfirmed(error)),
            ended => ended.doing("commit"),
        }
    }

    /// Returns whether trying again cannot help while the process and its configuration are as they are.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Pooled
                | Self::Rewound
                | Self::Exchanged
                | Self::Url
                | Self::Newer(_)
                | Self::Migrate(MigrateError::VersionMismatch(_))
        )
    }

    /// Returns whether the database refused these values. A fault of disk or file refuses all.
    pub fn is_about_the_values(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.as_database_error().is_some())
    }
}

/// Names the operation of a database error.
pub(super) trait Doing<T> {
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

/// Returns the code of an error of PostgreSQL.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

/// Returns whether a store is so new that it has no tables yet.
pub(super) fn is_without_tables(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("42P01")
}

/// Returns SQLite's primary result code (sqlite.org/rescode.html).
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    // PostgreSQL's codes have five characters.
    if code.len() == 5 { None } else { code.parse::<u32>().ok().map(|code| code & 0xff) }
}
