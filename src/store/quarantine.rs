//! Quarantined entries, as they are listed.

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, row};
use super::sql::Sql;
use crate::model::{DirectoryName, Dn, Guid, QuarantineReason, Timestamp, UserId};

/// A quarantined entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    pub directory: DirectoryName,
    pub person: Guid,
    pub dn: Dn,
    pub reason: QuarantineReason,
    pub since: Option<Timestamp>,
    pub user: Option<UserId>,
}

row! {
    Quarantined {
        directory: "directory",
        person: "guid",
        dn: "dn",
        reason: "quarantine",
        since: "quarantined_at",
        user: "user_id",
    }
}

impl Store {
    /// Returns the quarantined entries of a directory, oldest first.
    pub async fn quarantined(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<(Guid, Dn, QuarantineReason, Option<UserId>)>, StoreError> {
        let sql = Sql::new("SELECT guid, dn, quarantine, user_id FROM people WHERE quarantine IS NOT NULL AND directory = ")
            .bind(directory.as_str());
        let rows = sql
            .push(" ORDER BY quarantined_at, guid")
            .all(&self.readers)
            .await
            .doing("list the quarantine")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.read()?, c.read()?, c.read()?, c.read()?))
            })
            .collect()
    }

    /// Returns all quarantined entries by directory, oldest first.
    pub async fn quarantine(&self) -> Result<Vec<Quarantined>, StoreError> {
        let sql = Sql::select::<Quarantined>().push(
            " FROM people WHERE quarantine IS NOT NULL ORDER BY directory, quarantined_at, guid",
        );
        let rows = sql.all(&self.readers).await.doing("list the quarantine")?;
        rows.iter().map(Quarantined::of).collect()
    }

    /// Returns the quarantine reasons of a user.
    pub async fn quarantine_of(&self, user: UserId) -> Result<Vec<QuarantineReason>, StoreError> {
        let sql =
            Sql::new("SELECT quarantine FROM people WHERE quarantine IS NOT NULL AND user_id = ")
                .bind(user.0);
        sql.all(&self.readers)
            .await
            .doing("read the quarantine of a user")?
            .iter()
            .map(|row| Columns::of(row).read())
            .collect()
    }
}
