//! People: the index of a scope, what a plan needs to know, and what is due.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::rejections::OF_DIRECTORY;
use super::sql::{Columns, Sql, insert, pieces};
use super::{Doing as _, Store, StoreError, users};
use crate::model::{
    AccountId, AddressKey, Class, DirectoryName, Dn, Guid, Link, QuarantineReason, Timestamp, User,
    UserId,
};
use crate::reconcile::{
    Fingerprint, GraceCause, GracePeriod, IndexRow, Known, StoredPerson, Waiting, address_hash,
};

/// One entry that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The directory.
    pub directory: DirectoryName,
    /// The person.
    pub person: Guid,
    /// Where it stands.
    pub dn: Dn,
    /// Why.
    pub reason: QuarantineReason,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Its user, if it has one.
    pub user: Option<UserId>,
}

impl Store {
    /// The index of a directory, in order of GUID.
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

    /// The index of some people of a directory.
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
                index.push(IndexRow {
                    guid: c.guid()?,
                    fingerprint: Fingerprint::from_stored(c.int()? as u64),
                });
            }
        }
        Ok(index)
    }

    /// What stands for the addresses of the account's unmanaged users.
    pub async fn unmanaged(&self, account: AccountId) -> Result<BTreeSet<u64>, StoreError> {
        let sql = Sql::new("SELECT a.address_key FROM addresses a JOIN users u ON u.id = a.user_id WHERE a.is_primary = 1 AND u.directory IS NULL AND u.account_id = ").bind(account.0);
        let rows = sql.all(&self.readers).await.doing("load addresses")?;
        rows.iter().map(|row| Ok(address_hash(&AddressKey(Columns::of(row).text()?)))).collect()
    }

    /// How many people with an active user are stored below each base.
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

    /// What is remembered of these people.
    pub async fn people(
        &self,
        directory: &DirectoryName,
        guids: Vec<Guid>,
    ) -> Result<BTreeMap<Guid, StoredPerson>, StoreError> {
        let mut people = BTreeMap::new();
        for piece in pieces(guids) {
            let sql = Sql::new("SELECT guid, dn, parent_key, entitled_by, user_id, seen_at, notes FROM people WHERE directory = ")
                .bind(directory.as_str());
            for row in sql
                .push(" AND guid IN ")
                .list(piece)
                .all(&self.readers)
                .await
                .doing("load people")?
            {
                let mut c = Columns::of(&row);
                let guid = c.guid()?;
                let person = StoredPerson {
                    dn: Dn::new(c.text()?),
                    home: c.text()?,
                    entitled_by: c.maybe_guid()?,
                    user: c.maybe_uuid()?.map(UserId),
                    seen_at: c.time()?,
                    notes: c
                        .maybe_text()?
                        .and_then(|notes| serde_json::from_str(&notes).ok())
                        .unwrap_or_default(),
                };
                people.insert(guid, person);
            }
        }
        Ok(people)
    }

    /// Everything a plan about these people, and whoever holds the addresses they want, has to know.
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
            let sql = Sql::new("SELECT ")
                .push(users::COLUMNS)
                .push(" FROM users WHERE directory IS NOT NULL AND account_id = ")
                .bind(account.0)
                .push(" AND guid IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("load users")? {
                known.add(users::user(&row)?, account);
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
            let sql = Sql::new("SELECT ").push(users::COLUMNS).push(
                " FROM users WHERE id IN (SELECT user_id FROM addresses WHERE address_key IN ",
            );
            for row in sql
                .list(piece.into_iter().map(|k| k.0))
                .push(")")
                .all(&self.readers)
                .await
                .doing("load users")?
            {
                known.add(users::user(&row)?, account);
            }
        }
        Ok(known)
    }

    /// Users of people who belong to one parent, at most 500 of them: enough to see what its people have.
    pub async fn users_below(
        &self,
        directory: &DirectoryName,
        parent: &Dn,
    ) -> Result<Vec<User>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(users::COLUMNS)
            .push(" FROM users WHERE status <> 'released' AND id IN (SELECT user_id FROM people WHERE user_id IS NOT NULL AND directory = ")
            .bind(directory.as_str())
            .push(" AND parent_key = ")
            .bind(parent.key())
            .push(") ORDER BY id LIMIT 500");
        sql.all(&self.readers)
            .await
            .doing("load users of a parent")?
            .iter()
            .map(users::user)
            .collect()
    }

    /// The people with an active user, as an index of who is to be visible.
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
                Ok(IndexRow { guid: Columns::of(row).guid()?, fingerprint: Fingerprint::Revisit })
            })
            .collect()
    }

    /// The people of an account whose users are linked to other directories than this one, by directory.
    pub async fn foreign(
        &self,
        account: AccountId,
        directory: &DirectoryName,
    ) -> Result<BTreeMap<DirectoryName, BTreeSet<Guid>>, StoreError> {
        let mut foreign: BTreeMap<DirectoryName, BTreeSet<Guid>> = BTreeMap::new();
        // Two ranges of an index: an account with one directory has nothing in either, and costs nothing.
        for range in ["<", ">"] {
            let sql = Sql::new("SELECT directory, guid FROM users WHERE directory ")
                .push(range)
                .push(" ")
                .bind(directory.as_str());
            let sql = sql.push(" AND account_id = ").bind(account.0);
            for row in sql.all(&self.readers).await.doing("load links")? {
                let mut c = Columns::of(&row);
                let directory = c.word("directory name", DirectoryName::parse)?;
                foreign.entry(directory).or_default().insert(c.guid()?);
            }
        }
        Ok(foreign)
    }

    /// The links to other directories than this one, of users of the account, for these people.
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
                let directory = c.word("directory name", DirectoryName::parse)?;
                let (guid, dn) = (c.guid()?, Dn::new(c.text()?));
                links.insert(guid, Link { directory, guid, dn });
            }
        }
        Ok(links)
    }

    /// Puts people of another directory into the pending set of this one, which shows them at these places.
    pub async fn expect(
        &self,
        directory: &DirectoryName,
        people: &BTreeMap<Guid, Dn>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if people.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        let rows = people.iter().map(|(guid, dn)| {
            vec![
                directory.as_str().into(),
                (*guid).into(),
                0_i64.into(),
                dn.as_str().into(),
                "".into(),
                now.into(),
            ]
        });
        let tail = "ON CONFLICT (directory, guid) DO UPDATE SET fingerprint = 0";
        insert(
            &mut writing.tx,
            "INSERT INTO people (directory, guid, fingerprint, dn, parent_key, seen_at)",
            tail,
            rows,
        )
        .await
        .doing("put people into the pending set")?;
        writing.commit().await
    }

    /// Which of these groups gave somebody a tier.
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
            .map(|row| Columns::of(row).guid())
            .collect()
    }

    /// Who had a tier by one of these groups.
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
            for row in sql
                .list(piece)
                .all(&self.readers)
                .await
                .doing("look up who has a tier by a group")?
            {
                people.insert(Columns::of(&row).guid()?);
            }
        }
        Ok(people)
    }

    /// Returns the accounts of active users that have expired by now, and of those that will expire the first: each with when.
    /// What waits for an operator already is not among them.
    pub async fn expiries(
        &self,
        directory: &DirectoryName,
        now: Timestamp,
    ) -> Result<Vec<(Guid, Timestamp)>, StoreError> {
        let name = directory.as_str();
        let next = Sql::new("SELECT MIN(expires) FROM people WHERE directory = ")
            .bind(name)
            .push(" AND expires > ")
            .bind(now);
        let row = next.first(&self.readers).await.doing("look up the next expiry")?;
        let next = row.map_or(Ok(None), |row| Columns::of(&row).maybe_time())?.unwrap_or(now);
        let sql = Sql::new(
            "SELECT p.guid, p.expires FROM people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.directory = ",
        );
        let sql = sql.bind(name).push(" AND p.expires <= ").bind(next);
        let sql = sql.push(
            " AND p.guid NOT IN (SELECT c.guid FROM changes c JOIN plans s ON s.id = c.plan_id WHERE c.outcome = 'held' \
             AND c.guid IS NOT NULL AND c.reason = 'expired' AND s.state IN ('open', 'approved', 'rejected') AND s.directory = ",
        );
        let sql = sql
            .bind(name)
            .push(") AND p.guid NOT IN (SELECT guid FROM rejections WHERE guid IS NOT NULL AND reason = 'expired' AND directory = ");
        let rows =
            sql.bind(name).push(")").all(&self.readers).await.doing("look up who expires")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.guid()?, c.time()?))
            })
            .collect()
    }

    /// What is quarantined in a directory, oldest first.
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
                Ok((
                    c.guid()?,
                    Dn::new(c.text()?),
                    c.word("quarantine", QuarantineReason::parse)?,
                    c.maybe_uuid()?.map(UserId),
                ))
            })
            .collect()
    }

    /// All that is quarantined, by directory and the oldest first.
    pub async fn quarantine(&self) -> Result<Vec<Quarantined>, StoreError> {
        let sql = Sql::new(
            "SELECT directory, guid, dn, quarantine, quarantined_at, user_id FROM people WHERE quarantine IS NOT NULL",
        );
        let rows = sql
            .push(" ORDER BY directory, quarantined_at, guid")
            .all(&self.readers)
            .await
            .doing("list the quarantine")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok(Quarantined {
                    directory: c.word("directory name", DirectoryName::parse)?,
                    person: c.guid()?,
                    dn: Dn::new(c.text()?),
                    reason: c.word("quarantine", QuarantineReason::parse)?,
                    since: c.maybe_time()?,
                    user: c.maybe_uuid()?.map(UserId),
                })
            })
            .collect()
    }

    /// The quarantine of one user.
    pub async fn quarantine_of(&self, user: UserId) -> Result<Vec<QuarantineReason>, StoreError> {
        let sql =
            Sql::new("SELECT quarantine FROM people WHERE quarantine IS NOT NULL AND user_id = ")
                .bind(user.0);
        sql.all(&self.readers)
            .await
            .doing("look up a quarantine")?
            .iter()
            .map(|row| Columns::of(row).word("quarantine", QuarantineReason::parse))
            .collect()
    }

    /// All candidates that wait for a recheck.
    pub async fn grace_periods(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<GracePeriod>, StoreError> {
        let sql = Sql::new("SELECT user_id, cause, guid, first_seen, due, cluster FROM grace_periods WHERE directory = ")
            .bind(directory.as_str())
            .push(" ORDER BY user_id");
        let rows = sql.all(&self.readers).await.doing("load grace periods")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok(GracePeriod {
                    user: UserId(c.uuid()?),
                    cause: c.word("cause", GraceCause::parse)?,
                    guid: c.guid()?,
                    first_seen: c.time()?,
                    due: c.maybe_time()?,
                    cluster: c.maybe_text()?,
                })
            })
            .collect()
    }

    /// Of whom something is left to do, or to look at again: what is held, rejected, quarantined or settling, was not applied whole,
    /// or was held by a plan that has ended; and who has expired by now without anybody having seen it.
    pub async fn pending(
        &self,
        directory: &DirectoryName,
        now: Timestamp,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let name = directory.as_str();
        let sql = Sql::new("SELECT guid FROM people WHERE (fingerprint = 0 OR quarantine IS NOT NULL) AND directory = ").bind(name);
        let sql = sql.push(" UNION SELECT guid FROM grace_periods WHERE directory = ").bind(name);
        let sql =
            sql.push(" UNION SELECT p.guid FROM people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.expires <= ");
        let sql = sql.bind(now).push(" AND p.directory = ").bind(name);
        let sql = sql.push(
            " UNION SELECT c.guid FROM changes c JOIN plans p ON p.id = c.plan_id WHERE c.outcome = 'held' AND c.guid IS NOT NULL \
             AND p.state IN ('open', 'approved') AND p.directory = ",
        );
        let sql = sql
            .bind(name)
            .push(" UNION SELECT guid FROM pending_people WHERE directory = ")
            .bind(name);
        let sql = sql.push(" UNION SELECT COALESCE(u.guid, r.guid)").push(OF_DIRECTORY).bind(name);
        sql.push(" AND COALESCE(u.guid, r.guid) IS NOT NULL")
            .all(&self.readers)
            .await
            .doing("load what is pending")?
            .iter()
            .map(|row| Columns::of(row).guid())
            .collect()
    }

    /// Has these people looked at again by the next run over what is pending.
    pub async fn look_again(
        &self,
        directory: &DirectoryName,
        people: &BTreeSet<Guid>,
    ) -> Result<(), StoreError> {
        if people.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in pieces(people.iter().copied()) {
            let sql = Sql::new("UPDATE people SET fingerprint = 0 WHERE directory = ")
                .bind(directory.as_str());
            sql.push(" AND guid IN ")
                .list(piece)
                .execute(&mut *writing.tx)
                .await
                .doing("have people looked at again")?;
        }
        writing.commit().await
    }

    /// What waits in the open plan of a directory, with whom it is about.
    pub async fn waiting(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<(Option<Guid>, Waiting)>, StoreError> {
        let sql = Sql::new("SELECT c.guid, c.user_id, c.class, c.cluster FROM changes c JOIN plans p ON p.id = c.plan_id WHERE c.outcome = 'held' AND c.class IS NOT NULL \
             AND p.state IN ('open', 'approved') AND p.directory = ").bind(directory.as_str());
        let rows = sql.all(&self.readers).await.doing("load what is held")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((
                    c.maybe_guid()?,
                    Waiting {
                        user: UserId(c.uuid()?),
                        class: c.word("class", Class::parse)?,
                        cluster: c.maybe_text()?,
                    },
                ))
            })
            .collect()
    }
}
