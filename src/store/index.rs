//! The index of a directory: people by GUID, with the fingerprint of their last decision.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, pieces};
use crate::model::{AccountId, AddressKey, DirectoryName, Dn, Guid};
use crate::reconcile::{Fingerprint, IndexRow, address_hash};

impl Store {
    /// Returns the index of a directory, in order of GUID.
    pub async fn index(&self, directory: &DirectoryName) -> Result<Vec<IndexRow>, StoreError> {
        let mut rows =
            sqlx::query("SELECT guid, fingerprint FROM people WHERE directory = $1 ORDER BY guid")
                .bind(directory.as_str())
                .fetch(&self.readers);
        let mut index = Vec::new();
        while let Some(row) = rows.try_next().await.doing("load the index")? {
            let bytes: &[u8] = row.try_get(0).doing("load the index")?;
            let guid = Guid(bytes.try_into().map_err(|_| StoreError::Corrupt { what: "guid" })?);
            index.push(IndexRow {
                guid,
                fingerprint: Fingerprint::from_stored(
                    row.try_get::<i64, _>(1).doing("load the index")? as u64,
                ),
            });
        }
        Ok(index)
    }

    /// Returns the index of some people of a directory.
    pub async fn index_of(
        &self,
        directory: &DirectoryName,
        guids: &BTreeSet<Guid>,
    ) -> Result<Vec<IndexRow>, StoreError> {
        let mut index = Vec::new();
        for piece in pieces(guids.iter().copied()) {
            let sql = Sql::new("SELECT guid, fingerprint FROM people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND guid IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("load the index")? {
                let mut c = Columns::of(&row);
                index.push(IndexRow { guid: c.read()?, fingerprint: c.read()? });
            }
        }
        Ok(index)
    }

    /// Returns the people with an active user, who should be visible.
    pub async fn active_people(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<IndexRow>, StoreError> {
        let sql = Sql::new(
            "SELECT p.guid FROM people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.directory = ",
        );
        let rows = sql
            .bind(directory.as_str())
            .push(" ORDER BY p.guid")
            .all(&self.readers)
            .await
            .doing("load the index")?;
        rows.iter()
            .map(|row| {
                Ok(IndexRow { guid: Columns::of(row).read()?, fingerprint: Fingerprint::Revisit })
            })
            .collect()
    }

    /// Returns the hashes of the primary addresses of the account's unmanaged users.
    pub async fn unmanaged(&self, account: AccountId) -> Result<BTreeSet<u64>, StoreError> {
        let sql = Sql::new("SELECT a.address_key FROM addresses a JOIN users u ON u.id = a.user_id WHERE a.is_primary = 1 AND u.directory IS NULL AND u.account_id = ").bind(account.0);
        let rows = sql.all(&self.readers).await.doing("load addresses")?;
        rows.iter().map(|row| Ok(address_hash(&AddressKey(Columns::of(row).text()?)))).collect()
    }

    /// Returns the number of people with an active user below each base.
    pub async fn people_below(
        &self,
        directory: &DirectoryName,
        bases: &[Dn],
    ) -> Result<Vec<u64>, StoreError> {
        let sql = Sql::new("SELECT parent_key, COUNT(*) FROM people WHERE directory = ")
            .bind(directory.as_str())
            .push(" AND user_id IN (SELECT id FROM users WHERE status = 'active') GROUP BY parent_key");
        let mut below = vec![0; bases.len()];
        for row in sql.all(&self.readers).await.doing("count people")? {
            let mut c = Columns::of(&row);
            let (parent, count) = (Dn::new(c.text()?), c.int()? as u64);
            for (base, n) in bases.iter().zip(&mut below) {
                *n += if parent.is_within(base) { count } else { 0 };
            }
        }
        Ok(below)
    }
}
