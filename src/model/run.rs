//! Runs: triggers, modes, states and counts.

use serde::{Deserialize, Serialize};

use super::change::ChangeVerb;
use super::words::words;

words! {
    /// The trigger of a run.
    pub enum Trigger {
        /// The configured schedule.
        Schedule = "schedule",
        /// An operator, by rosterctl or the API.
        Manual = "manual",
        /// A change notification.
        Live = "live",
        /// The start of the daemon.
        Startup = "startup",
        /// The accountExpires of a person has passed.
        Expiry = "expiry",
        /// The end of a grace period.
        Recheck = "recheck",
        /// The approval of a held plan.
        Approval = "approval",
        /// The undo of a run.
        Undo = "undo",
        /// A refused or a first sign-in.
        SignIn = "sign-in",
        /// An operator's write. No directory is read.
        Operator = "operator",
    }
}

words! {
    /// The people that a run reads.
    pub enum RunMode {
        /// All people of the scope.
        Full = "full",
        /// The people that DirSync reports, and the pending set.
        Incremental = "incremental",
        /// The named people.
        Scoped = "scoped",
    }
}

words! {
    /// The state of a run.
    pub enum RunState {
        Running = "running",
        /// The whole plan was applied.
        Succeeded = "succeeded",
        /// The admitted changes were applied; the others are held.
        Held = "held",
        /// The read was not complete, or an operation failed.
        Failed = "failed",
        /// The daemon or the directory's configuration stopped it.
        Cancelled = "cancelled",
    }
}

/// The number of applied changes of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Users created or invited.
    pub create: u64,
    /// Users with other attributes, addresses or overrides, another account or a first sign-in.
    pub update: u64,
    pub suspend: u64,
    pub reactivate: u64,
    pub tier: u64,
    /// Users linked, or moved to another directory of their account.
    pub link: u64,
    /// Users released or removed.
    pub release: u64,
}

impl ChangeCounts {
    /// Adds `n` changes.
    pub fn add(&mut self, verb: ChangeVerb, n: u64) {
        let count = match verb {
            ChangeVerb::Create | ChangeVerb::Invite => &mut self.create,
            ChangeVerb::Release | ChangeVerb::Remove => &mut self.release,
            ChangeVerb::Link | ChangeVerb::Move => &mut self.link,
            ChangeVerb::Suspend => &mut self.suspend,
            ChangeVerb::Reactivate => &mut self.reactivate,
            ChangeVerb::Tier => &mut self.tier,
            ChangeVerb::Register
            | ChangeVerb::Transfer
            | ChangeVerb::Unlink
            | ChangeVerb::Update => &mut self.update,
        };
        *count += n;
    }

    pub fn total(&self) -> u64 {
        let Self { create, update, suspend, reactivate, tier, link, release } = *self;
        create + update + suspend + reactivate + tier + link + release
    }
}
