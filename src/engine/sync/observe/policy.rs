//! The policy that people are measured against: claims, groups, tiers, exclusions and the clock.

use std::time::Duration;

use crate::directory::Session;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AccountId, ClaimedDomains, Timestamp};
use crate::reconcile::{Closure, Policy};

/// Above this difference from the server's clock no account counts as expired. Kerberos in AD allows
/// the same five minutes.
pub(in crate::engine) const MAX_SKEW: Duration = Duration::from_mins(5);

impl Engine {
    /// Returns the account of a directory with its claimed domains; the nil id where there is none.
    pub(in crate::engine) async fn claims_of(
        &self,
        directory: &Directory,
    ) -> Result<(AccountId, ClaimedDomains), EngineError> {
        match self.store.account(&directory.config.account).await? {
            Some(account) => Ok((account.id, self.store.claimed_domains(account.id).await?)),
            None => Ok((AccountId(uuid::Uuid::nil()), ClaimedDomains::default())),
        }
    }

    /// Returns whether the policy has the account and claims of now. A claim that changed during the
    /// read decides who is provisioned, so people have to be read again.
    pub(in crate::engine) async fn is_current(
        &self,
        directory: &Directory,
        policy: &Policy,
    ) -> Result<bool, EngineError> {
        let (account, claims) = self.claims_of(directory).await?;
        let is_current = account == policy.account && claims == policy.claims;
        if !is_current {
            let name = &directory.config.name;
            tracing::info!("{name}: reading people again because a domain claim changed");
        }
        Ok(is_current)
    }

    pub(in crate::engine) async fn policy(
        &self,
        directory: &Directory,
        session: &mut Session,
        closure: Closure,
        at: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Result<Policy, EngineError> {
        let policy = self.scope_policy(directory, session, at, warnings).await?;
        if policy.now.is_none() {
            let theirs = session.root.current_time;
            let by = theirs.map_or_else(|| "unknown".to_owned(), |t| t.to_string());
            warnings.push(format!("the server's clock says {by}, ours {at}: correct one of them; until then no account expires"));
        }
        Ok(Policy { closure, ..policy })
    }
}

/// Returns the server's time unless it differs from ours by more than [`MAX_SKEW`].
pub(in crate::engine) fn believed(theirs: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    theirs.filter(|theirs| theirs.distance(at) <= MAX_SKEW)
}
