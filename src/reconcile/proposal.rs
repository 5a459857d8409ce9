//! A proposal: the plan of a run, with what the guard and the store need beside it.

use std::collections::BTreeSet;

use super::{Known, PersonRow};
use crate::model::{AddressKey, Change, ChangeKind, Class, Guid, Plan, Reason, UserId};

/// Sentences about single people in the warnings of one run: more say that something is wrong with all of them.
const NEWS: usize = 50;

/// A plan with what the guard and the store need beside it.
#[derive(Debug, Default)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// What is to be written about each person the plan was made for.
    pub people: Vec<PersonRow>,
    /// Suspensions that nothing proves.
    pub unwitnessed: BTreeSet<UserId>,
}

impl Proposal {
    /// What is noted of people now and was not before, with a limit: a sentence each.
    pub fn news(&self, known: &Known) -> Vec<String> {
        let is_new = |row: &PersonRow, note: &String| {
            !known.people.get(&row.guid).is_some_and(|stored| stored.notes.contains(note))
        };
        let mut news: Vec<String> = self
            .people
            .iter()
            .flat_map(|row| row.notes.iter().filter(|note| is_new(row, note)))
            .cloned()
            .collect();
        if let Some(more) = news.len().checked_sub(NEWS).filter(|more| *more > 0) {
            news.truncate(NEWS);
            news.push(format!("{more} more people lack an address, or have one of several: rosterctl user explain shows each"));
        }
        news
    }

    /// What is noted of one person.
    pub fn notes(&self, person: Guid) -> impl Iterator<Item = &String> {
        self.people.iter().filter(move |row| row.guid == person).flat_map(|row| &row.notes)
    }

    /// Keeps what was judged, and of the others only the suspensions for something that was seen.
    ///
    /// This is what an incomplete read may do: the brakes against mistakes must not keep a leaver active.
    pub fn restrict(&mut self, is_judged: impl Fn(Guid) -> bool) {
        let judged = |guid: Option<Guid>| guid.is_some_and(&is_judged);
        let (kept, dropped) = std::mem::take(&mut self.plan.changes)
            .into_iter()
            .partition(|c| c.is_positive() || judged(c.guid));
        self.plan.changes = kept;
        let waiting = self.without_what_waits_for(dropped);
        self.plan.quarantined.retain(|q| judged(Some(q.object_guid)));
        let suspended: BTreeSet<Guid> = self.plan.changes.iter().filter_map(|c| c.guid).collect();
        self.people.retain(|p| judged(Some(p.guid)) || suspended.contains(&p.guid));
        for person in
            self.people.iter_mut().filter(|p| !is_judged(p.guid) || waiting.contains(&p.guid))
        {
            person.put_off();
        }
    }

    /// Takes out what needs an address that a dropped change would have given up, and what needs that in turn. Returns whose
    /// changes those were.
    fn without_what_waits_for(&mut self, mut dropped: Vec<Change>) -> BTreeSet<Guid> {
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
            // Whoever is not created yet has no row to point to.
            let uncreated = |p: &PersonRow| {
                dropped.iter().any(|c| Some(c.user) == p.user && c.version.is_none())
            };
            self.people.retain(|p| !uncreated(p));
        }
        waiting
    }

    /// Drops the downgrades and no-group suspensions: the groups did not stand still while people were read.
    pub fn without_group_losses(&mut self) -> u64 {
        let is_loss = |c: &Change| {
            c.class == Some(Class::Downgrade)
                || c.reason() == Some(Reason::NoGroup)
                    && matches!(c.kind, ChangeKind::Suspend { .. })
        };
        let dropped: BTreeSet<Option<Guid>> =
            self.plan.changes.iter().filter(|c| is_loss(c)).map(|c| c.guid).collect();
        let before = self.plan.changes.len();
        self.plan.changes.retain(|c| !is_loss(c));
        for person in self.people.iter_mut().filter(|p| dropped.contains(&Some(p.guid))) {
            person.put_off();
        }
        (before - self.plan.changes.len()) as u64
    }
}
