//! Users: rows, lists, and search by folded prefixes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use unicode_normalization::UnicodeNormalization as _;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, StoredRow as _, as_json, row};
use super::sql::{Db, Fields, Sql, pieces};
use super::value::Value;
use crate::model::{
    AccountId, AddressKey, DirectoryName, Dn, Guid, Link, Note, Profile, Status, Tier, Timestamp,
    User, UserId,
};

row! {
    stored User {
        id: "id",
        account: "account_id",
        standing: "standing",
        tier: "tier",
        addresses: "addresses" as as_json,
        profile: "profile" as as_json,
        link: "directory, guid, dn" as link_columns,
        causes: "causes" as as_json,
        overrides: "overrides" as as_json,
        note: "note, noted_by, noted_at" as note_columns,
        version: "version",
        observed_from: "observed_from",
        invited_at: "invited_at",
        joined_at: "joined_at",
        created_at: "created_at",
        updated_at: "updated_at",
    }
}

/// A link in three columns, all of them NULL without a link.
mod link_columns {
    use super::{Columns, Link, StoreError, Value};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Option<Link>, StoreError> {
        Ok(match (columns.read()?, columns.read()?, columns.read()?) {
            (Some(directory), Some(guid), Some(dn)) => Some(Link { directory, guid, dn }),
            _ => None,
        })
    }

    #[expect(clippy::ref_option, reason = "`row!` passes a reference to the field")]
    pub(super) fn write(link: &Option<Link>, values: &mut Vec<Value>) {
        let link = link.as_ref();
        values.push(link.map(|link| link.directory.as_str()).into());
        values.push(link.map(|link| link.guid).into());
        values.push(link.map(|link| link.dn.as_str()).into());
    }
}

/// A note in three columns, all of them NULL without a note.
mod note_columns {
    use super::{Columns, Note, StoreError, Value};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Option<Note>, StoreError> {
        Ok(match (columns.read()?, columns.read()?, columns.read()?) {
            (Some(text), Some(actor), Some(at)) => Some(Note { text, actor, at }),
            _ => None,
        })
    }

    #[expect(clippy::ref_option, reason = "`row!` passes a reference to the field")]
    pub(super) fn write(note: &Option<Note>, values: &mut Vec<Value>) {
        let note = note.as_ref();
        values.push(note.map(|note| note.text.as_str()).into());
        values.push(note.map(|note| note.actor.0.as_str()).into());
        values.push(note.map(|note| note.at).into());
    }
}

/// Returns the columns of a user, with the status that lists filter by.
pub(super) fn fields(user: &User) -> Fields {
    let mut fields = user.fields();
    fields.push(("status", user.status().as_str().into()));
    fields
}

/// The users to list.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    pub account: Option<AccountId>,
    pub status: Option<Status>,
    pub tier: Option<Tier>,
    pub managed: Option<bool>,
    /// Only active users whose account in the directory expires before this time.
    pub expires_before: Option<Timestamp>,
    /// Only users whose suspension an operator has scheduled.
    pub scheduled: bool,
    /// Only users with a note.
    pub noted: bool,
    /// List users after this one, in order of id.
    pub after: Option<UserId>,
    /// The default is 1,000.
    pub limit: Option<u64>,
}

impl UserFilter {
    /// Returns the statement without its order and limit.
    fn begin(&self) -> Sql {
        let Self {
            account,
            status,
            tier,
            managed,
            expires_before,
            scheduled,
            noted,
            after,
            limit: _,
        } = self;
        let mut sql = Sql::select::<User>()
            .push(" FROM users WHERE id > ")
            .bind(after.map_or(uuid::Uuid::nil(), |a| a.0));
        if let Some(account) = account {
            sql = sql.push(" AND account_id = ").bind(account.0);
        }
        if let Some(status) = status {
            sql = sql.push(" AND status = ").bind(status.as_str());
        }
        if let Some(tier) = tier {
            sql = sql.push(" AND tier = ").bind(tier.as_str());
        }
        if let Some(managed) = managed {
            sql = sql.push(if *managed {
                " AND directory IS NOT NULL"
            } else {
                " AND directory IS NULL"
            });
        }
        if *scheduled {
            sql = sql.push(" AND id IN (SELECT user_id FROM scheduled_suspensions)");
        }
        if *noted {
            sql = sql.push(" AND note IS NOT NULL");
        }
        if let Some(before) = expires_before {
            sql = sql
                .push(" AND status = 'active' AND EXISTS (SELECT 1 FROM people p WHERE p.directory = users.directory AND p.guid = users.guid AND p.expires < ")
                .bind(*before)
                .push(")");
        }
        sql
    }
}

/// Folds a word for the search: decomposed, without marks, in lower case.
pub fn fold(word: &str) -> String {
    word.nfkd()
        .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Returns the search keys of a user: each word of the names, and each address.
pub(super) fn search_keys(user: &User) -> BTreeSet<String> {
    let profile = &user.profile;
    let names =
        [&profile.display_name, &profile.given_name, &profile.surname].into_iter().flatten();
    let words = names.flat_map(|name| name.split_whitespace().map(fold)).filter(|w| !w.is_empty());
    words.chain(user.addresses.keys().into_iter().map(|k| k.0)).collect()
}

/// Returns the folded names by which exactly a user is found: logon names and employee id.
///
/// They are no search keys, because colleagues search, too, and do not see them.
pub(super) fn logon_names(user: &User) -> BTreeSet<String> {
    let Profile { sam_account_name, user_principal_name, employee_id, .. } = &user.profile;
    let names = [sam_account_name, user_principal_name, employee_id].into_iter().flatten();
    names.map(|name| fold(name)).collect()
}

/// Returns a text after all that begin with `prefix`, in byte order.
fn end_of_prefix(prefix: &str) -> String {
    // No key has the last code point.
    format!("{prefix}\u{10FFFF}")
}

pub(super) async fn by_ids<'e>(db: impl Db<'e>, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql =
        Sql::select::<User>().push(" FROM users WHERE id IN ").list(ids.iter().map(|id| id.0));
    sql.all(db).await.doing("read users")?.iter().map(User::of).collect()
}

impl Store {
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(by_ids(&self.readers, &[id]).await?.pop())
    }

    pub async fn users_by_id(
        &self,
        ids: &BTreeSet<UserId>,
    ) -> Result<BTreeMap<UserId, User>, StoreError> {
        let mut users = BTreeMap::new();
        for piece in pieces(ids.iter().copied()) {
            users.extend(
                by_ids(&self.readers, &piece).await?.into_iter().map(|user| (user.id, user)),
            );
        }
        Ok(users)
    }

    /// Returns the holders of addresses.
    pub async fn holders(
        &self,
        keys: &BTreeSet<AddressKey>,
    ) -> Result<BTreeMap<AddressKey, UserId>, StoreError> {
        let mut holders = BTreeMap::new();
        for piece in pieces(keys.iter().map(|key| key.0.clone())) {
            let sql = Sql::new("SELECT address_key, user_id FROM addresses WHERE address_key IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("read the holders of addresses")? {
                let mut c = Columns::of(&row);
                holders.insert(AddressKey(c.text()?), UserId(c.uuid()?));
            }
        }
        Ok(holders)
    }

    pub async fn user_by_address(&self, key: &AddressKey) -> Result<Option<User>, StoreError> {
        let sql = Sql::select::<User>()
            .push(" FROM users WHERE id = (SELECT user_id FROM addresses WHERE address_key = ")
            .bind(key.0.as_str())
            .push(")");
        sql.first(&self.readers).await.doing("read a user")?.as_ref().map(User::of).transpose()
    }

    /// Returns the released user of an account, or of any, that last had this address.
    pub async fn released(
        &self,
        account: Option<AccountId>,
        key: &AddressKey,
    ) -> Result<Option<User>, StoreError> {
        let mut sql = Sql::select::<User>().push(" FROM users WHERE standing = 'released'");
        if let Some(account) = account {
            sql = sql.push(" AND account_id = ").bind(account.0);
        }
        let sql = sql
            .push(" AND id IN (SELECT user_id FROM name_keys WHERE name_key = ")
            .bind(key.0.as_str())
            .push(") ORDER BY updated_at DESC LIMIT 1");
        sql.first(&self.readers).await.doing("read a user")?.as_ref().map(User::of).transpose()
    }

    /// Returns the released users of all accounts that had this address.
    pub async fn released_users(&self, key: &AddressKey) -> Result<Vec<User>, StoreError> {
        let sql = Sql::select::<User>().push(" FROM users WHERE standing = 'released'");
        let sql = sql
            .push(" AND id IN (SELECT user_id FROM name_keys WHERE name_key = ")
            .bind(key.0.as_str())
            .push(") ORDER BY id");
        let users: Result<Vec<User>, StoreError> =
            sql.all(&self.readers).await.doing("read a user")?.iter().map(User::of).collect();
        // The key may also be a word of a name.
        Ok(users?.into_iter().filter(|user| user.addresses.keys().contains(key)).collect())
    }

    /// Returns the unmanaged users of this account, or of the others, without released ones.
    pub async fn unmanaged_users(
        &self,
        of: AccountId,
        elsewhere: bool,
    ) -> Result<Vec<User>, StoreError> {
        let sql = Sql::select::<User>()
            .push(" FROM users WHERE directory IS NULL AND standing <> 'released' AND account_id ");
        let sql = sql.push(if elsewhere { "<> " } else { "= " }).bind(of.0).push(" ORDER BY id");
        sql.all(&self.readers).await.doing("list unmanaged users")?.iter().map(User::of).collect()
    }

    /// Returns the users linked to this person, in all directories.
    pub async fn users_by_guid(&self, guid: Guid) -> Result<Vec<User>, StoreError> {
        let sql = Sql::select::<User>()
            .push(" FROM users WHERE directory IS NOT NULL AND guid = ")
            .bind(guid)
            .push(" ORDER BY id");
        sql.all(&self.readers).await.doing("read a user")?.iter().map(User::of).collect()
    }

    /// Returns the times at which the accounts of these users expire in their directories.
    pub async fn expiries_of(
        &self,
        users: impl IntoIterator<Item = UserId>,
    ) -> Result<BTreeMap<UserId, Timestamp>, StoreError> {
        let sql = "SELECT u.id, p.expires FROM users u JOIN people p ON p.directory = u.directory AND p.guid = u.guid \
                   WHERE p.expires IS NOT NULL AND u.id IN ";
        self.instants_of(sql, users).await
    }

    /// Counts the active users of a directory whose account expired before this time, and whom no
    /// operator keeps active.
    pub async fn expired_before(
        &self,
        directory: &DirectoryName,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = Sql::new(
            "SELECT COUNT(*) FROM people p JOIN users u ON u.directory = p.directory AND u.guid = p.guid \
             WHERE u.status = 'active' AND u.overrides = '[]' AND p.directory = ",
        );
        let sql = sql.bind(directory.as_str()).push(" AND p.expires < ").bind(before);
        sql.count(&self.readers).await.doing("count expired users")
    }

    /// Returns an instant of each of these users, if it has one. The query ends with `IN`.
    pub(super) async fn instants_of(
        &self,
        query: &str,
        users: impl IntoIterator<Item = UserId>,
    ) -> Result<BTreeMap<UserId, Timestamp>, StoreError> {
        let mut instants = BTreeMap::new();
        for piece in pieces(users) {
            let sql = Sql::new(query).list(piece.into_iter().map(|id| id.0));
            for row in sql.all(&self.readers).await.doing("read instants of users")? {
                let mut c = Columns::of(&row);
                instants.insert(c.read()?, c.read()?);
            }
        }
        Ok(instants)
    }

    /// Returns the users with this logon name or employee id, regardless of accents and case.
    pub async fn users_by_logon_name(&self, name: &str) -> Result<Vec<User>, StoreError> {
        let sql = Sql::select::<User>()
            .push(" FROM users WHERE id IN (SELECT user_id FROM logon_names WHERE name = ")
            .bind(fold(name))
            .push(") ORDER BY id");
        sql.all(&self.readers).await.doing("read a user")?.iter().map(User::of).collect()
    }

    /// Returns the users whose entry has this DN. Scans the people.
    pub async fn users_by_dn(&self, dn: &Dn) -> Result<Vec<User>, StoreError> {
        // The parent in a row is the place before a held change, the DN is the present one.
        let sql = Sql::select::<User>()
            .push(" FROM users WHERE directory IS NOT NULL AND id IN (SELECT user_id FROM people WHERE user_id IS NOT NULL AND (dn = ")
            .bind(dn.as_str())
            .push(" OR parent_key = ")
            .bind(dn.parent().map_or_else(String::new, |parent| parent.key().to_owned()))
            .push(")) ORDER BY id");
        let users: Result<Vec<User>, StoreError> =
            sql.all(&self.readers).await.doing("read a user")?.iter().map(User::of).collect();
        Ok(users?.into_iter().filter(|u| u.link.as_ref().is_some_and(|l| l.dn == *dn)).collect())
    }

    /// Returns users in order of their id.
    pub async fn users(&self, filter: &UserFilter) -> Result<Vec<User>, StoreError> {
        let sql = filter.begin().push(" ORDER BY id LIMIT ").bind(filter.limit.unwrap_or(1_000));
        sql.all(&self.readers).await.doing("list users")?.iter().map(User::of).collect()
    }

    /// Returns users with a name or address for each word as its prefix, regardless of accents and
    /// case.
    pub async fn search(&self, text: &str, filter: &UserFilter) -> Result<Vec<User>, StoreError> {
        let words: Vec<String> =
            text.split_whitespace().map(fold).filter(|w| !w.is_empty()).collect();
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = filter.begin();
        for word in &words {
            sql = sql
                .push(" AND id IN (SELECT user_id FROM name_keys WHERE name_key >= ")
                .bind(word.as_str());
            sql = sql.push(" AND name_key < ").bind(end_of_prefix(word)).push(")");
        }
        sql = sql.push(" ORDER BY id LIMIT ").bind(filter.limit.unwrap_or(1_000));
        sql.all(&self.readers).await.doing("search users")?.iter().map(User::of).collect()
    }

    /// Returns the number of managed users by status.
    pub async fn managed_counts(
        &self,
        directory: &DirectoryName,
    ) -> Result<BTreeMap<Status, u64>, StoreError> {
        let sql = Sql::new("SELECT status, COUNT(*) FROM users WHERE directory = ")
            .bind(directory.as_str())
            .push(" GROUP BY status");
        counts(&sql.all(&self.readers).await.doing("count users")?)
    }
}

pub(super) fn counts(rows: &[AnyRow]) -> Result<BTreeMap<Status, u64>, StoreError> {
    rows.iter()
        .map(|row| {
            let mut c = Columns::of(row);
            Ok((c.word("status", Status::parse)?, c.read()?))
        })
        .collect()
}
