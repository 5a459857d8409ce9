//! The state of a target beside its counterparts, and the accounts there that are none.

use super::database::Store;
use super::directories::lenient_json;
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _, StoredRow as _, row};
use super::scope::ScopeState;
use super::sql::{Fields, Sql, insert};
use crate::model::{Handle, RemoteId, TargetName, Timestamp, UserId};
use crate::reconcile::provision::Capabilities;

/// The state of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The account whose users it follows.
    pub account: Handle,
    /// The accepted rules; `None` before the first run.
    pub rules: Option<ScopeState>,
    /// The time since which runs only plan, because the rules have changed.
    pub plan_only_since: Option<Timestamp>,
    /// Nothing is sent before this time.
    pub paused_until: Option<Timestamp>,
    /// The time of the pause.
    pub paused_at: Option<Timestamp>,
    /// Why nothing is sent until the secret changes or an operator unlocks the target.
    pub refused: Option<TargetRefusal>,
    /// The capabilities that answers showed.
    pub capabilities: Option<Capabilities>,
    pub last_attempt: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    /// The time of the last full run. It read each account of a user.
    pub last_complete_run: Option<Timestamp>,
    /// The number of accounts in that run; `None` if the list was not read whole.
    pub listed: Option<u64>,
}

/// The reason why a target gets no requests.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TargetRefusal {
    pub kind: RefusalKind,
    /// The finding, as a sentence.
    pub reason: String,
    /// The identity of the secret's file, which changes with the secret.
    pub secret: Option<String>,
}

crate::model::words! {
    /// The kind of a refusal.
    pub enum RefusalKind {
        /// The target refuses the secret.
        Unauthorized = "unauthorized",
        /// The target shows none of our accounts, so that it may be another one.
        Foreign = "foreign",
    }
}

/// An account at a target that is no counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmanagedAccount {
    pub id: RemoteId,
    pub user_name: Option<String>,
    pub active: Option<bool>,
    /// The user whose name or address the account has.
    pub user: Option<UserId>,
}

row! {
    stored TargetState {
        account: "account",
        rules: "rules_hash",
        plan_only_since: "plan_only_since",
        paused_until: "paused_until",
        paused_at: "paused_at",
        refused: "refused" as lenient_json,
        capabilities: "capabilities" as lenient_json,
        last_attempt: "last_attempt",
        last_success: "last_success",
        last_complete_run: "last_complete_run",
        listed: "listed",
    }
}

impl Store {
    /// Returns the state of a target; `None` before its first run.
    pub async fn target(&self, name: &TargetName) -> Result<Option<TargetState>, StoreError> {
        let sql = Sql::select::<TargetState>().push(" FROM targets WHERE name = ");
        let row = sql.bind(name.as_str()).first(&self.readers).await.doing("read a target")?;
        row.as_ref().map(TargetState::of).transpose()
    }

    /// Returns the names of all targets with a state.
    pub async fn target_names(&self) -> Result<Vec<TargetName>, StoreError> {
        let sql = Sql::new("SELECT name FROM targets ORDER BY name");
        let rows = sql.all(&self.readers).await.doing("list targets")?;
        let names = rows.iter().map(|row| Ok(TargetName::parse(&Columns::of(row).text()?)));
        Ok(names.collect::<Result<Vec<_>, StoreError>>()?.into_iter().flatten().collect())
    }

    /// Changes the state of a target in one transaction. `account` is written for a new one.
    pub async fn change_target(
        &self,
        name: &TargetName,
        account: &Handle,
        change: impl FnOnce(&mut TargetState),
    ) -> Result<TargetState, StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::select::<TargetState>().push(" FROM targets WHERE name = ");
        let row = sql.bind(name.as_str()).first(&mut *writing.tx).await.doing("read a target")?;
        let mut state = match row.as_ref().map(TargetState::of).transpose()? {
            Some(state) => state,
            None => TargetState::of_account(account.clone()),
        };
        change(&mut state);
        let mut fields: Fields = vec![("name", name.as_str().into())];
        fields.extend(state.fields());
        let tail: Vec<String> =
            TargetState::COLUMNS.split(", ").map(|c| format!("{c} = excluded.{c}")).collect();
        let tail = format!("ON CONFLICT (name) DO UPDATE SET {}", tail.join(", "));
        insert(&mut writing.tx, "targets", &tail, [fields]).await.doing("write a target")?;
        writing.has_news = true;
        writing.commit().await?;
        Ok(state)
    }

    /// Adds unmanaged accounts of a run that reads all accounts.
    pub async fn note_unmanaged(
        &self,
        target: &TargetName,
        accounts: &[UnmanagedAccount],
    ) -> Result<(), StoreError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        let rows = accounts.iter().map(|account| {
            let UnmanagedAccount { id, user_name, active, user } = account;
            vec![
                ("target", target.as_str().into()),
                ("remote_id", id.0.as_str().into()),
                ("user_name", user_name.as_deref().into()),
                ("active", active.map(i64::from).into()),
                ("user_id", user.map(|user| user.0).into()),
            ]
        });
        let tail = "ON CONFLICT (target, remote_id) DO UPDATE SET user_name = excluded.user_name, \
                    active = excluded.active, user_id = excluded.user_id";
        insert(&mut writing.tx, "unmanaged_accounts", tail, rows)
            .await
            .doing("write unmanaged accounts")?;
        writing.commit().await
    }

    /// Deletes the unmanaged accounts of a target, before a run notes them anew.
    pub async fn clear_unmanaged(&self, target: &TargetName) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM unmanaged_accounts WHERE target = ").bind(target.as_str());
        sql.execute(&mut *writing.tx).await.doing("forget unmanaged accounts")?;
        writing.commit().await
    }

    /// Returns a page of the unmanaged accounts in the order of their ids, or of those active ones
    /// that have the name of a suspended user.
    pub async fn unmanaged_accounts(
        &self,
        target: &TargetName,
        left: bool,
        after: Option<&RemoteId>,
        limit: u64,
    ) -> Result<Vec<UnmanagedAccount>, StoreError> {
        let mut sql = Sql::new(
            "SELECT a.remote_id, a.user_name, a.active, a.user_id FROM unmanaged_accounts a \
             LEFT JOIN users u ON u.id = a.user_id WHERE a.target = ",
        )
        .bind(target.as_str());
        if left {
            sql = sql.push(" AND u.status = 'suspended' AND COALESCE(a.active, 1) = 1");
        }
        if let Some(after) = after {
            sql = sql.push(" AND a.remote_id > ").bind(after.0.as_str());
        }
        let sql = sql.push(" ORDER BY a.remote_id LIMIT ").bind(limit);
        let rows = sql.all(&self.readers).await.doing("list unmanaged accounts")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok(UnmanagedAccount {
                    id: RemoteId(c.text()?),
                    user_name: c.maybe_text()?,
                    active: c.read()?,
                    user: c.read()?,
                })
            })
            .collect()
    }

    /// Returns the number of unmanaged accounts, and of those active ones that have the name of a
    /// suspended user.
    pub async fn unmanaged_counts(&self, target: &TargetName) -> Result<(u64, u64), StoreError> {
        let sql = Sql::new(
            "SELECT COUNT(*), COUNT(CASE WHEN u.status = 'suspended' AND COALESCE(a.active, 1) = 1 THEN 1 END) \
             FROM unmanaged_accounts a LEFT JOIN users u ON u.id = a.user_id WHERE a.target = ",
        );
        let row = sql.bind(target.as_str()).first(&self.readers).await.doing("count accounts")?;
        row.map_or(Ok((0, 0)), |row| {
            let mut c = Columns::of(&row);
            Ok((c.read()?, c.read()?))
        })
    }
}

impl TargetState {
    /// Returns the state before the first run.
    pub fn of_account(account: Handle) -> Self {
        Self {
            account,
            rules: None,
            plan_only_since: None,
            paused_until: None,
            paused_at: None,
            refused: None,
            capabilities: None,
            last_attempt: None,
            last_success: None,
            last_complete_run: None,
            listed: None,
        }
    }
}
