//! Domain claims: claimed with a token, verified by the TXT record that carries it, looked up daily from then on, and
//! given back.
//!
//! Everybody with an address of a domain belongs to the account that holds it. So whoever holds a domain gathers
//! its people, again and again: what a crash cut off is done at the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dns::Answer;
use crate::engine::admin::accounts::removal;
use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Account, AccountId, Actor, Address, Addresses, Change, ChangeKind, Claim, ClaimId, ClaimState,
    Domain, RecordSeen, Standing, Status, Trigger, User, UserId,
};
use crate::store::{ClaimRefused, StoreError, UserFilter};
use crate::telemetry::chain;

/// A pending claim is looked up soon after it was made, then less and less often, at least daily.
const FIRST_CHECK: Duration = Duration::from_secs(30);
const DAILY: Duration = Duration::from_hours(24);

/// Users that are looked through at once.
const AT_ONCE: u64 = 500;

/// What releasing a domain does to one user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effect {
    /// It is released: it can no longer sign in, and holds no address.
    Released,
    /// It stays suspended, and keeps its address from being used by anybody else.
    StaysSuspended,
    /// Its secondary addresses in the domain are taken off.
    LosesAddress,
}

impl Effect {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::StaysSuspended => "stays-suspended",
            Self::LosesAddress => "loses-address",
        }
    }
}

/// Whom the release of a domain touches, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    /// Who.
    pub user: UserId,
    /// The primary address.
    pub email: Option<Address>,
    /// How.
    pub effect: Effect,
}

/// The release of a domain: done, or only looked at.
#[derive(Debug)]
pub struct Release {
    /// The claim, as it was.
    pub claim: Claim,
    /// The handle of its account.
    pub account: Account,
    /// Whether it was the account's last domain.
    pub is_last: bool,
    /// Whom it touches.
    pub people: Vec<Touched>,
}

impl Engine {
    /// Claims a domain for an account: pending, or verified at once when the configuration vouches for it.
    pub async fn claim(
        &self,
        account: &str,
        domain: &str,
        actor: &Actor,
    ) -> Result<Claim, EngineError> {
        let account = self.account(account).await?;
        let domain = Domain::claimable(domain).map_err(|e| EngineError::Invalid(e.to_string()))?;
        let now = self.clock.now();
        let is_trusted = self.configured().rules.trusted.contains(&domain);
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
            misses: 0,
        };
        self.store.add_claim(&claim, &account.reference(), actor, &self.clock).await?;
        if is_trusted {
            self.gather(&claim, actor).await?;
        }
        Ok(claim)
    }

    /// Looks the claim's record up now.
    pub async fn verify(
        &self,
        domain: &str,
        account: Option<&str>,
        actor: &Actor,
    ) -> Result<Claim, EngineError> {
        let claim = self.one_claim(domain, account).await?;
        self.check(claim, actor, false).await
    }

    /// The claim that is meant.
    async fn one_claim(&self, domain: &str, account: Option<&str>) -> Result<Claim, EngineError> {
        let parsed = Domain::parse(domain).map_err(|e| EngineError::Invalid(e.to_string()))?;
        let mut claims = self.store.claims_of_domain(&parsed).await?;
        if let Some(handle) = account {
            let account = self.account(handle).await?;
            claims.retain(|c| c.account == account.id);
        }
        match (claims.pop(), claims.is_empty()) {
            (Some(claim), true) => Ok(claim),
            (Some(_), false) => Err(EngineError::Invalid(format!(
                "several accounts claim {parsed}: say which one with --account"
            ))),
            (None, _) => Err(EngineError::NotFound { what: "claim of", name: parsed.to_string() }),
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
                "the record of {} has been missing for days: the claim has lapsed, which changes nothing; put the record back, or release the domain",
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
            Answer::Failed(why) => {
                RecordSeen::NoAnswer(format!("no answer from DNS about {name}: {why}"))
            }
        }
    }

    async fn account_with(&self, id: AccountId) -> Result<Account, EngineError> {
        self.store
            .account_of(id)
            .await?
            .ok_or_else(|| EngineError::NotFound { what: "account", name: id.to_string() })
    }

    /// Brings everybody with an address of the domain into the account that holds it. Who was only invited elsewhere is
    /// not any more: that invitation was not theirs to accept.
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

    /// What the release of a domain would do.
    pub async fn plan_release(
        &self,
        domain: &str,
        account: Option<&str>,
    ) -> Result<Release, EngineError> {
        Ok(self.release_of(self.one_claim(domain, account).await?).await?.0)
    }

    /// Gives a domain back.
    pub async fn release(
        &self,
        domain: &str,
        account: Option<&str>,
        actor: &Actor,
    ) -> Result<Release, EngineError> {
        // No run may decide on users by a claim that is being given back.
        let _applying = self.apply_lock.lock().await;
        let (release, changes) = self.release_of(self.one_claim(domain, account).await?).await?;
        let account = release.account.reference();
        if !changes.is_empty() {
            let run =
                self.write(changes, OperatorRun::of(&account, actor, Trigger::Operator)).await?;
            // Whoever signed in for the first time meanwhile would stay active in a domain that is nobody's.
            if run.dropped > 0 {
                let why = format!(
                    "{} users changed in the same moment, and {domain} is still held: release it again",
                    run.dropped
                );
                return Err(EngineError::Refused(why));
            }
        }
        // Last, so that what a crash cuts off is a domain that is still held, and can be released again.
        self.store.release_claim(&release.claim, &account, actor, &self.clock).await?;
        Ok(release)
    }

    async fn release_of(&self, claim: Claim) -> Result<(Release, Vec<Change>), EngineError> {
        let account = self.account_with(claim.account).await?;
        let is_last =
            claim.state.holds() && self.store.claimed_domains(account.id).await?.0.len() == 1;
        let (mut people, mut changes) = (Vec::new(), Vec::new());
        let mut page =
            UserFilter { account: Some(account.id), limit: Some(AT_ONCE), ..UserFilter::default() };
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

    /// Looks up the claims that are due; returns when to come back.
    pub async fn check_claims(&self) -> Result<Duration, StoreError> {
        self.check_clock().await?;
        let now = self.clock.now();
        let mut soonest = Duration::from_mins(1);
        for claim in self.store.claims(None).await? {
            let pause = match claim.state {
                // As long again as it has been pending: a back-off that needs no state of its own.
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
                tracing::info!("the claim of {domain} could not be looked up: {}", chain(&error));
            }
        }
        Ok(soonest.max(Duration::from_secs(1)))
    }

    /// Brings into each account whom its domains say is its own: the rest of what was cut off.
    pub(in crate::engine) async fn gather_all(&self) -> Result<(), EngineError> {
        for claim in self.store.claims(None).await?.into_iter().filter(|c| c.state.holds()) {
            self.gather(&claim, &Actor::rosterd()).await?;
        }
        Ok(())
    }
}

/// What the release of a domain does to a user, if anything.
fn released<'a>(user: &'a User, domain: &Domain) -> Option<(Effect, Option<ChangeKind>, &'a User)> {
    let is_in = |address: &Address| address.domain() == domain;
    let primary = user.addresses.primary.as_ref().is_some_and(is_in);
    match user.status() {
        Status::Released => None,
        Status::Suspended if primary => Some((Effect::StaysSuspended, None, user)),
        status if primary => {
            Some((Effect::Released, Some(ChangeKind::Release { before: status }), user))
        }
        _ if user.addresses.secondary.iter().any(is_in) => {
            let secondary =
                user.addresses.secondary.iter().filter(|a| !is_in(a)).cloned().collect();
            let after = Addresses { primary: user.addresses.primary.clone(), secondary };
            let kind = ChangeKind::Readdress { before: user.addresses.clone(), after };
            Some((Effect::LosesAddress, Some(kind), user))
        }
        _ => None,
    }
}
