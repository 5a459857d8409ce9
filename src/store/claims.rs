//! Domain claims. At most one account holds a domain, and the database sees to that as well.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::any::AnyRow;

use super::sql::{Columns, Sql, Value};
use super::{Doing as _, Store, StoreError, Writing, events};
use crate::clock::Clock;
use crate::model::{
    AccountId, AccountKind, AccountRef, Actor, Claim, ClaimId, ClaimState, ClaimedDomains, Domain,
    Event, EventCause,
};

/// Why a claim was not written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimRefused {
    /// Another account holds the domain; which one is not told.
    #[error("{0} is claimed by another account")]
    HeldElsewhere(Domain),
    /// The account claims it already.
    #[error("{0} is claimed by this account already")]
    ClaimedAlready(Domain),
    /// Somebody else changed it meanwhile.
    #[error("the claim of {0} was changed in the same moment: look again")]
    Changed(Domain),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const CLAIM: &str = "SELECT id, account_id, domain, state, token, claimed_at, verified_at, checked_at, finding, misses FROM claims";

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
        misses: u32::try_from(c.int()?).unwrap_or(0),
    })
}

/// Who claims, in whose name: what the events of a claim say.
fn cause(of: &AccountRef, actor: &Actor, clock: &Clock) -> EventCause {
    EventCause {
        actor: actor.clone(),
        run: None,
        account: Some(of.handle.clone()),
        at: clock.now(),
    }
}

impl Store {
    /// The claims of one account, or of all, by domain.
    pub async fn claims(&self, of: Option<AccountId>) -> Result<Vec<Claim>, StoreError> {
        let mut sql = Sql::new(CLAIM).push(" WHERE state <> 'released'");
        if let Some(id) = of {
            sql = sql.push(" AND account_id = ").bind(id.0);
        }
        sql.push(" ORDER BY domain")
            .all(&self.readers)
            .await
            .doing("list claims")?
            .iter()
            .map(claim)
            .collect()
    }

    /// The claims of one domain that have not been released.
    pub async fn claims_of_domain(&self, domain: &Domain) -> Result<Vec<Claim>, StoreError> {
        let sql =
            Sql::new(CLAIM).push(" WHERE state <> 'released' AND domain = ").bind(domain.as_str());
        sql.all(&self.readers).await.doing("look up claims")?.iter().map(claim).collect()
    }

    /// The account that holds a domain.
    pub async fn holder(&self, domain: &Domain) -> Result<Option<AccountId>, StoreError> {
        Ok(self
            .claims_of_domain(domain)
            .await?
            .into_iter()
            .find(|c| c.state.holds())
            .map(|c| c.account))
    }

    /// The domains an account holds.
    pub async fn claimed_domains(&self, of: AccountId) -> Result<ClaimedDomains, StoreError> {
        let claims = self.claims(Some(of)).await?;
        Ok(ClaimedDomains(
            claims
                .into_iter()
                .filter(|c| c.state.holds())
                .map(|c| c.domain)
                .collect::<BTreeSet<_>>(),
        ))
    }

    /// Writes a new claim; verified at once if it says so.
    pub async fn add_claim(
        &self,
        new: &Claim,
        of: &AccountRef,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), ClaimRefused> {
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
        let sql =
            sql.push(" ON CONFLICT (account_id, domain) WHERE state <> 'released' DO NOTHING");
        if sql.execute(&mut *writing.tx).await.doing("write a claim")? == 0 {
            return Err(ClaimRefused::ClaimedAlready(new.domain.clone()));
        }
        let cause = cause(of, actor, clock);
        let mut told = vec![Event::of_claim("domain.claimed", new, None, &cause)];
        if new.state.holds() {
            told.push(Event::of_claim("domain.verified", new, Some(ClaimState::Pending), &cause));
            told.extend(convert(&mut writing, of, AccountKind::Enterprise, &cause).await?);
        }
        events::append(&mut writing, &told, clock).await?;
        Ok(writing.commit().await?)
    }

    /// Writes what a look-up made of a claim that was in the state `was`.
    pub async fn check_claim(
        &self,
        now: &Claim,
        was: ClaimState,
        of: &AccountRef,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), ClaimRefused> {
        let mut writing = self.begin().await?;
        if now.state.holds() && !was.holds() {
            refuse_held_elsewhere(&mut writing, now).await?;
        }
        let sql = Sql::new("UPDATE claims SET state = ")
            .bind(now.state.as_str())
            .push(", verified_at = ")
            .bind(now.verified_at);
        let sql = sql
            .push(", checked_at = ")
            .bind(now.checked_at)
            .push(", finding = ")
            .bind(now.finding.as_deref());
        let sql =
            sql.push(", misses = ").bind(i64::from(now.misses)).push(" WHERE id = ").bind(now.id.0);
        let sql = sql.push(" AND state = ").bind(was.as_str());
        if sql.execute(&mut *writing.tx).await.doing("write a claim")? == 0 {
            return Err(ClaimRefused::Changed(now.domain.clone()));
        }
        let cause = cause(of, actor, clock);
        let told = match now.state {
            same if same == was => Vec::new(),
            ClaimState::Verified => {
                let mut told = vec![Event::of_claim("domain.verified", now, Some(was), &cause)];
                told.extend(convert(&mut writing, of, AccountKind::Enterprise, &cause).await?);
                told
            }
            ClaimState::Lapsed => vec![Event::of_claim("domain.lapsed", now, Some(was), &cause)],
            ClaimState::Pending | ClaimState::Released => Vec::new(),
        };
        events::append(&mut writing, &told, clock).await?;
        Ok(writing.commit().await?)
    }

    /// Gives a domain back. An account without any is a team again.
    pub async fn release_claim(
        &self,
        claim: &Claim,
        of: &AccountRef,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), ClaimRefused> {
        let mut writing = self.begin().await?;
        let sql =
            Sql::new("UPDATE claims SET state = 'released' WHERE state <> 'released' AND id = ")
                .bind(claim.id.0);
        if sql.execute(&mut *writing.tx).await.doing("release a domain")? == 0 {
            return Err(ClaimRefused::Changed(claim.domain.clone()));
        }
        let cause = cause(of, actor, clock);
        let released = Claim { state: ClaimState::Released, ..claim.clone() };
        let mut told =
            vec![Event::of_claim("domain.released", &released, Some(claim.state), &cause)];
        let left = Sql::new(
            "SELECT COUNT(*) FROM claims WHERE state IN ('verified', 'lapsed') AND account_id = ",
        )
        .bind(of.id.0);
        if left.count(&mut *writing.tx).await.doing("look for domains")? == 0 {
            told.extend(convert(&mut writing, of, AccountKind::Team, &cause).await?);
        }
        events::append(&mut writing, &told, clock).await?;
        Ok(writing.commit().await?)
    }
}

async fn refuse_held_elsewhere(
    writing: &mut Writing<'_>,
    claim: &Claim,
) -> Result<(), ClaimRefused> {
    let sql =
        Sql::new("SELECT COUNT(*) FROM claims WHERE state IN ('verified', 'lapsed') AND domain = ")
            .bind(claim.domain.as_str());
    let elsewhere = sql
        .push(" AND account_id <> ")
        .bind(claim.account.0)
        .count(&mut *writing.tx)
        .await
        .doing("look for other claims")?;
    if elsewhere > 0 { Err(ClaimRefused::HeldElsewhere(claim.domain.clone())) } else { Ok(()) }
}

/// Makes an account a team or an enterprise; the event, if it was none.
async fn convert(
    writing: &mut Writing<'_>,
    of: &AccountRef,
    kind: AccountKind,
    cause: &EventCause,
) -> Result<Option<Event>, StoreError> {
    let sql = Sql::new("UPDATE accounts SET kind = ")
        .bind(kind.as_str())
        .push(" WHERE id = ")
        .bind(of.id.0);
    let sql = sql.push(" AND kind <> ").bind(kind.as_str());
    if sql.execute(&mut *writing.tx).await.doing("convert an account")? == 0 {
        return Ok(None);
    }
    let was = match kind {
        AccountKind::Team => AccountKind::Enterprise,
        AccountKind::Enterprise => AccountKind::Team,
    };
    let (before, after) = (json!({ "kind": was }), json!({ "kind": kind }));
    Ok(Some(Event::about("account.converted", of.id.to_string(), cause, before, after)))
}
