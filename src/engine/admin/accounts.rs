//! Accounts: created as teams, renamed, told what their people may do, and deleted when nobody is left.

use std::collections::BTreeMap;

use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Account, AccountId, AccountKind, Actor, Change, ChangeKind, Handle, Policies, Status, Trigger,
    User,
};
use crate::store::{UserFilter, fold};

/// Users that are written at once.
const AT_ONCE: u64 = 500;

impl Engine {
    /// Creates an account. Every account begins as a team.
    pub async fn create_account(
        &self,
        handle: &str,
        name: &str,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let handle = Handle::parse(handle).map_err(|e| EngineError::Invalid(e.to_string()))?;
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

    /// The account of this handle.
    pub async fn account(&self, handle: &str) -> Result<Account, EngineError> {
        let found = match Handle::parse(handle) {
            Ok(handle) => self.store.account(&handle).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| EngineError::NotFound { what: "account", name: handle.to_owned() })
    }

    /// The accounts of which each word of a text begins a word of the name, or the handle; accents and case aside.
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

    /// The account a user is in.
    pub(in crate::engine) async fn account_of(&self, user: &User) -> Result<Account, EngineError> {
        let found = self.store.account_of(user.account).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: "account",
            name: user.account.to_string(),
        })
    }

    /// Whether a directory is connected to the account: then it decides who is in it.
    pub(in crate::engine) fn has_directory(&self, account: &Account) -> bool {
        self.configured().directories.values().any(|d| d.config.account == account.handle)
    }

    /// Gives an account another name. Its handle never changes.
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

    /// Sets policies from their text form: all of them, or none if one is refused.
    pub async fn set_policies(
        &self,
        handle: &str,
        wanted: &BTreeMap<String, String>,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let account = self.account(handle).await?;
        let mut policies = account.policies.clone();
        for (key, value) in wanted {
            policies.set(key, value).map_err(|e| EngineError::Invalid(e.to_string()))?;
        }
        if policies != account.policies {
            self.store.set_policies(&account, &policies, actor, &self.clock).await?;
        }
        self.account(handle).await
    }

    /// Deletes an account with everything that is known of it. `confirmed` is its handle once more: whoever deletes says what.
    pub async fn delete_account(
        &self,
        handle: &str,
        confirmed: &str,
        actor: &Actor,
    ) -> Result<Account, EngineError> {
        let account = self.account(handle).await?;
        if confirmed != account.handle.as_str() {
            return Err(EngineError::Refused(format!(
                "to delete {handle}, confirm it with its handle: \"{confirmed}\" is another one"
            )));
        }
        let _applying = self.apply_lock.lock().await;
        let domains = self.store.claimed_domains(account.id).await?;
        if let Some(domain) = domains.0.first() {
            return Err(EngineError::Refused(format!(
                "{handle} is an enterprise and holds {domain}: release its domains first, with rosterctl domain release {domain}"
            )));
        }
        let count = |status| account.users.get(&status).copied().unwrap_or(0);
        let users = count(Status::Active) + count(Status::Suspended) + count(Status::Invited);
        if users > 0 {
            return Err(EngineError::Refused(format!(
                "{handle} still has {users} users: remove them first, with rosterctl user remove (rosterctl user list --account {handle} lists them)"
            )));
        }
        // Of the released ones, what is known goes with the account.
        let of_account =
            UserFilter { account: Some(account.id), limit: Some(AT_ONCE), ..UserFilter::default() };
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

/// What takes a user out.
pub(in crate::engine) fn removal(user: &User) -> ChangeKind {
    ChangeKind::Remove { before: Some(Box::new(user.joined())), status: user.status() }
}

fn account_name(text: &str) -> Result<String, EngineError> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(EngineError::Invalid(
            "an account needs a name: at most 200 letters, without control characters".to_owned(),
        ));
    }
    Ok(name.to_owned())
}
