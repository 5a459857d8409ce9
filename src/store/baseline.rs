//! The baseline of a directory: objects that were accepted for configured names.

use std::collections::BTreeMap;

use super::database::{Store, Writing};
use super::directories::{DirectoryState, change_in, select};
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, row, word_columns};
use super::sql::Sql;
use crate::model::{AccountId, AddressKey, DirectoryName, Guid, words};
use crate::reconcile::Fingerprint;

words! {
    /// The kind of an object in the baseline.
    pub enum BaselineKind {
        Base = "base",
        /// An OU that a rule or an exclusion names.
        Ou = "ou",
        /// A Pro or Basic group.
        Group = "group",
        /// A canary; its detail lists the attributes it showed.
        Canary = "canary",
        /// A group that had members. If it has none later, it was emptied or cannot be read.
        Listing = "listing",
        /// A protected person.
        Protected = "protected",
    }
}

word_columns! { BaselineKind "kind of a baseline object"; }

/// An object that was accepted for a configured name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaselineObject {
    /// The configured name, in lower case.
    pub name: String,
    pub guid: Guid,
    /// A distinguished name or a list of attributes, depending on the kind.
    pub detail: String,
}

row! { BaselineObject { name: "name", guid: "guid", detail: "detail", } }

impl Store {
    /// Returns the objects of one kind, by name.
    pub async fn baseline(
        &self,
        directory: &DirectoryName,
        kind: BaselineKind,
    ) -> Result<BTreeMap<String, Vec<BaselineObject>>, StoreError> {
        let sql = Sql::select::<BaselineObject>()
            .push(" FROM baseline_objects WHERE directory = ")
            .bind(directory.as_str())
            .push(" AND kind = ")
            .bind(kind.as_str())
            .push(" ORDER BY name, guid");
        let mut objects: BTreeMap<String, Vec<BaselineObject>> = BTreeMap::new();
        for row in sql.all(&self.readers).await.doing("read the baseline")? {
            let object = BaselineObject::of(&row)?;
            objects.entry(object.name.clone()).or_default().push(object);
        }
        Ok(objects)
    }

    /// Returns the people that directories of an account protect, or protected, by this address.
    pub async fn protected_by(
        &self,
        account: AccountId,
        address: &AddressKey,
    ) -> Result<Vec<(DirectoryName, Guid)>, StoreError> {
        let sql = Sql::new("SELECT directory, guid FROM baseline_objects WHERE kind = ")
            .bind(BaselineKind::Protected.as_str());
        let sql = sql.push(" AND name = ").bind(address.0.as_str());
        let sql = sql.push(" AND directory IN (SELECT directory FROM users WHERE directory IS NOT NULL AND account_id = ").bind(account.0);
        let rows = sql
            .push(") ORDER BY directory, guid")
            .all(&self.readers)
            .await
            .doing("read protected people")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.read()?, c.read()?))
            })
            .collect()
    }

    /// Accepts an object, unless the directory was rebaselined since the run read `baseline`.
    pub async fn accept_in_baseline(
        &self,
        baseline: u64,
        directory: &DirectoryName,
        kind: BaselineKind,
        object: &BaselineObject,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let found =
            select(directory).first(&mut *writing.tx).await.doing("read a directory's state")?;
        if found
            .as_ref()
            .map_or_else(|| Ok(DirectoryState::default()), DirectoryState::of)?
            .baseline
            != baseline
        {
            return Ok(());
        }
        accept_in(&mut writing, directory, kind, object).await?;
        writing.commit().await
    }

    /// Accepts an object for a name, or updates its detail.
    pub async fn accept(
        &self,
        directory: &DirectoryName,
        kind: BaselineKind,
        object: &BaselineObject,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        accept_in(&mut writing, directory, kind, object).await?;
        writing.commit().await
    }

    /// Clears the baseline, and changes the state of the directory in the same transaction.
    ///
    /// The number of the baseline rises, so that no run that began before writes to it.
    pub async fn rebaseline(
        &self,
        name: &DirectoryName,
        change: impl FnOnce(&mut DirectoryState) + Send,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        // Protection is about a person, not about what can be read, so it stays.
        let sql =
            Sql::new("DELETE FROM baseline_objects WHERE kind <> 'protected' AND directory = ")
                .bind(name.as_str());
        sql.execute(&mut *writing.tx).await.doing("clear the baseline")?;
        let sql = Sql::new("UPDATE people SET entitled_by = NULL, fingerprint = ")
            .bind(Fingerprint::Revisit)
            .push(" WHERE directory = ")
            .bind(name.as_str());
        sql.execute(&mut *writing.tx).await.doing("clear the groups of people")?;
        let change = |state: &mut DirectoryState| {
            change(state);
            state.baseline += 1;
        };
        change_in(&mut writing, name, change).await?;
        writing.commit().await
    }
}

async fn accept_in(
    writing: &mut Writing<'_>,
    directory: &DirectoryName,
    kind: BaselineKind,
    object: &BaselineObject,
) -> Result<(), StoreError> {
    let row = vec![
        ("directory", directory.as_str().into()),
        ("kind", kind.as_str().into()),
        ("name", object.name.as_str().into()),
        ("guid", object.guid.into()),
        ("detail", object.detail.as_str().into()),
    ];
    let sql = Sql::insert("baseline_objects", row)
        .push(" ON CONFLICT (directory, kind, name, guid) DO UPDATE SET detail = excluded.detail");
    sql.execute(&mut *writing.tx).await.doing("accept an object")?;
    Ok(())
}
