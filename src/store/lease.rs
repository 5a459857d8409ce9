//! The lease of the one rosterd that works on a store that several of them share.
//!
//! The clock of the database decides when a lease runs out. It is a promise to wait; the fence is
//! the guarantee: each writing transaction has the lock of the writer and proves that its holder
//! still leads. A former leader that wakes up therefore writes nothing.

use std::time::Duration;

use sqlx::{AnyConnection, Executor as _, Row as _};
use uuid::Uuid;

use super::error::{StoreError, sqlstate};
use super::limits::{CONNECT, STATEMENT, within};
use super::sql::Sql;

/// The time for which a leader may be silent before another one takes over.
pub(super) const LEASE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });

/// The proof that may be asked of a writing transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fence {
    /// This process does not lead yet.
    Waiting,
    /// One process has the store, by the lock of its file, or for a moment by an operator's command.
    Open,
    /// The holder of the lease.
    Holder(Uuid),
    /// The lease was lost. This process writes nothing any more.
    Lost,
}

/// The present time of the database, in microseconds.
const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";

fn until() -> String {
    format!("{NOW} + {}", LEASE.as_micros())
}

/// Asks who leads; `None` if the lease has run out.
pub(super) async fn leader(conn: &mut AnyConnection) -> Result<Option<String>, sqlx::Error> {
    let asked = Sql::new("SELECT node FROM leaders WHERE runs_out >= ").push(NOW);
    match within(CONNECT, asked.first(conn)).await {
        Ok(row) => row.map(|row| row.try_get(0)).transpose(),
        // A new store has no tables yet.
        Err(error) if sqlstate(&error).as_deref() == Some("42P01") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a lease that has run out. Returns whether this process leads now.
///
/// The lock is first, so that a transaction of the former leader ends before.
pub(super) async fn take(
    conn: &mut AnyConnection,
    holder: Uuid,
    node: &str,
) -> Result<bool, sqlx::Error> {
    within(
        STATEMENT,
        conn.execute(sqlx::raw_sql("BEGIN; LOCK TABLE write_lock IN EXCLUSIVE MODE")),
    )
    .await?;
    let taken = Sql::new("UPDATE leaders SET epoch = epoch + 1, holder = ")
        .bind(holder)
        .push(", node = ")
        .bind(node)
        .push(", runs_out = ")
        .push(&until())
        .push(" WHERE runs_out < ")
        .push(NOW);
    let taken = taken.execute(&mut *conn).await?;
    within(STATEMENT, conn.execute(sqlx::raw_sql("COMMIT"))).await?;
    Ok(taken == 1)
}

/// Prolongs a lease. Returns whether its holder still leads. Waits for no transaction.
pub(super) async fn prolong(conn: &mut AnyConnection, holder: Uuid) -> Result<bool, sqlx::Error> {
    let beat = Sql::new("UPDATE leaders SET runs_out = ").push(&until());
    let beat = beat.push(" WHERE holder = ").bind(holder);
    Ok(within(CONNECT, beat.execute(conn)).await? == 1)
}

/// Ends a lease, so that another rosterd leads at once.
pub(super) async fn release(conn: &mut AnyConnection, holder: Uuid) -> Result<(), sqlx::Error> {
    let ended = Sql::new("UPDATE leaders SET runs_out = 0 WHERE holder = ").bind(holder);
    within(CONNECT, ended.execute(conn)).await.map(drop)
}

/// Refuses a transaction of a process that leads no longer.
pub(super) async fn prove(conn: &mut AnyConnection, fence: Fence) -> Result<(), StoreError> {
    let holder = match fence {
        Fence::Open => return Ok(()),
        Fence::Holder(holder) => holder,
        Fence::Waiting | Fence::Lost => return Err(StoreError::NotLeader),
    };
    let asked = Sql::new("SELECT 1 FROM leaders WHERE holder = ").bind(holder).first(conn).await;
    match asked {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(StoreError::NotLeader),
        Err(source) => Err(StoreError::Database { what: "begin to write", source }),
    }
}
