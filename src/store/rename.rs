//! A directory that gets another name: everything stored under the old one goes over.

use serde_json::json;

use super::sql::{Sql, Value};
use super::{Doing as _, Store, StoreError, events};
use crate::clock::Clock;
use crate::model::{Actor, DirectoryName, Event, EventCause, Handle};

/// Every table with a column `directory`. A test compares it with the schema.
pub(super) const TABLES: [&str; 10] = [
    "users",
    "people",
    "grace_periods",
    "pins",
    "pending_addresses",
    "pending_people",
    "rejections",
    "runs",
    "plans",
    "changes",
];

impl Store {
    /// Whether anything is stored under this name.
    pub async fn knows_directory(&self, name: &DirectoryName) -> Result<bool, StoreError> {
        let sql =
            Sql::new("SELECT (SELECT COUNT(*) FROM directories WHERE name = ").bind(name.as_str());
        let sql = sql
            .push(") + (SELECT COUNT(*) FROM users WHERE directory = ")
            .bind(name.as_str())
            .push(")");
        Ok(sql.count(&self.readers).await.doing("look for a directory")? > 0)
    }

    /// How many people are stored under this name, and how many users are linked to it.
    pub async fn people_of_directory(&self, name: &DirectoryName) -> Result<u64, StoreError> {
        let sql =
            Sql::new("SELECT (SELECT COUNT(*) FROM people WHERE directory = ").bind(name.as_str());
        let sql = sql
            .push(") + (SELECT COUNT(*) FROM users WHERE directory = ")
            .bind(name.as_str())
            .push(")");
        sql.count(&self.readers).await.doing("count people")
    }

    /// Gives everything stored under one name to another, which has no people; one transaction, one event.
    pub async fn rename_directory(
        &self,
        from: &DirectoryName,
        to: &DirectoryName,
        account: &Handle,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        // A run of the new name may have failed before: what it remembers is nothing.
        for table in
            ["DELETE FROM directories WHERE name = ", "DELETE FROM pins WHERE directory = "]
        {
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
        events::append(
            &mut writing,
            &[Event::about("directory.renamed", to.as_str(), &cause, before, after)],
            clock,
        )
        .await?;
        writing.commit().await
    }
}
