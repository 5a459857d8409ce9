//! Whether somebody may sign in. The answer is never more than what is known: AD that cannot be asked is no yes.
//!
//! Whom a directory manages is asked for the directory's password, by nobody but the directory. Everybody else is
//! vouched for by the external provider, and by whoever calls: they say that it has been asked.

use std::sync::Arc;

use secrecy::SecretString;

use super::attempts::COUNTS_FOR;
use super::members::newcomer;
use super::run::Request;
use super::write::Hand;
use super::{Engine, EngineError};
use crate::directory::{Credentials, Password, authenticate};
use crate::model::{Account, Actor, Address, Change, ChangeKind, Guid, Link, Status, Trigger, User};
use crate::telemetry::chain;

/// Who wants to sign in.
#[derive(Debug)]
pub struct SignIn {
    /// The address, as it was typed.
    pub address: String,
    /// The password, if one was typed.
    pub password: Option<SecretString>,
    /// Whether the caller says that the external provider has authenticated the address.
    pub is_external: bool,
}

/// What is answered.
#[derive(Debug)]
pub enum Decision {
    /// They may.
    Allow {
        /// The account.
        account: Box<Account>,
        /// The user.
        user: Box<User>,
    },
    /// They may not.
    Deny(Denied),
    /// The external provider is to be asked.
    Redirect,
    /// AD cannot be asked.
    Unavailable,
}

/// Why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// AD did not take the password; which of its reasons it was is in the log.
    Credentials,
    /// The user is suspended.
    Suspended,
    /// There is no such user.
    NoUser,
    /// Too many attempts.
    RateLimited,
    /// Not this way.
    NotAllowed,
}

impl Denied {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Suspended => "suspended",
            Self::NoUser => "no-user",
            Self::RateLimited => "rate-limited",
            Self::NotAllowed => "not-allowed",
        }
    }
}

impl Decision {
    /// The word in output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Deny(_) => "deny",
            Self::Redirect => "redirect",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What AD's answer comes to.
enum Told {
    Right,
    Wrong,
    Nothing,
}

impl Engine {
    /// Decides whether somebody may sign in.
    pub async fn sign_in(self: &Arc<Self>, who: SignIn, actor: &Actor) -> Result<Decision, EngineError> {
        let decision = self.decide_sign_in(who, actor).await?;
        let reason = match &decision {
            Decision::Deny(denied) => denied.as_str(),
            _ => "",
        };
        self.store.counters.signed_in(decision.as_str(), reason);
        Ok(decision)
    }

    async fn decide_sign_in(self: &Arc<Self>, who: SignIn, actor: &Actor) -> Result<Decision, EngineError> {
        let SignIn { address, password, is_external } = who;
        // Whatever cannot be an address is nobody's.
        let Ok(address) = Address::parse(&address) else { return Ok(Decision::Deny(Denied::NoUser)) };
        let Some(user) = self.store.user_by_address(&address.key()).await? else {
            return self.stranger(address, is_external, actor).await;
        };
        if user.status() == Status::Suspended {
            return Ok(Decision::Deny(Denied::Suspended));
        }
        match user.link.clone() {
            Some(_) if is_external => Ok(Decision::Deny(Denied::NotAllowed)),
            Some(link) => self.managed(user, &link, password, actor).await,
            None => self.unmanaged(user, is_external, actor).await,
        }
    }

    /// Somebody whom a directory manages: AD decides.
    async fn managed(
        self: &Arc<Self>,
        user: User,
        link: &Link,
        password: Option<SecretString>,
        actor: &Actor,
    ) -> Result<Decision, EngineError> {
        if self.store.expiry(&link.directory, link.guid).await?.is_some_and(|at| at <= self.clock.now()) {
            return Ok(Decision::Deny(Denied::Suspended));
        }
        let Some(password) = password.and_then(Password::new) else { return Ok(Decision::Deny(Denied::Credentials)) };
        self.recall_refusals().await?;
        let at_most = self.configured().rules.max_failures;
        let Some(attempt) = self.attempts.begin(user.id, self.clock.now(), at_most) else {
            return Ok(Decision::Deny(Denied::RateLimited));
        };
        match self.ask_directory(&user, link, &password).await? {
            Told::Nothing => return Ok(Decision::Unavailable),
            Told::Wrong => {
                let now = self.clock.now();
                attempt.refused(now);
                self.store.refuse_sign_in(user.id, now).await?;
                return Ok(Decision::Deny(Denied::Credentials));
            }
            Told::Right => {}
        }
        if attempt.taken() {
            self.store.forget_refusals(user.id).await?;
        }
        drop(attempt);
        // Much can happen while AD thinks.
        match self.store.user(user.id).await? {
            Some(user) if user.status() == Status::Active => self.welcome(user, actor).await,
            Some(user) if user.status() == Status::Suspended => Ok(Decision::Deny(Denied::Suspended)),
            _ => Ok(Decision::Deny(Denied::NoUser)),
        }
    }

    async fn recall_refusals(&self) -> Result<(), EngineError> {
        let recall = || async {
            let refused = self.store.refused_sign_ins(self.clock.now().minus(COUNTS_FOR)).await?;
            self.attempts.recall(refused);
            Ok::<(), EngineError>(())
        };
        self.attempts.recalled.get_or_try_init(recall).await.copied()
    }

    /// Puts the password to the directory.
    async fn ask_directory(self: &Arc<Self>, user: &User, link: &Link, password: &Password) -> Result<Told, EngineError> {
        let name = link.directory.as_str();
        let Ok(directory) = self.directory(name) else {
            tracing::warn!("{name} is not configured any more, and nobody of its {} can sign in", user.id);
            return Ok(Told::Nothing);
        };
        let settings = match super::bind::servers(&directory.config, self.configured().rules.resolver).await {
            Ok(settings) => settings,
            Err(error) => {
                tracing::warn!("{name}: somebody could not sign in: {}", chain(&error));
                return Ok(Told::Nothing);
            }
        };
        let preferred = self.store.directory(&link.directory).await?.server;
        let mut asked = authenticate(&settings, preferred.as_deref(), link.dn.as_str(), link.guid, password).await;
        // Whoever was moved or renamed since the last run has another name; nobody's attempts were counted under the old one.
        if matches!(&asked, Ok(Credentials::SomebodyElse)) || matches!(&asked, Ok(Credentials::Refused(r)) if r.may_be_the_name()) {
            match self.name_now(&directory, link.guid).await {
                Ok(Some(now)) if now != link.dn.as_str() => {
                    asked = authenticate(&settings, preferred.as_deref(), &now, link.guid, password).await;
                }
                Ok(_) => {}
                Err(error) => tracing::debug!("{name}: where {} is by now could not be looked up: {}", user.id, chain(&error)),
            }
        }
        match asked {
            Ok(Credentials::Right) => Ok(Told::Right),
            Ok(Credentials::SomebodyElse) => {
                tracing::warn!("{name}: {} was refused: somebody else has that place in AD by now", user.id);
                Ok(Told::Wrong)
            }
            Ok(Credentials::Refused(refusal)) => {
                tracing::info!("{name}: {} was refused: {}", user.id, refusal.of_person());
                if refusal.tells_of_a_leaver() {
                    self.look_at_once(link);
                }
                Ok(Told::Wrong)
            }
            Err(error) => {
                tracing::warn!("{name}: {} could not sign in: {}", user.id, chain(&error));
                Ok(Told::Nothing)
            }
        }
    }

    /// What the person's entry is called now.
    async fn name_now(&self, directory: &super::Directory, person: Guid) -> Result<Option<String>, EngineError> {
        let (mut session, _) = self.open(directory).await?;
        let found = session.object(&format!("<GUID={person}>"), &["objectGUID".to_owned()]).await?;
        Ok(found.map(|object| object.dn))
    }

    /// AD says of somebody who signs in what no run has seen yet.
    fn look_at_once(self: &Arc<Self>, link: &Link) {
        let (engine, Link { directory, guid, .. }) = (Arc::clone(self), link.clone());
        tokio::spawn(async move {
            let request = Request::people(Trigger::SignIn, [guid], None);
            let run = match engine.directory(directory.as_str()) {
                Ok(configured) => engine.run(&configured, request).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = run {
                tracing::warn!("{directory}: the look after a sign-in did not take place: {}", chain(&error));
            }
        });
    }

    /// Somebody of an account whom no directory manages: the external provider decides.
    async fn unmanaged(&self, user: User, is_external: bool, actor: &Actor) -> Result<Decision, EngineError> {
        let account = self.account_of(&user).await?;
        if !account.policies.external_users {
            return Ok(Decision::Deny(Denied::NotAllowed));
        }
        if is_external { self.welcome(user, actor).await } else { Ok(Decision::Redirect) }
    }

    /// Nobody has this address.
    async fn stranger(&self, address: Address, is_external: bool, actor: &Actor) -> Result<Decision, EngineError> {
        let Some(account) = self.open_to(&address).await? else { return Ok(Decision::Redirect) };
        if self.has_directory(&account) {
            return Ok(Decision::Deny(Denied::NoUser));
        }
        if !account.policies.external_users {
            return Ok(Decision::Deny(Denied::NotAllowed));
        }
        if !is_external {
            return Ok(Decision::Redirect);
        }
        let user = {
            let _turn = self.turn.lock().await;
            // Two may come with one address at the same moment, and a domain may have been given back.
            match self.store.user_by_address(&address.key()).await? {
                Some(user) => user,
                None if self.open_to(&address).await?.is_none_or(|now| now.id != account.id) => return Ok(Decision::Redirect),
                None => self.join(&account, address, actor).await?,
            }
        };
        if user.status() == Status::Suspended || user.link.is_some() {
            return Ok(Decision::Deny(if user.link.is_some() { Denied::NotAllowed } else { Denied::Suspended }));
        }
        self.welcome(user, actor).await
    }

    /// The account that holds the domain of an address.
    async fn open_to(&self, address: &Address) -> Result<Option<Account>, EngineError> {
        match self.store.holder(address.domain()).await? {
            Some(id) => Ok(self.store.account_of(id).await?),
            None => Ok(None),
        }
    }

    async fn join(&self, account: &Account, address: Address, actor: &Actor) -> Result<User, EngineError> {
        let returning = self.store.released(Some(account.id), &address.key()).await?;
        let change = self.arrival(returning.as_ref(), ChangeKind::Create(Box::new(newcomer(address, returning.as_ref()))));
        let id = change.user;
        self.write(vec![change], Hand::of(&account.reference(), actor, Trigger::SignIn)).await?;
        self.store.user(id).await?.ok_or_else(|| EngineError::NotFound { what: "user", name: id.to_string() })
    }

    /// Lets somebody in; the first time, that is written down.
    async fn welcome(&self, mut user: User, actor: &Actor) -> Result<Decision, EngineError> {
        let account = self.account_of(&user).await?;
        if user.joined_at.is_none() || user.status() == Status::Invited {
            let change = Change::by_hand(&user, ChangeKind::Register { before: user.status() });
            self.write(vec![change], Hand::of(&account.reference(), actor, Trigger::SignIn)).await?;
            user = match self.store.user(user.id).await? {
                Some(user) if user.status() == Status::Active => user,
                Some(user) if user.status() == Status::Suspended => return Ok(Decision::Deny(Denied::Suspended)),
                _ => return Ok(Decision::Deny(Denied::NoUser)),
            };
        }
        Ok(Decision::Allow { account: Box::new(account), user: Box::new(user) })
    }
}
