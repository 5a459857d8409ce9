//! Writing of users, with their addresses and search keys, and their removal.

use std::collections::{BTreeMap, BTreeSet};

use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::sql::{Sql, insert};
use super::users::UserFilter;
use super::{rejections, users};
use crate::model::{ObservationNumber, Standing, Timestamp, User, UserId};
use crate::reconcile::Fingerprint;

/// Puts the people of users into the pending set.
pub(super) fn add_pending_users<'a>(
    writing: &'a mut Writing<'_>,
    users: impl Iterator<Item = UserId>,
) -> impl Future<Output = Result<(), StoreError>> + Send + 'a {
    let users: Vec<uuid::Uuid> = users.map(|u| u.0).collect();
    async move {
        if users.is_empty() {
            return Ok(());
        }
        let sql = Sql::new("UPDATE people SET fingerprint = ")
            .bind(Fingerprint::Revisit)
            .push(" WHERE user_id IN ")
            .list(users);
        sql.execute(&mut *writing.tx).await.doing("add people to the pending set")?;
        Ok(())
    }
}

/// Deletes the rows of people and grace periods of users that are linked to no person any more.
pub(super) async fn delete_people(
    writing: &mut Writing<'_>,
    users: &BTreeSet<UserId>,
) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    for table in
        ["DELETE FROM people WHERE user_id IN ", "DELETE FROM grace_periods WHERE user_id IN "]
    {
        Sql::new(table)
            .list(users.iter().map(|id| id.0))
            .execute(&mut *writing.tx)
            .await
            .doing("delete people")?;
    }
    Ok(())
}

/// Deletes users, with all rows that point to them.
pub(super) async fn remove_users(
    writing: &mut Writing<'_>,
    removed: &BTreeSet<UserId>,
) -> Result<(), StoreError> {
    if removed.is_empty() {
        return Ok(());
    }
    delete_people(writing, removed).await?;
    for table in [
        "DELETE FROM addresses WHERE user_id IN ",
        "DELETE FROM name_keys WHERE user_id IN ",
        "DELETE FROM logon_names WHERE user_id IN ",
        "DELETE FROM sign_in_attempts WHERE user_id IN ",
        "DELETE FROM last_sign_ins WHERE user_id IN ",
        "DELETE FROM users WHERE id IN ",
    ] {
        Sql::new(table)
            .list(removed.iter().map(|id| id.0))
            .execute(&mut *writing.tx)
            .await
            .doing("remove users")?;
    }
    Ok(())
}

/// Ends the history and the rejections of removed users.
///
/// A user id is derived from the person, so a later user with such an id is another incarnation.
pub(super) async fn end_incarnations(
    writing: &mut Writing<'_>,
    removed: &BTreeSet<UserId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if removed.is_empty() {
        return Ok(());
    }
    let sql = Sql::new("UPDATE changes SET former = 1 WHERE outcome <> 'held' AND user_id IN ")
        .list(removed.iter().map(|id| id.0));
    sql.execute(&mut *writing.tx).await.doing("end the history of users")?;
    rejections::forget_users(writing, removed, now).await
}

/// Clears the personal data in the stored changes of users.
pub(super) async fn clear_history(
    writing: &mut Writing<'_>,
    users: &BTreeSet<UserId>,
) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    let sql = Sql::new(
        "UPDATE changes SET guid = NULL, email = NULL, names = NULL, before = 'null', after = 'null', evidence = '[]' WHERE user_id IN ",
    );
    sql.list(users.iter().map(|id| id.0))
        .execute(&mut *writing.tx)
        .await
        .doing("clear the history of users")?;
    Ok(())
}

/// Writes changed users, with their addresses and search keys. `observed` is the observation of a
/// directory's run.
pub(super) async fn write_users(
    writing: &mut Writing<'_>,
    mut changed: Vec<&mut User>,
    before: &BTreeMap<UserId, User>,
    observed: Option<ObservationNumber>,
) -> Result<(), StoreError> {
    for user in &mut changed {
        // A first sign-in does not raise `version`, because no planned change depends on it.
        let only_joined = |b: &User| {
            b.joined_at != user.joined_at
                && User { joined_at: user.joined_at, updated_at: user.updated_at, ..b.clone() }
                    == **user
        };
        if before.get(&user.id).is_some_and(only_joined) {
            continue;
        }
        user.version += 1;
        if let Some(observed) = observed {
            user.observed_from = observed;
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    // A run never writes a note: `Store::set_note` does, and raises no version.
    let tail = "ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, standing = excluded.standing, tier = excluded.tier, addresses = excluded.addresses, \
         profile = excluded.profile, directory = excluded.directory, guid = excluded.guid, dn = excluded.dn, causes = excluded.causes, overrides = excluded.overrides, \
         version = excluded.version, observed_from = excluded.observed_from, invited_at = excluded.invited_at, joined_at = excluded.joined_at, \
         updated_at = excluded.updated_at, status = excluded.status";
    insert(&mut writing.tx, "users", tail, changed.iter().map(|user| users::fields(user)))
        .await
        .doing("write users")?;

    // Freed addresses are deleted first, so that another user of the batch can take them.
    let readdressed: Vec<&User> = changed
        .iter()
        .map(|u| &**u)
        .filter(|u| {
            before.get(&u.id).is_none_or(|b| b.addresses != u.addresses || b.standing != u.standing)
        })
        .collect();
    let known: Vec<_> =
        readdressed.iter().filter(|u| before.contains_key(&u.id)).map(|u| u.id.0).collect();
    if !known.is_empty() {
        Sql::new("DELETE FROM addresses WHERE user_id IN ")
            .list(known)
            .execute(&mut *writing.tx)
            .await
            .doing("delete addresses")?;
    }
    let rows = readdressed.iter().filter(|u| u.standing != Standing::Released).flat_map(|user| {
        let primary = user.addresses.primary.as_ref().map(|a| a.key());
        user.addresses.keys().into_iter().map(move |key| {
            let is_primary = Some(&key) == primary.as_ref();
            vec![
                ("address_key", key.0.into()),
                ("user_id", user.id.0.into()),
                ("is_primary", is_primary.into()),
            ]
        })
    });
    insert(&mut writing.tx, "addresses", "", rows).await.doing("write addresses")?;

    let changed: Vec<&User> = changed.into_iter().map(|user| &*user).collect();
    for index in [SEARCH_KEYS, LOGON_NAMES] {
        write_names(writing, &index, &changed, before).await?;
    }
    Ok(())
}

/// A table of the names by which users are found.
struct NameIndex {
    table: &'static str,
    column: &'static str,
    names: fn(&User) -> BTreeSet<String>,
}

const SEARCH_KEYS: NameIndex =
    NameIndex { table: "name_keys", column: "name_key", names: users::search_keys };
const LOGON_NAMES: NameIndex =
    NameIndex { table: "logon_names", column: "name", names: users::logon_names };

/// Writes the names of users that differ from those before.
async fn write_names(
    writing: &mut Writing<'_>,
    NameIndex { table, column, names }: &NameIndex,
    changed: &[&User],
    before: &BTreeMap<UserId, User>,
) -> Result<(), StoreError> {
    let is_renamed = |u: &&&User| before.get(&u.id).is_none_or(|b| names(b) != names(u));
    let renamed: Vec<&User> = changed.iter().filter(is_renamed).copied().collect();
    let known: Vec<_> =
        renamed.iter().filter(|u| before.contains_key(&u.id)).map(|u| u.id.0).collect();
    if !known.is_empty() {
        Sql::new("DELETE FROM ")
            .push(table)
            .push(" WHERE user_id IN ")
            .list(known)
            .execute(&mut *writing.tx)
            .await
            .doing("delete names of users")?;
    }
    let rows = renamed.iter().flat_map(|user| {
        names(user)
            .into_iter()
            .map(|name| vec![(*column, name.into()), ("user_id", user.id.0.into())])
    });
    insert(&mut writing.tx, table, "", rows).await.doing("write names of users")
}

impl Store {
    /// Writes the logon names of users that an earlier version stored without them.
    pub(super) async fn adopt_logon_names(&self) -> Result<(), StoreError> {
        let any = Sql::new("SELECT 1 FROM logon_names LIMIT 1").first(&self.readers).await;
        if any.doing("read the names of users")?.is_some() {
            return Ok(());
        }
        // One transaction, so that a table with rows is complete.
        let mut writing = self.begin().await?;
        let mut page = UserFilter::default();
        loop {
            let users = self.users(&page).await?;
            let Some(last) = users.last() else { break };
            page.after = Some(last.id);
            let users: Vec<&User> = users.iter().collect();
            write_names(&mut writing, &LOGON_NAMES, &users, &BTreeMap::new()).await?;
        }
        writing.commit().await
    }
}
