//! Lists users: pages of a filtered list, and colleagues.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::engine::admin::users::UserError;
use crate::engine::{Engine, EngineError};
use crate::model::{
    AccountId, ClaimedDomains, DirectoryName, Domain, Link, QuarantineReason, Reason, Status, Tier,
    Timestamp, User, UserId, words,
};
use crate::store::{Mark, UserFilter, fold};

/// The text is no cursor of a page in the requested order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not where a page of this order ended: give the next of the page before")]
pub struct PageCursorError(pub String);

/// Users per page of the store.
const PAGE_SIZE: u64 = 500;

words! {
    /// The order of a list; equal users are ordered by id.
    #[derive(Default)]
    pub enum Sort {
        /// The order of the store, and the fastest.
        #[default]
        Id = "id",
        Address = "address",
        /// The display name without case and accents.
        Name = "name",
        Created = "created",
        Updated = "updated",
    }
}

impl Sort {
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

/// A filter, an order and a page.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a filter of its own")]
pub struct UserQuery {
    /// The handle of an account.
    pub account: Option<String>,
    pub status: Option<Status>,
    pub tier: Option<Tier>,
    /// The domain of one of the addresses.
    pub domain: Option<Domain>,
    /// One of the reasons of the suspension.
    pub reason: Option<Reason>,
    /// Only users that no directory has, in accounts with a directory that hold the domain of the
    /// address.
    pub unmanaged: bool,
    /// Only users whose entry is quarantined.
    pub quarantined: bool,
    /// Only active users whom their own directory does not show, or whose directory is not configured.
    pub unseen: bool,
    /// Only active users whose account in the directory expires before this time.
    pub expires_before: Option<Timestamp>,
    /// Only users whose suspension an operator has scheduled.
    pub scheduled: bool,
    /// Only users with a note of an operator.
    pub noted: bool,
    /// Only users of this directory of whom its present server has not heard whole.
    pub behind: Option<DirectoryName>,
    pub sort: Sort,
    /// The cursor of the page before.
    pub after: Option<String>,
    /// The maximum number of users.
    pub limit: usize,
}

#[derive(Clone, Debug, Default)]
pub struct UserPage {
    pub users: Vec<User>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// The part of the filter that the store does not apply.
struct Sieve {
    domain: Option<Domain>,
    reason: Option<Reason>,
    /// Domains of the accounts with a directory; `Some` when only unmanaged users are wanted.
    unmanaged: Option<BTreeMap<AccountId, ClaimedDomains>>,
    quarantined: Option<BTreeSet<UserId>>,
    unseen: Option<Unseen>,
    behind: Option<BTreeSet<UserId>>,
}

/// The users about whom no directory decides.
struct Unseen {
    users: BTreeSet<UserId>,
    configured: BTreeSet<DirectoryName>,
}

impl Unseen {
    fn has(&self, user: &User) -> bool {
        let is_orphan = |link: &Link| !self.configured.contains(&link.directory);
        self.users.contains(&user.id)
            || user.status() == Status::Active && user.link.as_ref().is_some_and(is_orphan)
    }
}

impl Sieve {
    fn passes(&self, user: &User) -> bool {
        let Self { domain, reason, unmanaged, quarantined, unseen, behind } = self;
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
            && behind.as_ref().is_none_or(|those| those.contains(&user.id))
            && unseen.as_ref().is_none_or(|unseen| unseen.has(user))
    }
}

impl Engine {
    /// Returns one page of users.
    pub async fn list_users(&self, query: UserQuery) -> Result<UserPage, EngineError> {
        let UserQuery {
            account,
            status,
            tier,
            domain,
            reason,
            unmanaged,
            quarantined,
            unseen,
            expires_before,
            scheduled,
            noted,
            behind,
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
            unseen: if unseen { Some(self.unseen().await?) } else { None },
            behind: match behind {
                Some(directory) => {
                    let marked = self.store.marked_users(&directory, Mark::Behind).await?;
                    Some(marked.into_keys().collect())
                }
                None => None,
            },
        };
        let mut page = UserFilter {
            account,
            status,
            tier,
            managed: unmanaged.then_some(false),
            expires_before,
            scheduled,
            noted,
            after: None,
            limit: Some(PAGE_SIZE),
        };
        if sort == Sort::Id {
            page.after = after.as_ref().map(|(_, id)| *id);
        }
        // The first `limit` users that pass, and one more, which shows that a next page exists.
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

    async fn unseen(&self) -> Result<Unseen, EngineError> {
        let configured: BTreeSet<DirectoryName> =
            self.configured().directories.keys().cloned().collect();
        let mut users = BTreeSet::new();
        for directory in &configured {
            users.extend(self.store.marked_users(directory, Mark::Unseen).await?.into_keys());
        }
        Ok(Unseen { users, configured })
    }

    /// Returns the quarantined users of the configured directories and of `more`.
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

    /// Returns the domains of each account that has a directory.
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

    /// Returns the number of users of an account's domains that no directory has.
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

    /// Returns active users of the same account whose names or addresses begin with these words.
    pub async fn contacts(
        &self,
        who: &str,
        text: &str,
        after: Option<UserId>,
        limit: u64,
    ) -> Result<UserPage, EngineError> {
        let user = self.find_user(who).await?;
        if user.status() != Status::Active {
            return Err(
                UserError::NoColleagues { who: who.to_owned(), status: user.status() }.into()
            );
        }
        let filter = UserFilter {
            account: Some(user.account),
            status: Some(Status::Active),
            after,
            // The user, and one who shows whether others follow.
            limit: Some(limit.saturating_add(2)),
            ..UserFilter::default()
        };
        let mut found = self.store.search(text, &filter).await?;
        found.retain(|u| u.id != user.id);
        let has_more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = found.last().filter(|_| has_more).map(|user| user.id.to_string());
        found.sort_by_cached_key(|u| (Sort::Name.key(u), u.id));
        Ok(UserPage { users: found, next })
    }
}

/// Parses the cursor of a page.
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
        _ => Err(PageCursorError(text.to_owned()).into()),
    }
}
