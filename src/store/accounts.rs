//! Accounts.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;

use super::sql::{Columns, Sql, Value, json};
use super::{Doing as _, Store, StoreError, events, users};
use crate::clock::Clock;
use crate::model::{
    Account, AccountId, AccountKind, Actor, Event, EventCause, Handle, Policies, Status,
};

/// Why an account was not written.
#[derive(Debug, thiserror::Error)]
pub enum AccountRefused {
    /// The handle is taken.
    #[error("there is an account \"{0}\" already")]
    HandleTaken(Handle),
    /// It still has users.
    #[error("{handle} still has {users} users: remove them first, with rosterctl user remove")]
    HasUsers {
        /// Which account.
        handle: Handle,
        /// How many, released ones left aside.
        users: u64,
    },
    /// It still holds a domain.
    #[error("{0} still holds a domain: release it first, with rosterctl domain release")]
    HoldsDomain(Handle),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const ACCOUNT: &str = "SELECT id, handle, name, kind, policies, created_at FROM accounts";

fn account(row: &AnyRow) -> Result<Account, StoreError> {
    let mut c = Columns::of(row);
    Ok(Account {
        id: AccountId(c.uuid()?),
        handle: c.word("handle", |w| Handle::parse(w).ok())?,
        name: c.text()?,
        kind: c.word("account kind", |w| {
            [AccountKind::Team, AccountKind::Enterprise].into_iter().find(|k| k.as_str() == w)
        })?,
        policies: c.json("policies")?,
        created_at: c.time()?,
        users: BTreeMap::new(),
    })
}

fn cause(actor: &Actor, clock: &Clock) -> EventCause {
    EventCause { actor: actor.clone(), run: None, account: None, at: clock.now() }
}

impl Store {
    /// Creates an account.
    pub async fn create_account(
        &self,
        new: &Account,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), AccountRefused> {
        let mut writing = self.begin().await?;
        let values: Vec<Value> = vec![
            new.id.0.into(),
            new.handle.as_str().into(),
            new.name.as_str().into(),
            new.kind.as_str().into(),
            json(&new.policies).into(),
            new.created_at.into(),
        ];
        let sql =
            Sql::new("INSERT INTO accounts (id, handle, name, kind, policies, created_at) VALUES ")
                .list(values)
                .push(" ON CONFLICT (handle) DO NOTHING");
        if sql.execute(&mut *writing.tx).await.doing("create an account")? == 0 {
            return Err(AccountRefused::HandleTaken(new.handle.clone()));
        }
        let after = serde_json::json!({ "handle": new.handle, "name": new.name, "kind": new.kind });
        let told = Event::of_account(
            "account.created",
            new,
            &cause(actor, clock),
            serde_json::Value::Null,
            after,
        );
        events::append(&mut writing, &[told], clock).await?;
        Ok(writing.commit().await?)
    }

    /// Gives an account another name.
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
        let told =
            Event::of_account("account.renamed", account, &cause(actor, clock), before, after);
        events::append(&mut writing, &[told], clock).await?;
        writing.commit().await
    }

    /// Gives an account other policies.
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
        let told = Event::of_account(
            "account.policy_changed",
            account,
            &cause(actor, clock),
            before,
            after,
        );
        events::append(&mut writing, &[told], clock).await?;
        writing.commit().await
    }

    /// Deletes an account that holds no domain and has no users any more; its pending claims go with it.
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
        if holds.count(&mut *writing.tx).await.doing("look for domains")? > 0 {
            return Err(AccountRefused::HoldsDomain(account.handle.clone()));
        }
        let users = Sql::new("SELECT COUNT(*) FROM users WHERE account_id = ").bind(account.id.0);
        match users.count(&mut *writing.tx).await.doing("look for users")? {
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
        let told = Event::of_account(
            "account.deleted",
            account,
            &cause(actor, clock),
            before,
            serde_json::Value::Null,
        );
        events::append(&mut writing, &[told], clock).await?;
        Ok(writing.commit().await?)
    }

    /// All accounts, by handle.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = Sql::new(ACCOUNT)
            .push(" ORDER BY handle")
            .all(&self.readers)
            .await
            .doing("list accounts")?;
        let mut accounts: Vec<Account> = rows.iter().map(account).collect::<Result<_, _>>()?;
        for account in &mut accounts {
            account.users = self.user_counts(account.id).await?;
        }
        Ok(accounts)
    }

    /// One account, by handle.
    pub async fn account(&self, handle: &Handle) -> Result<Option<Account>, StoreError> {
        self.one_account(Sql::new(ACCOUNT).push(" WHERE handle = ").bind(handle.as_str())).await
    }

    /// One account, by id.
    pub async fn account_of(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.one_account(Sql::new(ACCOUNT).push(" WHERE id = ").bind(id.0)).await
    }

    async fn one_account(&self, sql: Sql) -> Result<Option<Account>, StoreError> {
        let Some(row) = sql.first(&self.readers).await.doing("read an account")? else {
            return Ok(None);
        };
        let mut account = account(&row)?;
        account.users = self.user_counts(account.id).await?;
        Ok(Some(account))
    }

    async fn user_counts(&self, id: AccountId) -> Result<BTreeMap<Status, u64>, StoreError> {
        let sql = Sql::new("SELECT status, COUNT(*) FROM users WHERE account_id = ")
            .bind(id.0)
            .push(" GROUP BY status");
        users::counts(&sql.all(&self.readers).await.doing("count users")?)
    }
}
