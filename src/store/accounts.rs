//! Accounts and domain claims.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;

use super::sql::{Columns, Sql, Value, json};
use super::{Doing as _, Store, StoreError, Writing, events, users};
use crate::clock::Clock;
use crate::model::{
    Account, AccountId, AccountKind, Actor, Claim, ClaimId, ClaimState, ClaimedDomains, Domain, Event, EventCause, Handle, Status,
};

/// Why an account or a claim was not written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimRefused {
    /// The handle is taken.
    #[error("there is an account \"{0}\" already")]
    HandleTaken(Handle),
    /// Another account holds the domain; which one is not told.
    #[error("{0} is claimed by another account")]
    HeldElsewhere(Domain),
    /// The account claims it already.
    #[error("{0} is claimed by this account already")]
    ClaimedAlready(Domain),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const ACCOUNT: &str = "SELECT id, handle, name, kind, policies, created_at FROM accounts";
const CLAIM: &str = "SELECT id, account_id, domain, state, token, claimed_at, verified_at, checked_at, finding FROM claims";

fn account(row: &AnyRow) -> Result<Account, StoreError> {
    let mut c = Columns::of(row);
    Ok(Account {
        id: AccountId(c.uuid()?),
        handle: c.word("handle", |w| Handle::parse(w).ok())?,
        name: c.text()?,
        kind: c.word("account kind", |w| [AccountKind::Team, AccountKind::Enterprise].into_iter().find(|k| k.as_str() == w))?,
        policies: c.json("policies")?,
        created_at: c.time()?,
        users: BTreeMap::new(),
    })
}

fn claim(row: &AnyRow) -> Result<Claim, StoreError> {
    let mut c = Columns::of(row);
    Ok(Claim {
        id: ClaimId(c.uuid()?),
        account: AccountId(c.uuid()?),
        domain: c.word("domain", |w| Domain::parse(w).ok())?,
        state: c.word("claim state", ClaimState::parse)?,
        token: c.text()?,
        claimed_at: c.time()?,
        verified_at: c.maybe_time()?,
        checked_at: c.maybe_time()?,
        finding: c.maybe_text()?,
    })
}

impl Store {
    /// Creates an account.
    pub async fn create_account(&self, new: &Account, actor: &Actor, clock: &Clock) -> Result<(), ClaimRefused> {
        let mut writing = self.begin().await?;
        let values: Vec<Value> = vec![
            new.id.0.into(),
            new.handle.as_str().into(),
            new.name.as_str().into(),
            new.kind.as_str().into(),
            json(&new.policies).into(),
            new.created_at.into(),
        ];
        let sql = Sql::new("INSERT INTO accounts (id, handle, name, kind, policies, created_at) VALUES ")
            .list(values)
            .push(" ON CONFLICT (handle) DO NOTHING");
        if sql.execute(&mut *writing.tx).await.doing("create an account")? == 0 {
            return Err(ClaimRefused::HandleTaken(new.handle.clone()));
        }
        let cause = EventCause { actor: actor.clone(), run: None, at: clock.now() };
        events::append(&mut writing, &[Event::of_account("account.created", new, &cause)], clock).await?;
        Ok(writing.commit().await?)
    }

    /// All accounts, by handle.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = Sql::new(ACCOUNT).push(" ORDER BY handle").all(&self.readers).await.doing("list accounts")?;
        let mut accounts: Vec<Account> = rows.iter().map(account).collect::<Result<_, _>>()?;
        for account in &mut accounts {
            account.users = self.user_counts(account.id).await?;
        }
        Ok(accounts)
    }

    /// One account, by handle.
    pub async fn account(&self, handle: &Handle) -> Result<Option<Account>, StoreError> {
        let sql = Sql::new(ACCOUNT).push(" WHERE handle = ").bind(handle.as_str());
        let Some(row) = sql.first(&self.readers).await.doing("read an account")? else { return Ok(None) };
        let mut account = account(&row)?;
        account.users = self.user_counts(account.id).await?;
        Ok(Some(account))
    }

    async fn user_counts(&self, id: AccountId) -> Result<BTreeMap<Status, u64>, StoreError> {
        let sql = Sql::new("SELECT status, COUNT(*) FROM users WHERE account_id = ").bind(id.0).push(" GROUP BY status");
        users::counts(&sql.all(&self.readers).await.doing("count users")?)
    }

    /// The claims of one account, or of all, by domain.
    pub async fn claims(&self, of: Option<AccountId>) -> Result<Vec<Claim>, StoreError> {
        let mut sql = Sql::new(CLAIM).push(" WHERE state <> 'released'");
        if let Some(id) = of {
            sql = sql.push(" AND account_id = ").bind(id.0);
        }
        sql.push(" ORDER BY domain").all(&self.readers).await.doing("list claims")?.iter().map(claim).collect()
    }

    /// The domains an account holds.
    pub async fn claimed_domains(&self, of: AccountId) -> Result<ClaimedDomains, StoreError> {
        let claims = self.claims(Some(of)).await?;
        Ok(ClaimedDomains(claims.into_iter().filter(|c| c.state.holds()).map(|c| c.domain).collect::<BTreeSet<_>>()))
    }

    /// Writes a new claim; verified at once if it says so.
    pub async fn add_claim(&self, new: &Claim, actor: &Actor, clock: &Clock) -> Result<(), ClaimRefused> {
        let mut writing = self.begin().await?;
        refuse_held_elsewhere(&mut writing, new).await?;
        let values: Vec<Value> = vec![
            new.id.0.into(),
            new.account.0.into(),
            new.domain.as_str().into(),
            new.state.as_str().into(),
            new.token.as_str().into(),
            new.claimed_at.into(),
            new.verified_at.into(),
        ];
        let sql = Sql::new("INSERT INTO claims (id, account_id, domain, state, token, claimed_at, verified_at) VALUES ").list(values);
        let sql = sql.push(" ON CONFLICT (account_id, domain) WHERE state <> 'released' DO NOTHING");
        if sql.execute(&mut *writing.tx).await.doing("write a claim")? == 0 {
            return Err(ClaimRefused::ClaimedAlready(new.domain.clone()));
        }
        let cause = EventCause { actor: actor.clone(), run: None, at: clock.now() };
        events::append(&mut writing, &[Event::of_claim("domain.claimed", new, &cause)], clock).await?;
        if new.state.holds() {
            verified(&mut writing, new, &cause, clock).await?;
        }
        Ok(writing.commit().await?)
    }

    /// Writes what a look-up of the claim's record found.
    pub async fn check_claim(&self, found: &Claim, actor: &Actor, clock: &Clock) -> Result<(), ClaimRefused> {
        let mut writing = self.begin().await?;
        let was_pending = found.verified_at.is_some_and(|v| Some(v) == found.checked_at);
        if was_pending {
            refuse_held_elsewhere(&mut writing, found).await?;
        }
        let sql = Sql::new("UPDATE claims SET state = ").bind(found.state.as_str()).push(", verified_at = ").bind(found.verified_at);
        let sql = sql.push(", checked_at = ").bind(found.checked_at).push(", finding = ").bind(found.finding.as_deref());
        sql.push(" WHERE id = ").bind(found.id.0).execute(&mut *writing.tx).await.doing("write a claim")?;
        if was_pending {
            let cause = EventCause { actor: actor.clone(), run: None, at: clock.now() };
            verified(&mut writing, found, &cause, clock).await?;
        }
        Ok(writing.commit().await?)
    }
}

async fn refuse_held_elsewhere(writing: &mut Writing<'_>, claim: &Claim) -> Result<(), ClaimRefused> {
    let sql = Sql::new("SELECT COUNT(*) FROM claims WHERE state IN ('verified', 'lapsed') AND domain = ").bind(claim.domain.as_str());
    let elsewhere = sql.push(" AND account_id <> ").bind(claim.account.0).count(&mut *writing.tx).await.doing("look for other claims")?;
    if elsewhere > 0 { Err(ClaimRefused::HeldElsewhere(claim.domain.clone())) } else { Ok(()) }
}

/// The events of a verified claim, and the account's conversion by its first.
async fn verified(writing: &mut Writing<'_>, claim: &Claim, cause: &EventCause, clock: &Clock) -> Result<(), StoreError> {
    let mut told = vec![Event::of_claim("domain.verified", claim, cause)];
    let sql = Sql::new("UPDATE accounts SET kind = 'enterprise' WHERE kind = 'team' AND id = ").bind(claim.account.0);
    if sql.execute(&mut *writing.tx).await.doing("convert an account")? > 0 {
        let after = serde_json::json!({ "kind": "enterprise" });
        told.push(Event::about("account.converted", claim.account.to_string(), cause, serde_json::json!({ "kind": "team" }), after));
    }
    events::append(writing, &told, clock).await
}
