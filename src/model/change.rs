//! Changes: each is one thing that a plan proposes for one user. Every write to a user is one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::AccountRef;
use super::cause::{Cause, Causes, Evidence, Reason};
use super::class::ChangeClass;
use super::email::{Address, AddressKey, Addresses};
use super::ids::{Guid, UserId};
use super::link::Link;
use super::overrides::Override;
use super::profile::{Names, Profile};
use super::tier::Tier;
use super::user::{Joined, Status, User};
use super::words::words;

/// A change with the values before and after it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ChangeKind {
    /// Creates a user, or makes a released one active again.
    Create(Box<Joined>),
    /// Invites a person. The user is not active before the first sign-in.
    Invite {
        after: Box<Joined>,
        /// The account's display name, for the invitation.
        account_name: String,
    },
    /// Records the first sign-in.
    Register { before: Status },
    /// Moves the user to the account that has claimed the user's domain.
    Transfer { before: AccountRef, after: AccountRef },
    /// Releases the user, because the domain is no longer the account's. The user stays listed and
    /// holds no address.
    Release { before: Status },
    /// Removes the user.
    Remove {
        /// `None` where the user's data is to be forgotten, too.
        before: Option<Box<Joined>>,
        status: Status,
    },
    /// Links an unmanaged user of the account to a person.
    Link { before: Box<Joined>, after: Box<Joined> },
    /// Takes a link back.
    Unlink { before: Box<Joined>, after: Box<Joined> },
    /// Links the user to another entry, because an operator says that it is the same person.
    Relink { before: Link, after: Link },
    /// Moves the link to another directory of the account: it shows the person now, and the former
    /// one does not.
    Move { before: Link, after: Link },
    /// Adds a cause.
    Suspend {
        cause: Cause,
        /// Whether the user could sign in before. A second cause takes nothing away.
        was_active: bool,
    },
    Reactivate {
        lifted: Causes,
        remaining: BTreeSet<Reason>,
        /// The evidence that refutes the lifted causes.
        evidence: Vec<Evidence>,
    },
    /// Changes the tier.
    Tier { before: Tier, after: Tier, evidence: Evidence },
    /// Changes the addresses.
    Readdress { before: Addresses, after: Addresses },
    /// Changes the profile.
    Update { before: Box<Profile>, after: Box<Profile> },
    /// Adds or removes overrides.
    Override { before: BTreeSet<Override>, after: BTreeSet<Override> },
}

words! {
    /// The kind of a change in store and output.
    ///
    /// Two kinds of [`ChangeKind`] can share a verb: a new and another link are `link`. Addresses,
    /// attributes and overrides are `update`.
    pub enum ChangeVerb {
        Create = "create",
        Invite = "invite",
        Register = "register",
        Transfer = "transfer",
        Release = "release",
        Remove = "remove",
        Link = "link",
        Unlink = "unlink",
        Move = "move",
        Suspend = "suspend",
        Reactivate = "reactivate",
        Tier = "tier",
        Update = "update",
    }
}

impl ChangeKind {
    pub fn verb(&self) -> ChangeVerb {
        match self {
            Self::Create(_) => ChangeVerb::Create,
            Self::Invite { .. } => ChangeVerb::Invite,
            Self::Register { .. } => ChangeVerb::Register,
            Self::Transfer { .. } => ChangeVerb::Transfer,
            Self::Release { .. } => ChangeVerb::Release,
            Self::Remove { .. } => ChangeVerb::Remove,
            Self::Link { .. } | Self::Relink { .. } => ChangeVerb::Link,
            Self::Unlink { .. } => ChangeVerb::Unlink,
            Self::Move { .. } => ChangeVerb::Move,
            Self::Suspend { .. } => ChangeVerb::Suspend,
            Self::Reactivate { .. } => ChangeVerb::Reactivate,
            Self::Tier { .. } => ChangeVerb::Tier,
            Self::Readdress { .. } | Self::Update { .. } | Self::Override { .. } => {
                ChangeVerb::Update
            }
        }
    }
}

/// A change of one user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub user: UserId,
    /// The GUID of the person, for managed users.
    pub guid: Option<Guid>,
    /// The address that lists show the change by.
    pub email: Option<Address>,
    pub names: Names,
    pub kind: ChangeKind,
    /// The class whose limit the change counts towards; `None` has no limit.
    pub class: Option<ChangeClass>,
    /// The version of the user that the change was planned on; `None` where there was no user.
    pub version: Option<i64>,
    /// The cause that many changes of one plan can share: a group, a parent OU or a filter
    /// attribute.
    pub cluster: Option<String>,
    /// The parent of the entry in normal form: the stored one, or the present one of a joiner.
    pub home: Option<String>,
}

impl Change {
    /// Returns a change that no directory asks for: an operator or a released domain does.
    pub fn by_hand(user: &User, kind: ChangeKind) -> Self {
        let email = user.addresses.primary.clone();
        Self {
            user: user.id,
            guid: user.link.as_ref().map(|l| l.guid),
            email,
            names: Names::from(&user.profile),
            kind,
            class: None,
            version: Some(user.version),
            cluster: None,
            home: None,
        }
    }

    /// Returns the reason of a suspension, or the first one that a reactivation lifts.
    pub fn reason(&self) -> Option<Reason> {
        match &self.kind {
            ChangeKind::Suspend { cause, .. } => Some(cause.reason),
            ChangeKind::Reactivate { lifted, .. } => lifted.weightiest().map(|c| c.reason),
            ChangeKind::Link { after, .. } => after.causes.weightiest().map(|c| c.reason),
            _ => None,
        }
    }

    /// Returns whether the change suspends on positive evidence.
    pub fn is_positive(&self) -> bool {
        match &self.kind {
            ChangeKind::Suspend { cause, .. } => cause.reason.is_positive(),
            ChangeKind::Link { after, .. } => after.causes.iter().any(|c| c.reason.is_positive()),
            _ => false,
        }
    }

    /// Returns whether the change can wait for the end of quiet hours. Suspensions, their ends and
    /// moves between directories cannot.
    pub fn can_wait(&self) -> bool {
        let is_of_kind = matches!(
            self.kind,
            ChangeKind::Create(_)
                | ChangeKind::Link { .. }
                | ChangeKind::Tier { .. }
                | ChangeKind::Readdress { .. }
                | ChangeKind::Update { .. }
        );
        is_of_kind && !self.is_positive()
    }

    pub fn evidence(&self) -> Vec<&Evidence> {
        match &self.kind {
            ChangeKind::Suspend { cause, .. } => vec![&cause.evidence],
            ChangeKind::Reactivate { evidence, .. } => evidence.iter().collect(),
            ChangeKind::Tier { evidence, .. } => vec![evidence],
            ChangeKind::Link { after, .. } => after.causes.iter().map(|c| &c.evidence).collect(),
            ChangeKind::Create(_)
            | ChangeKind::Invite { .. }
            | ChangeKind::Register { .. }
            | ChangeKind::Transfer { .. }
            | ChangeKind::Release { .. }
            | ChangeKind::Remove { .. }
            | ChangeKind::Unlink { .. }
            | ChangeKind::Relink { .. }
            | ChangeKind::Move { .. }
            | ChangeKind::Readdress { .. }
            | ChangeKind::Update { .. }
            | ChangeKind::Override { .. } => Vec::new(),
        }
    }

    /// Returns the address keys that the change frees, and those that it takes.
    pub fn address_moves(&self) -> (BTreeSet<AddressKey>, BTreeSet<AddressKey>) {
        match &self.kind {
            ChangeKind::Create(after) | ChangeKind::Invite { after, .. } => {
                (BTreeSet::new(), after.addresses.keys())
            }
            ChangeKind::Remove { before: Some(before), .. } => {
                (before.addresses.keys(), BTreeSet::new())
            }
            ChangeKind::Link { before, after } | ChangeKind::Unlink { before, after } => {
                moves(&before.addresses, &after.addresses)
            }
            ChangeKind::Readdress { before, after } => moves(before, after),
            _ => (BTreeSet::new(), BTreeSet::new()),
        }
    }
}

fn moves(before: &Addresses, after: &Addresses) -> (BTreeSet<AddressKey>, BTreeSet<AddressKey>) {
    let (before, after) = (before.keys(), after.keys());
    (before.difference(&after).cloned().collect(), after.difference(&before).cloned().collect())
}
