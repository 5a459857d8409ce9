//! People: the stored people, users and addresses that a plan depends on.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Store;
use super::directories::lenient_json;
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, row};
use super::sql::{Sql, pieces};
use super::users;
use crate::model::{
    AccountId, AddressKey, DirectoryName, Dn, Guid, ObservationNumber, Sid, User, UserId,
};
use crate::reconcile::{Known, StoredPerson};

/// A stored person who is found by its SID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownBySid {
    pub directory: DirectoryName,
    pub sid: Sid,
    pub dn: Dn,
    pub entitled_by: Option<Guid>,
    pub user: Option<UserId>,
}

row! {
    KnownBySid {
        directory: "directory",
        sid: "object_sid",
        dn: "dn",
        entitled_by: "entitled_by",
        user: "user_id",
    }
}

row! {
    StoredPerson {
        dn: "dn",
        home: "parent_key",
        entitled_by: "entitled_by",
        user: "user_id",
        seen_at: "seen_at",
        notes: "notes" as notes,
        metadata: "metadata" as lenient_json,
    }
}

/// JSON sentences, empty where they are missing or cannot be parsed.
mod notes {
    use std::collections::BTreeSet;

    use super::{Columns, StoreError};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<BTreeSet<String>, StoreError> {
        let notes: Option<String> = columns.read()?;
        Ok(notes.and_then(|notes| serde_json::from_str(&notes).ok()).unwrap_or_default())
    }
}

impl Store {
    pub async fn people(
        &self,
        directory: &DirectoryName,
        guids: Vec<Guid>,
    ) -> Result<BTreeMap<Guid, StoredPerson>, StoreError> {
        let mut people = BTreeMap::new();
        for piece in pieces(guids) {
            let sql = Sql::new("SELECT guid, ")
                .push(StoredPerson::COLUMNS)
                .push(" FROM people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND guid IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("load people")? {
                let mut c = Columns::of(&row);
                people.insert(c.read()?, StoredPerson::next(&mut c)?);
            }
        }
        Ok(people)
    }

    /// Returns those of these people whom a later observation has recorded.
    pub async fn observed_after(
        &self,
        directory: &DirectoryName,
        number: ObservationNumber,
        people: impl IntoIterator<Item = Guid>,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let mut later = BTreeSet::new();
        for piece in pieces(people) {
            let sql = Sql::new("SELECT guid FROM people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND observed_from > ")
                .bind(number.0 as i64);
            let rows = sql.push(" AND guid IN ").list(piece).all(&self.readers).await;
            for row in rows.doing("read later observations")? {
                later.insert(Columns::of(&row).read()?);
            }
        }
        Ok(later)
    }

    /// Loads the stored rows of these people, their users, and the holders of the addresses they want.
    pub async fn load(
        &self,
        directory: &DirectoryName,
        account: AccountId,
        guids: &BTreeSet<Guid>,
        wanted: &BTreeSet<AddressKey>,
    ) -> Result<Known, StoreError> {
        let mut known = Known::default();
        known.people = self.people(directory, guids.iter().copied().collect()).await?;
        for piece in pieces(guids.iter().copied()) {
            let sql = Sql::select::<User>()
                .push(" FROM users WHERE directory IS NOT NULL AND account_id = ")
                .bind(account.0)
                .push(" AND guid IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("load users")? {
                known.add(User::of(&row)?, account);
            }
        }
        for (former, people) in known.linked_elsewhere(directory) {
            known.former.extend(self.people(&former, people).await?);
        }
        // The id of a person may belong to a user that was linked to another entry since.
        let unknown = guids
            .iter()
            .filter(|guid| known.of_person(**guid).is_none())
            .map(|guid| UserId::of_person(account, *guid));
        for piece in pieces(unknown.collect::<Vec<_>>()) {
            for user in users::by_ids(&self.readers, &piece).await? {
                known.add(user, account);
            }
        }
        for piece in pieces(wanted.iter().cloned()) {
            let sql = Sql::select::<User>().push(
                " FROM users WHERE id IN (SELECT user_id FROM addresses WHERE address_key IN ",
            );
            for row in sql
                .list(piece.into_iter().map(|k| k.0))
                .push(")")
                .all(&self.readers)
                .await
                .doing("load users")?
            {
                known.add(User::of(&row)?, account);
            }
        }
        Ok(known)
    }

    /// Returns whether a user of the directory is suspended because of an attribute, in one parent or
    /// anywhere.
    pub async fn suspends_by(
        &self,
        directory: &DirectoryName,
        attribute: &str,
        parent: Option<&Dn>,
    ) -> Result<bool, StoreError> {
        let mut sql = Sql::new("SELECT 1 FROM users WHERE status = 'suspended' AND directory = ")
            .bind(directory.as_str())
            .push(" AND causes LIKE ")
            .bind(format!("%\"attribute\":\"{attribute}\"%"));
        if let Some(parent) = parent {
            sql = sql
                .push(" AND guid IN (SELECT guid FROM people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND parent_key = ")
                .bind(parent.key())
                .push(")");
        }
        let row = sql.push(" LIMIT 1").first(&self.readers).await;
        Ok(row.doing("look for a cause")?.is_some())
    }

    /// Returns at most 500 users of people below one parent.
    pub async fn users_below(
        &self,
        directory: &DirectoryName,
        parent: &Dn,
    ) -> Result<Vec<User>, StoreError> {
        let sql = Sql::select::<User>()
            .push(" FROM users WHERE status <> 'released' AND id IN (SELECT user_id FROM people WHERE user_id IS NOT NULL AND directory = ")
            .bind(directory.as_str())
            .push(" AND parent_key = ")
            .bind(parent.key())
            .push(") ORDER BY id LIMIT 500");
        sql.all(&self.readers).await.doing("load users of a parent")?.iter().map(User::of).collect()
    }

    /// Returns the stored people of all directories with these SIDs.
    pub async fn people_by_sid(
        &self,
        sids: &BTreeSet<Sid>,
    ) -> Result<Vec<(Guid, KnownBySid)>, StoreError> {
        let mut people = Vec::new();
        for piece in pieces(sids.iter()) {
            let sql = Sql::new("SELECT guid, ")
                .push(KnownBySid::COLUMNS)
                .push(" FROM people WHERE object_sid IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("load people by SID")? {
                let mut c = Columns::of(&row);
                people.push((c.read()?, KnownBySid::next(&mut c)?));
            }
        }
        Ok(people)
    }

    /// Returns the people whose SID no run has stored yet.
    pub async fn people_without_sid(
        &self,
        directory: &DirectoryName,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let sql = Sql::new("SELECT guid FROM people WHERE object_sid IS NULL AND directory = ");
        let rows = sql.bind(directory.as_str()).all(&self.readers).await;
        rows.doing("load people without a SID")?.iter().map(|row| Columns::of(row).read()).collect()
    }

    /// Stores the SIDs of people whose decisions did not change.
    pub async fn store_sids(
        &self,
        directory: &DirectoryName,
        sids: &BTreeMap<Guid, Sid>,
    ) -> Result<(), StoreError> {
        for piece in pieces(sids) {
            let mut writing = self.begin().await?;
            for (guid, sid) in piece {
                let sql = Sql::new("UPDATE people SET object_sid = ").bind(sid);
                let sql = sql.push(" WHERE directory = ").bind(directory.as_str());
                let sql = sql.push(" AND guid = ").bind(*guid);
                sql.execute(&mut *writing.tx).await.doing("store a SID")?;
            }
            writing.commit().await?;
        }
        Ok(())
    }

    /// Returns the groups that give a stored person a tier.
    pub async fn groups_in_use(
        &self,
        directory: &DirectoryName,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let sql =
            Sql::new("SELECT DISTINCT entitled_by FROM people WHERE entitled_by IS NOT NULL AND directory = ").bind(directory.as_str());
        sql.all(&self.readers)
            .await
            .doing("load groups")?
            .iter()
            .map(|row| Columns::of(row).read())
            .collect()
    }

    /// Returns the people who have a tier by one of these groups.
    pub async fn entitled_by(
        &self,
        directory: &DirectoryName,
        groups: &BTreeSet<Guid>,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let mut people = BTreeSet::new();
        for piece in pieces(groups.iter().copied()) {
            let sql = Sql::new("SELECT guid FROM people WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND entitled_by IN ");
            for row in
                sql.list(piece).all(&self.readers).await.doing("load the people of groups")?
            {
                people.insert(Columns::of(&row).read()?);
            }
        }
        Ok(people)
    }
}
