//! The knowledge of a domain controller: whether it has heard of what another one showed.
//!
//! Domain controllers replicate late, and some are restored from old copies. Each write of an attribute
//! has a stamp (`replPropertyMetaData`). Each server tells up to which write of every database it has
//! everything (`replUpToDateVector`). So a server is believed only about what it has heard of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::high_water_mark::Write;
use super::{Desired, HighWaterMark, HighWaterMarks};
use crate::model::{Change, ChangeKind, Dn, Guid, Reason, Timestamp};

/// Every server has heard of an older write, or may no longer replicate: a tombstone lives 60 days at
/// least.
pub const OLDEST_STAMP: Duration = Duration::from_hours(60 * 24);
/// The most by which clocks in a domain differ. Kerberos allows no more.
pub(super) const SKEW: Duration = Duration::from_mins(5);

/// The number of an attribute (`ATTRTYP`, MS-DRSR 5.14) in the prefix table of every forest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AttributeId(pub u32);

impl AttributeId {
    pub const OBJECT_CLASS: Self = Self(0);
    pub const IS_DELETED: Self = Self(0x0002_0030);
    /// The name of an entry, which a move writes, too (MS-ADTS 3.1.1.5.4.1).
    pub const NAME: Self = Self(0x0009_0001);
    pub const USER_ACCOUNT_CONTROL: Self = Self(0x0009_0008);
    pub const ACCOUNT_EXPIRES: Self = Self(0x0009_009f);

    /// Attributes that sign-ins and password changes write. No decision depends on them.
    const WITHOUT_EFFECT: [u32; 9] = [
        0x0009_0037, // dBCSPwd
        0x0009_005a, // unicodePwd
        0x0009_005e, // ntPwdHistory
        0x0009_0060, // pwdLastSet
        0x0009_007d, // supplementalCredentials
        0x0009_00a0, // lmPwdHistory
        0x0009_0296, // lockoutTime
        0x0009_06a0, // lastLogonTimestamp
        0x0002_0119, // nTSecurityDescriptor
    ];

    pub fn has_effect(self) -> bool {
        !Self::WITHOUT_EFFECT.contains(&self.0)
    }

    /// Returns the attribute whose value decides on the reason; `None` where several do, or none.
    fn deciding(reason: Reason) -> Option<Self> {
        match reason {
            Reason::Disabled => Some(Self::USER_ACCOUNT_CONTROL),
            Reason::Expired => Some(Self::ACCOUNT_EXPIRES),
            Reason::Deleted => Some(Self::IS_DELETED),
            _ => None,
        }
    }
}

/// One write of an attribute (`PROPERTY_META_DATA`, MS-DRSR 5.168).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    pub version: u32,
    pub at: Timestamp,
    /// The database in which the attribute was written.
    pub invocation_id: Guid,
    /// The USN of the write in that database.
    pub usn: u64,
}

impl Stamp {
    /// Returns whether AD keeps this write and drops the other one (MS-ADTS 3.1.1.1.9).
    fn is_as_new_as(&self, other: &Self) -> bool {
        let order = |stamp: &Self| (stamp.version, stamp.at, stamp.invocation_id);
        order(self) >= order(other)
    }
}

/// The stamps of an entry, by attribute.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "StoredMetadata", into = "StoredMetadata")]
pub struct Metadata(BTreeMap<AttributeId, Stamp>);

/// `(attribute, version, time, USN)` of each stamp, by invocationId.
type StoredMetadata = BTreeMap<Guid, Vec<(u32, u32, i64, u64)>>;

impl From<StoredMetadata> for Metadata {
    fn from(stored: StoredMetadata) -> Self {
        let stamps = stored.into_iter().flat_map(|(invocation_id, stamps)| {
            stamps.into_iter().map(move |(attribute, version, at, usn)| {
                let at = Timestamp(at);
                (AttributeId(attribute), Stamp { version, at, invocation_id, usn })
            })
        });
        stamps.collect()
    }
}

impl From<Metadata> for StoredMetadata {
    fn from(Metadata(stamps): Metadata) -> Self {
        let mut stored = Self::new();
        for (attribute, Stamp { version, at, invocation_id, usn }) in stamps {
            stored.entry(invocation_id).or_default().push((attribute.0, version, at.0, usn));
        }
        stored
    }
}

impl FromIterator<(AttributeId, Stamp)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (AttributeId, Stamp)>>(stamps: I) -> Self {
        Self(stamps.into_iter().filter(|(attribute, _)| attribute.has_effect()).collect())
    }
}

impl Metadata {
    /// Returns whether the attribute was written here later than on the server in use, and no earlier than the
    /// stored write. A suspension that was held has stored this one.
    fn is_newer_at(
        &self,
        attribute: AttributeId,
        in_use: Option<&Self>,
        stored: Option<&Self>,
    ) -> bool {
        let Some(ours) = self.0.get(&attribute) else { return false };
        let stamp = |other: Option<&Self>| other.and_then(|other| other.0.get(&attribute).copied());
        stamp(in_use).is_none_or(|theirs| !theirs.is_as_new_as(ours))
            && stamp(stored).map_or(in_use.is_some(), |theirs| ours.is_as_new_as(&theirs))
    }

    /// Keeps the stamps of the attributes by which a person leaves.
    #[must_use]
    pub fn of_leaving(mut self) -> Self {
        let leaving = Reason::ALL.into_iter().filter_map(AttributeId::deciding);
        let leaving: BTreeSet<AttributeId> = leaving.collect();
        self.0.retain(|attribute, _| leaving.contains(attribute));
        self
    }

    /// Returns when the attribute was written last.
    pub fn written_at(&self, attribute: AttributeId) -> Option<Timestamp> {
        self.0.get(&attribute).map(|stamp| stamp.at)
    }

    /// Returns the stamp of the last move or rename; `None` where the entry is at its first place.
    pub fn move_stamp(&self) -> Option<Stamp> {
        self.0.get(&AttributeId::NAME).copied().filter(|stamp| stamp.version > 1)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn stamps(&self) -> impl Iterator<Item = &Stamp> {
        self.0.values()
    }

    /// Returns the newest stamp of each attribute, without those that every server has heard of.
    #[must_use]
    pub fn merged(mut self, seen: &Self, now: Timestamp) -> Self {
        for (attribute, stamp) in &seen.0 {
            let known = self.0.entry(*attribute).or_insert(*stamp);
            if stamp.is_as_new_as(known) {
                *known = *stamp;
            }
        }
        let oldest = now.minus(OLDEST_STAMP);
        self.0.retain(|_, stamp| stamp.at >= oldest);
        self
    }

    /// Returns whether the attribute was written here no earlier than in `other`.
    fn is_as_new_at(&self, attribute: AttributeId, other: &Self) -> bool {
        other.0.get(&attribute).is_none_or(|theirs| {
            self.0.get(&attribute).is_some_and(|ours| ours.is_as_new_as(theirs))
        })
    }

    fn is_as_new_as(&self, other: &Self) -> bool {
        other.0.keys().all(|attribute| self.is_as_new_at(*attribute, other))
    }
}

/// The up-to-dateness of a server: up to which USN it has all writes of each database.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Knowledge(BTreeMap<Guid, u64>);

impl FromIterator<(Guid, u64)> for Knowledge {
    fn from_iter<I: IntoIterator<Item = (Guid, u64)>>(cursors: I) -> Self {
        Self(cursors.into_iter().collect())
    }
}

impl Knowledge {
    pub fn covers(&self, mark: &HighWaterMark) -> bool {
        self.0.get(&mark.invocation_id).is_some_and(|usn| *usn >= mark.usn)
    }

    /// Lowers what is known of databases that were set back. Above that USN, numbers were used twice.
    pub fn limit(&mut self, set_back: &BTreeMap<Guid, u64>) {
        for (database, usn) in set_back {
            self.0.entry(*database).and_modify(|known| *known = (*known).min(*usn));
        }
    }
}

impl HighWaterMarks {
    /// Notes the writes by which people were decided, without those that every server has heard of.
    pub fn note_writes<'a>(&mut self, seen: impl Iterator<Item = &'a Metadata>, now: Timestamp) {
        for stamp in seen.flat_map(Metadata::stamps) {
            note(&mut self.writes, stamp);
        }
        let oldest = now.minus(OLDEST_STAMP);
        self.writes.retain(|_, write| write.at >= oldest);
    }

    /// Notes moves and renames of containers, without those that every server has heard of.
    pub fn note_moves(&mut self, seen: &[Stamp], now: Timestamp) {
        for stamp in seen {
            note(&mut self.containers, stamp);
        }
        let oldest = now.minus(OLDEST_STAMP);
        self.containers.retain(|_, write| write.at >= oldest);
    }

    /// Returns whether a server with this knowledge has heard of the last moves of containers.
    pub fn currency_of_containers(&self, knowledge: Option<&Knowledge>) -> Currency {
        match knowledge {
            None => Currency::Unproven,
            Some(knowledge) if marks(&self.containers).all(|mark| knowledge.covers(&mark)) => {
                Currency::Current
            }
            Some(_) => Currency::Behind,
        }
    }

    /// Returns whether a server with this knowledge has heard of everything that runs have seen. One that
    /// does not tell may only serve where nothing was seen.
    pub fn are_covered_by(&self, knowledge: Option<Knowledge>) -> bool {
        let Some(mut knowledge) = knowledge else { return self.writes.is_empty() };
        knowledge.limit(&self.set_back);
        let shared = marks(&self.containers).chain(self.groups);
        marks(&self.writes).chain(shared).all(|mark| knowledge.covers(&mark))
    }
}

fn note(writes: &mut BTreeMap<Guid, Write>, stamp: &Stamp) {
    let write = Write { usn: stamp.usn, at: stamp.at };
    writes.entry(stamp.invocation_id).or_insert(write).raise(write);
}

fn marks(writes: &BTreeMap<Guid, Write>) -> impl Iterator<Item = HighWaterMark> {
    writes.iter().map(|(invocation_id, write)| HighWaterMark {
        invocation_id: *invocation_id,
        usn: write.usn,
    })
}

/// Whether a server has heard of everything that runs have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Currency {
    Current,
    /// It has not, so its answer says nothing.
    Behind,
    /// It does not tell, or nothing is stored to compare with.
    #[default]
    Unproven,
}

impl Currency {
    /// Compares a server with the last change that was seen on any.
    pub fn of(last_change: Option<&HighWaterMark>, knowledge: Option<&Knowledge>) -> Self {
        match (last_change, knowledge) {
            (Some(change), Some(knowledge)) if knowledge.covers(change) => Self::Current,
            (Some(_), Some(_)) => Self::Behind,
            (None, _) | (_, None) => Self::Unproven,
        }
    }

    /// Returns what a server says that has to have heard of two things.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Behind, _) | (_, Self::Behind) => Self::Behind,
            (Self::Current, Self::Current) => Self::Current,
            _ => Self::Unproven,
        }
    }
}

/// The last sight of an entry by runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LastSeen {
    /// The newest stamps; `None` where none were read.
    pub metadata: Option<Metadata>,
    /// The DN, and when it was last seen alive; `None` for a leaver who was never stored.
    pub alive: Option<(Dn, Timestamp)>,
}

/// The knowledge of the server of an observation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replica {
    /// `None` where the server does not show it.
    pub knowledge: Option<Knowledge>,
    /// The stamps of the people who were decided, as far as the server shows them.
    pub metadata: BTreeMap<Guid, Metadata>,
    /// The stamps of the people who have left lately, with or without a user. A full run has them.
    pub leavers: BTreeMap<Guid, Metadata>,
    /// Whether it has heard of the last change of a group that gives a tier, or that the filter names.
    pub groups: Currency,
    /// Whether the filter names groups, so that they decide who is in scope.
    pub is_scope_by_groups: bool,
    /// Whether it has heard of the last move of a container.
    pub containers: Currency,
    /// Whether its database is an older copy than in the last run.
    pub is_set_back: bool,
    people: BTreeMap<Guid, Currency>,
}

impl Replica {
    /// Compares the server with what is stored about a person, and keeps the result.
    pub(super) fn judge(&mut self, desired: &Desired, stored: &LastSeen) -> Currency {
        let shown = self.metadata.get(&desired.guid);
        let by_stamps = match (&stored.metadata, shown) {
            (Some(stored), Some(shown)) if shown.is_as_new_as(stored) => Currency::Current,
            (Some(_), Some(_)) => Currency::Behind,
            (Some(stored), None) if desired.is_nowhere() => self.knows_creation(stored),
            (_, None) | (None, _) => Currency::Unproven,
        };
        let is_by_containers = is_placed_by_containers(desired, shown, stored);
        let currency = if is_by_containers { by_stamps.and(self.containers) } else { by_stamps };
        self.people.insert(desired.guid, currency);
        currency
    }

    /// Returns whether a missing entry would be visible here, if it still existed.
    fn knows_creation(&self, stored: &Metadata) -> Currency {
        let created = stored.0.get(&AttributeId::OBJECT_CLASS);
        match (created, &self.knowledge) {
            // Every server has heard of an old creation.
            (None, Some(_)) => Currency::Current,
            (Some(Stamp { invocation_id, usn, .. }), Some(knowledge)) => {
                let (invocation_id, usn) = (*invocation_id, *usn);
                if knowledge.covers(&HighWaterMark { invocation_id, usn }) {
                    Currency::Current
                } else {
                    Currency::Behind
                }
            }
            (_, None) => Currency::Unproven,
        }
    }

    /// Returns whether the server's value is no older than the stored one, so that it supports a reason to
    /// suspend although the server has not heard of other writes.
    pub(super) fn supports(&self, guid: Guid, reason: Reason, stored: &Metadata) -> bool {
        AttributeId::deciding(reason).is_some_and(|attribute| {
            self.metadata.get(&guid).is_some_and(|shown| shown.is_as_new_at(attribute, stored))
        })
    }

    /// Reduces the decision of a server that is not in use to the suspensions for which it shows the newest
    /// write, and its stamps to those writes. Returns `None` where nothing is left.
    pub(super) fn newer_suspension(
        &mut self,
        desired: &Desired,
        in_use: Option<&Metadata>,
        stored: Option<&Metadata>,
    ) -> Option<Desired> {
        let shown = self.metadata.remove(&desired.guid)?;
        let mut desired = desired.only_positive()?;
        desired.distrust(|reason| {
            AttributeId::deciding(reason).is_some_and(|a| shown.is_newer_at(a, in_use, stored))
        });
        let stamp = |reason| {
            let attribute = AttributeId::deciding(reason)?;
            Some((attribute, *shown.0.get(&attribute)?))
        };
        let stamps: Metadata = desired.holding().filter_map(stamp).collect();
        self.metadata.insert(desired.guid, stamps);
        desired.is_seen_to_leave().then_some(desired)
    }

    pub(super) fn is_behind(&self, guid: Guid) -> bool {
        self.people.get(&guid) == Some(&Currency::Behind)
    }

    /// Returns the people about whom the server says nothing, because it lacks writes that others showed.
    pub fn behind(&self) -> BTreeSet<Guid> {
        let behind =
            |(guid, currency): (&Guid, &Currency)| (*currency == Currency::Behind).then_some(*guid);
        self.people.iter().filter_map(behind).collect()
    }

    /// Returns whether the server has heard of everything that the change depends on.
    pub(super) fn proves(&self, change: &Change) -> bool {
        let is_current = |guid: Guid| self.people.get(&guid) == Some(&Currency::Current);
        change.guid.is_some_and(is_current)
            && (!self.is_by_groups(change) || self.groups == Currency::Current)
    }

    /// Returns whether groups decide on the change.
    pub(super) fn is_by_groups(&self, change: &Change) -> bool {
        let is_by_groups = |reason: Reason| match reason {
            Reason::NoGroup => true,
            Reason::OutOfScope => self.is_scope_by_groups,
            _ => false,
        };
        match &change.kind {
            ChangeKind::Tier { .. } => true,
            ChangeKind::Suspend { cause, .. } => is_by_groups(cause.reason),
            ChangeKind::Reactivate { lifted, .. } => lifted.iter().any(|c| is_by_groups(c.reason)),
            _ => change.reason().is_some_and(is_by_groups),
        }
    }

    /// Returns whether a reactivation may come from a server that lacks the write by which another server
    /// suspended the user. The server changed at `changed_at`.
    pub(super) fn leaves_lift_open(&self, change: &Change, changed_at: Option<Timestamp>) -> bool {
        let (ChangeKind::Reactivate { lifted, .. }, Some(changed_at)) = (&change.kind, changed_at)
        else {
            return false;
        };
        let is_known = |reason: Reason| match reason {
            // Nothing was written where the person could not be seen.
            Reason::Vanished => false,
            Reason::NoGroup => self.groups == Currency::Current,
            _ => self.proves(change),
        };
        // A value that was written since then is newer than the one that was seen.
        let is_newer = |reason: Reason, seen_at: Timestamp| {
            let stamps = change.guid.and_then(|guid| self.metadata.get(&guid));
            let stamp = AttributeId::deciding(reason).zip(stamps).and_then(|(a, m)| m.0.get(&a));
            stamp.is_some_and(|stamp| stamp.at > seen_at.plus(SKEW))
        };
        lifted.iter().any(|cause| {
            let seen_at = cause.evidence.seen_at;
            seen_at < changed_at && !is_known(cause.reason) && !is_newer(cause.reason, seen_at)
        })
    }
}

/// Returns whether containers decide: the entry is at another place or out of scope by its place, although
/// nothing was written on it. A container was moved, here or on the server that runs have left.
fn is_placed_by_containers(desired: &Desired, shown: Option<&Metadata>, stored: &LastSeen) -> bool {
    let Some((dn, seen_at)) = &stored.alive else { return false };
    let is_moved = desired.is_alive() && desired.dn.parent() != dn.parent();
    if !is_moved && !desired.is_out_by_place() {
        return false;
    }
    let stamp =
        |metadata: Option<&Metadata>| metadata.and_then(|m| m.0.get(&AttributeId::NAME).copied());
    let is_written = stamp(shown).is_some_and(|own| match stamp(stored.metadata.as_ref()) {
        Some(known) => !known.is_as_new_as(&own),
        None => own.at > *seen_at,
    });
    !is_written
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(2_000_000_000_000_000);

    fn database(n: u8) -> Guid {
        Guid([n; 16])
    }

    fn marks(usn: u64, at: Timestamp) -> HighWaterMarks {
        let stamp = Stamp { version: 2, at, invocation_id: database(1), usn };
        let seen: Metadata = [(AttributeId::USER_ACCOUNT_CONTROL, stamp)].into_iter().collect();
        let mut marks = HighWaterMarks::default();
        marks.note_writes([&seen].into_iter(), NOW);
        marks
    }

    #[test]
    fn a_server_covers_the_marks_when_it_has_heard_of_the_last_write_in_each_database() {
        let knows = |usn| Some([(database(1), usn), (database(2), 9)].into_iter().collect());
        let seen = marks(500, NOW);
        assert!(seen.are_covered_by(knows(500)) && !seen.are_covered_by(knows(499)));
        let stranger = [(database(2), 900)].into_iter().collect();
        assert!(!seen.are_covered_by(Some(stranger)), "it knows nothing of that database");
        assert!(!seen.are_covered_by(None), "it does not tell");
        assert!(HighWaterMarks::default().are_covered_by(None), "no write was seen");
        let old = marks(500, NOW.minus(OLDEST_STAMP * 2));
        assert!(old.are_covered_by(knows(0)), "every server has heard of an old write");
        let groups = Some(HighWaterMark { invocation_id: database(2), usn: 10 });
        assert!(!HighWaterMarks { groups, ..seen.clone() }.are_covered_by(knows(500)));
        let set_back = [(database(1), 400)].into();
        assert!(!HighWaterMarks { set_back, ..seen }.are_covered_by(knows(500)), "used twice");
    }
}
