//! The canaries of a target: accounts by which it is recognised before anything is sent.

use std::sync::PoisonError;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::engine::Engine;
use crate::engine::targets::Target;
use crate::engine::targets::exchange::{Exchange, Halt};
use crate::model::{CounterpartRow, Lane, UserId};
use crate::reconcile::provision::{
    Account, Capabilities, Declared, Outcome, Request, Verdict, Vote,
};
use crate::store::RefusalKind;

/// Accounts that are asked for.
const CANARIES: u64 = 3;

/// Whether a target is the one that has our accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Recognition {
    Ours,
    /// It gets no request, for this reason.
    Refused(String),
    /// No answer tells. Meanwhile only leavers lose their access, by the ids of their accounts.
    Unknown(String),
}

impl Engine {
    /// Returns whether the target shows our accounts. Asked once after a start, a reload or another
    /// secret, and in each run.
    pub(in crate::engine) async fn recognise(&self, target: &Target) -> Result<Recognition, Halt> {
        let secret = target.client.secret_identity();
        if target.has_recognised(secret.as_deref()) {
            return Ok(Recognition::Ours);
        }
        match self.ask_canaries(target, secret.as_deref()).await {
            Ok(Verdict::Ours) => {}
            Ok(Verdict::Foreign(reasons)) => {
                let reason = format!(
                    "the target shows none of the accounts by which it is recognised, so that it may be another one: {reasons}"
                );
                self.refuse(target, RefusalKind::Foreign, &reason).await;
                return Ok(Recognition::Refused(reason));
            }
            Ok(Verdict::Unknown(reasons)) => {
                let reason = format!("the target cannot be recognised: {reasons}");
                return Ok(Recognition::Unknown(reason));
            }
            Err(Halt::Unauthorized(reason)) => {
                self.refuse(target, RefusalKind::Unauthorized, &reason).await;
                return Ok(Recognition::Refused(reason));
            }
            Err(error) => return Err(error),
        }
        self.discover(target).await?;
        *target.recognised.lock().unwrap_or_else(PoisonError::into_inner) = secret;
        Ok(Recognition::Ours)
    }

    /// Reads the capabilities that the service declares. A capability that an answer disproved stays
    /// disproved, unless the configuration overrules it.
    async fn discover(&self, target: &Target) -> Result<(), Halt> {
        let exchange = Exchange::new(self, target, Lane::Leaver);
        let declared = match exchange.ask(&Request::describe("ServiceProviderConfig")).await {
            Ok(Outcome::Done(config)) => Declared::read(&config),
            Err(Halt::Engine(error)) => return Err(Halt::Engine(error)),
            // A service may have no such document. The next request finds what is wrong.
            Ok(_) | Err(_) => return Ok(()),
        };
        let quirks = &target.config.client.quirks;
        let mut known = Capabilities::of(&declared, quirks);
        let stored = self.target_state(target).await?.capabilities;
        if let Some(learned) = stored {
            known.patch &= learned.patch || quirks.patch == Some(true);
            known.filter &= learned.filter || quirks.filter == Some(true);
            known.scim_json &= learned.scim_json || quirks.scim_json == Some(true);
        }
        if stored != Some(known) {
            self.change_target_state(target, |state| state.capabilities = Some(known)).await?;
        }
        Ok(())
    }

    /// Asks for the canaries at once, so that a silent target costs one time limit. The first one that
    /// is ours is enough.
    async fn ask_canaries(&self, target: &Target, secret: Option<&str>) -> Result<Verdict, Halt> {
        if target.is_trusted(secret) {
            return Ok(Verdict::Ours);
        }
        let canaries = self.store.canary_counterparts(&target.config.name, CANARIES).await?;
        let mut asking: FuturesUnordered<_> =
            canaries.iter().map(|canary| self.ask_canary(target, canary)).collect();
        let mut votes = Vec::new();
        while let Some(voted) = asking.next().await {
            let Some(voted) = voted? else { continue };
            let is_ours = voted.1 == Vote::Ours;
            votes.push(voted);
            if is_ours {
                break;
            }
        }
        votes.sort_by_key(|(user, _)| *user);
        Ok(Verdict::of(&votes))
    }

    /// Returns the vote of one canary; `None` if it has no id.
    async fn ask_canary(
        &self,
        target: &Target,
        canary: &CounterpartRow,
    ) -> Result<Option<(UserId, Vote)>, Halt> {
        let Some(id) = &canary.account.id else { return Ok(None) };
        let exchange = Exchange::new(self, target, Lane::Leaver);
        let vote = match exchange.ask(&Request::read(id)).await {
            Ok(Outcome::Done(resource)) => {
                let account = Account::of(resource, &target.config.mapping);
                if account.is_some_and(|account| is_ours(&account, canary)) {
                    Vote::Ours
                } else {
                    Vote::Missing("the target shows another account".to_owned())
                }
            }
            Ok(Outcome::NotFound) => Vote::Missing("the target has no such account".to_owned()),
            // Some services call an id malformed that they do not know.
            Ok(Outcome::Refused(refusal)) if refusal.status == 400 => {
                Vote::Missing(refusal.to_string())
            }
            Ok(other) => Vote::Unread(Halt::unexpected(&other).to_string()),
            Err(Halt::Later { reason, .. }) => Vote::Unread(reason),
            Err(halt) => return Err(halt),
        };
        Ok(Some((canary.account.user, vote)))
    }
}

/// Returns whether an account has our `externalId`, or the name that it was last seen with.
fn is_ours(account: &Account, canary: &CounterpartRow) -> bool {
    let user = canary.account.user.to_string();
    let has_name = canary.user_name.as_deref().is_some_and(|name| account.has("userName", name));
    account.external_id.as_deref() == Some(user.as_str()) || has_name
}
