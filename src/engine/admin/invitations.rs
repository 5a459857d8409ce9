//! Invitations to an account, and the removal of users.

use std::collections::BTreeSet;

use crate::engine::admin::accounts::removal;
use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::admin::users::UserError;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Account, AccountKind, Actor, Address, Addresses, Causes, Change, ChangeKind, Joined, Link,
    Names, Profile, Standing, Tier, Trigger, User, UserId,
};

/// More addresses at once are a mistake.
const MAX_ADDRESSES: usize = 10_000;

/// The number of addresses that one invitation names is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("give 1 to {MAX_ADDRESSES} addresses, separated by ; or commas or spaces, not {0}")]
pub struct AddressCountError(pub usize);

/// The outcome for one address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invitation {
    Invited(UserId),
    AlreadyHere(UserId),
    /// The address or its domain belongs to another account, which is not named.
    Elsewhere,
    /// An enterprise invites addresses of its own domains only.
    OtherDomain,
    Malformed(String),
}

impl Engine {
    /// Invites addresses to an account, and returns the outcome for each in the given order.
    ///
    /// `texts` hold addresses between `;`, commas and white space.
    pub async fn invite(
        &self,
        handle: &str,
        texts: &[String],
        actor: &Actor,
    ) -> Result<Vec<(String, Invitation)>, EngineError> {
        let account = self.account(handle).await?;
        let mut seen = BTreeSet::new();
        let split = texts
            .iter()
            .flat_map(|text| text.split(|c: char| c == ';' || c == ',' || c.is_whitespace()));
        let asked: Vec<&str> = split
            .filter(|text| !text.is_empty() && seen.insert(text.to_ascii_lowercase()))
            .collect();
        if asked.is_empty() || asked.len() > MAX_ADDRESSES {
            return Err(AddressCountError(asked.len()).into());
        }
        let _applying = self.apply_lock.lock().await;
        let domains = self.store.claimed_domains(account.id).await?;
        let (mut answers, mut changes, mut keys) =
            (Vec::with_capacity(asked.len()), Vec::new(), BTreeSet::new());
        for text in asked {
            let answer = match Address::parse(text) {
                Err(error) => Invitation::Malformed(error.to_string()),
                // The same address in two spellings.
                Ok(address) if !keys.insert(address.key()) => continue,
                Ok(address)
                    if account.kind == AccountKind::Enterprise && !domains.covers(&address) =>
                {
                    Invitation::OtherDomain
                }
                Ok(address) => self.invite_one(&account, address, &mut changes).await?,
            };
            answers.push((text.to_owned(), answer));
        }
        if !changes.is_empty() {
            self.write(changes, OperatorRun::of(&account.reference(), actor, Trigger::Operator))
                .await?;
        }
        Ok(answers)
    }

    async fn invite_one(
        &self,
        account: &Account,
        address: Address,
        changes: &mut Vec<Change>,
    ) -> Result<Invitation, EngineError> {
        if let Some(user) = self.store.user_by_address(&address.key()).await? {
            return Ok(if user.account == account.id {
                Invitation::AlreadyHere(user.id)
            } else {
                Invitation::Elsewhere
            });
        }
        if self.store.holder(address.domain()).await?.is_some_and(|holder| holder != account.id) {
            return Ok(Invitation::Elsewhere);
        }
        let returning = self.store.released(Some(account.id), &address.key()).await?;
        let after = Box::new(newcomer(address, returning.as_ref()));
        let change = self.arrival(
            returning.as_ref(),
            ChangeKind::Invite { after, account_name: account.name.clone() },
        );
        let id = change.user;
        changes.push(change);
        Ok(Invitation::Invited(id))
    }

    /// Returns the change that creates a user, or brings a released one back.
    pub(in crate::engine) fn arrival(&self, returning: Option<&User>, kind: ChangeKind) -> Change {
        if let Some(user) = returning {
            return Change::by_hand(user, kind);
        }
        let email = match &kind {
            ChangeKind::Create(joined) | ChangeKind::Invite { after: joined, .. } => {
                joined.addresses.primary.clone()
            }
            _ => None,
        };
        Change {
            user: UserId(self.clock.new_id()),
            guid: None,
            email,
            names: Names::default(),
            kind,
            class: None,
            version: None,
            cluster: None,
            home: None,
        }
    }

    /// Removes a user and its personal data.
    pub async fn remove(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        let account = self.account_of(&user).await?;
        if account.kind == AccountKind::Enterprise && user.standing == Standing::Active {
            let domains = self.store.claimed_domains(account.id).await?;
            if let Some(Link { directory, .. }) = user.link {
                return Err(UserError::ReturnsByDirectory { directory, who: who.to_owned() }.into());
            }
            if user.addresses.primary.as_ref().is_some_and(|a| domains.covers(a)) {
                let account = account.handle;
                return Err(UserError::ReturnsBySignIn { account, who: who.to_owned() }.into());
            }
        }
        let _applying = self.apply_lock.lock().await;
        let change = Change::by_hand(&user, removal(&user));
        let run = self
            .write(vec![change], OperatorRun::of(&account.reference(), actor, Trigger::Operator))
            .await?;
        if run.dropped > 0 {
            return Err(UserError::Changed.into());
        }
        Ok(user)
    }
}

/// Returns the state of a user without a directory: Pro, until an operator or a directory decides
/// otherwise.
pub(in crate::engine) fn newcomer(address: Address, returning: Option<&User>) -> Joined {
    Joined {
        tier: Tier::Pro,
        addresses: Addresses { primary: Some(address), secondary: BTreeSet::new() },
        profile: returning.map_or_else(Profile::default, |user| user.profile.clone()),
        link: None,
        causes: Causes::default(),
    }
}
