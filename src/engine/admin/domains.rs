//! Domain claims: a token, a TXT record that proves it, a daily look-up, and the release.
//!
//! Every user with an address of a domain belongs to the account that holds it. So each successful
//! look-up gathers these users again, which makes up for a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::dns::Answer;
use crate::engine::admin::accounts::removal;
use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::periodic::Periodic;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Account, AccountId, Actor, Address, Addresses, Change, ChangeKind, Claim, ClaimId, ClaimState,
    Domain, DomainError, RecordSeen, Standing, Status, Trigger, User, UserId, words,
};
use crate::store::{ClaimRefused, StoreError, UserFilter};
use crate::telemetry::chain;

/// The reason why an operation on a domain claim is refused.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error(transparent)]
    Domain(#[from] DomainError),
    #[error("several accounts claim {0}: say which one with --account")]
    Ambiguous(Domain),
    #[error(
        "{users} users changed at the same moment, and {domain} is still held: release it again"
    )]
    UsersChanged { users: u64, domain: Domain },
    #[error(transparent)]
    Refused(ClaimRefused),
}

/// The first look-up of a pending claim. The interval then grows to a day.
const FIRST_CHECK: Duration = Duration::from_secs(30);
const DAILY: Duration = Duration::from_hours(24);

/// Maximum wait for the next due claim, because the clock may be set.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Users per page.
const PAGE_SIZE: u64 = 500;

words! {
    /// The effect of a release on one user.
    pub enum ReleaseEffect {
        /// The user is released: no sign-in, no address.
        Released = "released",
        /// The user stays suspended and keeps its address reserved.
        StaysSuspended = "stays-suspended",
        /// The secondary addresses in the domain are removed.
        LosesAddress = "loses-address",
    }
}

/// A user that the release of a domain affects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    pub user: UserId,
    pub email: Option<Address>,
    pub effect: ReleaseEffect,
}

/// The release of a domain, applied or planned.
#[derive(Debug)]
pub struct Release {
    /// The claim before the release.
    pub claim: Claim,
    pub account: Account,
    /// Whether it is the account's last domain.
    pub is_last: bool,
    pub people: Vec<Touched>,
}

/// The periodic task that looks up the records of claims.
pub(in crate::engine) struct ClaimCheck {
    engine: Arc<Engine>,
    /// Whether users were gathered since the start, because a crash may have cut that off.
    has_gathered: bool,
    wait: Duration,
}

impl ClaimCheck {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), has_gathered: false, wait: MAX_WAIT }
    }
}

impl Periodic for ClaimCheck {
    fn name(&self) -> &'static str {
        "claims"
    }

    fn period(&self) -> Duration {
        self.wait
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        self.wait = MAX_WAIT;
        if !self.has_gathered {
            self.engine.gather_all().await?;
            self.has_gathered = true;
        }
        self.wait = self.engine.check_claims().await?;
        Ok(())
    }
}

impl Engine {
    /// Claims a domain for an account. The claim is pending, or verified where the configuration
    /// trusts it.
    pub async fn claim(
        &self,
        account: &str,
        domain: &str,
        actor: &Actor,
    ) -> Result<Claim, EngineError> {
        let account = self.account(account).await?;
        let domain = Domain::claimable(domain).map_err(ClaimError::from)?;
        let now = self.clock.now();
        let is_trusted = self.configured().rules.trusted.contains(&domain);
        let claim = Claim {
            id: ClaimId(self.clock.new_id()),
            account: account.id,
            domain,
            state: if is_trusted { ClaimState::Verified } else { ClaimState::Pending },
            // 122 random bits: the record cannot be guessed.
            token: uuid::Uuid::new_v4().simple().to_string(),
            claimed_at: now,
            verified_at: is_trusted.then_some(now),
            checked_at: None,
            finding: None,
            misses: 0,
        };
        self.store.add_claim(&claim, &account.reference(), actor, &self.clock).await?;
        if is_trusted {
            self.gather(&claim, actor).await?;
        }
        Ok(claim)
    }

    /// Looks up the record of a claim.
    pub async fn verify(
        &self,
        domain: &str,
        account: Option<&str>,
        actor: &Actor,
    ) -> Result<Claim, EngineError> {
        let claim = self.one_claim(domain, account).await?;
        self.check(claim, actor, false).await
    }

    async fn one_claim(&self, domain: &str, account: Option<&str>) -> Result<Claim, EngineError> {
        let parsed = Domain::parse(domain).map_err(ClaimError::from)?;
        let mut claims = self.store.claims_of_domain(&parsed).await?;
        if let Some(handle) = account {
            let account = self.account(handle).await?;
            claims.retain(|c| c.account == account.id);
        }
        match (claims.pop(), claims.is_empty()) {
            (Some(claim), true) => Ok(claim),
            (Some(_), false) => Err(ClaimError::Ambiguous(parsed).into()),
            (None, _) => Err(EngineError::NotFound {
                what: "claim of",
                name: parsed.to_string(),
                near: None,
            }),
        }
    }

    async fn check(
        &self,
        claim: Claim,
        actor: &Actor,
        is_daily: bool,
    ) -> Result<Claim, EngineError> {
        let account = self.account_with(claim.account).await?.reference();
        let seen = self.look_up(&claim).await;
        let was = claim.state;
        let now = claim.clone().after_look_up(seen, is_daily, self.clock.now());
        match self.store.check_claim(&now, was, &account, actor, &self.clock).await {
            Ok(()) => {}
            Err(refused @ ClaimRefused::HeldElsewhere(_)) => {
                let still = Claim {
                    checked_at: now.checked_at,
                    finding: Some(refused.to_string()),
                    ..claim
                };
                self.store.check_claim(&still, was, &account, actor, &self.clock).await?;
                return Err(refused.into());
            }
            Err(error) => return Err(error.into()),
        }
        if now.state == ClaimState::Lapsed && was != ClaimState::Lapsed {
            tracing::warn!(
                "claim of {} lapsed, because its record has been missing for days: put the record back, or release the domain (no user changes)",
                now.domain
            );
        }
        if now.state.holds() {
            self.gather(&now, actor).await?;
        }
        Ok(now)
    }

    async fn look_up(&self, claim: &Claim) -> RecordSeen {
        let configured = self.configured();
        if configured.rules.trusted.contains(&claim.domain) {
            return RecordSeen::Found;
        }
        let name = claim.record_name();
        match configured.rules.resolver.txt(&name).await {
            Answer::Records(found) if found.contains(&claim.record_value()) => RecordSeen::Found,
            Answer::Records(found) => {
                let records = if found.len() == 1 {
                    "a TXT record, but not".to_owned()
                } else {
                    format!("{} TXT records, but none", found.len())
                };
                RecordSeen::Missing(format!("{name} has {records} with the token of this claim"))
            }
            Answer::NxDomain => RecordSeen::Missing(format!("DNS knows no name {name} (NXDOMAIN)")),
            Answer::NoData { alias_of: None } => {
                RecordSeen::Missing(format!("{name} exists in DNS, but has no TXT record"))
            }
            Answer::NoData { alias_of: Some(target) } => RecordSeen::Missing(format!(
                "{name} is an alias (CNAME) of {target}, which has no TXT record"
            )),
            Answer::Failed(reason) => {
                RecordSeen::NoAnswer(format!("no answer from DNS about {name}: {reason}"))
            }
        }
    }

    async fn account_with(&self, id: AccountId) -> Result<Account, EngineError> {
        self.store.account_of(id).await?.ok_or_else(|| EngineError::NotFound {
            what: "account",
            name: id.to_string(),
            near: None,
        })
    }

    /// Moves every user with an address of the domain into the account that holds it. An invitation
    /// to another account is removed.
    async fn gather(&self, claim: &Claim, actor: &Actor) -> Result<(), EngineError> {
        let into = self.account_with(claim.account).await?;
        let _applying = self.apply_lock.lock().await;
        let mut elsewhere: BTreeMap<AccountId, Vec<User>> = BTreeMap::new();
        for user in self.store.unmanaged_users(into.id, true).await? {
            if user.addresses.primary.as_ref().is_some_and(|a| *a.domain() == claim.domain) {
                elsewhere.entry(user.account).or_default().push(user);
            }
        }
        for (from, users) in elsewhere {
            let from = self.account_with(from).await?.reference();
            let change = |user: &User| match user.standing {
                Standing::Invited => Change::by_hand(user, removal(user)),
                _ => Change::by_hand(
                    user,
                    ChangeKind::Transfer { before: from.clone(), after: into.reference() },
                ),
            };
            let changes = users.iter().map(change).collect();
            self.write(changes, OperatorRun::of(&from, actor, Trigger::Operator)).await?;
        }
        Ok(())
    }

    /// Returns the effects of a release without applying them.
    pub async fn plan_release(
        &self,
        domain: &str,
        account: Option<&str>,
    ) -> Result<Release, EngineError> {
        Ok(self.release_of(self.one_claim(domain, account).await?).await?.0)
    }

    /// Releases a domain.
    pub async fn release(
        &self,
        domain: &str,
        account: Option<&str>,
        actor: &Actor,
    ) -> Result<Release, EngineError> {
        // No run may decide by a claim that is being released.
        let _applying = self.apply_lock.lock().await;
        let (release, changes) = self.release_of(self.one_claim(domain, account).await?).await?;
        let account = release.account.reference();
        if !changes.is_empty() {
            let run =
                self.write(changes, OperatorRun::of(&account, actor, Trigger::Operator)).await?;
            // A user that signed in meanwhile would stay active in a domain that no account holds.
            if run.dropped > 0 {
                let (users, domain) = (run.dropped, release.claim.domain);
                return Err(ClaimError::UsersChanged { users, domain }.into());
            }
        }
        // Released last: after a crash the domain is still held and can be released again.
        self.store.release_claim(&release.claim, &account, actor, &self.clock).await?;
        Ok(release)
    }

    async fn release_of(&self, claim: Claim) -> Result<(Release, Vec<Change>), EngineError> {
        let account = self.account_with(claim.account).await?;
        let is_last =
            claim.state.holds() && self.store.claimed_domains(account.id).await?.0.len() == 1;
        let (mut people, mut changes) = (Vec::new(), Vec::new());
        let mut page = UserFilter {
            account: Some(account.id),
            limit: Some(PAGE_SIZE),
            ..UserFilter::default()
        };
        while claim.state.holds() {
            let users = self.store.users(&page).await?;
            let Some(last) = users.last() else { break };
            page.after = Some(last.id);
            for (effect, kind, user) in users.iter().filter_map(|u| released(u, &claim.domain)) {
                people.push(Touched {
                    user: user.id,
                    email: user.addresses.primary.clone(),
                    effect,
                });
                changes.extend(kind.map(|kind| Change::by_hand(user, kind)));
            }
        }
        Ok((Release { claim, account, is_last, people }, changes))
    }

    /// Looks up the due claims, and returns the time until the next one.
    pub async fn check_claims(&self) -> Result<Duration, StoreError> {
        self.check_clock().await?;
        let now = self.clock.now();
        let mut soonest = MAX_WAIT;
        for claim in self.store.claims(None).await? {
            let pause = match claim.state {
                // The interval equals the age of the claim: a backoff without state.
                ClaimState::Pending => now.since(claim.claimed_at).clamp(FIRST_CHECK, DAILY),
                _ => DAILY,
            };
            let due =
                claim.checked_at.or(claim.verified_at).unwrap_or(claim.claimed_at).plus(pause);
            if due > now {
                soonest = soonest.min(due.since(now));
                continue;
            }
            let domain = claim.domain.clone();
            if let Err(error) = self.check(claim, &Actor::rosterd(), true).await {
                tracing::info!("look-up of the claim of {domain} failed: {}", chain(&error));
            }
        }
        Ok(soonest.max(Duration::from_secs(1)))
    }

    /// Gathers the users of every held domain.
    pub(in crate::engine) async fn gather_all(&self) -> Result<(), EngineError> {
        for claim in self.store.claims(None).await?.into_iter().filter(|c| c.state.holds()) {
            self.gather(&claim, &Actor::rosterd()).await?;
        }
        Ok(())
    }
}

/// Returns the effect of a release on a user, if there is one.
fn released<'a>(
    user: &'a User,
    domain: &Domain,
) -> Option<(ReleaseEffect, Option<ChangeKind>, &'a User)> {
    let is_in = |address: &Address| address.domain() == domain;
    let primary = user.addresses.primary.as_ref().is_some_and(is_in);
    match user.status() {
        Status::Released => None,
        Status::Suspended if primary => Some((ReleaseEffect::StaysSuspended, None, user)),
        status if primary => {
            Some((ReleaseEffect::Released, Some(ChangeKind::Release { before: status }), user))
        }
        _ if user.addresses.secondary.iter().any(is_in) => {
            let secondary =
                user.addresses.secondary.iter().filter(|a| !is_in(a)).cloned().collect();
            let after = Addresses { primary: user.addresses.primary.clone(), secondary };
            let kind = ChangeKind::Readdress { before: user.addresses.clone(), after };
            Some((ReleaseEffect::LosesAddress, Some(kind), user))
        }
        _ => None,
    }
}
