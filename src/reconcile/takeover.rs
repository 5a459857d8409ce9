//! Moves between the directories of one account.
//!
//! A user belongs to an account and an objectGUID. The link moves when another directory shows the
//! person alive in scope, and the present one does not.

use super::Desired;
use crate::model::{DirectoryName, Dn, QuarantineReason, Timestamp};

/// The decision about a person whose user is linked to another directory of the account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Takeover {
    /// The link moves to this directory.
    Moves,
    /// The present directory shows the person in scope, too, and keeps the user.
    Shown(DirectoryName),
    /// The present directory has no clear answer. It keeps the user, and the next run asks again.
    /// Positive reasons count meanwhile, because the person may have no other directory.
    Unasked(DirectoryName),
    /// The person is not in the scope of this directory.
    Not,
}

impl Takeover {
    /// Decides by the entries of both directories.
    ///
    /// `present` is the answer of the directory of the link, `None` when it is no longer configured.
    pub fn decide(
        here: &Desired,
        present: Option<&Whereabouts>,
        of: &DirectoryName,
        is_successor: bool,
    ) -> Self {
        let is_in_scope = here.is_in_scope();
        match present {
            Some(Whereabouts::InScope(_)) if is_in_scope => Self::Shown(of.clone()),
            Some(Whereabouts::Unknown) if here.concerns_another_directory() => {
                Self::Unasked(of.clone())
            }
            Some(present) => match (is_in_scope, present) {
                (
                    true,
                    Whereabouts::Outside(_) | Whereabouts::Absent | Whereabouts::Deleted { .. },
                ) => Self::Moves,
                _ => Self::Not,
            },
            // A directory that sees a leaver of a removed directory suspends it. An absence counts only
            // in the directory that reads the same place.
            None if is_in_scope
                || here.is_seen_to_leave()
                || (is_successor && here.holding().next().is_some()) =>
            {
                Self::Moves
            }
            None => Self::Not,
        }
    }

    pub fn is_move(&self) -> bool {
        *self == Self::Moves
    }

    /// Returns the reason to quarantine the entry in this directory.
    pub fn quarantine(&self) -> Option<QuarantineReason> {
        match self {
            Self::Shown(_) => Some(QuarantineReason::TwoDirectories),
            Self::Unasked(_) => Some(QuarantineReason::OtherDirectoryUnknown),
            Self::Moves | Self::Not => None,
        }
    }
}

/// The answer of one directory about a person of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// Alive in its scope, with this DN.
    InScope(Dn),
    /// Alive and seen to be out of its scope.
    Outside(Box<Desired>),
    /// Neither an entry nor a hidden one.
    Absent,
    /// Deleted there. The directory of the link may have lost the entry before, by a move.
    Deleted {
        tombstone: Dn,
        at: Timestamp,
    },
    Unknown,
}

impl Whereabouts {
    pub fn is_in_scope(&self) -> bool {
        matches!(self, Self::InScope(_))
    }

    /// Returns whether this answer of a server replaces the one of another server, which may not have heard
    /// of the entry, or of its move.
    pub fn says_more_than(&self, other: &Self) -> bool {
        let rank = |place: &Self| match place {
            Self::Absent => 0,
            Self::Unknown => 1,
            Self::Deleted { .. } => 2,
            Self::Outside(_) => 3,
            Self::InScope(_) => 4,
        };
        rank(self) > rank(other)
    }
}
