//! Domain claims: claimed with a token, verified by the TXT record that carries it.

use std::time::Duration;

use super::{Engine, EngineError};
use crate::dns::Answer;
use crate::model::{Actor, Claim, ClaimId, ClaimState, Domain};
use crate::store::StoreError;
use crate::telemetry::chain;

/// A pending claim is looked up soon after it was made, then less and less often, at least daily.
const FIRST_CHECK: Duration = Duration::from_secs(30);
const LAST_CHECK: Duration = Duration::from_hours(24);

impl Engine {
    /// Claims a domain for an account: pending, or verified at once when the configuration vouches for it.
    pub async fn claim(&self, account: &str, domain: &str, actor: &Actor) -> Result<Claim, EngineError> {
        let account = self.account(account).await?;
        let domain = Domain::claimable(domain).map_err(|e| EngineError::Invalid(e.to_string()))?;
        let now = self.clock.now();
        let is_trusted = self.configured().trusted.contains(&domain);
        let claim = Claim {
            id: ClaimId(self.clock.new_id()),
            account: account.id,
            domain,
            state: if is_trusted { ClaimState::Verified } else { ClaimState::Pending },
            // 122 random bits: nobody else can guess what to publish.
            token: uuid::Uuid::new_v4().simple().to_string(),
            claimed_at: now,
            verified_at: is_trusted.then_some(now),
            checked_at: None,
            finding: None,
        };
        self.store.add_claim(&claim, actor, &self.clock).await?;
        Ok(claim)
    }

    /// Looks the claim's record up now.
    pub async fn verify(&self, domain: &str, account: Option<&str>, actor: &Actor) -> Result<Claim, EngineError> {
        let parsed = Domain::parse(domain).map_err(|e| EngineError::Invalid(e.to_string()))?;
        let of = match account {
            Some(handle) => Some(self.account(handle).await?.id),
            None => None,
        };
        let mut claims: Vec<Claim> = self.store.claims(of).await?.into_iter().filter(|c| c.domain == parsed).collect();
        match (claims.pop(), claims.is_empty()) {
            (Some(claim), true) => self.check(claim, actor).await,
            (Some(_), false) => Err(EngineError::Invalid(format!("several accounts claim {parsed}: say which one with --account"))),
            (None, _) => Err(EngineError::NotFound { what: "claim of", name: parsed.to_string() }),
        }
    }

    async fn check(&self, mut claim: Claim, actor: &Actor) -> Result<Claim, EngineError> {
        let now = self.clock.now();
        let name = claim.record_name();
        let wanted = claim.record_value();
        claim.checked_at = Some(now);
        match self.configured().resolver.txt(&name).await {
            Answer::Records(found) if found.contains(&wanted) => {
                claim.finding = Some("the record was found".to_owned());
                if claim.state == ClaimState::Pending {
                    (claim.state, claim.verified_at) = (ClaimState::Verified, Some(now));
                }
            }
            Answer::Records(found) if found.is_empty() => claim.finding = Some(format!("DNS has no TXT record {name}")),
            Answer::Records(found) => {
                claim.finding = Some(format!("{name} has {} TXT record(s), none of them with the token", found.len()))
            }
            Answer::None(why) => claim.finding = Some(format!("no answer from DNS: {why}")),
        }
        self.store.check_claim(&claim, actor, &self.clock).await?;
        Ok(claim)
    }

    /// Looks up the pending claims that are due; returns when to come back.
    pub(super) async fn check_pending(&self) -> Result<Duration, StoreError> {
        let now = self.clock.now();
        let mut soonest = Duration::from_mins(1);
        for claim in self.store.claims(None).await? {
            if claim.state != ClaimState::Pending {
                continue;
            }
            // As long again as it has been pending: a back-off that needs no state of its own.
            let pause = now.since(claim.claimed_at).clamp(FIRST_CHECK, LAST_CHECK);
            let due = claim.checked_at.unwrap_or(claim.claimed_at).plus(pause.min(LAST_CHECK));
            if due > now {
                soonest = soonest.min(due.since(now));
                continue;
            }
            let domain = claim.domain.clone();
            if let Err(error) = self.check(claim, &Actor::rosterd()).await {
                tracing::info!("the claim of {domain} was not verified: {}", chain(&error));
            }
        }
        Ok(soonest.max(Duration::from_secs(1)))
    }
}
