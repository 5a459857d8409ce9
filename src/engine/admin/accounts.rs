//! Accounts: create, find, rename, set policies, delete.

use std::collections::BTreeMap;

use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Account, AccountId, AccountKind, Actor, Change, ChangeKind, Domain, Handle, HandleError,
    Policies, PolicyError, Status, Trigger, User,
};
use crate::store::{AccountRefused, UserFilter, fold};

/// The reason why an operation on an account is refused.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Handle(#[from] HandleError),
    #[error("an account needs a name: at most 200 letters, without control characters")]
    Name,
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("to delete {handle}, confirm it with its handle: \"{confirmed}\" is another one")]
    NotConfirmed { handle: Handle, confirmed: String },
    #[error(
        "{handle} is an enterprise and holds {domain}: release its domains first, with rosterctl domain release {domain}"
    )]
    HoldsDomain { handle: Handle, domain: Domain },
    #[error(
        "{handle} still has {users} users: remove them first, with rosterctl user remove (rosterctl user list --account {handle} lists them)"
    )]
    HasUsers { handle: Handle, users: u64 },
    /// The store found the same at the moment of writing.
    #[error(transparent)]
    Refused(AccountRefused),
}

/// Maximum number of users in one transaction.
const PAGE_SIZE: u64 = 500;

impl Engine {
    /// Creates an account. Every account begins as a team.
    pub async fn create_account(
        &self,
        handle: &str,
        name: &str,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let handle = Handle::parse(handle).map_err(AccountError::from)?;
        let account = Account {
            id: AccountId(self.clock.new_id()),
            handle,
            name: account_name(name)?,
            kind: AccountKind::Team,
            policies: Policies::default(),
            users: BTreeMap::new(),
            created_at: self.clock.now(),
        };
        self.store.create_account(&account, actor, &self.clock).await?;
        Ok(account)
    }

    /// Returns the account of a handle.
    pub async fn account(&self, handle: &str) -> Result<Account, EngineError> {
        let found = match Handle::parse(handle) {
            Ok(handle) => self.store.account(&handle).await?,
            Err(_) => None,
        };
        if let Some(account) = found {
            return Ok(account);
        }
        let all = self.store.accounts().await?;
        let known = all.iter().map(|account| account.handle.as_str());
        Err(EngineError::unknown("account", handle, known))
    }

    /// Returns the accounts that match a text: each of its words begins a word of the name or the
    /// handle. Case and accents are ignored.
    pub async fn find_accounts(&self, text: &str) -> Result<Vec<Account>, EngineError> {
        let wanted: Vec<String> = text.split_whitespace().map(fold).collect();
        let mut accounts = self.store.accounts().await?;
        accounts.retain(|account| {
            let words: Vec<String> = account
                .name
                .split_whitespace()
                .map(fold)
                .chain([account.handle.to_string()])
                .collect();
            wanted.iter().all(|w| words.iter().any(|word| word.starts_with(w.as_str())))
        });
        Ok(accounts)
    }

    /// Returns the account of a user.
    pub(in crate::engine) async fn account_of(&self, user: &User) -> Result<Account, EngineError> {
        let found = self.store.account_of(user.account).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: "account",
            name: user.account.to_string(),
            near: None,
        })
    }

    /// Returns whether a directory is connected to the account, and so decides about its users.
    pub(in crate::engine) fn has_directory(&self, account: &Account) -> bool {
        self.configured().directories.values().any(|d| d.config.account == account.handle)
    }

    /// Renames an account. Its handle never changes.
    pub async fn rename_account(
        &self,
        handle: &str,
        name: &str,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let account = self.account(handle).await?;
        let name = account_name(name)?;
        if name != account.name {
            self.store.rename_account(&account, &name, actor, &self.clock).await?;
        }
        self.account(handle).await
    }

    /// Sets policies from their text form: all of them, or none if one is invalid.
    pub async fn set_policies(
        &self,
        handle: &str,
        wanted: &BTreeMap<String, String>,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let account = self.account(handle).await?;
        let mut policies = account.policies.clone();
        for (key, value) in wanted {
            policies.set(key, value).map_err(AccountError::from)?;
        }
        if policies != account.policies {
            self.store.set_policies(&account, &policies, actor, &self.clock).await?;
        }
        self.account(handle).await
    }

    /// Deletes an account with all its data. `confirmed` is its handle once more, as a protection
    /// against slips.
    pub async fn delete_account(
        &self,
        handle: &str,
        confirmed: &str,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let account = self.account(handle).await?;
        if confirmed != account.handle.as_str() {
            let (handle, confirmed) = (account.handle, confirmed.to_owned());
            return Err(AccountError::NotConfirmed { handle, confirmed }.into());
        }
        let _applying = self.apply_lock.lock().await;
        let domains = self.store.claimed_domains(account.id).await?;
        if let Some(domain) = domains.0.into_iter().next() {
            return Err(AccountError::HoldsDomain { handle: account.handle, domain }.into());
        }
        let count = |status| account.users.get(&status).copied().unwrap_or(0);
        let users = count(Status::Active) + count(Status::Suspended) + count(Status::Invited);
        if users > 0 {
            return Err(AccountError::HasUsers { handle: account.handle, users }.into());
        }
        // Released users are removed with the account.
        let of_account = UserFilter {
            account: Some(account.id),
            limit: Some(PAGE_SIZE),
            ..UserFilter::default()
        };
        let reference = account.reference();
        loop {
            let users = self.store.users(&of_account).await?;
            if users.is_empty() {
                break;
            }
            let removed = users.iter().map(|u| Change::by_hand(u, removal(u))).collect();
            self.write(removed, OperatorRun::of(&reference, actor, Trigger::Operator)).await?;
        }
        self.store.delete_account(&account, actor, &self.clock).await?;
        Ok(account)
    }
}

/// Returns the change that removes a user.
pub(in crate::engine) fn removal(user: &User) -> ChangeKind {
    ChangeKind::Remove { before: Some(Box::new(user.joined())), status: user.status() }
}

fn account_name(text: &str) -> Result<String, AccountError> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(AccountError::Name);
    }
    Ok(name.to_owned())
}
