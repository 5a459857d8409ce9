//! What is stored of a person follows the link of its user: to another entry, or to another directory.

use std::collections::BTreeSet;

use super::sql::{Columns, Sql, insert};
use super::{Doing as _, Store, StoreError, Writing};
use crate::model::{AddressKey, DirectoryName, Link, PlanState, User};

/// Moves what is keyed by GUID when a user is linked to another entry, and takes what is stored of the entry along when the
/// link moves to another directory.
pub(super) async fn follow(
    writing: &mut Writing<'_>,
    user: &User,
    former: &Link,
    now: &Link,
) -> Result<(), StoreError> {
    if former.directory == now.directory && former.guid == now.guid {
        return Ok(());
    }
    let obsolete = if former.guid == now.guid { &now.directory } else { &former.directory };
    let sql = Sql::new("DELETE FROM people WHERE directory = ").bind(obsolete.as_str());
    sql.push(" AND guid = ")
        .bind(former.guid)
        .execute(&mut *writing.tx)
        .await
        .doing("forget a former entry")?;
    if former.guid == now.guid {
        // The place that brakes measure by goes along: it changes when a change of it is applied, and not by a move.
        let sql = Sql::new("UPDATE people SET fingerprint = 0, quarantine = NULL, directory = ");
        let sql = sql.bind(now.directory.as_str()).push(" WHERE directory = ");
        sql.bind(former.directory.as_str())
            .push(" AND guid = ")
            .bind(former.guid)
            .execute(&mut *writing.tx)
            .await
            .doing("take an entry along")?;
    }
    if former.guid != now.guid {
        relinked(writing, user, former, now).await?;
    }
    if former.directory != now.directory {
        moved(writing, user, former).await?;
    }
    Ok(())
}

/// Another entry is the same person: grace periods, held changes and protection are of the person.
async fn relinked(
    writing: &mut Writing<'_>,
    user: &User,
    former: &Link,
    now: &Link,
) -> Result<(), StoreError> {
    for table in ["UPDATE grace_periods SET guid = ", "UPDATE changes SET guid = "] {
        let sql = Sql::new(table)
            .bind(now.guid)
            .push(" WHERE user_id = ")
            .bind(user.id.0)
            .push(" AND guid = ")
            .bind(former.guid);
        let sql = if table.contains("changes") { sql.push(" AND outcome = 'held'") } else { sql };
        sql.execute(&mut *writing.tx).await.doing("move what waits to another entry")?;
    }
    let sql =
        Sql::new("SELECT directory, name, detail FROM pins WHERE kind = 'protected' AND guid = ")
            .bind(former.guid);
    let sql = sql.push(" AND directory IN (SELECT directory FROM users WHERE directory IS NOT NULL AND account_id = ").bind(user.account.0);
    let rows = sql.push(")").all(&mut *writing.tx).await.doing("read who is protected")?;
    let mut pins = Vec::new();
    for row in &rows {
        let mut c = Columns::of(row);
        pins.push((c.text()?, c.text()?, c.text()?));
    }
    for (directory, name, _) in &pins {
        let sql = Sql::new("DELETE FROM pins WHERE kind = 'protected' AND directory = ")
            .bind(directory.as_str());
        let sql =
            sql.push(" AND name = ").bind(name.as_str()).push(" AND guid = ").bind(former.guid);
        sql.execute(&mut *writing.tx).await.doing("protect another entry")?;
    }
    let rows = pins.into_iter().map(|(directory, name, detail)| {
        vec![directory.into(), "protected".into(), name.into(), now.guid.into(), detail.into()]
    });
    insert(
        &mut writing.tx,
        "INSERT INTO pins (directory, kind, name, guid, detail)",
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await
    .doing("protect another entry")
}

/// The former directory has no say any more: its candidates and held changes of the user end.
async fn moved(writing: &mut Writing<'_>, user: &User, former: &Link) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM grace_periods WHERE directory = ")
        .bind(former.directory.as_str())
        .push(" AND user_id = ")
        .bind(user.id.0);
    sql.execute(&mut *writing.tx).await.doing("end the grace period of a user that moved")?;
    let held = |what: &str| {
        let sql = Sql::new(what)
            .push(" FROM changes WHERE outcome = 'held' AND user_id = ")
            .bind(user.id.0);
        let sql = sql.push(" AND directory = ").bind(former.directory.as_str());
        // A rejection stays with the user, and its plan shows what it was about.
        sql.push(" AND plan_id IN (SELECT id FROM plans WHERE state IN ('open', 'approved'))")
    };
    let plans =
        held("SELECT DISTINCT plan_id").all(&mut *writing.tx).await.doing("read held changes")?;
    if plans.is_empty() {
        return Ok(());
    }
    held("DELETE")
        .execute(&mut *writing.tx)
        .await
        .doing("end the held changes of a user that moved")?;
    for row in &plans {
        let plan = Columns::of(row).uuid()?;
        let sql = Sql::new("UPDATE plans SET version = version + 1, state = ")
            .bind(PlanState::Withdrawn.as_str());
        let sql = sql.push(" WHERE id = ").bind(plan);
        let sql =
            sql.push(" AND state IN ('open', 'approved') AND NOT EXISTS (SELECT 1 FROM changes WHERE outcome = 'held' AND plan_id = ");
        sql.bind(plan).push(")").execute(&mut *writing.tx).await.doing("withdraw an empty plan")?;
    }
    Ok(())
}

/// Has these directories read the people of these addresses.
pub(super) async fn ask_again(
    writing: &mut Writing<'_>,
    directories: &[DirectoryName],
    addresses: BTreeSet<AddressKey>,
) -> Result<(), StoreError> {
    if directories.is_empty() || addresses.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = directories
        .iter()
        .flat_map(|d| addresses.iter().map(|a| vec![d.as_str().into(), a.0.as_str().into()]))
        .collect();
    insert(
        &mut writing.tx,
        "INSERT INTO pending_addresses (directory, address_key)",
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await
    .doing("put addresses into the pending set")
}

impl Store {
    /// The addresses whose people the next run of a directory reads.
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

    /// Notes that the people of these addresses were read and dealt with.
    pub async fn addresses_read(
        &self,
        directory: &DirectoryName,
        addresses: &BTreeSet<AddressKey>,
    ) -> Result<(), StoreError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for piece in super::sql::pieces(addresses.iter().map(|key| key.0.clone())) {
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
