//! The lease of the one rosterd that works on a store that several of them share.
//!
//! The clock of the database decides when a lease runs out. It is a promise to wait; the fence is
//! the guarantee: each writing transaction has the lock of the writer and proves that its holder
//! still leads. A former leader that wakes up therefore writes nothing.

use std::time::Duration;

#[cfg(feature = "postgres")]
use sqlx::Connection as _;
use sqlx::{AnyConnection, Executor as _, Row as _};
use uuid::Uuid;

#[cfg(feature = "postgres")]
use super::error::Doing as _;
use super::error::{StoreError, is_without_tables};
use super::limits::{CONNECT, STATEMENT, within};
use super::log_keys::IS_KEYED;
use super::schema::{self, Schema};
use super::sql::Sql;
use super::subscription::Follows;
use crate::model::{Leader, Node, Timestamp};

/// The proof that may be asked of a writing transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fence {
    /// This process does not lead.
    Waiting,
    /// This process does not lead, and ends the lease of the former process in its folder.
    Former(Uuid),
    /// One process has the store, by the lock of its file, or for a moment by an operator's command.
    Open,
    /// The holder of the lease.
    Holder(Uuid),
}

/// The result of a look at the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The last leader. Its lease may have run out.
    pub leader: Leader,
    /// Whether nobody leads.
    pub is_free: bool,
    /// Whether this process leads, or the former one in its folder did.
    pub is_own: bool,
    /// The node that is to lead instead; empty for any other one.
    pub wanted: Option<String>,
    /// The present time of the database.
    pub now: Timestamp,
    /// The number of the last event.
    pub head: u64,
    /// Whether the log is chained with a key.
    pub is_keyed: bool,
    pub schema: Schema,
}

/// The row of a node before and after it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noted {
    /// `None` for the first row of a node.
    pub before: Option<Timestamp>,
    pub at: Timestamp,
}

/// The present time of the database, in microseconds.
const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";

fn until(lease: Duration) -> String {
    format!("{NOW} + {}", lease.as_micros())
}

/// Asks who leads; `None` if the lease has run out, or the store is new.
pub(super) async fn leader(conn: &mut AnyConnection) -> Result<Option<String>, sqlx::Error> {
    let asked = Sql::new("SELECT node FROM leaders WHERE runs_out >= ").push(NOW);
    match within(CONNECT, asked.first(conn)).await {
        Ok(row) => row.map(|row| row.try_get(0)).transpose(),
        Err(error) if is_without_tables(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at the lease, the clock and the log.
pub(super) async fn look(conn: &mut AnyConnection, fence: Fence) -> Result<Look, sqlx::Error> {
    let holder = match fence {
        Fence::Holder(holder) | Fence::Former(holder) => Some(holder),
        Fence::Waiting | Fence::Open => None,
    };
    let asked = Sql::new("SELECT node, epoch, since, wanted, ")
        .push("(CASE WHEN runs_out < ")
        .push(NOW)
        .push(" THEN 1 ELSE 0 END)::BIGINT, (CASE WHEN holder = ")
        .bind(holder)
        .push(" THEN 1 ELSE 0 END)::BIGINT, ")
        .push(NOW)
        .push(", (SELECT COALESCE(MAX(seq), 0) FROM events)::BIGINT, (")
        .push(IS_KEYED)
        .push(")::BIGINT, ")
        .push(&schema::columns())
        .push(" FROM leaders");
    let row = within(CONNECT, asked.first(conn)).await?.ok_or(sqlx::Error::RowNotFound)?;
    let int = |at: usize| row.try_get::<i64, _>(at);
    Ok(Look {
        leader: Leader {
            node: row.try_get(0)?,
            epoch: int(1)?.unsigned_abs(),
            since: Timestamp(int(2)?),
        },
        wanted: row.try_get(3)?,
        is_free: int(4)? == 1,
        is_own: int(5)? == 1,
        now: Timestamp(int(6)?),
        head: int(7)?.unsigned_abs(),
        is_keyed: int(8)? > 0,
        schema: Schema::of(&row, 9)?,
    })
}

/// Takes a lease that has run out, or that of a former process of this rosterd. Returns whether this
/// process leads now.
///
/// The lock is first, so that a transaction of the former leader ends before. A rosterd that lacks a
/// step of the schema does not lead.
pub(super) async fn take(
    conn: &mut AnyConnection,
    holder: Uuid,
    fence: Fence,
    node: &str,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let former = if let Fence::Former(former) = fence { Some(former) } else { None };
    within(
        STATEMENT,
        conn.execute(sqlx::raw_sql("BEGIN; LOCK TABLE write_lock IN EXCLUSIVE MODE")),
    )
    .await?;
    let taken = Sql::new("UPDATE leaders SET epoch = epoch + 1, wanted = NULL, holder = ")
        .bind(holder)
        .push(", node = ")
        .bind(node)
        .push(", since = ")
        .push(NOW)
        .push(", runs_out = ")
        .push(&until(lease))
        .push(" WHERE (runs_out < ")
        .push(NOW)
        .push(" OR holder = ")
        .bind(former)
        .push(") AND NOT EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version NOT IN ")
        .push(&schema::known())
        .push(")");
    let taken = taken.execute(&mut *conn).await?;
    within(STATEMENT, conn.execute(sqlx::raw_sql("COMMIT"))).await?;
    Ok(taken == 1)
}

/// Prolongs a lease. Returns whether its holder still leads. Waits for no transaction.
pub(super) async fn prolong(
    conn: &mut AnyConnection,
    holder: Uuid,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let beat = Sql::new("UPDATE leaders SET runs_out = ").push(&until(lease));
    let beat = beat.push(" WHERE holder = ").bind(holder);
    Ok(within(CONNECT, beat.execute(conn)).await? == 1)
}

/// Ends a lease, so that another rosterd leads at once.
pub(super) async fn release(conn: &mut AnyConnection, holder: Uuid) -> Result<(), sqlx::Error> {
    let ended = Sql::new("UPDATE leaders SET runs_out = 0 WHERE holder = ").bind(holder);
    within(CONNECT, ended.execute(conn)).await.map(drop)
}

/// Asks the leader of this term to make room.
pub(super) async fn want(
    conn: &mut AnyConnection,
    epoch: u64,
    node: &str,
) -> Result<(), sqlx::Error> {
    let wish = Sql::new("UPDATE leaders SET wanted = ").bind(node);
    let wish = wish.push(" WHERE epoch = ").bind(epoch);
    within(CONNECT, wish.execute(conn)).await.map(drop)
}

/// Ends the lease of this term, whose leader does not make room by itself.
pub(super) async fn revoke(conn: &mut AnyConnection, epoch: u64) -> Result<(), sqlx::Error> {
    let ended = Sql::new("UPDATE leaders SET runs_out = 0 WHERE epoch = ").bind(epoch);
    within(CONNECT, ended.execute(conn)).await.map(drop)
}

/// Writes the row of a node, with the present time of the database.
pub(super) async fn note_node(
    conn: &mut AnyConnection,
    node: &Node,
    follows: &Follows,
) -> Result<Noted, sqlx::Error> {
    let Node { node, version, configuration, takeover, health, heard: _ } = node;
    let before = Sql::new("SELECT heard FROM nodes WHERE node = ").bind(node.as_str());
    let before = within(CONNECT, before.first(&mut *conn)).await?;
    let before = before.map(|row| row.try_get(0).map(Timestamp)).transpose()?;
    let sql = Sql::new(
        "INSERT INTO nodes (node, version, configuration, takeover, health, follows, heard) VALUES (",
    );
    let sql = sql.bind(node.as_str()).push(", ").bind(version.as_str()).push(", ");
    let sql = sql.bind(configuration.as_str()).push(", ").bind(*takeover).push(", ");
    let health = serde_json::to_string(health).unwrap_or_default();
    let follows = serde_json::to_string(follows).unwrap_or_default();
    let sql = sql.bind(health).push(", ").bind(follows).push(", ").push(NOW).push(
        ") ON CONFLICT (node) DO UPDATE SET version = excluded.version, \
         configuration = excluded.configuration, takeover = excluded.takeover, \
         health = excluded.health, follows = excluded.follows, heard = excluded.heard RETURNING heard",
    );
    let row = within(CONNECT, sql.first(conn)).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(Noted { before, at: Timestamp(row.try_get(0)?) })
}

pub(super) async fn forget_node(conn: &mut AnyConnection, node: &str) -> Result<(), sqlx::Error> {
    let forgotten = Sql::new("DELETE FROM nodes WHERE node = ").bind(node);
    within(CONNECT, forgotten.execute(conn)).await.map(drop)
}

/// Takes the missing steps of the schema, all or none: as the leader, or while nobody leads. A rosterd
/// that bids meanwhile waits for the lock of the writer, and finds the new schema then.
#[cfg(feature = "postgres")]
pub(super) async fn migrate(conn: &mut AnyConnection, fence: Fence) -> Result<(), StoreError> {
    let found = schema::found(conn).await.doing("read its schema")?;
    // Each statement sees all commits before the lock.
    let begun = conn.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await;
    let mut tx = begun.doing("begin to write")?;
    if found == Some(Schema::Older) {
        let lock = sqlx::raw_sql("LOCK TABLE write_lock IN EXCLUSIVE MODE");
        tx.execute(lock).await.doing("begin to write")?;
        match fence {
            Fence::Holder(_) => prove(&mut tx, fence).await?,
            Fence::Waiting | Fence::Former(_) | Fence::Open => {
                if let Some(node) = leader(&mut tx).await.doing("read who leads")? {
                    return Err(StoreError::Standby(node));
                }
            }
        }
    }
    schema::migrate_server(&mut tx).await?;
    tx.commit().await.doing("commit")
}

/// Refuses a transaction of a process that leads no longer.
pub(super) async fn prove(conn: &mut AnyConnection, fence: Fence) -> Result<(), StoreError> {
    let holder = match fence {
        Fence::Open => return Ok(()),
        Fence::Holder(holder) => holder,
        Fence::Waiting | Fence::Former(_) => return Err(StoreError::NotLeader),
    };
    let asked = Sql::new("SELECT 1 FROM leaders WHERE holder = ").bind(holder).first(conn).await;
    match asked {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(StoreError::NotLeader),
        Err(source) => Err(StoreError::Database { what: "begin to write", source }),
    }
}
