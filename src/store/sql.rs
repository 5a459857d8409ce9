//! Statements: text from this module tree, and bound values.

use std::fmt::Write as _;

use futures_util::TryStreamExt as _;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, Arguments as _, AssertSqlSafe, Executor, Row as _};

use super::error::{Doing as _, StoreError};
use super::limits::{self, STATEMENT, within};
use super::rows::{self, Columns};
use super::value::Value;

/// Values in one bulk statement: a few hundred rows. SQLite allows 32,766 and PostgreSQL 65,535;
/// more values are not faster.
const BULK_VALUES: usize = 3_000;

/// Values in one `IN` list.
const LIST: usize = 500;

/// Splits values into pieces for one `IN` list each.
pub(super) fn pieces<T: Clone>(all: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    all.into_iter().collect::<Vec<_>>().chunks(LIST).map(<[T]>::to_vec).collect()
}

/// A statement under construction. Its text comes from this module tree only; every value is bound.
#[derive(Default)]
pub(super) struct Sql {
    /// The text, with [`PLACE`] for each value.
    text: String,
    arguments: AnyArguments,
}

/// The place of a value, until the database is known.
const PLACE: char = '\u{1}';

/// A database that executes statements.
pub(super) trait Db<'e>: Executor<'e, Database = Any> {
    fn is_sqlite(&self) -> bool;
}

impl Db<'_> for &AnyPool {
    fn is_sqlite(&self) -> bool {
        self.connect_options().database_url.scheme() == "sqlite"
    }
}

impl<'e> Db<'e> for &'e mut AnyConnection {
    fn is_sqlite(&self) -> bool {
        self.backend_name() == "SQLite"
    }
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Starts the insertion of one row.
    pub(super) fn insert(table: &str, row: Fields) -> Self {
        Self::new("INSERT INTO ")
            .push(table)
            .columns(&row)
            .push(" VALUES ")
            .list(row.into_iter().map(|(_, value)| value))
    }

    /// Starts the selection of a struct's columns.
    pub(super) fn select<R: rows::Row>() -> Self {
        Self::new("SELECT ").push(R::COLUMNS)
    }

    /// Appends the names of columns in parentheses.
    fn columns(mut self, row: &[(&str, Value)]) -> Self {
        let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
        self.text.push_str(" (");
        self.text.push_str(&names.join(", "));
        self.text.push(')');
        self
    }

    /// Returns the statement that explains this one.
    #[cfg(test)]
    pub(super) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN QUERY PLAN ");
        self
    }

    pub(super) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Appends a placeholder and binds its value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.add(value.into());
        self
    }

    fn add(&mut self, value: Value) {
        let added = match value {
            Value::Int(v) => self.arguments.add(v),
            Value::Text(v) => self.arguments.add(v),
            Value::Blob(v) => self.arguments.add(v),
        };
        // Encoding into the buffer of `Any` cannot fail.
        debug_assert!(added.is_ok());
        self.text.push(PLACE);
    }

    /// Returns the statement for a database. PostgreSQL numbers values. SQLite would walk all numbers for
    /// each value of a long list.
    fn of<'e>(self, db: &impl Db<'e>) -> Query<'static, Any, AnyArguments> {
        let text = if db.is_sqlite() {
            self.text.replace(PLACE, "?")
        } else {
            let mut parts = self.text.split(PLACE);
            let mut text = parts.next().unwrap_or_default().to_owned();
            for (part, number) in parts.zip(1..) {
                let _ = write!(text, "${number}{part}");
            }
            text
        };
        sqlx::query_with(AssertSqlSafe(text), self.arguments)
    }

    /// Appends `(v1, v2, …)` for `IN`.
    pub(super) fn list<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.text.push('(');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            self.add(value.into());
        }
        self.text.push(')');
        self
    }

    pub(super) async fn execute<'e>(self, db: impl Db<'e>) -> Result<u64, sqlx::Error> {
        let done = self.of(&db).execute(db);
        Ok(within(STATEMENT, done).await?.rows_affected())
    }

    pub(super) async fn all<'e>(self, db: impl Db<'e>) -> Result<Vec<AnyRow>, sqlx::Error> {
        let rows = self.of(&db).fetch_all(db);
        within(limits::LIST, rows).await
    }

    /// Reads a row at a time, so that a long list is in memory once: a row of the driver is larger than
    /// what is kept of it.
    pub(super) async fn each<'e>(
        self,
        db: impl Db<'e>,
        doing: &'static str,
        mut read: impl FnMut(&mut Columns<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rows = self.of(&db).fetch(db);
        while let Some(row) = within(limits::LIST, rows.try_next()).await.doing(doing)? {
            read(&mut Columns::of(&row))?;
        }
        Ok(())
    }

    /// Reads all rows, one at a time.
    pub(super) async fn read<'e, R: rows::Row>(
        self,
        db: impl Db<'e>,
        doing: &'static str,
    ) -> Result<Vec<R>, StoreError> {
        let mut all = Vec::new();
        let keep = |columns: &mut Columns<'_>| {
            all.push(R::next(columns)?);
            Ok(())
        };
        self.each(db, doing, keep).await?;
        Ok(all)
    }

    pub(super) async fn first<'e>(self, db: impl Db<'e>) -> Result<Option<AnyRow>, sqlx::Error> {
        let row = self.of(&db).fetch_optional(db);
        within(STATEMENT, row).await
    }

    /// Returns the first column of the only row, a number.
    pub(super) async fn count<'e>(self, db: impl Db<'e>) -> Result<u64, sqlx::Error> {
        let row = self.of(&db).fetch_one(db);
        Ok(within(STATEMENT, row).await?.try_get::<i64, _>(0)?.max(0) as u64)
    }
}

/// The columns of one new row, with their values.
pub(super) type Fields = Vec<(&'static str, Value)>;

/// Inserts rows with the same columns, in as many statements as needed. `tail` follows the values.
///
/// No `async fn`: the rows are collected at once, so that the future does not borrow their closures.
pub(super) fn insert<'a, 'n: 'a>(
    tx: &'a mut sqlx::Transaction<'static, Any>,
    table: &'a str,
    tail: &'a str,
    rows: impl IntoIterator<Item = Vec<(&'n str, Value)>>,
) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'a {
    let rows: Vec<_> = rows.into_iter().collect();
    async move {
        let mut rows = rows.into_iter().peekable();
        while let Some(first) = rows.peek() {
            let at_most = (BULK_VALUES / first.len()).max(1);
            let mut sql = Sql::new("INSERT INTO ").push(table).columns(first).push(" VALUES ");
            for (at, row) in rows.by_ref().take(at_most).enumerate() {
                sql = sql
                    .push(if at > 0 { "," } else { "" })
                    .list(row.into_iter().map(|(_, value)| value));
            }
            sql.push(" ").push(tail).execute(&mut **tx).await?;
        }
        Ok(())
    }
}
