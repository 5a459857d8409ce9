//! Early leavers: people who were seen to leave before they have a user.
//!
//! Their stamps are kept, so that no user is made for them by a server that has not heard of it.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, insert, pieces};
use super::value::json;
use crate::model::{DirectoryName, Guid, Timestamp};
use crate::reconcile::{Metadata, OLDEST_STAMP};

impl Store {
    /// Notes people who were seen to leave. Those with a user are left out: their stamps are beside it. The
    /// stamps of `undecided` people are noted for all, because nothing is stored beside their users.
    pub async fn note_early_leavers(
        &self,
        directory: &DirectoryName,
        leavers: &BTreeMap<Guid, Metadata>,
        undecided: &BTreeMap<Guid, Metadata>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let people = self.people(directory, leavers.keys().copied().collect()).await?;
        let users: BTreeSet<Guid> =
            people.into_iter().filter_map(|(guid, person)| person.user.map(|_| guid)).collect();
        let is_early = |(guid, _): &(&Guid, &Metadata)| !users.contains(guid);
        let early: BTreeMap<&Guid, &Metadata> =
            leavers.iter().filter(is_early).chain(undecided).collect();
        let noted = self.early_leavers(directory, early.keys().map(|guid| **guid)).await?;
        let early: Vec<(Guid, Metadata)> = early
            .into_iter()
            .map(|(guid, seen)| {
                (*guid, noted.get(guid).cloned().unwrap_or_default().merged(seen, now))
            })
            .filter(|(guid, seen)| !seen.is_empty() && noted.get(guid) != Some(seen))
            .collect();
        if early.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        Sql::new("DELETE FROM early_leavers WHERE noted_at < ")
            .bind(now.minus(OLDEST_STAMP))
            .execute(&mut *writing.tx)
            .await
            .doing("forget early leavers")?;
        let rows = early.into_iter().map(|(guid, metadata)| {
            vec![
                ("directory", directory.as_str().into()),
                ("guid", guid.into()),
                ("metadata", json(&metadata).into()),
                ("noted_at", now.into()),
            ]
        });
        let tail = "ON CONFLICT (directory, guid) DO UPDATE SET metadata = excluded.metadata, noted_at = excluded.noted_at";
        insert(&mut writing.tx, "early_leavers", tail, rows).await.doing("note early leavers")?;
        writing.commit().await
    }

    /// Returns the stamps of the early leavers among these people.
    pub async fn early_leavers(
        &self,
        directory: &DirectoryName,
        people: impl IntoIterator<Item = Guid>,
    ) -> Result<BTreeMap<Guid, Metadata>, StoreError> {
        let mut leavers = BTreeMap::new();
        for piece in pieces(people) {
            let sql = Sql::new("SELECT guid, metadata FROM early_leavers WHERE directory = ");
            let sql = sql.bind(directory.as_str()).push(" AND guid IN ").list(piece);
            for row in sql.all(&self.readers).await.doing("load early leavers")? {
                let mut c = Columns::of(&row);
                let (guid, metadata): (Guid, String) = (c.read()?, c.read()?);
                let metadata = serde_json::from_str(&metadata).ok();
                leavers.extend(metadata.map(|metadata| (guid, metadata)));
            }
        }
        Ok(leavers)
    }
}
