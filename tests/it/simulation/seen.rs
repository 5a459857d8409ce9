//! One step of a history, as every check of a promise sees it.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::{Guid, Reason, RunMode, RunState, Timestamp, UserId};
use rosterd::reconcile::WithoutGroup;
use rosterd::store::Run;

use super::books::{Books, Written};
use super::history::{Do, Step};
use super::memory::Memory;
use super::office::Rulebook;
use super::truth::{Facts, Truth};
use crate::world::Life;

/// One step, observed from outside.
pub(super) struct Seen<'a> {
    pub(super) step: &'a Step,
    pub(super) rulebook: &'a Rulebook,
    pub(super) before: &'a Books,
    pub(super) after: &'a Books,
    /// The truth at the beginning, after each edit, and at the end.
    pub(super) truths: &'a [Truth],
    /// The number of active managed users of each directory, since the beginning.
    pub(super) actives: &'a [(Timestamp, BTreeMap<String, u64>)],
    /// Whether the server may have lied in this step ...
    pub(super) lied: bool,
    /// ... and at least once more.
    pub(super) lied_again: bool,
    /// The directories whose runs only plan until an approval: after a restore, a changed scope or
    /// a rebaseline.
    pub(super) only_plans: &'a BTreeSet<String>,
    /// Whether every server answered truthfully.
    pub(super) is_clear: bool,
    /// The configured directories.
    pub(super) directories: &'a [String],
    /// The rejected changes that were not reopened, at the beginning of the step.
    pub(super) rejected: &'a BTreeMap<String, UserId>,
    /// The remarks in the status of all directories.
    pub(super) attention: &'a str,
    /// The memory of earlier steps.
    pub(super) memory: &'a Memory,
}

/// The broken promises, in sentences.
pub(super) type Wrong = Vec<String>;

impl Seen<'_> {
    /// Returns the changes that runs of the directory wrote in this step.
    pub(super) fn by_directory(&self) -> impl Iterator<Item = &Written> {
        self.after.fresh().iter().filter(|w| w.by_directory)
    }

    /// Returns the directories with a complete scheduled run in this step.
    pub(super) fn readings(&self) -> impl Iterator<Item = String> {
        let is_reading = |run: &&Run| {
            self.is_clear
                && matches!(run.mode, RunMode::Full | RunMode::Incremental)
                && run.server.is_some()
        };
        let is_over = |run: &&Run| !matches!(run.state, RunState::Running | RunState::Cancelled);
        self.runs()
            .filter(is_reading)
            .filter(is_over)
            .filter_map(|run| run.directory.as_ref().map(ToString::to_string))
    }

    /// Returns the directories with a complete full read in this step.
    pub(super) fn whole_reads(&self) -> impl Iterator<Item = &str> {
        let is_whole = |r: &&Run| {
            !self.lied
                && r.mode == RunMode::Full
                && r.complete
                && r.error.is_none()
                && r.finished_at.is_some()
        };
        self.runs().filter(is_whole).filter_map(|r| r.directory.as_ref().map(|name| name.as_str()))
    }

    /// Returns the truth about a person in this step, moment by moment.
    pub(super) fn facts(&self, who: Guid) -> impl Iterator<Item = (&Truth, &Facts)> {
        self.truths.iter().filter_map(move |t| Some((t, t.people.get(&who)?)))
    }

    /// Returns the runs that ended in this step.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.after.runs.iter().filter(|run| !self.before.runs.iter().any(|r| r.id == run.id))
    }

    pub(super) fn does(&self, is: impl Fn(&Do) -> bool) -> bool {
        self.step.deeds().any(is)
    }
}

/// Returns whether the reason is true of the person, at a time of the directory's clock.
pub(super) fn holds(
    reason: Reason,
    facts: &Facts,
    truth: &Truth,
    at: Timestamp,
    rulebook: &Rulebook,
) -> bool {
    let is_alive = facts.life == Life::Alive;
    match reason {
        Reason::Operator => false,
        Reason::Disabled => is_alive && facts.is_disabled,
        Reason::Expired => is_alive && facts.expires.is_some_and(|end| end <= at),
        Reason::Deleted => facts.life == Life::Tombstone && facts.is_visible,
        // Independent of the directory, because the person may be in another one.
        Reason::OutOfScope => {
            is_alive && (!truth.covers(&facts.dn) || (rulebook.filtered && facts.is_robot))
        }
        Reason::NoGroup => {
            is_alive && rulebook.without_group == WithoutGroup::Suspend && facts.tier.is_none()
        }
        Reason::Vanished => {
            facts.life == Life::Purged || (facts.life == Life::Tombstone && !facts.is_visible)
        }
    }
}
