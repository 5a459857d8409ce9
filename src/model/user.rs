//! A user: one person's place in an account.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    AccountId, Addresses, Causes, DirectoryName, Dn, Guid, ObservationNumber, Override, Profile,
    Standing, Status, Tier, Timestamp, UserId,
};

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
}
