//! Plans, runs, and what keeps a change from being applied.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind, Guid};

/// Why an entry, or an aspect of it, cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineReason {
    /// An existing user's entry has no primary address any more.
    NoAddress,
    /// The primary address cannot be parsed.
    MalformedAddress,
    /// An existing user's primary address is in a domain the account has not claimed.
    UnclaimedDomain,
    /// Somebody else holds, or wants, the same primary address.
    ContestedAddress,
    /// The address belongs to a suspended user with another GUID: the same person re-created, or someone new.
    AddressHeld,
    /// Neither userAccountControl nor accountExpires could be read.
    UnreadableState,
    /// userAccountControl is not readable, or its value is no 32-bit number.
    UnknownAccountControl,
    /// accountExpires is not readable, or its value is no point in time.
    UnknownExpiry,
    /// primaryGroupID is not readable, and no other group gives a tier.
    UnknownPrimaryGroup,
    /// The entry could not be decoded.
    MalformedEntry,
    /// Outside base or filter, but nothing readable says why.
    UnknownScope,
    /// The user id of this person belongs to a user that was linked to another entry.
    IdTaken,
    /// Two directories of the account show the person in scope; the user stays with the one it is linked to.
    TwoDirectories,
    /// The directory that the user is linked to could not be asked whether it still shows the person.
    OtherDirectoryUnknown,
}

impl QuarantineReason {
    /// The word in store and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no-address",
            Self::MalformedAddress => "malformed-address",
            Self::UnclaimedDomain => "unclaimed-domain",
            Self::ContestedAddress => "contested-address",
            Self::AddressHeld => "address-held",
            Self::UnreadableState => "unreadable-state",
            Self::UnknownAccountControl => "unknown-account-control",
            Self::UnknownExpiry => "unknown-expiry",
            Self::UnknownPrimaryGroup => "unknown-primary-group",
            Self::MalformedEntry => "malformed-entry",
            Self::UnknownScope => "unknown-scope",
            Self::IdTaken => "id-taken",
            Self::TwoDirectories => "two-directories",
            Self::OtherDirectoryUnknown => "other-directory-unknown",
        }
    }

    /// What an operator can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoAddress => "give the entry a primary address (mail), or disable it",
            Self::MalformedAddress => "correct the entry's primary address (mail)",
            Self::UnclaimedDomain => {
                "claim the domain of the address, or correct the entry's primary address (mail)"
            }
            Self::ContestedAddress => "give each of the entries with this address one of its own",
            Self::AddressHeld => {
                "the same person, created anew: rosterctl user relink; somebody new: rosterctl user release-address of whoever has it"
            }
            Self::UnreadableState => {
                "give the service account the right to read userAccountControl, accountExpires and primaryGroupID"
            }
            Self::UnknownAccountControl => {
                "give the service account the right to read userAccountControl, or correct its value: a number of 32 bits"
            }
            Self::UnknownExpiry => {
                "give the service account the right to read accountExpires, or correct its value: 0, 9223372036854775807 or a time"
            }
            Self::UnknownPrimaryGroup => {
                "give the service account the right to read primaryGroupID, or correct its value: the RID of a group"
            }
            Self::MalformedEntry => "correct what of the entry is no text, or far too long",
            Self::UnknownScope => {
                "give the service account the right to read what the filter asks for: the attributes of the entry, and the groups with their members; if a group that the filter names was deleted, correct filter"
            }
            Self::IdTaken => {
                "the user of this entry is linked to another entry: disable or delete the entry that is not used any more; \
                 to return to this one, delete the other and use rosterctl user relink; another person needs a new AD account"
            }
            Self::TwoDirectories => {
                "take the person out of the base or filter of one of the directories; until then the user stays with the one it is linked to"
            }
            Self::OtherDirectoryUnknown => {
                "make the directory that the user is linked to reachable (rosterctl directory check), or remove it from the configuration"
            }
        }
    }

    /// The reason of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::NoAddress,
            Self::MalformedAddress,
            Self::UnclaimedDomain,
            Self::ContestedAddress,
            Self::AddressHeld,
            Self::UnreadableState,
            Self::UnknownAccountControl,
            Self::UnknownExpiry,
            Self::UnknownPrimaryGroup,
            Self::MalformedEntry,
            Self::UnknownScope,
            Self::IdTaken,
            Self::TwoDirectories,
            Self::OtherDirectoryUnknown,
        ]
        .into_iter()
        .find(|r| r.as_str() == word)
    }
}

/// An entry of which an aspect cannot be used.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// The person; all zero where even that could not be read.
    pub object_guid: Guid,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: QuarantineReason,
}

/// What a run proposes, in order. It leaves no choice for whoever applies it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// What changes, ordered by person; within one person suspensions first.
    pub changes: Vec<Change>,
    /// What cannot be used, ordered by person.
    pub quarantined: Vec<Quarantine>,
}

/// Why a change waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldReason {
    /// Its class exceeds its limit.
    Limit,
    /// Too many changes have one cause.
    Cluster,
    /// The person is on the `protect` list.
    Protected,
    /// Nothing proves that the person's absence could have been seen.
    NoWitness,
    /// The directory is in plan-only mode, or its scope has changed.
    PlanOnly,
    /// A gate did not let it pass.
    Gate,
    /// It must still hold at a recheck.
    GracePeriod,
    /// An operator rejected it, or a change that it cannot be applied without.
    Rejected,
}

impl HoldReason {
    /// The word in store and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Cluster => "cluster",
            Self::Protected => "protected",
            Self::NoWitness => "no-witness",
            Self::PlanOnly => "plan-only",
            Self::Gate => "gate",
            Self::GracePeriod => "grace-period",
            Self::Rejected => "rejected",
        }
    }

    /// The reason of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Limit,
            Self::Cluster,
            Self::Protected,
            Self::NoWitness,
            Self::PlanOnly,
            Self::Gate,
            Self::GracePeriod,
            Self::Rejected,
        ]
        .into_iter()
        .find(|r| r.as_str() == word)
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change that waits, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldChange {
    /// What.
    pub change: Change,
    /// Why.
    pub hold: HoldReason,
}

/// What became of a held plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanState {
    /// Waits for an operator.
    Open,
    /// Approved; waits to be applied on a fresh look.
    Approved,
    /// Applied.
    Applied,
    /// Rejected; its changes are held by every run until the directory no longer asks for them or an operator reopens it.
    Rejected,
    /// Nothing of it is left.
    Withdrawn,
    /// Another plan took its place.
    Superseded,
    /// The approval was not carried out in time.
    Expired,
}

impl PlanState {
    /// Returns whether the plan waits: at most one plan of a directory does.
    pub fn waits(self) -> bool {
        matches!(self, Self::Open | Self::Approved)
    }

    /// The word in store and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Open,
            Self::Approved,
            Self::Applied,
            Self::Rejected,
            Self::Withdrawn,
            Self::Superseded,
            Self::Expired,
        ]
        .into_iter()
        .find(|s| s.as_str() == word)
    }
}

/// What set a run off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The configured schedule.
    Schedule,
    /// An operator.
    Manual,
    /// A change notification.
    Live,
    /// The daemon started.
    Startup,
    /// An account's expiry came.
    Expiry,
    /// What settled is due.
    Recheck,
    /// A held plan was approved.
    Approval,
    /// A run is taken back.
    Undo,
    /// Somebody signed in.
    SignIn,
    /// An operator's write; no directory was read.
    Operator,
}

impl Trigger {
    /// The word in store and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Live => "live",
            Self::Startup => "startup",
            Self::Expiry => "expiry",
            Self::Recheck => "recheck",
            Self::Approval => "approval",
            Self::Undo => "undo",
            Self::SignIn => "sign-in",
            Self::Operator => "operator",
        }
    }
}

/// How a run stands or ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Under way.
    Running,
    /// Applied whole.
    Succeeded,
    /// What was admitted is applied, the rest waits.
    Held,
    /// The read was not complete, or something broke.
    Failed,
    /// Stopped with the daemon.
    Cancelled,
}

impl RunState {
    /// The word in store and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How many changes of each kind were applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Users that came to be, or were invited.
    pub create: u64,
    /// Users whose attributes, addresses or account changed, or who signed in for the first time.
    pub update: u64,
    /// Causes added.
    pub suspend: u64,
    /// Causes lifted.
    pub reactivate: u64,
    /// Tiers changed.
    pub tier: u64,
    /// Users linked, or moved to another directory of their account.
    pub link: u64,
    /// Users released or removed.
    pub release: u64,
}

impl ChangeCounts {
    /// Counts one more.
    pub fn count(&mut self, kind: &ChangeKind) {
        let slot = match kind {
            ChangeKind::Create(_) | ChangeKind::Invite { .. } => &mut self.create,
            ChangeKind::Release { .. } | ChangeKind::Remove { .. } => &mut self.release,
            ChangeKind::Link { .. } | ChangeKind::Relink { .. } | ChangeKind::Move { .. } => {
                &mut self.link
            }
            ChangeKind::Suspend { .. } => &mut self.suspend,
            ChangeKind::Reactivate { .. } => &mut self.reactivate,
            ChangeKind::Tier { .. } => &mut self.tier,
            ChangeKind::Register { .. }
            | ChangeKind::Transfer { .. }
            | ChangeKind::Unlink { .. }
            | ChangeKind::Readdress { .. }
            | ChangeKind::Update { .. }
            | ChangeKind::Override { .. } => &mut self.update,
        };
        *slot += 1;
    }

    /// Counts changes of a kind by its stored word; agrees with [`Self::count`].
    pub fn count_stored(&mut self, kind: &str, n: u64) {
        let slot = match kind {
            "create" | "invite" => &mut self.create,
            "release" | "remove" => &mut self.release,
            "link" => &mut self.link,
            "suspend" => &mut self.suspend,
            "reactivate" => &mut self.reactivate,
            "tier" => &mut self.tier,
            _ => &mut self.update,
        };
        *slot += n;
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        let Self { create, update, suspend, reactivate, tier, link, release } = *self;
        create + update + suspend + reactivate + tier + link + release
    }
}
