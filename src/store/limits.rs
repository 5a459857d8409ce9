//! Time limits of a database server, so that a silent network holds no task and no row.
#![cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file is no server"))]

use std::io;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

/// The time in which a connection is made and proves that it takes writes.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// The time in which a statement that writes, or that reads one row, has to end. Those of SQLite
/// end sooner on every disk that works.
pub(super) const STATEMENT: Duration = Duration::from_secs(if cfg!(test) { 4 } else { 20 });

/// The time in which a list has to be read.
pub(super) const LIST: Duration = Duration::from_mins(1);

/// The limits that the server keeps for each connection, in its own units. Transactions that write name their
/// isolation; another default would make single statements fail beside them.
const SESSION: &str = "
    SET default_transaction_isolation = 'read committed';
    SET lock_timeout = '10s';
    SET statement_timeout = '60s';
    SET tcp_user_timeout = '10s';
    SET tcp_keepalives_idle = '5s';
    SET tcp_keepalives_interval = '2s';
    SET tcp_keepalives_count = 3";

/// PostgreSQL 14 looks for the client while a statement runs.
const CLIENT_CHECK: &str = "SELECT set_config(name, '5s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";

/// Awaits an answer of a database. The connection of one that did not come must not be used again.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let told = format!("no answer in {}", humantime::format_duration(limit));
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, told)))
    })
}

/// Sets the limits of a new connection to a server.
///
/// A transaction that waits for a frozen or vanished client holds its rows for half of the lease.
pub(super) async fn set(conn: &mut AnyConnection, lease: Duration) -> Result<(), sqlx::Error> {
    let idle = "SET idle_in_transaction_session_timeout = ";
    let idle = sqlx::AssertSqlSafe(format!("{idle}{}", (lease / 2).as_millis()));
    within(CONNECT, async {
        conn.execute(sqlx::raw_sql(idle)).await?;
        conn.execute(sqlx::raw_sql(SESSION)).await?;
        conn.execute(sqlx::raw_sql(CLIENT_CHECK)).await.map(drop)
    })
    .await
}

/// Lifts the limit of a statement, for the steps of a schema.
pub(super) async fn lift(conn: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let lifted = sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = '60s'");
    within(CONNECT, conn.execute(lifted)).await.map(drop)
}

/// Lifts the limits of a transaction that waits for another database.
#[cfg(feature = "postgres")]
pub(super) async fn lift_for_copy(conn: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let lifted = sqlx::raw_sql(
        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '2min'",
    );
    within(CONNECT, conn.execute(lifted)).await.map(drop)
}

/// Returns whether a server takes writes. One that has become a standby does not.
pub(super) async fn takes_writes(conn: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::raw_sql("SHOW transaction_read_only");
    let row = within(CONNECT, conn.fetch_one(asked)).await?;
    Ok(row.try_get::<String, _>(0)? == "off")
}

/// Returns whether a connection can be used again. It has answered to everything that was sent.
pub(super) async fn is_idle(conn: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    within(CONNECT, conn.ping()).await.map(|()| true)
}
