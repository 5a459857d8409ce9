//! Looking users up: in lists that are filtered, sorted and paged, and as each other's colleagues.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::engine::{Engine, EngineError};
use crate::model::{
    AccountId, ClaimedDomains, DirectoryName, Domain, QuarantineReason, Reason, Status, Tier, User,
    UserId,
};
use crate::store::{UserFilter, fold};

/// Users that are looked through at once.
const AT_ONCE: u64 = 500;

/// What a list is sorted by; users who are alike in it, by id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// The id alone: the order of the store, and the fastest.
    #[default]
    Id,
    /// The primary address.
    Address,
    /// The name shown, accents and case aside.
    Name,
    /// When the user came to be.
    Created,
    /// When it last changed.
    Updated,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Id, Self::Address, Self::Name, Self::Created, Self::Updated];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Address => "address",
            Self::Name => "name",
            Self::Created => "created",
            Self::Updated => "updated",
        }
    }

    /// The order of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    fn key(self, user: &User) -> String {
        let address = || user.addresses.primary.as_ref().map(|a| a.key().0).unwrap_or_default();
        match self {
            Self::Id => String::new(),
            Self::Address => address(),
            Self::Name => user.profile.display_name.as_deref().map_or_else(address, fold),
            Self::Created => format!("{:020}", user.created_at.0),
            Self::Updated => format!("{:020}", user.updated_at.0),
        }
    }
}

/// Which users, in which order.
#[derive(Clone, Debug, Default)]
pub struct UserQuery {
    /// Of the account with this handle.
    pub account: Option<String>,
    /// With this status.
    pub status: Option<Status>,
    /// With this tier.
    pub tier: Option<Tier>,
    /// With an address in this domain.
    pub domain: Option<Domain>,
    /// Suspended for this reason, among others perhaps.
    pub reason: Option<Reason>,
    /// Whom no directory has although their account has one, and holds the domain of their address.
    pub unmanaged: bool,
    /// Whose directory entry cannot be used as it is.
    pub quarantined: bool,
    /// In this order.
    pub sort: Sort,
    /// After the page that said so.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct UserPage {
    /// The users.
    pub users: Vec<User>,
    /// What the next page comes after; nothing at the end.
    pub next: Option<String>,
}

/// What users are told apart by beside what the store does.
struct Sieve {
    domain: Option<Domain>,
    reason: Option<Reason>,
    /// The domains of the accounts that have a directory; when only unmanaged users are asked for.
    unmanaged: Option<BTreeMap<AccountId, ClaimedDomains>>,
    quarantined: Option<BTreeSet<UserId>>,
}

impl Sieve {
    fn passes(&self, user: &User) -> bool {
        let Self { domain, reason, unmanaged, quarantined } = self;
        let in_domain = |domain: &Domain| user.addresses.iter().any(|a| a.domain() == domain);
        let claimed = |domains: &ClaimedDomains| {
            user.addresses.primary.as_ref().is_some_and(|a| domains.covers(a))
        };
        domain.as_ref().is_none_or(in_domain)
            && reason.is_none_or(|r| user.causes.has(r))
            && unmanaged.as_ref().is_none_or(|of| {
                user.status() != Status::Released && of.get(&user.account).is_some_and(claimed)
            })
            && quarantined.as_ref().is_none_or(|those| those.contains(&user.id))
    }
}

impl Engine {
    /// One page of the users that are asked for.
    pub async fn list_users(&self, query: UserQuery) -> Result<UserPage, EngineError> {
        let UserQuery {
            account,
            status,
            tier,
            domain,
            reason,
            unmanaged,
            quarantined,
            sort,
            after,
            limit,
        } = query;
        let limit = limit.max(1);
        let after = after.map(|text| cursor(sort, &text)).transpose()?;
        let account = match account {
            Some(handle) => Some(self.account(&handle).await?.id),
            None => None,
        };
        let sieve = Sieve {
            domain,
            reason,
            unmanaged: if unmanaged { Some(self.domains_with_directory().await?) } else { None },
            quarantined: if quarantined {
                Some(self.quarantine(std::iter::empty()).await?.into_keys().collect())
            } else {
                None
            },
        };
        let mut page = UserFilter {
            account,
            status,
            tier,
            managed: unmanaged.then_some(false),
            after: None,
            limit: Some(AT_ONCE),
        };
        if sort == Sort::Id {
            page.after = after.as_ref().map(|(_, id)| *id);
        }
        // The first `limit` of all that pass, and one more to know whether there is a next page.
        let mut first: BTreeMap<(String, UserId), User> = BTreeMap::new();
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let users = self.store.users(&page).await?;
            let Some(last) = users.last() else { break };
            page.after = Some(last.id);
            for user in users.into_iter().filter(|u| sieve.passes(u)) {
                let key = (sort.key(&user), user.id);
                if std::ops::RangeBounds::contains(&(lower.clone(), Bound::Unbounded), &key) {
                    first.insert(key, user);
                    if first.len() > limit + 1 {
                        first.pop_last();
                    }
                }
            }
            if sort == Sort::Id && first.len() > limit {
                break;
            }
        }
        let is_more = first.len() > limit;
        if is_more {
            first.pop_last();
        }
        let next = first.last_key_value().filter(|_| is_more).map(|((key, id), _)| match sort {
            Sort::Id => id.to_string(),
            _ => format!("{id}:{key}"),
        });
        Ok(UserPage { users: first.into_values().collect(), next })
    }

    /// The users with a quarantine, of the configured directories and these.
    pub async fn quarantine(
        &self,
        more: impl Iterator<Item = DirectoryName>,
    ) -> Result<BTreeMap<UserId, Vec<QuarantineReason>>, EngineError> {
        let directories: BTreeSet<DirectoryName> =
            self.configured().directories.keys().cloned().chain(more).collect();
        let mut users: BTreeMap<UserId, Vec<QuarantineReason>> = BTreeMap::new();
        for directory in &directories {
            for (_, _, reason, user) in self.store.quarantined(directory).await? {
                if let Some(user) = user {
                    users.entry(user).or_default().push(reason);
                }
            }
        }
        Ok(users)
    }

    /// The domains of each account that has a directory.
    async fn domains_with_directory(
        &self,
    ) -> Result<BTreeMap<AccountId, ClaimedDomains>, EngineError> {
        let mut domains = BTreeMap::new();
        for account in self.store.accounts().await? {
            if self.has_directory(&account) {
                domains.insert(account.id, self.store.claimed_domains(account.id).await?);
            }
        }
        Ok(domains)
    }

    /// Who of an account's domains no directory has, how many.
    pub(in crate::engine) async fn unmanaged_count(
        &self,
        account: AccountId,
    ) -> Result<u64, EngineError> {
        let domains = self.store.claimed_domains(account).await?;
        let users = self.store.unmanaged_users(account, false).await?;
        Ok(users
            .iter()
            .filter(|u| u.addresses.primary.as_ref().is_some_and(|a| domains.covers(a)))
            .count() as u64)
    }

    /// The colleagues of a user whose names or addresses begin with these words: active users of the same account.
    pub async fn contacts(
        &self,
        who: &str,
        text: &str,
        limit: u64,
    ) -> Result<Vec<User>, EngineError> {
        let user = self.find_user(who).await?;
        if user.status() != Status::Active {
            return Err(EngineError::Refused(format!(
                "{who} is {}, and has no colleagues",
                user.status().as_str()
            )));
        }
        let filter = UserFilter {
            account: Some(user.account),
            status: Some(Status::Active),
            limit: Some(limit.saturating_add(1)),
            ..UserFilter::default()
        };
        let mut found = self.store.search(text, &filter).await?;
        found.retain(|u| u.id != user.id);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        found.sort_by_cached_key(|u| (Sort::Name.key(u), u.id));
        Ok(found)
    }
}

/// Where a page ended.
fn cursor(sort: Sort, text: &str) -> Result<(String, UserId), EngineError> {
    let (id, key) = text.split_once(':').unwrap_or((text, ""));
    match id.parse() {
        Ok(id)
            if (sort == Sort::Id) == key.is_empty()
                || sort == Sort::Address
                || sort == Sort::Name =>
        {
            Ok((key.to_owned(), id))
        }
        _ => Err(EngineError::Invalid(format!(
            "\"{text}\" is not where a page of this order ended: give the next of the page before"
        ))),
    }
}
