//! The pending set: people that every full and incremental run reads again.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Store;
use super::directories::change_in;
use super::error::{Doing as _, StoreError};
use super::rejections::OF_DIRECTORY;
use super::rows::Columns;
use super::sql::{Sql, insert, pieces};
use crate::model::{ChangeVerb, DirectoryName, Dn, Guid, QuarantineReason, Timestamp, UserId};
use crate::reconcile::{Fingerprint, HighWaterMarks};

/// A lasting state of people, with the time of its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// The present server has not heard of them whole.
    Behind,
    /// The directory of their users does not show them, and they may belong to another one.
    Unseen,
}

impl Mark {
    fn column(self) -> &'static str {
        match self {
            Self::Behind => "behind_since",
            Self::Unseen => "unseen_since",
        }
    }
}

impl Store {
    /// Returns the pending set of a directory.
    ///
    /// It has the people of held and rejected changes, of grace periods and of ended plans. It has
    /// quarantined and expired people, and people whose changes were not applied whole.
    pub async fn pending(
        &self,
        directory: &DirectoryName,
        now: Timestamp,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let name = directory.as_str();
        let sql = Sql::new("SELECT guid FROM people WHERE (fingerprint = ")
            .bind(Fingerprint::Revisit)
            // AD reports a change of an address. A claim of its domain begins a full run.
            .push(" OR (quarantine IS NOT NULL AND NOT (user_id IS NULL AND quarantine IN ")
            .list(
                [QuarantineReason::NoAddress, QuarantineReason::UnclaimedDomain]
                    .map(|r| r.as_str()),
            )
            .push("))) AND directory = ")
            .bind(name);
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
            .doing("load the pending set")?
            .iter()
            .map(|row| Columns::of(row).read())
            .collect()
    }

    /// Puts people into the pending set.
    pub async fn add_pending_people(
        &self,
        directory: &DirectoryName,
        people: &BTreeSet<Guid>,
    ) -> Result<(), StoreError> {
        if people.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in pieces(people.iter().copied()) {
            let sql = Sql::new("UPDATE people SET fingerprint = ")
                .bind(Fingerprint::Revisit)
                .push(" WHERE directory = ")
                .bind(directory.as_str());
            sql.push(" AND guid IN ")
                .list(piece)
                .execute(&mut *writing.tx)
                .await
                .doing("add people to the pending set")?;
        }
        writing.commit().await
    }

    /// Puts people into the pending set whose changes wait for the end of quiet hours.
    pub async fn wait_for_quiet_hours(
        &self,
        directory: &DirectoryName,
        waiting: &BTreeMap<Guid, ChangeVerb>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        let rows = waiting.iter().map(|(guid, kind)| {
            vec![
                ("directory", directory.as_str().into()),
                ("guid", (*guid).into()),
                ("quiet_until", until.into()),
                ("quiet_kind", kind.as_str().into()),
            ]
        });
        let tail = "ON CONFLICT (directory, guid) DO UPDATE SET quiet_until = excluded.quiet_until, quiet_kind = excluded.quiet_kind";
        insert(&mut writing.tx, "pending_people", tail, rows)
            .await
            .doing("add people to the pending set")?;
        writing.commit().await
    }

    /// Returns the people whose changes wait for the end of quiet hours, with that end and the kind of
    /// the first change.
    pub async fn quiet(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<(Guid, Timestamp, ChangeVerb)>, StoreError> {
        let sql = Sql::new(
            "SELECT guid, quiet_until, quiet_kind FROM pending_people WHERE quiet_until IS NOT NULL AND directory = ",
        );
        let rows = sql.bind(directory.as_str()).all(&self.readers).await;
        rows.doing("read the changes of quiet hours")?
            .iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.read()?, c.read()?, c.read()?))
            })
            .collect()
    }

    /// Marks people with the time of the first run that found them so, and puts them into the pending
    /// set. The mark ends for those whom the run decided (`is_conclusive`) otherwise.
    pub async fn mark_people(
        &self,
        directory: &DirectoryName,
        mark: Mark,
        people: &BTreeSet<Guid>,
        is_conclusive: impl Fn(Guid) -> bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let column = mark.column();
        let before = self.marked_people(directory, mark).await?;
        let over: Vec<Guid> = before
            .keys()
            .copied()
            .filter(|guid| !people.contains(guid) && is_conclusive(*guid))
            .collect();
        if people.is_empty() && over.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        let update = |what: Sql, people: Vec<Guid>| {
            what.push(" WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND guid IN ")
                .list(people)
        };
        for piece in pieces(people.iter().copied()) {
            let sql = Sql::new("UPDATE people SET fingerprint = ")
                .bind(Fingerprint::Revisit)
                .push(&format!(", {column} = COALESCE({column}, "))
                .bind(now)
                .push(")");
            update(sql, piece).execute(&mut *writing.tx).await.doing("mark people")?;
        }
        for piece in pieces(over) {
            let sql = Sql::new(&format!("UPDATE people SET {column} = NULL"));
            update(sql, piece).execute(&mut *writing.tx).await.doing("mark people")?;
        }
        writing.commit().await
    }

    /// Returns the people with the mark, each with the time since then.
    pub async fn marked_people(
        &self,
        directory: &DirectoryName,
        mark: Mark,
    ) -> Result<BTreeMap<Guid, Timestamp>, StoreError> {
        let column = mark.column();
        let sql = Sql::new(&format!(
            "SELECT guid, {column} FROM people WHERE {column} IS NOT NULL AND directory = "
        ));
        let rows = sql.bind(directory.as_str()).all(&self.readers).await;
        rows.doing("read marked people")?
            .iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.read()?, c.read()?))
            })
            .collect()
    }

    /// Returns the users whose people have the mark, each with the time since then. A suspended user is not
    /// unseen, because nothing is left to decide about it.
    pub async fn marked_users(
        &self,
        directory: &DirectoryName,
        mark: Mark,
    ) -> Result<BTreeMap<UserId, Timestamp>, StoreError> {
        let column = mark.column();
        let statuses = match mark {
            Mark::Behind => "('active', 'suspended')",
            Mark::Unseen => "('active')",
        };
        let sql = Sql::new(&format!(
            "SELECT u.id, p.{column} FROM people p JOIN users u ON u.directory = p.directory AND u.guid = p.guid \
             WHERE p.{column} IS NOT NULL AND u.status IN {statuses} AND p.directory = ",
        ));
        let rows = sql.bind(directory.as_str()).all(&self.readers).await;
        rows.doing("read marked users")?
            .iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.read()?, c.read()?))
            })
            .collect()
    }

    /// Forgets all stamps of a directory, because an operator trusts its present server.
    pub async fn trust_server(&self, directory: &DirectoryName) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql =
            Sql::new("UPDATE people SET metadata = NULL, behind_since = NULL WHERE directory = ");
        sql.bind(directory.as_str()).execute(&mut *writing.tx).await.doing("forget stamps")?;
        let sql = Sql::new("DELETE FROM early_leavers WHERE directory = ");
        sql.bind(directory.as_str()).execute(&mut *writing.tx).await.doing("forget stamps")?;
        change_in(&mut writing, directory, |state| {
            state.high_water_marks = HighWaterMarks::default();
            (state.server, state.identity, state.server_changed_at) = (None, None, None);
        })
        .await?;
        writing.commit().await
    }

    /// Puts people of another directory into the pending set of this one, which shows them under
    /// these names.
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
                ("directory", directory.as_str().into()),
                ("guid", (*guid).into()),
                ("fingerprint", Fingerprint::Revisit.into()),
                ("dn", dn.as_str().into()),
                ("parent_key", "".into()),
                ("seen_at", now.into()),
            ]
        });
        let tail = "ON CONFLICT (directory, guid) DO UPDATE SET fingerprint = excluded.fingerprint";
        insert(&mut writing.tx, "people", tail, rows)
            .await
            .doing("add people to the pending set")?;
        writing.commit().await
    }

    /// Returns the expired people with an active user, and those that expire next, with the times.
    ///
    /// People whose suspension as expired is held or rejected are left out.
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
        let row = next.first(&self.readers).await.doing("read the next expiry")?;
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
        let rows = sql.bind(name).push(")").all(&self.readers).await.doing("read expiries")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.read()?, c.read()?))
            })
            .collect()
    }
}
