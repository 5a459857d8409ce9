//! Hooks that were removed from the configuration, and their backlogs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::backlog::AT_ONCE;
use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::Sql;
use crate::model::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedHook {
    pub name: String,
    /// The time until which its deliveries are kept, in case it is configured again.
    pub kept_until: Timestamp,
}

impl Store {
    /// Stores the configured hooks with the maximum age of their deliveries, and marks the others as
    /// removed.
    pub async fn note_hooks(
        &self,
        configured: &BTreeMap<String, Duration>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let micros = |age: &Duration| i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let rows = Sql::new("SELECT name, max_age, removed_at FROM hooks")
            .all(&self.readers)
            .await
            .doing("read the hooks")?;
        let mut known = BTreeMap::new();
        for row in &rows {
            let mut c = Columns::of(row);
            known.insert(c.text()?, (c.int()?, c.maybe_time()?));
        }
        let new: Vec<_> = configured
            .iter()
            .filter(|(name, age)| known.get(*name) != Some(&(micros(age), None)))
            .collect();
        let removed: Vec<_> = known
            .iter()
            .filter(|(name, (_, at))| at.is_none() && !configured.contains_key(*name))
            .collect();
        if new.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for (name, age) in new {
            let row = vec![
                ("name", name.as_str().into()),
                ("delivered", 0_i64.into()),
                ("max_age", micros(age).into()),
            ];
            let sql = Sql::insert("hooks", row).push(
                " ON CONFLICT (name) DO UPDATE SET max_age = excluded.max_age, removed_at = NULL",
            );
            sql.execute(&mut *writing.tx).await.doing("write a hook")?;
        }
        for (name, _) in removed {
            let sql = Sql::new("UPDATE hooks SET removed_at = ")
                .bind(now)
                .push(" WHERE name = ")
                .bind(name.as_str());
            sql.execute(&mut *writing.tx).await.doing("mark a hook as removed")?;
        }
        writing.commit().await
    }

    /// Returns the removed hooks, by name.
    pub async fn removed_hooks(&self) -> Result<Vec<RemovedHook>, StoreError> {
        let sql = Sql::new(
            "SELECT name, removed_at, max_age FROM hooks WHERE removed_at IS NOT NULL ORDER BY name",
        );
        let removed = sql.all(&self.readers).await.doing("read the hooks")?;
        let one = |row| {
            let mut c = Columns::of(row);
            let (name, removed_at, max_age) = (c.text()?, c.time()?, c.int()?);
            Ok(RemovedHook {
                name,
                kept_until: removed_at.plus(Duration::from_micros(max_age as u64)),
            })
        };
        removed.iter().map(one).collect()
    }

    /// Deletes a removed hook with its deliveries, unless it is configured again.
    pub async fn forget_hook(&self, hook: &str) -> Result<(), StoreError> {
        loop {
            let mut writing = self.begin().await?;
            if writing.follows.hooks.iter().any(|subscription| subscription.hook == hook) {
                return Ok(());
            }
            // In pieces, because a run must not wait for long.
            let sql = Sql::new("DELETE FROM deliveries WHERE hook = ")
                .bind(hook)
                .push(" AND seq IN (SELECT seq FROM deliveries WHERE hook = ");
            let sql = sql.bind(hook).push(" ORDER BY seq LIMIT ").bind(AT_ONCE).push(")");
            let deleted =
                sql.execute(&mut *writing.tx).await.doing("delete the deliveries of a hook")?;
            if deleted < AT_ONCE {
                let sql = Sql::new("DELETE FROM hooks WHERE name = ").bind(hook);
                sql.execute(&mut *writing.tx).await.doing("delete a hook")?;
                return writing.commit().await;
            }
            writing.commit().await?;
        }
    }
}
