//! A proposal: the plan of a run, with the rows about its people.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Fingerprint, Known, Metadata, StoredPerson};
use crate::model::{
    AddressKey, Change, ChangeClass, ChangeKind, Dn, Guid, Plan, QuarantineReason, Reason, Sid,
    Timestamp, UserId,
};

/// The row to store about one person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PersonRow {
    pub guid: Guid,
    /// The user after the plan.
    pub user: Option<UserId>,
    pub fingerprint: Fingerprint,
    /// `None` when it was not seen alive.
    pub dn: Option<Dn>,
    /// AD knows instants beyond the last year that a text can have.
    #[serde(with = "number")]
    pub expires: Option<Timestamp>,
    pub entitled_by: Entitlement,
    /// Whether the stored home and group stay, because not the whole change is applied.
    pub keeps_place: bool,
    pub quarantine: Option<QuarantineReason>,
    /// Notes for operators beside the quarantine. Each is a warning once.
    pub notes: BTreeSet<String>,
    /// The stamps of what was seen; `None` where the server shows none.
    pub metadata: Option<Metadata>,
    /// `None` when it was not read; the stored one stays.
    pub sid: Option<Sid>,
}

/// An instant as its number of microseconds.
mod number {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Timestamp;

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        at.map(|at| at.0).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(Timestamp))
    }
}

/// The group that gives a person its tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Entitlement {
    By(Guid),
    Nothing,
    /// Not known; the stored one stays.
    Unknown,
}

impl PersonRow {
    /// Has the next run read the person again, because not the whole change is applied.
    pub(super) fn put_off(&mut self) {
        (self.fingerprint, self.keeps_place) = (Fingerprint::Revisit, true);
    }

    /// Leaves what another server showed of the person, because this one suspends alone.
    pub(super) fn leave(&mut self, stored: Option<&StoredPerson>) {
        self.dn = None;
        self.notes = stored.map(|stored| stored.notes.clone()).unwrap_or_default();
    }
}

/// The notes of a run that earlier runs did not have: the first ones, and the number of others.
#[derive(Debug, Default)]
pub(super) struct NewNotes {
    first: BTreeSet<(Guid, String)>,
    others: usize,
}

impl NewNotes {
    /// Maximum number of notes in the warnings of one run. More would bury the other warnings.
    const MAX: usize = 50;

    pub fn add(&mut self, person: Guid, note: &str) {
        self.first.insert((person, note.to_owned()));
        if self.first.len() > Self::MAX {
            self.first.pop_last();
            self.others += 1;
        }
    }

    /// Returns the sentences, in the order of the people.
    pub fn sentences(self) -> impl Iterator<Item = String> {
        let more = (self.others > 0).then(|| format!("{} more people lack an address, or have one of several: rosterctl user explain shows each", self.others));
        self.first.into_iter().map(|(_, note)| note).chain(more)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Proposal {
    pub plan: Plan,
    /// The rows of the people that the plan decides.
    pub people: Vec<PersonRow>,
    /// Users whose absence has no witness, or whose return.
    pub unwitnessed: BTreeSet<UserId>,
}

impl Proposal {
    /// Returns the notes that are not stored yet, each with its person.
    pub(super) fn new_notes(&self, known: &Known) -> impl Iterator<Item = (Guid, &String)> {
        let is_new = |row: &PersonRow, note: &String| {
            !known.people.get(&row.guid).is_some_and(|stored| stored.notes.contains(note))
        };
        self.people.iter().flat_map(move |row| {
            let news = row.notes.iter().filter(move |note| is_new(row, note));
            news.map(|note| (row.guid, note))
        })
    }

    /// Returns the notes about one person.
    pub fn notes(&self, person: Guid) -> impl Iterator<Item = &String> {
        self.people.iter().filter(move |row| row.guid == person).flat_map(|row| &row.notes)
    }

    /// Keeps the changes of decided people, and of others only positive suspensions.
    ///
    /// An incomplete read may do no more. It may do that, so that a leaver does not stay active.
    pub fn restrict(&mut self, is_conclusive: impl Fn(Guid) -> bool) {
        let decided = |guid: Option<Guid>| guid.is_some_and(&is_conclusive);
        let waiting = self.keep_only(|c| c.is_positive() || decided(c.guid));
        self.plan.quarantined.retain(|q| decided(Some(q.object_guid)));
        let suspended: BTreeSet<Guid> = self.plan.changes.iter().filter_map(|c| c.guid).collect();
        self.people.retain(|p| decided(Some(p.guid)) || suspended.contains(&p.guid));
        for person in
            self.people.iter_mut().filter(|p| !is_conclusive(p.guid) || waiting.contains(&p.guid))
        {
            person.put_off();
        }
    }

    /// Drops all that the plan has about these people, and what waits for their addresses.
    pub(super) fn leave_out(&mut self, people: &BTreeSet<Guid>) {
        if people.is_empty() {
            return;
        }
        let waiting = self.keep_only(|c| c.guid.is_none_or(|guid| !people.contains(&guid)));
        self.plan.quarantined.retain(|q| !people.contains(&q.object_guid));
        self.people.retain(|person| !people.contains(&person.guid));
        for person in self.people.iter_mut().filter(|person| waiting.contains(&person.guid)) {
            person.put_off();
        }
    }

    /// Keeps these changes, and drops those that need an address which a dropped change would have
    /// released, transitively. Returns the people of the latter.
    fn keep_only(&mut self, keeps: impl Fn(&Change) -> bool) -> BTreeSet<Guid> {
        let (kept, mut dropped): (_, Vec<Change>) =
            std::mem::take(&mut self.plan.changes).into_iter().partition(keeps);
        self.plan.changes = kept;
        let mut waiting = BTreeSet::new();
        let mut kept_back: BTreeSet<AddressKey> = BTreeSet::new();
        while !dropped.is_empty() {
            kept_back.extend(dropped.iter().flat_map(|c| c.address_moves().0));
            let needs = |c: &Change| !c.address_moves().1.is_disjoint(&kept_back);
            let (blocked, kept) =
                std::mem::take(&mut self.plan.changes).into_iter().partition(needs);
            self.plan.changes = kept;
            dropped = blocked;
            waiting.extend(dropped.iter().filter_map(|c| c.guid));
            // A row of a user who is not created has no user to refer to.
            let uncreated = |p: &PersonRow| {
                dropped.iter().any(|c| Some(c.user) == p.user && c.version.is_none())
            };
            self.people.retain(|p| !uncreated(p));
        }
        waiting
    }

    /// Drops downgrades and no-group suspensions because groups changed during the read.
    /// Returns their number.
    pub fn without_group_losses(&mut self) -> u64 {
        self.without(|c| {
            c.class == Some(ChangeClass::Downgrade)
                || c.reason() == Some(Reason::NoGroup)
                    && matches!(c.kind, ChangeKind::Suspend { .. })
        })
    }

    /// Drops these changes. Their people are read again by the next run. Returns their number.
    pub fn without(&mut self, is_dropped: impl Fn(&Change) -> bool) -> u64 {
        let dropped: BTreeSet<Option<Guid>> =
            self.plan.changes.iter().filter(|c| is_dropped(c)).map(|c| c.guid).collect();
        let before = self.plan.changes.len();
        self.plan.changes.retain(|c| !is_dropped(c));
        for person in self.people.iter_mut().filter(|p| dropped.contains(&Some(p.guid))) {
            person.put_off();
        }
        (before - self.plan.changes.len()) as u64
    }

    /// Drops the changes by which a person gets an address that it does not hold.
    pub fn without_new_addresses(&mut self) {
        let (dropped, kept): (Vec<Change>, Vec<Change>) = std::mem::take(&mut self.plan.changes)
            .into_iter()
            .partition(|c| !c.address_moves().1.is_empty());
        let uncreated: BTreeSet<UserId> =
            dropped.iter().filter(|c| c.version.is_none()).map(|c| c.user).collect();
        let waiting: BTreeSet<Guid> = dropped.iter().filter_map(|c| c.guid).collect();
        self.plan.changes = kept;
        self.plan.changes.retain(|c| !uncreated.contains(&c.user));
        self.people.retain(|p| !p.user.is_some_and(|user| uncreated.contains(&user)));
        for person in self.people.iter_mut().filter(|p| waiting.contains(&p.guid)) {
            person.put_off();
        }
    }
}
