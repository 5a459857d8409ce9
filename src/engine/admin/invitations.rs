//! Who is in an account by invitation: asked to join, and taken out again.

use std::collections::BTreeSet;

use crate::engine::admin::accounts::removal;
use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Account, AccountKind, Actor, Address, Addresses, Causes, Change, ChangeKind, Joined, Profile,
    Standing, Tier, Trigger, User, UserId,
};

/// More than this at once is a mistake, or somebody else's address book.
const MOST: usize = 10_000;

/// What came of inviting one address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invitation {
    /// It is invited.
    Invited(UserId),
    /// It is in this account already.
    AlreadyHere(UserId),
    /// It belongs to another account, by its domain or by itself; which one is not told.
    Elsewhere,
    /// An enterprise asks people of its own domains only.
    OtherDomain,
    /// It is no address.
    Malformed(String),
}

impl Engine {
    /// Asks people to join an account. Each address is answered on its own, in the order it was given.
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
        if asked.is_empty() || asked.len() > MOST {
            return Err(EngineError::Invalid(format!(
                "give 1 to {MOST} addresses, separated by ; or commas or spaces, not {}",
                asked.len()
            )));
        }
        let _applying = self.apply_lock.lock().await;
        let domains = self.store.claimed_domains(account.id).await?;
        let (mut answers, mut changes, mut keys) =
            (Vec::with_capacity(asked.len()), Vec::new(), BTreeSet::new());
        for text in asked {
            let answer = match Address::parse(text) {
                Err(error) => Invitation::Malformed(error.to_string()),
                // Written in two ways.
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

    /// The change that brings somebody in: back, or for the first time.
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
            kind,
            class: None,
            version: None,
            cluster: None,
        }
    }

    /// Takes a user out of an account, and forgets who it was.
    pub async fn remove(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        let account = self.account_of(&user).await?;
        if account.kind == AccountKind::Enterprise && user.standing == Standing::Active {
            let domains = self.store.claimed_domains(account.id).await?;
            let why = match &user.link {
                Some(link) => format!(
                    "the directory {} manages {who}, and would bring them back",
                    link.directory
                ),
                None if user.addresses.primary.as_ref().is_some_and(|a| domains.covers(a)) => {
                    format!(
                        "{who} has an address of a domain of {}, and would be back at the next sign-in",
                        account.handle
                    )
                }
                None => String::new(),
            };
            if !why.is_empty() {
                return Err(EngineError::Refused(format!(
                    "{why}: suspend them instead, with rosterctl user suspend"
                )));
            }
        }
        let _applying = self.apply_lock.lock().await;
        let change = Change::by_hand(&user, removal(&user));
        let run = self
            .write(vec![change], OperatorRun::of(&account.reference(), actor, Trigger::Operator))
            .await?;
        if run.dropped > 0 {
            return Err(EngineError::Refused(
                "somebody else changed this user in the same moment: look again".to_owned(),
            ));
        }
        Ok(user)
    }
}

/// What somebody is who comes by themselves or by invitation: Pro, until an operator or a directory says otherwise.
pub(in crate::engine) fn newcomer(address: Address, returning: Option<&User>) -> Joined {
    Joined {
        tier: Tier::Pro,
        addresses: Addresses { primary: Some(address), secondary: BTreeSet::new() },
        profile: returning.map_or_else(Profile::default, |user| user.profile.clone()),
        link: None,
        causes: Causes::default(),
    }
}
