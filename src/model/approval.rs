//! Approvals of held changes by operators.

use serde::{Deserialize, Serialize};

use super::actor::Actor;
use super::time::Timestamp;

/// An operator who approves changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approver {
    /// The uid on this machine; `None` for a caller within the daemon.
    pub uid: Option<u32>,
    pub actor: Actor,
}

impl Approver {
    /// Returns whether both are one person: one uid, whatever its names.
    pub fn is(&self, other: &Self) -> bool {
        match (self.uid, other.uid) {
            (Some(uid), Some(other)) => uid == other,
            _ => self.actor == other.actor,
        }
    }
}

impl From<Actor> for Approver {
    fn from(actor: Actor) -> Self {
        Self { uid: None, actor }
    }
}

/// One operator's approval of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GivenApproval {
    #[serde(flatten)]
    pub by: Approver,
    pub at: Timestamp,
    /// May be empty.
    pub comment: String,
}
