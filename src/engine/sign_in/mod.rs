//! Decides whether a person may sign in. Without an answer of AD the decision is never `allow`.
//!
//! The directory alone judges the password of a managed user. The external provider authenticates
//! all other users, and the caller states that it did.
//!
//! Every refusal has the same reason and the same [floor] of time, for existing and unknown users.
//! The details are in the log, in the metrics and in the event `sign_in.refused`.

mod ask;
mod attempts;
mod budget;
mod floor;
mod lookup_connection;
mod refused;

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::time::Instant;

use super::admin::invitations::newcomer;
use super::admin::operator_run::OperatorRun;
use super::{Engine, EngineError};
use crate::directory::{Password, PasswordFault};
use crate::model::{
    Account, AccountRef, Actor, Address, Change, ChangeKind, Link, Status, Trigger, User, UserId,
    words,
};
use crate::telemetry::chain;

pub(super) use attempts::Attempts;
pub(super) use budget::Budget;
pub use floor::FLOOR;
pub(super) use lookup_connection::LookupConnection;
pub use refused::{REPORTED_EVERY, RefusalReason};
pub(super) use refused::{Refusals, SignInReports};

/// A request to sign in.
#[derive(Debug)]
pub struct SignIn {
    /// The address, as it was typed.
    pub address: String,
    /// The password, if one was typed.
    pub password: Option<SecretString>,
    /// Whether the caller says that the external provider has authenticated the address.
    pub is_external: bool,
}

/// The answer to a request to sign in.
#[derive(Debug)]
pub enum Decision {
    /// The person may sign in.
    Allow {
        /// The user's account.
        account: Box<Account>,
        /// The user that signs in.
        user: Box<User>,
    },
    /// The person may not.
    Deny(Denied),
    /// The external provider is to be asked.
    Redirect,
    /// No decision at present: the directory does not answer, or too many users sign in at once.
    Unavailable,
}

words! {
    /// The reason of a refusal, as callers see it. There is only one, because several would reveal
    /// whether a user exists.
    pub enum Denied {
        /// The address and the password, or the way of signing in, are not accepted.
        Credentials = "credentials",
    }
}

impl Decision {
    /// Returns the word in output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Deny(_) => "deny",
            Self::Redirect => "redirect",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A decision with its reason, which callers do not see.
enum Verdict {
    Allow { account: Box<Account>, user: Box<User> },
    Deny(RefusalReason),
    Redirect,
    Unavailable(Obstacle),
}

/// The reason why no decision is possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Obstacle {
    /// The budget of binds is used up.
    Busy,
    /// The directory does not answer, or not usably.
    Unreachable,
}

impl Verdict {
    /// Returns the word of the reason in metrics; empty where there is none.
    fn reason(&self) -> &'static str {
        match self {
            Self::Allow { .. } | Self::Redirect => "",
            Self::Deny(reason) => reason.as_str(),
            Self::Unavailable(Obstacle::Busy) => "busy",
            Self::Unavailable(Obstacle::Unreachable) => "unreachable",
        }
    }

    /// Returns the word of the decision.
    fn decision_word(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Deny(_) => "deny",
            Self::Redirect => "redirect",
            Self::Unavailable(_) => "unavailable",
        }
    }

    fn decision(self) -> Decision {
        match self {
            Self::Allow { account, user } => Decision::Allow { account, user },
            Self::Deny(_) => Decision::Deny(Denied::Credentials),
            Self::Redirect => Decision::Redirect,
            Self::Unavailable(_) => Decision::Unavailable,
        }
    }
}

/// The facts about a request that become known while it is decided, for the log and the event.
#[derive(Debug, Default)]
struct Context {
    account: Option<AccountRef>,
    user: Option<UserId>,
    from: Option<IpAddr>,
    /// The key of the address in the budget, for a password that is judged by a directory.
    guess: Option<u64>,
}

impl Engine {
    /// Decides whether a person may sign in.
    pub async fn sign_in(
        self: &Arc<Self>,
        request: SignIn,
        actor: &Actor,
    ) -> Result<Decision, EngineError> {
        self.sign_in_from(request, None, actor).await
    }

    /// Decides whether a person may sign in, whose client has this address.
    pub async fn sign_in_from(
        self: &Arc<Self>,
        request: SignIn,
        from: Option<IpAddr>,
        actor: &Actor,
    ) -> Result<Decision, EngineError> {
        let arrived = Instant::now();
        let mut known = Context { from, ..Context::default() };
        let decided = self.decide_sign_in(request, &mut known, actor).await;
        if let Ok(verdict) = &decided {
            self.note_sign_in(verdict, &known);
        }
        match &decided {
            // An overload is reported at once: it reveals nothing about the user, and waiting would
            // add to it.
            Ok(Verdict::Allow { .. } | Verdict::Unavailable(Obstacle::Busy)) => {}
            _ => floor::wait(arrived).await,
        }
        decided.map(Verdict::decision)
    }

    /// Counts a decision, and notes a refusal for the log, the event and the budget.
    fn note_sign_in(&self, verdict: &Verdict, known: &Context) {
        let now = self.clock.passed();
        match verdict {
            Verdict::Allow { .. } => {
                known.guess.into_iter().for_each(|guess| self.budget.accepted(guess))
            }
            Verdict::Deny(reason) => {
                known
                    .guess
                    .into_iter()
                    .for_each(|guess| self.budget.refused(guess, known.from, now));
                let is_first = self.refusals.note(*reason, known, now, self.clock.now());
                if is_first {
                    self.store.counters.sign_in_refused_of_user();
                }
                if let Some(user) = known.user {
                    let from = known.from.map_or_else(String::new, |from| format!(" from {from}"));
                    tracing::info!("sign-in of {user}{from} was refused: {}", reason.as_str());
                }
            }
            Verdict::Redirect | Verdict::Unavailable(_) => {}
        }
        self.store.counters.signed_in(verdict.decision_word(), verdict.reason());
    }

    async fn decide_sign_in(
        self: &Arc<Self>,
        request: SignIn,
        known: &mut Context,
        actor: &Actor,
    ) -> Result<Verdict, EngineError> {
        let SignIn { address, password, is_external } = request;
        let Ok(address) = Address::parse(&address) else {
            return Ok(Verdict::Deny(RefusalReason::NotAnAddress));
        };
        let user = self.store.user_by_address(&address.key()).await?;
        let holder = self.holder_of(&address).await?;
        known.account = holder.as_ref().map(Account::reference);
        if let Some(user) = &user {
            known.user = Some(user.id);
            if holder.as_ref().is_none_or(|holder| holder.id != user.account) {
                known.account = Some(self.account_of(user).await?.reference());
            }
        }
        // A suspended user counts, too. Otherwise an overload would reveal suspended and unknown
        // users.
        let is_judged_by_directory = match &user {
            Some(user) => user.link.is_some() || user.status() == Status::Suspended,
            None => holder.as_ref().is_some_and(|account| self.has_directory(account)),
        };
        if is_judged_by_directory && !is_external && password.is_some() {
            let guess = budget::key(&address);
            known.guess = Some(guess);
            if !self.budget.admits(guess, known.from, self.clock.passed()) {
                return Ok(Verdict::Unavailable(Obstacle::Busy));
            }
        }
        let Some(user) = user else {
            return self.stranger(holder, address, is_external, actor).await;
        };
        if user.status() == Status::Suspended {
            return Ok(Verdict::Deny(RefusalReason::Suspended));
        }
        match user.link.clone() {
            Some(_) if is_external => Ok(Verdict::Deny(RefusalReason::ManagedByDirectory)),
            Some(link) => self.managed(user, &link, password, actor).await,
            None => self.unmanaged(user, is_external, actor).await,
        }
    }

    /// Decides about a managed user: AD checks the password.
    async fn managed(
        self: &Arc<Self>,
        user: User,
        link: &Link,
        password: Option<SecretString>,
        actor: &Actor,
    ) -> Result<Verdict, EngineError> {
        if self
            .store
            .expiry(&link.directory, link.guid)
            .await?
            .is_some_and(|at| at <= self.clock.now())
        {
            return Ok(Verdict::Deny(RefusalReason::AccountExpired));
        }
        let password = match password.map(Password::new) {
            Some(Ok(password)) => password,
            None | Some(Err(PasswordFault::Empty)) => {
                return Ok(Verdict::Deny(RefusalReason::NoPassword));
            }
            Some(Err(PasswordFault::Nul | PasswordFault::TooLong)) => {
                return Ok(Verdict::Deny(RefusalReason::NotAPassword));
            }
        };
        if let Some(verdict) = self.judged_by_directory(&user, link, &password).await? {
            return Ok(verdict);
        }
        // An operator or a run may have suspended the user while AD was asked.
        match self.store.user(user.id).await? {
            Some(user) if user.status() == Status::Active => self.admit(user, actor).await,
            Some(user) if user.status() == Status::Suspended => {
                Ok(Verdict::Deny(RefusalReason::Suspended))
            }
            _ => Ok(Verdict::Deny(RefusalReason::UnknownUser)),
        }
    }

    /// Decides about an unmanaged user: the external provider authenticates it.
    async fn unmanaged(
        &self,
        user: User,
        is_external: bool,
        actor: &Actor,
    ) -> Result<Verdict, EngineError> {
        let account = self.account_of(&user).await?;
        if !account.policies.external_users {
            return Ok(Verdict::Deny(RefusalReason::ExternalUsersOff));
        }
        if is_external { self.admit(user, actor).await } else { Ok(Verdict::Redirect) }
    }

    /// Decides about an address that no user has.
    async fn stranger(
        &self,
        holder: Option<Account>,
        address: Address,
        is_external: bool,
        actor: &Actor,
    ) -> Result<Verdict, EngineError> {
        let Some(account) = holder else { return Ok(Verdict::Redirect) };
        if self.has_directory(&account) {
            return Ok(Verdict::Deny(RefusalReason::UnknownUser));
        }
        if !account.policies.external_users {
            return Ok(Verdict::Deny(RefusalReason::ExternalUsersOff));
        }
        if !is_external {
            return Ok(Verdict::Redirect);
        }
        let user = {
            let _applying = self.apply_lock.lock().await;
            // Two requests may create one address at once, and a domain may have been released.
            match self.store.user_by_address(&address.key()).await? {
                Some(user) => user,
                None if self.holder_of(&address).await?.is_none_or(|now| now.id != account.id) => {
                    return Ok(Verdict::Redirect);
                }
                None => self.join(&account, address, actor).await?,
            }
        };
        if user.link.is_some() {
            return Ok(Verdict::Deny(RefusalReason::ManagedByDirectory));
        }
        if user.status() == Status::Suspended {
            return Ok(Verdict::Deny(RefusalReason::Suspended));
        }
        self.admit(user, actor).await
    }

    /// Returns the account that holds the domain of an address.
    async fn holder_of(&self, address: &Address) -> Result<Option<Account>, EngineError> {
        match self.store.holder(address.domain()).await? {
            Some(id) => Ok(self.store.account_of(id).await?),
            None => Ok(None),
        }
    }

    async fn join(
        &self,
        account: &Account,
        address: Address,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let returning = self.store.released(Some(account.id), &address.key()).await?;
        let change = self.arrival(
            returning.as_ref(),
            ChangeKind::Create(Box::new(newcomer(address, returning.as_ref()))),
        );
        let id = change.user;
        self.write(vec![change], OperatorRun::of(&account.reference(), actor, Trigger::SignIn))
            .await?;
        self.store.user(id).await?.ok_or_else(|| EngineError::NotFound {
            what: "user",
            name: id.to_string(),
            near: None,
        })
    }

    /// Admits a user, and records the first sign-in.
    async fn admit(&self, mut user: User, actor: &Actor) -> Result<Verdict, EngineError> {
        let account = self.account_of(&user).await?;
        if user.joined_at.is_none() || user.status() == Status::Invited {
            let change = Change::by_hand(&user, ChangeKind::Register { before: user.status() });
            self.write(vec![change], OperatorRun::of(&account.reference(), actor, Trigger::SignIn))
                .await?;
            user = match self.store.user(user.id).await? {
                Some(user) if user.status() == Status::Active => user,
                Some(user) if user.status() == Status::Suspended => {
                    return Ok(Verdict::Deny(RefusalReason::Suspended));
                }
                _ => return Ok(Verdict::Deny(RefusalReason::UnknownUser)),
            };
        }
        // A note that cannot be written bars no user.
        if let Err(error) = self.store.note_sign_in(user.id, self.clock.now()).await {
            tracing::warn!("last sign-in of {} cannot be stored: {}", user.id, chain(&error));
        }
        Ok(Verdict::Allow { account: Box::new(account), user: Box::new(user) })
    }
}
