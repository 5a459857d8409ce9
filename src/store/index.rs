//! The index of a directory: people by GUID, with the fingerprint of their last decision.

use std::collections::BTreeSet;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::flavour::Flavour;
use super::rows::Columns;
use super::sql::{Sql, pieces};
use crate::model::{AccountId, AddressKey, DirectoryName, Dn, Guid};
use crate::reconcile::{Fingerprint, IndexRow, address_hash};

/// People of the index in one row of an answer.
const PAGE: usize = 2_000;

/// Digits of a GUID and a fingerprint.
const INDEX_ROW: usize = 32 + 16;

fn unhex(person: &[u8]) -> Option<IndexRow> {
    let (guid, fingerprint) = std::str::from_utf8(person).ok()?.split_at_checked(32)?;
    let guid = u128::from_str_radix(guid, 16).ok()?;
    let fingerprint = u64::from_str_radix(fingerprint, 16).ok()?;
    Some(IndexRow {
        guid: Guid(guid.to_be_bytes()),
        fingerprint: Fingerprint::from_stored(fingerprint),
    })
}

impl Store {
    /// Returns the index of a directory, in order of GUID.
    pub async fn index(&self, directory: &DirectoryName) -> Result<Vec<IndexRow>, StoreError> {
        self.index_in_pages("people p WHERE p.directory = ", directory, PAGE).await
    }

    /// Returns the people with an active user, who should be visible.
    pub async fn active_people(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<IndexRow>, StoreError> {
        let active = "people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.directory = ";
        self.index_in_pages(active, directory, PAGE).await
    }

    /// Returns an index in order of GUID. The database joins a page of people to one text, because a row
    /// costs more than a person.
    pub(super) async fn index_in_pages(
        &self,
        people: &str,
        directory: &DirectoryName,
        size: usize,
    ) -> Result<Vec<IndexRow>, StoreError> {
        let (joined, person) = match self.flavour {
            Flavour::Sqlite => ("group_concat", "hex(p.guid) || printf('%016x', p.fingerprint)"),
            #[cfg(feature = "postgres")]
            Flavour::Postgres => {
                ("string_agg", "encode(p.guid, 'hex') || lpad(to_hex(p.fingerprint), 16, '0')")
            }
        };
        let mut index: Vec<IndexRow> = Vec::new();
        loop {
            let after = index.last().map_or(Vec::new(), |row| row.guid.0.to_vec());
            let sql = Sql::new("SELECT ")
                .push(joined)
                .push("(person, '') FROM (SELECT ")
                .push(person)
                .push(" AS person FROM ")
                .push(people)
                .bind(directory.as_str())
                .push(" AND p.guid > ")
                .bind(after)
                .push(" ORDER BY p.guid LIMIT ")
                .bind(size as u64)
                .push(") AS page");
            let row = sql.first(&self.readers).await.doing("load the index")?;
            let page = row.map(|row| Columns::of(&row).maybe_text()).transpose()?.flatten();
            let page = page.unwrap_or_default();
            let begin = index.len();
            for person in page.as_bytes().chunks(INDEX_ROW) {
                index.push(unhex(person).ok_or(StoreError::Corrupt { what: "index" })?);
            }
            // The order in which a database joins texts is not promised.
            index[begin..].sort_unstable();
            if index.len() - begin < size {
                return Ok(index);
            }
        }
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
