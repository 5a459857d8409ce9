//! Accounts.

use std::collections::BTreeMap;

use super::{Engine, EngineError};
use crate::model::{Account, AccountId, AccountKind, Actor, Handle, Policies};

impl Engine {
    /// Creates an account. Every account begins as a team.
    pub async fn create_account(&self, handle: &str, name: &str, actor: &Actor) -> Result<Account, EngineError> {
        let handle = Handle::parse(handle).map_err(|e| EngineError::Invalid(e.to_string()))?;
        let name = name.trim();
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(EngineError::Invalid("an account needs a name: text without control characters".to_owned()));
        }
        let account = Account {
            id: AccountId(self.clock.new_id()),
            handle,
            name: name.to_owned(),
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
}
