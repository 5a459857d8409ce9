//! Links of an account's users to its other directories.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, pieces};
use crate::model::{AccountId, DirectoryName, Guid, Link};

impl Store {
    /// Returns the people of an account whose users are linked to other directories than this one.
    pub async fn foreign(
        &self,
        account: AccountId,
        directory: &DirectoryName,
    ) -> Result<BTreeMap<DirectoryName, BTreeSet<Guid>>, StoreError> {
        let mut foreign: BTreeMap<DirectoryName, BTreeSet<Guid>> = BTreeMap::new();
        // Two ranges of an index, both empty for an account with one directory.
        for range in ["<", ">"] {
            let sql = Sql::new("SELECT directory, guid FROM users WHERE directory ")
                .push(range)
                .push(" ")
                .bind(directory.as_str());
            let sql = sql.push(" AND account_id = ").bind(account.0);
            for row in sql.all(&self.readers).await.doing("load links")? {
                let mut c = Columns::of(&row);
                foreign.entry(c.read()?).or_default().insert(c.read()?);
            }
        }
        Ok(foreign)
    }

    /// Returns the links of these people to other directories than this one.
    pub async fn links_elsewhere(
        &self,
        account: AccountId,
        directory: &DirectoryName,
        guids: impl IntoIterator<Item = Guid>,
    ) -> Result<BTreeMap<Guid, Link>, StoreError> {
        let mut links = BTreeMap::new();
        for piece in pieces(guids) {
            let sql = Sql::new("SELECT directory, guid, dn FROM users WHERE directory IS NOT NULL AND account_id = ").bind(account.0);
            let sql = sql
                .push(" AND directory <> ")
                .bind(directory.as_str())
                .push(" AND guid IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("load links")? {
                let mut c = Columns::of(&row);
                let (directory, guid, dn) = (c.read()?, c.read()?, c.read()?);
                links.insert(guid, Link { directory, guid, dn });
            }
        }
        Ok(links)
    }
}
