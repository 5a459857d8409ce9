//! Finds the user that an operator names. This is the one place, and the one order, for all operations.

use std::collections::BTreeSet;

use crate::directory::{DirectoryError, Session};
use crate::engine::admin::users::UserError;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Address, Dn, Guid, User, UserId, nearest};
use crate::store::{UserFilter, fold};

/// Maximum number of users in an error about a name.
const MAX_NAMED: usize = 10;
/// Users of one name that are compared. More share the beginning of it.
const MAX_COMPARED: u64 = 5_000;

impl Engine {
    /// Returns the user of an id, address, DN, logon name, employee id or display name.
    ///
    /// Ids, addresses and DNs are unique and come first, in this order. The other names count
    /// together: a name that means several users is refused, whatever kinds of names they have.
    pub async fn find_user(&self, who: &str) -> Result<User, EngineError> {
        if let Some(user) = self.user_if_any(who).await? {
            return Ok(user);
        }
        let similar = self.similar_users(who).await?;
        Err(UserError::Unknown { who: who.to_owned(), similar }.into())
    }

    /// Returns the user as [`find_user`](Self::find_user) does; `None` where no user has the name.
    pub(in crate::engine) async fn user_if_any(
        &self,
        who: &str,
    ) -> Result<Option<User>, EngineError> {
        let mut users = self.users_by_id(who).await?;
        if users.is_empty()
            && let Ok(address) = Address::parse(who)
        {
            users.extend(self.store.user_by_address(&address.key()).await?);
            if users.is_empty() {
                // A released user holds no address, but is found by its last one.
                users = self.store.released_users(&address.key()).await?;
            }
        }
        if users.is_empty() && who.contains('=') {
            users = self.store.users_by_dn(&Dn::new(who)).await?;
        }
        if users.is_empty() {
            users = self.users_by_name(who).await?;
        }
        self.only_one(who, users).await
    }

    async fn users_by_id(&self, who: &str) -> Result<Vec<User>, EngineError> {
        let mut users = match who.parse::<Guid>() {
            Ok(guid) => self.store.users_by_guid(guid).await?,
            Err(_) => Vec::new(),
        };
        if let Ok(id) = who.parse::<UserId>()
            && let Some(user) = self.store.user(id).await?
            && users.iter().all(|known| known.id != user.id)
        {
            users.push(user);
        }
        Ok(users)
    }

    /// Returns the users with this logon name, employee id or display name. Users of the past count
    /// where no other has it.
    async fn users_by_name(&self, who: &str) -> Result<Vec<User>, EngineError> {
        let mut users = Vec::new();
        if let Some((domain, account)) = who.split_once('\\') {
            users = self.store.users_by_logon_name(account).await?;
            let has_name = |user: &User| {
                user.profile.sam_account_name.as_ref().is_some_and(|n| fold(n) == fold(account))
            };
            users.retain(|user| has_name(user) && self.is_in_domain(user, domain));
        }
        if users.is_empty() {
            users = self.store.users_by_logon_name(who).await?;
            let filter = UserFilter { limit: Some(MAX_COMPARED), ..UserFilter::default() };
            let called = |user: &User| {
                user.profile.display_name.as_ref().is_some_and(|name| fold(name) == fold(who))
            };
            let by_name = self.store.search(who, &filter).await?.into_iter().filter(called);
            for user in by_name {
                if users.iter().all(|known| known.id != user.id) {
                    users.push(user);
                }
            }
        }
        if users.iter().any(|user| user.standing != crate::model::Standing::Released) {
            users.retain(|user| user.standing != crate::model::Standing::Released);
        }
        Ok(users)
    }

    /// Returns whether the user's directory has this name, or its domain this NetBIOS or DNS name.
    fn is_in_domain(&self, user: &User, domain: &str) -> bool {
        let Some(link) = &user.link else { return false };
        let directory = self.directory(link.directory.as_str());
        let mut names = directory.map(|d| d.work.servers.domain_names()).unwrap_or_default();
        names.insert(link.directory.to_string());
        names.iter().any(|name| name.eq_ignore_ascii_case(domain))
    }

    /// Returns the only user. A name that means several is refused with the first of them.
    async fn only_one(&self, who: &str, mut users: Vec<User>) -> Result<Option<User>, EngineError> {
        if users.len() < 2 {
            return Ok(users.pop());
        }
        let mut named = Vec::new();
        for user in users.iter().take(MAX_NAMED) {
            let account = self.account_of(user).await?.handle;
            let address = user.addresses.primary.as_ref().map_or("no address", Address::as_str);
            named.push(format!("{} ({address}, {} in {account})", user.id, user.status().as_str()));
        }
        let (who, count) = (who.to_owned(), users.len());
        Err(UserError::Ambiguous { who, count, users: named }.into())
    }

    /// Returns users whose names or addresses begin with the words of a name, for an error.
    async fn similar_users(&self, who: &str) -> Result<Vec<String>, EngineError> {
        let name = who.rsplit('\\').next().unwrap_or(who);
        let name = name.split('@').next().unwrap_or(name);
        let words = name.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join(" ");
        let filter = UserFilter { limit: Some(MAX_NAMED as u64 + 1), ..UserFilter::default() };
        let mut users = self.store.search(&words, &filter).await?;
        if users.is_empty() {
            users = self.misspelt(&words).await?;
        }
        let described = |user: &User| {
            let address = user.addresses.primary.as_ref();
            let called = address.map_or_else(|| user.id.to_string(), |a| a.as_str().to_owned());
            match &user.profile.display_name {
                Some(name) => format!("{called} ({name})"),
                None => called,
            }
        };
        let mut named: Vec<String> = users.iter().take(MAX_NAMED).map(described).collect();
        if users.len() > MAX_NAMED {
            named.push(format!("and more: rosterctl user search {}", words.trim()));
        }
        Ok(named)
    }

    /// Returns the users whose name is nearest to a misspelt one. The first half of each of its words
    /// has to be right.
    async fn misspelt(&self, words: &str) -> Result<Vec<User>, EngineError> {
        let half = |word: &str| word.chars().take(word.chars().count().div_ceil(2)).collect();
        let halves: Vec<String> = words.split_whitespace().map(half).collect();
        let filter = UserFilter { limit: Some(MAX_COMPARED), ..UserFilter::default() };
        let mut users = self.store.search(&halves.join(" "), &filter).await?;
        let names = |user: &User| -> Vec<String> {
            let address = user.addresses.primary.as_ref().map(Address::as_str);
            let local = address.and_then(|address| address.split('@').next());
            let parts = [local, user.profile.display_name.as_deref()].into_iter().flatten();
            let plain = |name: &str| name.replace(|c: char| !c.is_alphanumeric(), " ");
            parts.map(|name| fold(&plain(name))).collect()
        };
        let all: Vec<String> = users.iter().flat_map(names).collect();
        let near = nearest(&fold(words.trim()), all.iter().map(String::as_str));
        users.retain(|user| near.is_some_and(|near| names(user).iter().any(|name| name == near)));
        users.truncate(MAX_NAMED + 1);
        Ok(users)
    }

    /// Returns the people of a directory with this name, whether they are users or not.
    pub(in crate::engine) async fn people_called(
        &self,
        directory: &Directory,
        session: &mut Session,
        who: &str,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        if let Ok(guid) = who.parse() {
            return Ok([guid].into());
        }
        let names = directory.work.servers.domain_names();
        let is_of_domain = |domain: &str| {
            names
                .iter()
                .map(String::as_str)
                .chain([directory.config.name.as_str()])
                .any(|name| name.eq_ignore_ascii_case(domain))
        };
        let name = match who.split_once('\\') {
            Some((domain, account)) if is_of_domain(domain) => account,
            _ => who,
        };
        session.people_called(name, &directory.config.settings.attributes).await
    }
}
