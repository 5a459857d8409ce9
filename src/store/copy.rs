//! The copy of a store to another database, in one transaction.
//!
//! Tables and columns are those of the schema, so that a new step of it needs no change here.

use futures_util::TryStreamExt as _;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Executor as _, Row as _};

use super::chain::ChainBreak;
use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::flavour::Flavour;
#[cfg(feature = "postgres")]
use super::lease;
use super::limits::{self, within};
use super::log_keys::{LogHead, LogKeys};
use super::schema;
use super::sql::{Sql, insert};
use super::value::Value;
use crate::model::StoreAt;

/// Tables about the machines that share a database, which no other database has.
const OF_THE_SERVER: [&str; 4] = ["_sqlx_migrations", "leaders", "nodes", "write_lock"];

/// Tables that refer to no other, or that others refer to, in this order.
const FIRST: [&str; 2] = ["accounts", "users"];

/// Tables that the schema fills. A copy is the same store, so it has the same id.
const FILLED: [&str; 2] = ["counters", "identity"];

/// Rows that are in memory at once.
const BATCH: usize = 1_000;

/// The reason why a store was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is no store at {0}: name the url of [store], or the path of its file")]
    NoStore(StoreAt),
    #[error("rosterd on {node} works on {at}: stop it first (systemctl stop rosterd)")]
    AtWork { at: StoreAt, node: String },
    #[error(
        "{at} is not empty: {table} has {rows} rows; name a new file, or a new database (CREATE DATABASE)"
    )]
    NotEmpty { at: StoreAt, table: String, rows: u64 },
    #[error(
        "{at} has another schema than this rosterd (step {step}): start this rosterd with it once, and copy it then"
    )]
    OtherSchema { at: StoreAt, step: i64 },
    #[error("{at} does not answer ({why}): nothing was copied")]
    Silent { at: StoreAt, why: String },
    #[error("{table} has {from} rows, and {to} were written: nothing was copied")]
    Lost { table: String, from: u64, to: u64 },
    #[error(
        "everything was copied, but the event log is broken at entry {}: {}; use the former store until rosterctl event verify has told whether it is broken there, too",
        .0.seq,
        .0.finding
    )]
    Broken(ChainBreak),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The outcome of a copy.
#[derive(Debug)]
pub struct Copied {
    /// The rows of each table.
    pub tables: Vec<(String, u64)>,
    /// The texts from which U+0000 was removed.
    pub mended: u64,
    /// The end of the event log at both ends.
    pub head: LogHead,
}

/// The kind of a column's values. The schema has no others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Int,
    Text,
    Blob,
}

#[derive(PartialEq, Eq, Debug)]
struct Table {
    name: String,
    /// In the order of their names.
    columns: Vec<(String, Kind)>,
}

/// Copies a store to an empty one, and verifies the copy. `told` gets the rows of a table so far.
///
/// Other writers wait or are refused meanwhile. Scopes, held plans and the event log stay as they are:
/// a copy is no backup that was restored.
pub async fn copy(
    from: &StoreAt,
    to: &StoreAt,
    keys: LogKeys,
    mut told: impl FnMut(&str, u64),
) -> Result<Copied, CopyError> {
    if matches!(from, StoreAt::File(file) if !file.exists()) {
        return Err(CopyError::NoStore(from.clone()));
    }
    let source = alone(from).await?;
    let mut reading = source.readers.acquire().await.doing("begin to read")?;
    begin_reading(&mut reading, source.flavour).await.map_err(|error| is_no_store(error, from))?;
    refuse_daemon(&mut reading, source.flavour, from).await?;
    check_schema(&mut reading, source.flavour, from).await?;
    let target = alone(to).await?;
    target.prepare().await?;
    target.open_fence();
    let mut writing = target.begin().await?;
    lift(&mut writing.tx, target.flavour).await.doing("begin to write")?;
    refuse_daemon(&mut writing.tx, target.flavour, to).await?;

    let tables = tables(&mut reading, source.flavour).await.doing("read its schema")?;
    refuse_content(&mut writing.tx, &tables, to).await?;
    let mut copied = Vec::with_capacity(tables.len());
    let mut mended = 0;
    for table in &tables {
        let rows = rows_of(&mut reading, &table.name).await?;
        let mut values =
            Values { table, is_for_server: target.flavour != Flavour::Sqlite, mended: 0 };
        let mut done = 0;
        {
            let mut stream = sqlx::query(AssertSqlSafe(table.selected())).fetch(&mut *reading);
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                let row = within(limits::LIST, stream.try_next()).await.doing("read its rows")?;
                let is_last = row.is_none();
                if let Some(row) = row {
                    batch.push(values.of(&row).doing("read a row")?);
                }
                if batch.len() == BATCH || is_last && !batch.is_empty() {
                    done += batch.len() as u64;
                    let written = insert(&mut writing.tx, &table.name, "", batch.drain(..));
                    written.await.doing("write rows")?;
                    told(&table.name, done);
                }
                if is_last {
                    break;
                }
            }
        }
        mended += values.mended;
        let written = rows_of(&mut writing.tx, &table.name).await?;
        if written != rows {
            return Err(CopyError::Lost { table: table.name.clone(), from: rows, to: written });
        }
        copied.push((table.name.clone(), rows));
    }
    // The limit of other commits is too short for a million rows.
    writing.tx.commit().await.doing("commit")?;
    drop(writing.guard);
    #[cfg(feature = "postgres")]
    if target.flavour == Flavour::Postgres {
        let analyze = sqlx::raw_sql("ANALYZE").execute(&target.readers);
        analyze.await.doing("count its values")?;
    }
    reading.execute(sqlx::raw_sql("ROLLBACK")).await.doing("end to read")?;
    drop(reading);
    let head = source.log_head().await?;
    target.set_log_keys(keys);
    let verified = target.verify_log(Some(head)).await?;
    source.close().await;
    target.close().await;
    verified.map_err(CopyError::Broken)?;
    Ok(Copied { tables: copied, mended, head })
}

/// Connects to a store on which no daemon works.
async fn alone(at: &StoreAt) -> Result<Store, CopyError> {
    let refused = |error| match error {
        StoreError::InUse { .. } => {
            CopyError::AtWork { at: at.clone(), node: "this machine".to_owned() }
        }
        StoreError::Standby(node) => CopyError::AtWork { at: at.clone(), node },
        StoreError::Unreachable(why) => CopyError::Silent { at: at.clone(), why },
        error => CopyError::Store(error),
    };
    let store = Store::at(at).map_err(refused)?;
    store.watch_server().await.map_err(refused)?;
    store.refuse_leader().await.map_err(refused)?;
    Ok(store)
}

/// Begins a transaction that sees one state, and keeps the writers of a server away.
async fn begin_reading(conn: &mut AnyConnection, flavour: Flavour) -> Result<(), sqlx::Error> {
    let begin = match flavour {
        Flavour::Sqlite => "BEGIN",
        #[cfg(feature = "postgres")]
        Flavour::Postgres => {
            "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE write_lock IN EXCLUSIVE MODE"
        }
    };
    within(limits::STATEMENT, conn.execute(sqlx::raw_sql(begin))).await?;
    lift(conn, flavour).await
}

/// Tells a database of other programs from one that fails.
fn is_no_store(error: sqlx::Error, at: &StoreAt) -> CopyError {
    #[cfg(feature = "postgres")]
    if super::error::sqlstate(&error).as_deref() == Some("42P01") {
        return CopyError::NoStore(at.clone());
    }
    let _ = at;
    CopyError::Store(StoreError::Database { what: "begin to read", source: error })
}

/// Lifts the limits of a transaction in which one end may wait for the other.
async fn lift(conn: &mut AnyConnection, flavour: Flavour) -> Result<(), sqlx::Error> {
    #[cfg(feature = "postgres")]
    if flavour == Flavour::Postgres {
        limits::lift_for_copy(conn).await?;
    }
    let _ = (conn, flavour);
    Ok(())
}

/// Refuses a server on which a daemon has begun to work since it was asked. None can begin now.
#[cfg_attr(not(feature = "postgres"), expect(clippy::unused_async, reason = "a file has a lock"))]
async fn refuse_daemon(
    conn: &mut AnyConnection,
    flavour: Flavour,
    at: &StoreAt,
) -> Result<(), CopyError> {
    #[cfg(feature = "postgres")]
    if flavour == Flavour::Postgres
        && let Some(node) = lease::leader(conn).await.doing("read who leads")?
    {
        return Err(CopyError::AtWork { at: at.clone(), node });
    }
    let _ = (conn, flavour, at);
    Ok(())
}

/// Refuses a store whose schema has other steps than this version.
async fn check_schema(
    conn: &mut AnyConnection,
    flavour: Flavour,
    at: &StoreAt,
) -> Result<(), CopyError> {
    let is_store = tables(conn, flavour).await.doing("read its schema")?;
    if is_store.is_empty() {
        return Err(CopyError::NoStore(at.clone()));
    }
    let rows = Sql::new("SELECT version FROM _sqlx_migrations ORDER BY version").all(conn).await;
    let rows = rows.doing("read its schema")?;
    let found: Vec<i64> =
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().doing("read its schema")?;
    match schema::first_difference(&found) {
        None => Ok(()),
        Some(step) => Err(CopyError::OtherSchema { at: at.clone(), step }),
    }
}

/// Refuses a store that has rows. Those of the schema itself are removed.
async fn refuse_content(
    conn: &mut AnyConnection,
    tables: &[Table],
    at: &StoreAt,
) -> Result<(), CopyError> {
    for Table { name, .. } in tables {
        if FILLED.contains(&name.as_str()) {
            let sql = Sql::new("DELETE FROM ").push(name).execute(&mut *conn);
            sql.await.doing("empty a table")?;
            continue;
        }
        let rows = rows_of(conn, name).await?;
        if rows > 0 {
            return Err(CopyError::NotEmpty { at: at.clone(), table: name.clone(), rows });
        }
    }
    Ok(())
}

async fn rows_of(conn: &mut AnyConnection, table: &str) -> Result<u64, StoreError> {
    Sql::new("SELECT COUNT(*) FROM ").push(table).count(conn).await.doing("count its rows")
}

/// Returns the tables that are copied, those first to which others refer.
async fn tables(conn: &mut AnyConnection, flavour: Flavour) -> Result<Vec<Table>, sqlx::Error> {
    let sql = Sql::new(match flavour {
        Flavour::Sqlite => {
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.name"
        }
        #[cfg(feature = "postgres")]
        Flavour::Postgres => {
            "SELECT c.table_name::TEXT, c.column_name::TEXT, c.data_type::TEXT FROM information_schema.columns c JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE' WHERE c.table_schema = current_schema() ORDER BY c.table_name::TEXT COLLATE \"C\", c.column_name::TEXT COLLATE \"C\""
        }
    });
    let mut tables: Vec<Table> = Vec::new();
    for row in sql.all(conn).await? {
        let (name, column, kind): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if OF_THE_SERVER.contains(&name.as_str()) {
            continue;
        }
        let kind = match kind.to_lowercase().as_str() {
            "integer" | "bigint" => Kind::Int,
            "blob" | "bytea" => Kind::Blob,
            _ => Kind::Text,
        };
        match tables.last_mut() {
            Some(table) if table.name == name => table.columns.push((column, kind)),
            _ => tables.push(Table { name, columns: vec![(column, kind)] }),
        }
    }
    let place = |table: &Table| FIRST.iter().position(|first| *first == table.name);
    tables.sort_by_key(|table| place(table).unwrap_or(FIRST.len()));
    Ok(tables)
}

impl Table {
    fn selected(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.name)
    }
}

/// The one place where the values of one database become those of the other.
struct Values<'a> {
    table: &'a Table,
    is_for_server: bool,
    /// The texts that were changed.
    mended: u64,
}

impl<'a> Values<'a> {
    fn of(&mut self, row: &AnyRow) -> Result<Vec<(&'a str, Value)>, sqlx::Error> {
        let columns = self.table.columns.iter().enumerate();
        columns
            .map(|(at, (name, kind))| {
                let value = match kind {
                    Kind::Int => Value::Int(row.try_get(at)?),
                    Kind::Blob => Value::Blob(row.try_get(at)?),
                    Kind::Text => Value::Text(row.try_get(at).map(|text| self.text(text))?),
                };
                Ok((name.as_str(), value))
            })
            .collect()
    }

    /// Removes U+0000, which PostgreSQL does not take, as a run does that reads it in a directory.
    fn text(&mut self, text: Option<String>) -> Option<String> {
        text.map(|text| {
            if !self.is_for_server || !text.contains('\0') {
                return text;
            }
            self.mended += 1;
            text.replace('\0', "")
        })
    }
}
