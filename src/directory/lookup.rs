//! Values of a look-up by GUID: its context, the pending people, and the results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Decoder, Settings};
use crate::model::{Broken, Dn, GroupAssertion, Guid, Person, Timestamp};
use crate::reconcile::{Confirmation, StoredPerson};

/// GUIDs in one filter.
const CHUNK: usize = 200;

/// The present locations of the configured bases.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bases {
    /// The present DNs, or the configured ones where the base was not found.
    pub dns: Vec<Dn>,
    /// Whether every base was found. Only then is an entry outside of them out of scope.
    pub are_certain: bool,
}

impl Bases {
    /// Returns whether the entry is within a base.
    pub(super) fn hold(&self, dn: &Dn) -> bool {
        self.dns.iter().any(|base| dn.is_within(base))
    }
}

/// Facts needed to interpret the results of a look-up.
#[derive(Debug)]
pub struct LookupContext<'a> {
    pub bases: &'a Bases,
    pub settings: &'a Settings,
    pub decoder: &'a Decoder,
    /// Stored rows of the people. The parent in a row is the place to search for a witness.
    pub stored: &'a BTreeMap<Guid, StoredPerson>,
    /// Start of the run.
    pub now: Timestamp,
    /// Time of the last complete read, in which each missing person was visible or already deleted.
    pub last_complete_read: Option<Timestamp>,
}

/// The people still to look up, and facts read on the way.
#[derive(Debug, Default)]
pub struct PendingLookups {
    pub(super) batches: Vec<Vec<Guid>>,
    pub(super) unseen: Vec<Guid>,
    pub(super) failures: u32,
    pub(super) deletions: Option<Deletions>,
    pub(super) witnesses: BTreeMap<Dn, bool>,
    pub(super) groups: BTreeMap<GroupAssertion, GroupVisibility>,
}

impl PendingLookups {
    /// Queues these people in batches.
    pub fn of(guids: &BTreeSet<Guid>) -> Self {
        let all: Vec<Guid> = guids.iter().copied().collect();
        Self { batches: all.chunks(CHUNK).rev().map(<[Guid]>::to_vec).collect(), ..Self::default() }
    }
}

/// Visibility and lifetime of deleted objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deletions {
    pub(super) are_visible: bool,
    /// `None` if it could not be read.
    pub(super) lifetime: Option<Duration>,
}

/// Results of a look-up by GUID.
#[derive(Debug, Default)]
pub struct LookupResults {
    /// Results by person; after a failed search a person has none.
    pub people: BTreeMap<Guid, Confirmation>,
    /// People with a live entry whose placement could not be read.
    pub unplaced: BTreeSet<Guid>,
    /// Causes of failed searches.
    pub problems: BTreeSet<String>,
    /// Warnings for an operator.
    pub warnings: BTreeSet<String>,
}

/// The entries of one batch.
#[derive(Default)]
pub(super) struct LookupBatch {
    /// People, each with the visible attributes of the filter.
    pub(super) alive: BTreeMap<Guid, (Person, BTreeMap<String, String>)>,
    pub(super) deleted: BTreeMap<Guid, Dn>,
    pub(super) malformed: BTreeMap<Guid, Broken>,
}

/// Visibility of the members of a group that the filter names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupVisibility {
    /// The group and all nested groups show members.
    Readable,
    /// A nested group shows no member.
    PartlyReadable,
    /// The group shows no member: empty or not readable.
    Silent,
    /// The group was not found.
    Missing,
}
