//! Moves between the directories of one account.
//!
//! A user belongs to an account and an objectGUID. The directory is an attribute of the link: it moves when another
//! directory shows the person alive in scope and the present one does not.

use super::Desired;
use crate::model::{DirectoryName, Dn, QuarantineReason};

/// What a directory makes of a person whose user is linked to another directory of the account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Takeover {
    /// The link moves to this directory.
    Moves,
    /// The present directory shows the person in scope, too: the user stays with it.
    Shown(DirectoryName),
    /// The present directory could not be asked, which is no answer: the user stays with it, and it is asked again.
    Unasked(DirectoryName),
    /// The person is not in the scope of this directory, so the user is none of its business.
    Not,
}

impl Takeover {
    /// Decides by what both directories show of one person.
    ///
    /// `present` is the standing in the directory of the link; it is `None` where that directory is not configured any more
    /// and so shows nobody.
    pub fn decide(
        here: &Desired,
        present: Option<&Whereabouts>,
        of: &DirectoryName,
        is_successor: bool,
    ) -> Self {
        let is_in_scope = here.is_in_scope();
        match present {
            Some(Whereabouts::InScope(_)) if is_in_scope => Self::Shown(of.clone()),
            Some(Whereabouts::Unknown) if is_in_scope => Self::Unasked(of.clone()),
            Some(present) => match (is_in_scope, present) {
                (true, Whereabouts::Outside(_) | Whereabouts::Absent) => Self::Moves,
                _ => Self::Not,
            },
            // A leaver of a directory that is gone leaves by whichever directory sees it. What was not seen counts only for
            // the directory that reads the place of the former one.
            None if is_in_scope
                || here.is_seen_to_leave()
                || (is_successor && here.holding().next().is_some()) =>
            {
                Self::Moves
            }
            None => Self::Not,
        }
    }

    /// Whether the link moves.
    pub fn is_move(&self) -> bool {
        *self == Self::Moves
    }

    /// The reason to quarantine the person's entry in this directory.
    pub fn quarantine(&self) -> Option<QuarantineReason> {
        match self {
            Self::Shown(_) => Some(QuarantineReason::TwoDirectories),
            Self::Unasked(_) => Some(QuarantineReason::OtherDirectoryUnknown),
            Self::Moves | Self::Not => None,
        }
    }
}

/// How one directory has a person of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// Alive and in its scope, at this place.
    InScope(Dn),
    /// Alive and visibly out of its scope.
    Outside(Box<Desired>),
    /// Neither alive nor hidden, as far as it shows.
    Absent,
    /// It could not be told.
    Unknown,
}
