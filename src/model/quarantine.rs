//! Quarantine: entries of which an aspect cannot be used.

use serde::{Deserialize, Serialize};

use super::ids::Guid;
use super::words::words;

words! {
    /// The reason why an entry, or an aspect of it, cannot be used.
    pub enum QuarantineReason {
        /// The entry of a user, or of a member of a configured group, has no primary address.
        NoAddress = "no-address",
        /// The primary address cannot be parsed.
        MalformedAddress = "malformed-address",
        /// The primary address of a user, or of a member of a configured group, is in a domain that
        /// the account has not claimed.
        UnclaimedDomain = "unclaimed-domain",
        /// Another person holds or wants the same primary address.
        ContestedAddress = "contested-address",
        /// The address belongs to a suspended user with another GUID. The entry is the same person
        /// created anew, or another person.
        AddressHeld = "address-held",
        /// Neither userAccountControl nor accountExpires could be read.
        UnreadableState = "unreadable-state",
        /// userAccountControl is not readable, or its value is no 32-bit number.
        UnknownAccountControl = "unknown-account-control",
        /// accountExpires is not readable, or its value is no point in time.
        UnknownExpiry = "unknown-expiry",
        /// The attribute of the leave date has a value that is no date.
        UnknownLeaveDate = "unknown-leave-date",
        /// primaryGroupID is not readable, and no other group gives a tier.
        UnknownPrimaryGroup = "unknown-primary-group",
        /// The entry could not be decoded.
        MalformedEntry = "malformed-entry",
        /// The entry is outside base or filter, and no readable attribute says why.
        UnknownScope = "unknown-scope",
        /// The user id of this person belongs to a user that is linked to another entry.
        IdTaken = "id-taken",
        /// Two directories of the account show the person in scope. The user stays with the one that
        /// it is linked to.
        TwoDirectories = "two-directories",
        /// The directory that the user is linked to could not be read for the person.
        OtherDirectoryUnknown = "other-directory-unknown",
    }
}

impl QuarantineReason {
    /// Returns the operator's remedy.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoAddress => {
                "give the entry a primary address (mail), take it out of the groups, or disable it"
            }
            Self::MalformedAddress => "correct the entry's primary address (mail)",
            Self::UnclaimedDomain => {
                "claim the domain of the address (rosterctl domain claim), correct the entry's primary address (mail), or take the entry out of the groups"
            }
            Self::ContestedAddress => {
                "give one of them another mail address; if they are one person in two directories, put the address into exclude of one of them, or link its user with rosterctl user relink"
            }
            Self::AddressHeld => {
                "if it is the same person, created anew: rosterctl user relink; if it is another person: rosterctl user release-address for the user that has the address"
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
            Self::UnknownLeaveDate => {
                "correct the leave date of the entry: 2026-11-30, 2026-11-30T17:00 or 20261130170000Z, and one value"
            }
            Self::UnknownPrimaryGroup => {
                "give the service account the right to read primaryGroupID, or correct its value: the RID of a group"
            }
            Self::MalformedEntry => {
                "correct the attributes of the entry that are not text, or far too long"
            }
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
}

/// An entry with its quarantine reason.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// All zero where the GUID could not be read.
    pub object_guid: Guid,
    pub dn: String,
    pub reason: QuarantineReason,
}
