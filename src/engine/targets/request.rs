//! The request of a run of a target: its users, its actor, and the plan that it approves.

use std::collections::BTreeSet;

use crate::model::{Actor, PlanId, Trigger, UserId};

/// Above this number of users a full run is faster.
const MAX_SCOPED: usize = 200;

/// The users whom a run of a target is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetScope {
    All,
    Users(BTreeSet<UserId>),
}

/// A run of a target to begin.
#[derive(Clone, Debug)]
pub struct TargetRequest {
    pub trigger: Trigger,
    pub scope: TargetScope,
    pub actor: Option<Actor>,
    /// The plan whose approved steps the run admits, if they are still proposed.
    pub approves: Option<PlanId>,
}

impl TargetRequest {
    pub fn full(trigger: Trigger, actor: Option<Actor>) -> Self {
        Self { trigger, scope: TargetScope::All, actor, approves: None }
    }

    pub fn users(trigger: Trigger, users: BTreeSet<UserId>, actor: Option<Actor>) -> Self {
        Self { trigger, scope: TargetScope::Users(users), actor, approves: None }
    }

    /// Runs over users, or over all where that is faster.
    pub fn over(trigger: Trigger, users: BTreeSet<UserId>, actor: Option<Actor>) -> Self {
        if users.len() > MAX_SCOPED {
            Self::full(trigger, actor)
        } else {
            Self::users(trigger, users, actor)
        }
    }
}
