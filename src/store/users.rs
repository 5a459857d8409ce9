//! Users: rows read back, lists, and search by folded prefixes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{Any, Executor};
use unicode_normalization::UnicodeNormalization as _;

use super::sql::{Columns, Sql, Value, json, pieces};
use super::{Doing as _, Store, StoreError};
use crate::model::{
    AccountId, AddressKey, DirectoryName, Dn, Guid, Link, ObservationNumber, Standing, Status,
    Tier, User, UserId,
};

pub(super) const COLUMNS: &str = "id, account_id, standing, tier, addresses, profile, directory, guid, dn, causes, overrides, version, \
     observed_from, invited_at, joined_at, created_at, updated_at, status";

/// Which users to list.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// Of this account.
    pub account: Option<AccountId>,
    /// With this status.
    pub status: Option<Status>,
    /// With this tier.
    pub tier: Option<Tier>,
    /// Whether a directory manages them.
    pub managed: Option<bool>,
    /// After this one, in order of id.
    pub after: Option<UserId>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl UserFilter {
    /// The statement for all of these, without its order and end.
    fn begin(&self) -> Sql {
        let Self { account, status, tier, managed, after, limit: _ } = self;
        let mut sql = Sql::new("SELECT ")
            .push(COLUMNS)
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
        sql
    }
}

pub(super) fn user(row: &AnyRow) -> Result<User, StoreError> {
    let mut c = Columns::of(row);
    let user = User {
        id: UserId(c.uuid()?),
        account: AccountId(c.uuid()?),
        standing: c.word("standing", |w| {
            [Standing::Invited, Standing::Active, Standing::Released]
                .into_iter()
                .find(|s| s.as_str() == w)
        })?,
        tier: c.word("tier", Tier::parse)?,
        addresses: c.json("addresses")?,
        profile: c.json("profile")?,
        link: match (c.maybe_text()?, c.maybe_guid()?, c.maybe_text()?) {
            (Some(directory), Some(guid), Some(dn)) => {
                let directory = DirectoryName::parse(&directory)
                    .ok_or(StoreError::Corrupt { what: "directory name" })?;
                Some(Link { directory, guid, dn: Dn::new(dn) })
            }
            _ => None,
        },
        causes: c.json("cause")?,
        overrides: c.json("overrides")?,
        version: c.int()?,
        observed_from: ObservationNumber(c.int()? as u64),
        invited_at: c.maybe_time()?,
        joined_at: c.maybe_time()?,
        created_at: c.time()?,
        updated_at: c.time()?,
    };
    Ok(user)
}

pub(super) fn values(user: &User) -> Vec<Value> {
    let User {
        id,
        account,
        standing,
        tier,
        addresses,
        profile,
        link,
        causes,
        overrides,
        version,
        observed_from,
        invited_at,
        joined_at,
        created_at,
        updated_at,
    } = user;
    vec![
        id.0.into(),
        account.0.into(),
        standing.as_str().into(),
        tier.as_str().into(),
        json(addresses).into(),
        json(profile).into(),
        link.as_ref().map(|l| l.directory.as_str()).into(),
        link.as_ref().map(|l| l.guid).into(),
        link.as_ref().map(|l| l.dn.as_str()).into(),
        json(causes).into(),
        json(overrides).into(),
        (*version).into(),
        observed_from.0.into(),
        (*invited_at).into(),
        (*joined_at).into(),
        (*created_at).into(),
        (*updated_at).into(),
        user.status().as_str().into(),
    ]
}

/// A word as it is compared in search: decomposed, without marks, lower case.
pub fn fold(word: &str) -> String {
    word.nfkd()
        .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .collect()
}

/// What a user is found by: each word of its names, and each of its addresses.
pub(super) fn search_keys(user: &User) -> BTreeSet<String> {
    let profile = &user.profile;
    let names =
        [&profile.display_name, &profile.given_name, &profile.surname].into_iter().flatten();
    let words = names.flat_map(|name| name.split_whitespace().map(fold)).filter(|w| !w.is_empty());
    words.chain(user.addresses.keys().into_iter().map(|k| k.0)).collect()
}

/// The first text that no longer begins with `prefix`, in byte order.
fn end_of_prefix(prefix: &str) -> String {
    // No key holds the last code point, so everything that begins with the prefix sorts before this.
    format!("{prefix}\u{10FFFF}")
}

pub(super) async fn by_ids<'e>(
    db: impl Executor<'e, Database = Any>,
    ids: &[UserId],
) -> Result<Vec<User>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new("SELECT ")
        .push(COLUMNS)
        .push(" FROM users WHERE id IN ")
        .list(ids.iter().map(|id| id.0));
    sql.all(db).await.doing("read users")?.iter().map(user).collect()
}

impl Store {
    /// The user of this id.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(by_ids(&self.readers, &[id]).await?.pop())
    }

    /// The users of these ids.
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

    /// Who holds which of these addresses.
    pub async fn holders(
        &self,
        keys: &BTreeSet<AddressKey>,
    ) -> Result<BTreeMap<AddressKey, UserId>, StoreError> {
        let mut holders = BTreeMap::new();
        for piece in pieces(keys.iter().map(|key| key.0.clone())) {
            let sql = Sql::new("SELECT address_key, user_id FROM addresses WHERE address_key IN ")
                .list(piece);
            for row in sql.all(&self.readers).await.doing("look up who holds addresses")? {
                let mut c = Columns::of(&row);
                holders.insert(AddressKey(c.text()?), UserId(c.uuid()?));
            }
        }
        Ok(holders)
    }

    /// The user that holds this address.
    pub async fn user_by_address(&self, key: &AddressKey) -> Result<Option<User>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(COLUMNS)
            .push(" FROM users WHERE id = (SELECT user_id FROM addresses WHERE address_key = ")
            .bind(key.0.as_str())
            .push(")");
        sql.first(&self.readers).await.doing("read a user")?.as_ref().map(user).transpose()
    }

    /// The released user, of one account or any, that last had this address. It is not held any more, but still found by it.
    pub async fn released(
        &self,
        account: Option<AccountId>,
        key: &AddressKey,
    ) -> Result<Option<User>, StoreError> {
        let mut sql =
            Sql::new("SELECT ").push(COLUMNS).push(" FROM users WHERE standing = 'released'");
        if let Some(account) = account {
            sql = sql.push(" AND account_id = ").bind(account.0);
        }
        let sql = sql
            .push(" AND id IN (SELECT user_id FROM name_keys WHERE name_key = ")
            .bind(key.0.as_str())
            .push(") ORDER BY updated_at DESC LIMIT 1");
        sql.first(&self.readers).await.doing("read a user")?.as_ref().map(user).transpose()
    }

    /// The released users that last had this address, in whatever account.
    pub async fn released_users(&self, key: &AddressKey) -> Result<Vec<User>, StoreError> {
        let sql = Sql::new("SELECT ").push(COLUMNS).push(" FROM users WHERE standing = 'released'");
        let sql = sql
            .push(" AND id IN (SELECT user_id FROM name_keys WHERE name_key = ")
            .bind(key.0.as_str())
            .push(") ORDER BY id");
        let users: Result<Vec<User>, StoreError> =
            sql.all(&self.readers).await.doing("read a user")?.iter().map(user).collect();
        // The key may also be a word of a name, or a further address.
        Ok(users?.into_iter().filter(|user| user.addresses.keys().contains(key)).collect())
    }

    /// The users of other accounts, or of this one, that no directory manages; released ones left aside.
    pub async fn unmanaged_users(
        &self,
        of: AccountId,
        elsewhere: bool,
    ) -> Result<Vec<User>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(COLUMNS)
            .push(" FROM users WHERE directory IS NULL AND standing <> 'released' AND account_id ");
        let sql = sql.push(if elsewhere { "<> " } else { "= " }).bind(of.0).push(" ORDER BY id");
        sql.all(&self.readers).await.doing("list unmanaged users")?.iter().map(user).collect()
    }

    /// The users linked to this person, in whatever directory.
    pub async fn users_by_guid(&self, guid: Guid) -> Result<Vec<User>, StoreError> {
        let sql = Sql::new("SELECT ")
            .push(COLUMNS)
            .push(" FROM users WHERE directory IS NOT NULL AND guid = ")
            .bind(guid)
            .push(" ORDER BY id");
        sql.all(&self.readers).await.doing("read a user")?.iter().map(user).collect()
    }

    /// Users in order of their id.
    pub async fn users(&self, filter: &UserFilter) -> Result<Vec<User>, StoreError> {
        let sql = filter.begin().push(" ORDER BY id LIMIT ").bind(filter.limit.unwrap_or(1_000));
        sql.all(&self.readers).await.doing("list users")?.iter().map(user).collect()
    }

    /// Users of whom every word begins a name or an address, accents and case aside; and who pass the filter.
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
        sql.all(&self.readers).await.doing("search users")?.iter().map(user).collect()
    }

    /// How many users of each status a directory manages.
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
            Ok((c.word("status", Status::parse)?, c.int()? as u64))
        })
        .collect()
}
