//! The held changes of a run, on their way into a plan.

use super::database::Store;
use super::error::StoreError;
use super::spool::Spool;
use crate::model::{Digest, HeldChange, HoldReason, Holdable, Shown};

/// The held changes in memory, of some 2 kB each.
const IN_MEMORY: usize = 5_000;

/// Held changes in the form in which they are stored, in order. A first import holds everyone, so not all
/// are in memory.
#[derive(Debug)]
pub struct HeldChanges {
    pub(super) shown: Spool<(HoldReason, Shown)>,
    pub(super) digests: Vec<Digest>,
}

impl Store {
    /// Returns an empty list of held changes.
    pub fn held_changes(&self) -> HeldChanges {
        HeldChanges { shown: self.spool(IN_MEMORY), digests: Vec::new() }
    }
}

impl HeldChanges {
    /// Adds a held change. A rejected one is in no open plan, and is left out.
    pub fn push<C: Holdable>(&mut self, held: &HeldChange<C>) -> Result<(), StoreError> {
        if held.hold == HoldReason::Rejected {
            return Ok(());
        }
        let shown = held.change.shown();
        self.digests.push(shown.digest);
        self.shown.push((held.hold, shown))
    }
}
