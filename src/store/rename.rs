//! Renaming of a directory: all rows of the old name get the new one.

use serde_json::json;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::sql::Sql;
use super::value::Value;
use crate::clock::Clock;
use crate::model::{Actor, DirectoryName, Event, EventCause, Handle};

/// Every table with a column `directory`. A test compares the list with the schema.
pub(super) const TABLES: [&str; 11] = [
    "users",
    "people",
    "early_leavers",
    "grace_periods",
    "baseline_objects",
    "pending_addresses",
    "pending_people",
    "rejections",
    "runs",
    "plans",
    "changes",
];

impl Store {
    /// Returns whether a state or a user is stored under this name.
    pub async fn knows_directory(&self, name: &DirectoryName) -> Result<bool, StoreError> {
        let sql =
            Sql::new("SELECT (SELECT COUNT(*) FROM directories WHERE name = ").bind(name.as_str());
        let sql = sql
            .push(") + (SELECT COUNT(*) FROM users WHERE directory = ")
            .bind(name.as_str())
            .push(")");
        Ok(sql.count(&self.readers).await.doing("count rows of a directory")? > 0)
    }

    /// Returns the number of stored people and linked users.
    pub async fn people_of_directory(&self, name: &DirectoryName) -> Result<u64, StoreError> {
        let sql =
            Sql::new("SELECT (SELECT COUNT(*) FROM people WHERE directory = ").bind(name.as_str());
        let sql = sql
            .push(") + (SELECT COUNT(*) FROM users WHERE directory = ")
            .bind(name.as_str())
            .push(")");
        sql.count(&self.readers).await.doing("count people")
    }

    /// Gives all rows of one name to another, which has no people. One transaction, one event.
    pub async fn rename_directory(
        &self,
        from: &DirectoryName,
        to: &DirectoryName,
        account: &Handle,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        // A failed run of the new name may have left rows without people.
        for table in [
            "DELETE FROM directories WHERE name = ",
            "DELETE FROM baseline_objects WHERE directory = ",
        ] {
            Sql::new(table)
                .bind(to.as_str())
                .execute(&mut *writing.tx)
                .await
                .doing("rename a directory")?;
        }
        for (table, column) in
            TABLES.into_iter().map(|table| (table, "directory")).chain([("directories", "name")])
        {
            let sql = Sql::new("UPDATE ")
                .push(table)
                .push(" SET ")
                .push(column)
                .push(" = ")
                .bind(Value::from(to.as_str()));
            let sql = sql.push(" WHERE ").push(column).push(" = ").bind(from.as_str());
            sql.execute(&mut *writing.tx).await.doing("rename a directory")?;
        }
        let cause = EventCause {
            actor: actor.clone(),
            run: None,
            account: Some(account.clone()),
            at: clock.now(),
        };
        let (before, after) = (json!({ "directory": from }), json!({ "directory": to }));
        append(
            &mut writing,
            &[Event::about("directory.renamed", to.as_str(), &cause, before, after)],
            clock,
        )
        .await?;
        writing.commit().await
    }
}
