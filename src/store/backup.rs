//! A consistent copy of a live store, and what a store that was restored from one knows about itself.

use std::path::Path;

use sqlx::any::AnyPoolOptions;

use super::sql::Sql;
use super::{Doing as _, Flavour, ScopeState, Store, StoreError};

impl Store {
    /// Writes a copy to a file that does not exist yet. Readers and the writer go on meanwhile.
    pub async fn backup(&self, file: &Path) -> Result<(), StoreError> {
        if self.flavour != Flavour::Sqlite {
            return Err(StoreError::NotOurs);
        }
        let path = file.to_str().ok_or_else(|| StoreError::Url(file.display().to_string()))?;
        Sql::new("VACUUM INTO ").bind(path).execute(&self.readers).await.doing("copy itself")?;
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
        copy.close().await;
        Ok(())
    }
}
