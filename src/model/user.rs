//! Users: the place of a person in an account.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cause::Causes;
use super::email::Addresses;
use super::ids::{AccountId, UserId};
use super::link::Link;
use super::note::Note;
use super::observation::ObservationNumber;
use super::overrides::Override;
use super::profile::Profile;
use super::tier::Tier;
use super::time::Timestamp;
use super::words::words;

words! {
    /// The standing of a user in the account, regardless of causes.
    pub enum Standing {
        Invited = "invited",
        Active = "active",
        /// The user is no longer in this account: it keeps its GUID and holds no address.
        Released = "released",
    }
}

words! {
    /// The status of a user: the standing, or suspended while there is a cause.
    pub enum Status {
        Invited = "invited",
        Active = "active",
        Suspended = "suspended",
        Released = "released",
    }
}

/// The attributes of a user that creations and links write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    pub tier: Tier,
    pub addresses: Addresses,
    pub profile: Profile,
    pub link: Option<Link>,
    /// Empty unless the user is linked to a person who is barred.
    pub causes: Causes,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub id: UserId,
    pub account: AccountId,
    pub standing: Standing,
    pub tier: Tier,
    pub addresses: Addresses,
    pub profile: Profile,
    pub link: Option<Link>,
    pub causes: Causes,
    pub overrides: BTreeSet<Override>,
    pub note: Option<Note>,
    /// Rises with every write. A write names the version that it was decided on.
    pub version: i64,
    /// The observation of the last change that a directory asked for.
    pub observed_from: ObservationNumber,
    pub invited_at: Option<Timestamp>,
    /// The time of the first sign-in.
    pub joined_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl User {
    pub fn status(&self) -> Status {
        match (self.standing, self.causes.is_empty()) {
            (Standing::Released, _) => Status::Released,
            (_, false) => Status::Suspended,
            (Standing::Invited, true) => Status::Invited,
            (Standing::Active, true) => Status::Active,
        }
    }

    pub fn joined(&self) -> Joined {
        let Self { tier, addresses, profile, link, causes, .. } = self.clone();
        Joined { tier, addresses, profile, link, causes }
    }
}
