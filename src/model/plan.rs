//! Plans: the changes that a run proposes, and the reasons why changes are held.

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::quarantine::Quarantine;
use super::words::words;

/// The ordered list of changes that a run proposes. Applying it takes no further decision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Ordered by person; within one person suspensions come first.
    pub changes: Vec<Change>,
    /// Ordered by person.
    pub quarantined: Vec<Quarantine>,
}

words! {
    /// The reason why a change is held.
    pub enum HoldReason {
        /// The class exceeds its limit.
        Limit = "limit",
        /// The class exceeds the limit of an OU.
        OuLimit = "ou-limit",
        /// Too many changes share one cause.
        Cluster = "cluster",
        /// The person is on the `protect` list.
        Protected = "protected",
        /// No witness: the person, or what kept it out of scope, may be present and unreadable.
        NoWitness = "no-witness",
        /// The server may not have heard of the suspension that another server showed.
        OtherServer = "other-server",
        /// An operator asked which users have another entry by sIDHistory.
        Relink = "relink",
        /// The directory is in plan-only mode, or its scope has changed.
        PlanOnly = "plan-only",
        /// A gate refused the plan.
        Gate = "gate",
        /// The change must still be proposed by a recheck.
        GracePeriod = "grace-period",
        /// An account that exists at a target is to be taken over, and the target asks about each.
        Adoption = "adoption",
        /// The change waits for the end of quiet hours, and for no operator.
        QuietHours = "quiet-hours",
        /// An operator rejected the change, or one that it depends on.
        Rejected = "rejected",
    }
}

impl HoldReason {
    /// Explains the reason to an operator.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Limit => "more than [safety] allows in one window",
            Self::OuLimit => "more than a [[directory.rule]] allows below its OU in one window",
            Self::QuietHours => "quiet hours: applied when they end",
            Self::Cluster => "many changes share one cause",
            Self::Protected => "the person is on the protect list",
            Self::NoWitness => "unproven: rosterd cannot tell \"gone\" from \"no right to see it\"",
            Self::OtherServer => {
                "another server showed the suspension, and this one may not have heard of it"
            }
            Self::Relink => {
                "the entry's sIDHistory has the SID of the user's present entry; approve what is the same person. A suspended user becomes active if the new entry is in use"
            }
            Self::PlanOnly => "mode = \"plan-only\", or the configuration changed who is in scope",
            Self::Gate => "a gate held the plan",
            Self::GracePeriod => "checked again after the grace period, then applied",
            Self::Adoption => {
                "the account exists at the target already, and is taken over by approval"
            }
            Self::Rejected => {
                "an operator rejected it, or a change that it depends on: rosterctl held list --rejected"
            }
        }
    }
}

/// A change with the reason why it is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldChange<C = Change> {
    pub change: C,
    pub hold: HoldReason,
}

words! {
    /// The state of a held plan.
    pub enum PlanState {
        /// The plan waits for an operator.
        Open = "open",
        /// An operator approved the plan; the next run applies it.
        Approved = "approved",
        Applied = "applied",
        /// Every run holds the changes until the directory no longer asks for them, or an operator
        /// reopens the plan.
        Rejected = "rejected",
        /// No run proposes any of the changes any more.
        Withdrawn = "withdrawn",
        /// Another plan replaces this one.
        Superseded = "superseded",
        /// The approval could not be applied in time.
        Expired = "expired",
    }
}

impl PlanState {
    /// Returns whether the plan is open or approved. At most one plan of a directory is.
    pub fn waits(self) -> bool {
        matches!(self, Self::Open | Self::Approved)
    }
}
