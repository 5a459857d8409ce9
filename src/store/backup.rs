//! Backups: a consistent copy of a live store, marked as a copy.

use std::path::Path;

use sqlx::any::AnyPoolOptions;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::flavour::Flavour;
use super::scope::ScopeState;
use super::sql::Sql;

impl Store {
    /// Writes a copy to a file that does not exist yet, without stopping readers and writer.
    ///
    /// Its first runs only plan.
    pub async fn backup(&self, file: &Path) -> Result<(), StoreError> {
        self.copy_to(file).await?;
        let path = file.to_str().ok_or_else(|| StoreError::Url)?;
        let copy = AnyPoolOptions::new()
            .max_connections(1)
            .connect(&format!("sqlite://{path}"))
            .await
            .doing("open the copy")?;
        Sql::new("UPDATE directories SET plan_only_since = NULL, scope_hash = ")
            .bind(ScopeState::Restored.as_str())
            .execute(&copy)
            .await
            .doing("mark the copy")?;
        Sql::new("UPDATE targets SET plan_only_since = NULL, rules_hash = ")
            .bind(ScopeState::Restored.as_str())
            .execute(&copy)
            .await
            .doing("mark the copy")?;
        copy.close().await;
        Ok(())
    }

    /// Writes an exact copy to a file that does not exist yet.
    pub(super) async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        if self.flavour != Flavour::Sqlite {
            return Err(StoreError::NoBackup);
        }
        let path = file.to_str().ok_or_else(|| StoreError::Url)?;
        // A large store takes minutes.
        sqlx::query("VACUUM INTO $1")
            .bind(path)
            .execute(&self.readers)
            .await
            .doing("copy itself")?;
        Ok(())
    }
}
