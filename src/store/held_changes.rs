//! The held changes of a run, on their way into a plan.

use super::database::Store;
use super::error::StoreError;
use super::spool::Spool;
use crate::model::{Digest, HeldChange, HoldReason, Holdable, Shown};

/// Held changes in the form in which they are stored, in order. A first import holds everyone, so they
/// are not in memory.
#[derive(Debug)]
pub struct HeldChanges {
    shown: Spool<(HoldReason, Shown)>,
    digests: Vec<Digest>,
}

impl Store {
    /// Returns an empty list of held changes.
    pub fn held_changes(&self) -> HeldChanges {
        HeldChanges { shown: self.spool(), digests: Vec::new() }
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
        self.shown.push(&(held.hold, shown))
    }

    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Reads the changes from the beginning.
    pub(super) fn read(
        &mut self,
    ) -> Result<impl Iterator<Item = Result<(HoldReason, Shown), StoreError>>, StoreError> {
        self.shown.read()
    }
}
