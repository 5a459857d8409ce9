//! Values in bulk: statements with many rows, and rows read by checkpoint.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, Arguments as _, AssertSqlSafe, Executor, Row as _};
use uuid::Uuid;

use super::StoreError;
use crate::model::{Guid, Timestamp};

/// Values in one bulk statement: a few hundred rows. SQLite allows 32,766 and PostgreSQL 65,535; more than these gain nothing.
const BULK_VALUES: usize = 3_000;

/// Values in one `IN` list.
const LIST: usize = 500;

/// As many at a time as one `IN` list takes.
pub(super) fn pieces<T: Clone>(all: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    all.into_iter().collect::<Vec<_>>().chunks(LIST).map(<[T]>::to_vec).collect()
}

/// A statement under construction. Its text comes from this module tree only; every value is bound.
#[derive(Default)]
pub(super) struct Sql {
    text: String,
    arguments: AnyArguments,
    places: Places,
}

/// How the place of a value is written.
#[derive(Clone, Copy, Default)]
enum Places {
    /// `$1`, `$2` …: every database knows these.
    #[default]
    Numbered,
    /// `?`: for SQLite in bulk, which finds a name by walking all of them for each value.
    Anonymous,
}

/// A value that can be bound.
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

macro_rules! values {
    ($($type:ty, $value:ident => $into:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self { $into }
        }
    )*};
}
values! {
    i64, v => Self::Int(Some(v));
    bool, v => Self::Int(Some(i64::from(v)));
    u64, v => Self::Int(Some(v as i64));
    Option<i64>, v => Self::Int(v);
    Timestamp, v => Self::Int(Some(v.0));
    Option<Timestamp>, v => Self::Int(v.map(|t| t.0));
    &str, v => Self::Text(Some(v.to_owned()));
    String, v => Self::Text(Some(v));
    Option<&str>, v => Self::Text(v.map(str::to_owned));
    Option<String>, v => Self::Text(v);
    Uuid, v => Self::Blob(Some(v.as_bytes().to_vec()));
    Option<Uuid>, v => Self::Blob(v.map(|u| u.as_bytes().to_vec()));
    Guid, v => Self::Blob(Some(v.0.to_vec()));
    Option<Guid>, v => Self::Blob(v.map(|g| g.0.to_vec()));
    [u8; 32], v => Self::Blob(Some(v.to_vec()));
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// How it would be carried out.
    #[cfg(test)]
    pub(super) fn explained(mut self) -> Self {
        self.text.insert_str(0, "EXPLAIN QUERY PLAN ");
        self
    }

    /// Appends text.
    pub(super) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Appends the place of a value and binds it.
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
        // Encoding into Any's own buffer has no way to fail.
        debug_assert!(added.is_ok());
        let _ = match self.places {
            Places::Numbered => write!(self.text, "${}", self.arguments.len()),
            Places::Anonymous => write!(self.text, "?"),
        };
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

    pub(super) async fn execute<'e>(
        self,
        db: impl Executor<'e, Database = Any>,
    ) -> Result<u64, sqlx::Error> {
        Ok(sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
            .execute(db)
            .await?
            .rows_affected())
    }

    pub(super) async fn all<'e>(
        self,
        db: impl Executor<'e, Database = Any>,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments).fetch_all(db).await
    }

    pub(super) async fn first<'e>(
        self,
        db: impl Executor<'e, Database = Any>,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments).fetch_optional(db).await
    }

    /// The first column of the only row, a number.
    pub(super) async fn count<'e>(
        self,
        db: impl Executor<'e, Database = Any>,
    ) -> Result<u64, sqlx::Error> {
        let row = sqlx::query_with(AssertSqlSafe(self.text), self.arguments).fetch_one(db).await?;
        Ok(row.try_get::<i64, _>(0)?.max(0) as u64)
    }
}

/// Executes `head VALUES (…), (…) tail` for all rows, in as many statements as that takes.
///
/// No `async fn`: the rows are collected at once, so that the future does not hold on to their closures.
pub(super) fn insert<'a>(
    tx: &'a mut sqlx::Transaction<'static, Any>,
    head: &'a str,
    tail: &'a str,
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'a {
    let rows: Vec<Vec<Value>> = rows.into_iter().collect();
    async move {
        let places =
            if tx.backend_name() == "SQLite" { Places::Anonymous } else { Places::Numbered };
        let mut rows = rows.into_iter().peekable();
        while let Some(first) = rows.peek() {
            let at_most = (BULK_VALUES / first.len()).max(1);
            let mut sql = Sql { places, ..Sql::new(head) }.push(" VALUES ");
            for (at, row) in rows.by_ref().take(at_most).enumerate() {
                sql = sql.push(if at > 0 { "," } else { "" }).list(row);
            }
            sql.push(" ").push(tail).execute(&mut **tx).await?;
        }
        Ok(())
    }
}

/// One row, read from left to right.
pub(super) struct Columns<'a> {
    row: &'a AnyRow,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a AnyRow) -> Self {
        Self { row, at: 0 }
    }

    fn next<T: sqlx::Type<Any> + sqlx::Decode<'a, Any>>(&mut self) -> Result<T, StoreError> {
        self.at += 1;
        self.row
            .try_get(self.at - 1)
            .map_err(|source| StoreError::Database { what: "read a row", source })
    }

    pub(super) fn int(&mut self) -> Result<i64, StoreError> {
        self.next()
    }

    pub(super) fn maybe_int(&mut self) -> Result<Option<i64>, StoreError> {
        self.next()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.int().map(Timestamp)
    }

    pub(super) fn maybe_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_int()?.map(Timestamp))
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.next()
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        self.next()
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, StoreError> {
        Uuid::from_slice(&self.next::<Vec<u8>>()?).map_err(|_| StoreError::Corrupt { what: "id" })
    }

    pub(super) fn maybe_uuid(&mut self) -> Result<Option<Uuid>, StoreError> {
        let bytes: Option<Vec<u8>> = self.next()?;
        bytes
            .map(|b| Uuid::from_slice(&b).map_err(|_| StoreError::Corrupt { what: "id" }))
            .transpose()
    }

    pub(super) fn guid(&mut self) -> Result<Guid, StoreError> {
        self.uuid().map(|u| Guid(u.into_bytes()))
    }

    pub(super) fn maybe_guid(&mut self) -> Result<Option<Guid>, StoreError> {
        Ok(self.maybe_uuid()?.map(|u| Guid(u.into_bytes())))
    }

    pub(super) fn hash(&mut self) -> Result<[u8; 32], StoreError> {
        self.next::<Vec<u8>>()?.try_into().map_err(|_| StoreError::Corrupt { what: "hash" })
    }

    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(&self.text()?).map_err(|_| StoreError::Corrupt { what })
    }

    /// A value of one of our own words.
    pub(super) fn word<T>(
        &mut self,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(&self.text()?).ok_or(StoreError::Corrupt { what })
    }

    pub(super) fn maybe_word<T>(
        &mut self,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        self.maybe_text()?.map(|w| parse(&w).ok_or(StoreError::Corrupt { what })).transpose()
    }
}

/// JSON for a TEXT column; of our own types, which always serialize.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
