//! A user: one person's place in an account.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    AccountId, Addresses, Causes, ChangeKind, DirectoryName, Dn, Guid, Joined, ObservationNumber,
    Override, Profile, Timestamp, UserId,
};

/// Basic or Pro.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Basic.
    Basic,
    /// Pro.
    Pro,
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Basic, Self::Pro];

    /// The tier of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Pro => "pro",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A user's standing in the account, leaving causes aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Asked to join, has not yet.
    Invited,
    /// A member.
    Active,
    /// No longer of this account; keeps its GUID, shows its last address, holds none.
    Released,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Released => "released",
        }
    }
}

/// What users are counted and listed by: the standing, or suspended while there is a cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Asked to join, has not yet.
    Invited,
    /// May sign in.
    Active,
    /// May not sign in, for its causes.
    Suspended,
    /// No longer of this account.
    Released,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Invited, Self::Active, Self::Suspended, Self::Released];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Released => "released",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// What makes a user managed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The directory.
    pub directory: DirectoryName,
    /// The person in it.
    pub guid: Guid,
    /// Where the person was last seen.
    pub dn: Dn,
}

/// One user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The account it is in.
    pub account: AccountId,
    /// Its standing.
    pub standing: Standing,
    /// Its tier.
    pub tier: Tier,
    /// Its addresses.
    pub addresses: Addresses,
    /// What describes it.
    pub profile: Profile,
    /// The person it is linked to.
    pub link: Option<Link>,
    /// Why it is suspended.
    pub causes: Causes,
    /// What an operator has overruled until AD changes.
    pub overrides: BTreeSet<Override>,
    /// Rises with every write; a write names the version it was decided on.
    pub version: i64,
    /// The observation behind the last change that a directory asked for.
    pub observed_from: ObservationNumber,
    /// When it was invited.
    pub invited_at: Option<Timestamp>,
    /// When it first signed in.
    pub joined_at: Option<Timestamp>,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl User {
    /// What it is listed as.
    pub fn status(&self) -> Status {
        match (self.standing, self.causes.is_empty()) {
            (Standing::Released, _) => Status::Released,
            (_, false) => Status::Suspended,
            (Standing::Invited, true) => Status::Invited,
            (Standing::Active, true) => Status::Active,
        }
    }

    /// What is of it, as a change tells it.
    pub fn joined(&self) -> Joined {
        let Self { tier, addresses, profile, link, causes, .. } = self.clone();
        Joined { tier, addresses, profile, link, causes }
    }

    /// The user that a creation makes.
    pub fn created(id: UserId, account: AccountId, joined: &Joined, at: Timestamp) -> Self {
        let Joined { tier, addresses, profile, link, causes } = joined.clone();
        Self {
            id,
            account,
            standing: Standing::Active,
            tier,
            addresses,
            profile,
            link,
            causes,
            overrides: BTreeSet::new(),
            version: 0,
            observed_from: ObservationNumber::default(),
            invited_at: None,
            joined_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    /// What the change makes of the user; the one place that knows.
    pub fn apply(&mut self, change: &ChangeKind, at: Timestamp) {
        match change {
            ChangeKind::Create(joined) | ChangeKind::Link { after: joined, .. } => {
                let Joined { tier, addresses, profile, link, causes } = (**joined).clone();
                self.standing = Standing::Active;
                self.tier = tier;
                self.addresses = addresses;
                self.profile = profile;
                self.link = link;
                for cause in causes.iter() {
                    self.causes.add(cause.clone());
                }
            }
            ChangeKind::Invite { after, .. } => {
                let Joined { tier, addresses, profile, link, causes } = (**after).clone();
                (self.standing, self.tier, self.addresses, self.profile, self.link) =
                    (Standing::Invited, tier, addresses, profile, link);
                self.causes = causes;
                self.invited_at = Some(at);
            }
            ChangeKind::Register { .. } => {
                self.standing = Standing::Active;
                self.joined_at.get_or_insert(at);
            }
            ChangeKind::Transfer { after, .. } => self.account = after.id,
            ChangeKind::Release { .. } => self.standing = Standing::Released,
            // There is nothing left of it.
            ChangeKind::Remove { .. } => {}
            ChangeKind::Unlink { after, .. } => {
                let Joined { tier, addresses, profile, link, causes } = (**after).clone();
                (self.tier, self.addresses, self.profile, self.link, self.causes) =
                    (tier, addresses, profile, link, causes);
                // Whoever was invited, and has not come yet, is invited again.
                if self.invited_at.is_some() && self.joined_at.is_none() {
                    self.standing = Standing::Invited;
                }
            }
            ChangeKind::Relink { after, .. } | ChangeKind::Move { after, .. } => {
                self.link = Some(after.clone())
            }
            ChangeKind::Suspend { cause, .. } => {
                self.causes.add(cause.clone());
                self.overrides.remove(&Override::Reason(cause.reason));
            }
            ChangeKind::Reactivate { lifted, .. } => {
                for cause in lifted.iter() {
                    self.causes.lift(cause.reason);
                }
            }
            ChangeKind::Tier { after, .. } => self.tier = *after,
            ChangeKind::Readdress { after, .. } => self.addresses = after.clone(),
            ChangeKind::Update { after, .. } => self.profile = (**after).clone(),
            ChangeKind::Override { after, .. } => self.overrides.clone_from(after),
        }
        self.updated_at = at;
    }
}
