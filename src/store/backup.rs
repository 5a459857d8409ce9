//! Backups: a consistent copy of a live store, marked as a copy.

use std::path::Path;

use sqlx::{AnyConnection, Connection as _};

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
        let copy = AnyConnection::connect(&format!("sqlite://{path}")).await;
        let mut copy = copy.doing("open the copy")?;
        mark_restored(&mut copy).await.doing("mark the copy")?;
        copy.close().await.doing("close the copy")
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

/// Marks the state of a store that lacks what happened later. Its next runs only plan.
pub(super) async fn mark_restored(conn: &mut AnyConnection) -> Result<(), sqlx::Error> {
    for table in [
        "UPDATE directories SET plan_only_since = NULL, scope_hash = ",
        "UPDATE targets SET plan_only_since = NULL, rules_hash = ",
    ] {
        Sql::new(table).bind(ScopeState::Restored.as_str()).execute(&mut *conn).await?;
    }
    Ok(())
}
