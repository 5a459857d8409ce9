//! Addresses in the pending set: the next run of a directory reads their people.

use std::collections::BTreeSet;

use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, insert, pieces};
use crate::model::{AddressKey, DirectoryName};

/// Puts addresses into the pending set of directories.
pub(super) async fn add_pending_addresses(
    writing: &mut Writing<'_>,
    directories: &[DirectoryName],
    addresses: BTreeSet<AddressKey>,
) -> Result<(), StoreError> {
    if directories.is_empty() || addresses.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = directories
        .iter()
        .flat_map(|d| {
            addresses.iter().map(|a| {
                vec![("directory", d.as_str().into()), ("address_key", a.0.as_str().into())]
            })
        })
        .collect();
    insert(&mut writing.tx, "pending_addresses", "ON CONFLICT DO NOTHING", rows)
        .await
        .doing("put addresses into the pending set")
}

impl Store {
    /// Returns the addresses whose people the next run of a directory reads.
    pub async fn pending_addresses(
        &self,
        directory: &DirectoryName,
    ) -> Result<BTreeSet<AddressKey>, StoreError> {
        let sql = Sql::new("SELECT address_key FROM pending_addresses WHERE directory = ")
            .bind(directory.as_str());
        sql.all(&self.readers)
            .await
            .doing("load pending addresses")?
            .iter()
            .map(|row| Ok(AddressKey(Columns::of(row).text()?)))
            .collect()
    }

    /// Takes addresses off the pending set, because their people were read.
    pub async fn addresses_read(
        &self,
        directory: &DirectoryName,
        addresses: &BTreeSet<AddressKey>,
    ) -> Result<(), StoreError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in pieces(addresses.iter().map(|key| key.0.clone())) {
            let sql = Sql::new("DELETE FROM pending_addresses WHERE directory = ")
                .bind(directory.as_str());
            sql.push(" AND address_key IN ")
                .list(piece)
                .execute(&mut *writing.tx)
                .await
                .doing("take addresses off the pending set")?;
        }
        writing.commit().await
    }
}
