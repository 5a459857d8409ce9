//! The grace period: an absence is acted on only when a second observation, later, shows the same cause.

use std::collections::BTreeMap;

use super::Situation;
use crate::model::{Change, ChangeKind, Class, Guid, HoldReason, Reason, Timestamp, UserId};

/// What two observations have to agree on: "first seen" is kept for each cause on its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GraceCause {
    /// A suspension of the class `gone`, for this reason.
    Suspension(Reason),
    /// The loss of a tier.
    Downgrade,
}

/// When each absence was first seen.
pub type FirstSeen = BTreeMap<(UserId, GraceCause), Timestamp>;

impl GraceCause {
    /// Returns the cause of a change that has to wait for a second observation; `None` for any other change.
    pub fn of(change: &Change) -> Option<Self> {
        match (change.class, &change.kind) {
            (Some(Class::Gone), ChangeKind::Suspend { cause, .. }) => {
                Some(Self::Suspension(cause.reason))
            }
            (Some(Class::Gone), _) => change.reason().map(Self::Suspension),
            (Some(Class::Downgrade), _) => Some(Self::Downgrade),
            _ => None,
        }
    }

    /// Returns the class that the change counts as.
    pub fn class(self) -> Class {
        match self {
            Self::Suspension(_) => Class::Gone,
            Self::Downgrade => Class::Downgrade,
        }
    }

    /// Returns the word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspension(reason) => reason.as_str(),
            Self::Downgrade => Class::Downgrade.as_str(),
        }
    }

    /// Returns the cause of that word.
    pub fn parse(word: &str) -> Option<Self> {
        if word == Class::Downgrade.as_str() {
            Some(Self::Downgrade)
        } else {
            Reason::parse(word).map(Self::Suspension)
        }
    }
}

/// An absence that has to hold at a second observation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GracePeriod {
    /// The user.
    pub user: UserId,
    /// The person.
    pub guid: Guid,
    /// What both observations have to show.
    pub cause: GraceCause,
    /// Since when.
    pub first_seen: Timestamp,
    /// When to look again; `None` when it is held for another reason too, and waits for an operator.
    pub due: Option<Timestamp>,
    /// Its cluster.
    pub cluster: Option<String>,
}

/// Returns the candidate that a change is, if its second observation is still to come.
pub(super) fn recheck(
    change: &Change,
    hold: Option<HoldReason>,
    situation: &Situation<'_>,
) -> Option<GracePeriod> {
    let cause = GraceCause::of(change)?;
    let guid = change.guid?;
    let first_seen =
        situation.first_seen.get(&(change.user, cause)).copied().unwrap_or(situation.now);
    let settled = first_seen
        .plus(situation.limits.grace_period)
        .max(situation.deferred_until.unwrap_or(first_seen));
    let is_settled = situation.now >= settled;
    if is_settled && hold.is_none() {
        return None;
    }
    let due = (hold.is_none() && !is_settled).then_some(settled);
    Some(GracePeriod {
        user: change.user,
        guid,
        cause,
        first_seen,
        due,
        cluster: change.cluster.clone(),
    })
}
