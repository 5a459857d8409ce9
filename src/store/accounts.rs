//! Accounts: creation, name, policies and deletion.

use std::collections::BTreeMap;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::{Row as _, StoredRow as _, as_json, row};
use super::sql::Sql;
use super::users;
use super::value::json;
use crate::clock::Clock;
use crate::model::{
    Account, AccountId, AccountKind, Actor, Event, EventCause, Handle, Policies, Status, Timestamp,
};

/// The reason why an account was not written.
#[derive(Debug, thiserror::Error)]
pub enum AccountRefused {
    #[error("there is an account \"{0}\" already")]
    HandleTaken(Handle),
    #[error("{handle} still has {users} users: remove them first, with rosterctl user remove")]
    HasUsers { handle: Handle, users: u64 },
    #[error("{0} still holds a domain: release it first, with rosterctl domain release")]
    HoldsDomain(Handle),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct AccountRow {
    id: AccountId,
    handle: Handle,
    name: String,
    kind: AccountKind,
    policies: Policies,
    created_at: Timestamp,
}

row! {
    stored AccountRow {
        id: "id",
        handle: "handle",
        name: "name",
        kind: "kind",
        policies: "policies" as as_json,
        created_at: "created_at",
    }
}

impl AccountRow {
    fn of_account(account: &Account) -> Self {
        let Account { id, handle, name, kind, policies, users: _, created_at } = account.clone();
        Self { id, handle, name, kind, policies, created_at }
    }

    fn with_users(self, users: BTreeMap<Status, u64>) -> Account {
        let Self { id, handle, name, kind, policies, created_at } = self;
        Account { id, handle, name, kind, policies, users, created_at }
    }
}

fn select() -> Sql {
    Sql::select::<AccountRow>().push(" FROM accounts")
}

fn cause(actor: &Actor, clock: &Clock) -> EventCause {
    EventCause { actor: actor.clone(), run: None, account: None, at: clock.now() }
}

impl Store {
    pub async fn create_account(
        &self,
        new: &Account,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), AccountRefused> {
        let mut writing = self.begin().await?;
        let sql = Sql::insert("accounts", AccountRow::of_account(new).fields())
            .push(" ON CONFLICT (handle) DO NOTHING");
        if sql.execute(&mut *writing.tx).await.doing("create an account")? == 0 {
            return Err(AccountRefused::HandleTaken(new.handle.clone()));
        }
        let after = serde_json::json!({ "handle": new.handle, "name": new.name, "kind": new.kind });
        let event = Event::of_account(
            "account.created",
            new,
            &cause(actor, clock),
            serde_json::Value::Null,
            after,
        );
        append(&mut writing, &[event], clock).await?;
        Ok(writing.commit().await?)
    }

    pub async fn rename_account(
        &self,
        account: &Account,
        name: &str,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE accounts SET name = ")
            .bind(name)
            .push(" WHERE id = ")
            .bind(account.id.0);
        sql.execute(&mut *writing.tx).await.doing("rename an account")?;
        let (before, after) =
            (serde_json::json!({ "name": account.name }), serde_json::json!({ "name": name }));
        let event =
            Event::of_account("account.renamed", account, &cause(actor, clock), before, after);
        append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }

    pub async fn set_policies(
        &self,
        account: &Account,
        policies: &Policies,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE accounts SET policies = ")
            .bind(json(policies))
            .push(" WHERE id = ")
            .bind(account.id.0);
        sql.execute(&mut *writing.tx).await.doing("write an account's policies")?;
        let (before, after) =
            (account.policies.difference(policies), policies.difference(&account.policies));
        let event = Event::of_account(
            "account.policy_changed",
            account,
            &cause(actor, clock),
            before,
            after,
        );
        append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }

    /// Deletes an account without domains and users, with its pending claims.
    pub async fn delete_account(
        &self,
        account: &Account,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), AccountRefused> {
        let mut writing = self.begin().await?;
        let holds = Sql::new(
            "SELECT COUNT(*) FROM claims WHERE state IN ('verified', 'lapsed') AND account_id = ",
        )
        .bind(account.id.0);
        if holds.count(&mut *writing.tx).await.doing("count domains")? > 0 {
            return Err(AccountRefused::HoldsDomain(account.handle.clone()));
        }
        let users = Sql::new("SELECT COUNT(*) FROM users WHERE account_id = ").bind(account.id.0);
        match users.count(&mut *writing.tx).await.doing("count users")? {
            0 => {}
            users => {
                return Err(AccountRefused::HasUsers { handle: account.handle.clone(), users });
            }
        }
        for table in ["DELETE FROM claims WHERE account_id = ", "DELETE FROM accounts WHERE id = "]
        {
            Sql::new(table)
                .bind(account.id.0)
                .execute(&mut *writing.tx)
                .await
                .doing("delete an account")?;
        }
        let before = serde_json::json!({ "handle": account.handle, "name": account.name, "kind": account.kind });
        let event = Event::of_account(
            "account.deleted",
            account,
            &cause(actor, clock),
            before,
            serde_json::Value::Null,
        );
        append(&mut writing, &[event], clock).await?;
        Ok(writing.commit().await?)
    }

    /// Returns all accounts, by handle.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = Sql::select::<AccountRow>()
            .push(" FROM accounts ORDER BY handle")
            .all(&self.readers)
            .await
            .doing("list accounts")?;
        let mut accounts = Vec::new();
        for row in &rows {
            let account = AccountRow::of(row)?;
            let users = self.user_counts(account.id).await?;
            accounts.push(account.with_users(users));
        }
        Ok(accounts)
    }

    pub async fn account(&self, handle: &Handle) -> Result<Option<Account>, StoreError> {
        self.one_account(select().push(" WHERE handle = ").bind(handle.as_str())).await
    }

    pub async fn account_of(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.one_account(select().push(" WHERE id = ").bind(id.0)).await
    }

    async fn one_account(&self, sql: Sql) -> Result<Option<Account>, StoreError> {
        let Some(row) = sql.first(&self.readers).await.doing("read an account")? else {
            return Ok(None);
        };
        let account = AccountRow::of(&row)?;
        let users = self.user_counts(account.id).await?;
        Ok(Some(account.with_users(users)))
    }

    async fn user_counts(&self, id: AccountId) -> Result<BTreeMap<Status, u64>, StoreError> {
        let sql = Sql::new("SELECT status, COUNT(*) FROM users WHERE account_id = ")
            .bind(id.0)
            .push(" GROUP BY status");
        users::counts(&sql.all(&self.readers).await.doing("count users")?)
    }
}
