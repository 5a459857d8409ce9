//! Domain claims. At most one account holds a domain; an index of the database enforces it, too.

use std::collections::BTreeSet;

use serde_json::json;

use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::{Row as _, StoredRow as _, row};
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::{
    AccountId, AccountKind, AccountRef, Actor, Claim, ClaimState, ClaimedDomains, Domain, Event,
    EventCause,
};

/// The reason why a claim was not written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimRefused {
    /// The message does not name the other account.
    #[error("{0} is claimed by another account")]
    HeldElsewhere(Domain),
    #[error("{0} is claimed by this account already")]
    ClaimedAlready(Domain),
    #[error("the claim of {0} was changed at the same moment: try again")]
    Changed(Domain),
    #[error(transparent)]
    Store(#[from] StoreError),
}

row! {
    stored Claim {
        id: "id",
        account: "account_id",
        domain: "domain",
        state: "state",
        token: "token",
        claimed_at: "claimed_at",
        verified_at: "verified_at",
        checked_at: "checked_at",
        finding: "finding",
        misses: "misses",
    }
}

fn select() -> Sql {
    Sql::select::<Claim>().push(" FROM claims")
}

fn cause(of: &AccountRef, actor: &Actor, clock: &Clock) -> EventCause {
    EventCause {
        actor: actor.clone(),
        run: None,
        account: Some(of.handle.clone()),
        at: clock.now(),
    }
}

impl Store {
    /// Returns the claims of one account, or of all, by domain.
    pub async fn claims(&self, of: Option<AccountId>) -> Result<Vec<Claim>, StoreError> {
        let mut sql = select().push(" WHERE state <> 'released'");
        if let Some(id) = of {
            sql = sql.push(" AND account_id = ").bind(id.0);
        }
        sql.push(" ORDER BY domain")
            .all(&self.readers)
            .await
            .doing("list claims")?
            .iter()
            .map(Claim::of)
            .collect()
    }

    /// Returns the claims of a domain that have not been released.
    pub async fn claims_of_domain(&self, domain: &Domain) -> Result<Vec<Claim>, StoreError> {
        let sql = select().push(" WHERE state <> 'released' AND domain = ").bind(domain.as_str());
        sql.all(&self.readers).await.doing("look up claims")?.iter().map(Claim::of).collect()
    }

    /// Returns the account that holds a domain.
    pub async fn holder(&self, domain: &Domain) -> Result<Option<AccountId>, StoreError> {
        Ok(self
            .claims_of_domain(domain)
            .await?
            .into_iter()
            .find(|c| c.state.holds())
            .map(|c| c.account))
    }

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

    /// Writes a new claim, which may be verified already.
    pub async fn add_claim(
        &self,
        new: &Claim,
        of: &AccountRef,
        actor: &Actor,
        clock: &Clock,
    ) -> Result<(), ClaimRefused> {
        let mut writing = self.begin().await?;
        refuse_held_elsewhere(&mut writing, new).await?;
        let sql = Sql::insert("claims", new.fields())
            .push(" ON CONFLICT (account_id, domain) WHERE state <> 'released' DO NOTHING");
        if sql.execute(&mut *writing.tx).await.doing("write a claim")? == 0 {
            return Err(ClaimRefused::ClaimedAlready(new.domain.clone()));
        }
        let cause = cause(of, actor, clock);
        let mut events = vec![Event::of_claim("domain.claimed", new, None, &cause)];
        if new.state.holds() {
            events.push(Event::of_claim("domain.verified", new, Some(ClaimState::Pending), &cause));
            events.extend(convert(&mut writing, of, AccountKind::Enterprise, &cause).await?);
        }
        append(&mut writing, &events, clock).await?;
        Ok(writing.commit().await?)
    }

    /// Writes a claim after a look-up. `was` is its state before.
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
        let events = match now.state {
            same if same == was => Vec::new(),
            ClaimState::Verified => {
                let mut events = vec![Event::of_claim("domain.verified", now, Some(was), &cause)];
                events.extend(convert(&mut writing, of, AccountKind::Enterprise, &cause).await?);
                events
            }
            ClaimState::Lapsed => vec![Event::of_claim("domain.lapsed", now, Some(was), &cause)],
            ClaimState::Pending | ClaimState::Released => Vec::new(),
        };
        append(&mut writing, &events, clock).await?;
        Ok(writing.commit().await?)
    }

    /// Releases a domain. An account without domains becomes a team.
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
        let mut events =
            vec![Event::of_claim("domain.released", &released, Some(claim.state), &cause)];
        let left = Sql::new(
            "SELECT COUNT(*) FROM claims WHERE state IN ('verified', 'lapsed') AND account_id = ",
        )
        .bind(of.id.0);
        if left.count(&mut *writing.tx).await.doing("count domains")? == 0 {
            events.extend(convert(&mut writing, of, AccountKind::Team, &cause).await?);
        }
        append(&mut writing, &events, clock).await?;
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
        .doing("read other claims")?;
    if elsewhere > 0 { Err(ClaimRefused::HeldElsewhere(claim.domain.clone())) } else { Ok(()) }
}

/// Makes an account a team or an enterprise. Returns the event, if that changed anything.
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
    Ok(Some(Event::about("account.converted", of.id, cause, before, after)))
}
