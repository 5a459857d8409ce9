//! The grace period: an absence is acted on only when a second observation, later, shows the same cause.

use std::collections::BTreeMap;

use crate::model::{Change, ChangeClass, ChangeKind, Guid, Reason, Timestamp, UserId};

/// The cause that both observations have to show. The first observation is stored for each cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GraceCause {
    /// A suspension of the class `gone`.
    Suspension(Reason),
    Downgrade,
}

/// When each absence was first observed.
pub type FirstSeen = BTreeMap<(UserId, GraceCause), Timestamp>;

impl GraceCause {
    /// Returns the cause of a change that has to wait for a second observation; `None` for any other change.
    pub fn of(change: &Change) -> Option<Self> {
        match (change.class, &change.kind) {
            (Some(ChangeClass::Gone), ChangeKind::Suspend { cause, .. }) => {
                Some(Self::Suspension(cause.reason))
            }
            (Some(ChangeClass::Gone), _) => change.reason().map(Self::Suspension),
            (Some(ChangeClass::Downgrade), _) => Some(Self::Downgrade),
            _ => None,
        }
    }

    pub fn class(self) -> ChangeClass {
        match self {
            Self::Suspension(_) => ChangeClass::Gone,
            Self::Downgrade => ChangeClass::Downgrade,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspension(reason) => reason.as_str(),
            Self::Downgrade => ChangeClass::Downgrade.as_str(),
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        if word == ChangeClass::Downgrade.as_str() {
            Some(Self::Downgrade)
        } else {
            Reason::parse(word).map(Self::Suspension)
        }
    }
}

/// An absence that a second observation has to confirm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GracePeriod {
    pub user: UserId,
    pub guid: Guid,
    pub cause: GraceCause,
    pub first_seen: Timestamp,
    /// The time of the recheck; `None` when an operator decides, because it is held for another reason too.
    pub due: Option<Timestamp>,
    pub cluster: Option<String>,
    pub home: Option<String>,
}
