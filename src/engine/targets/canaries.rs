//! The canaries of a target: accounts by which it is recognised before anything is sent.

use std::sync::PoisonError;

use crate::engine::Engine;
use crate::engine::targets::Target;
use crate::engine::targets::exchange::{Exchange, Halt};
use crate::model::{CounterpartRow, Lane};
use crate::reconcile::provision::{Account, Capabilities, Declared, Outcome, Request};
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
        let known = target.recognised.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && known == secret {
            return Ok(Recognition::Ours);
        }
        self.discover(target).await?;
        match self.look_at_canaries(target, secret.as_deref()).await {
            Ok(true) => {
                *target.recognised.lock().unwrap_or_else(PoisonError::into_inner) = secret;
                Ok(Recognition::Ours)
            }
            Ok(false) => {
                let reason = "the target shows none of the accounts by which it is recognised, so that it may be another one";
                self.refuse(target, RefusalKind::Foreign, reason).await;
                Ok(Recognition::Refused(reason.to_owned()))
            }
            Err(Halt::Unauthorized(reason)) => {
                self.refuse(target, RefusalKind::Unauthorized, &reason).await;
                Ok(Recognition::Refused(reason))
            }
            Err(Halt::Later { reason, .. }) => Ok(Recognition::Unknown(reason)),
            Err(error) => Err(error),
        }
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

    async fn look_at_canaries(&self, target: &Target, secret: Option<&str>) -> Result<bool, Halt> {
        if target.is_trusted(secret) {
            return Ok(true);
        }
        let canaries = self.store.canary_counterparts(&target.config.name, CANARIES).await?;
        let exchange = Exchange::new(self, target, Lane::Leaver);
        // One account that cannot be read says nothing about the others.
        let mut unread = None;
        for canary in &canaries {
            let Some(id) = &canary.account.id else { continue };
            let outcome = match exchange.ask(&Request::read(id)).await {
                Err(halt @ Halt::Later { .. }) => {
                    unread = Some(halt);
                    continue;
                }
                outcome => outcome?,
            };
            match outcome {
                Outcome::Done(resource) => {
                    let account = Account::of(resource, &target.config.mapping);
                    if account.is_some_and(|account| is_ours(&account, canary)) {
                        return Ok(true);
                    }
                }
                Outcome::NotFound => {}
                // Some services call an id malformed that they do not know.
                Outcome::Refused(refusal) if refusal.status == 400 => {}
                other => return Err(Halt::unexpected(&other)),
            }
        }
        unread.map_or(Ok(canaries.is_empty()), Err)
    }
}

/// Returns whether an account has our `externalId`, or the name that it was last seen with.
fn is_ours(account: &Account, canary: &CounterpartRow) -> bool {
    let user = canary.account.user.to_string();
    let has_name = canary.user_name.as_deref().is_some_and(|name| account.has("userName", name));
    account.external_id.as_deref() == Some(user.as_str()) || has_name
}
