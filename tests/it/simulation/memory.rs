//! The memory between steps that the promises need: since when a person has been a leaver, last
//! known places, observations. None of it comes from conclusions of the code under test.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::{
    Address, AddressKey, ChangeClass, Guid, Reason, RunState, Status, Timestamp, UserId,
};

use super::books::Books;
use super::history::{Do, Step};
use super::seen::{Seen, holds};
use super::truth::{Facts, Truth};
use crate::world::Life;

/// The number of reads of each directory within which a leaver must be suspended or held.
pub(super) const TICKS: u32 = 3;

/// The place of a user: the parent of the entry, and the entitling group.
pub(super) type Belongs = BTreeMap<UserId, (String, Option<Guid>)>;

#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The beginning of the recheck of each user's absence.
    pub(super) grace_periods: BTreeMap<(UserId, ChangeClass), Timestamp>,
    /// The time since when runs could see a reason to suspend.
    pub(super) since: BTreeMap<(Guid, Reason), Timestamp>,
    /// The number of reads of each directory since a person became this kind of leaver.
    pub(super) leavers: BTreeMap<(Guid, Reason), BTreeMap<String, u32>>,
    /// The number of reads since a linked person became invisible.
    pub(super) unseen: BTreeMap<Guid, BTreeMap<String, u32>>,
    /// The places of active managed users, after each step.
    pub(super) belonged: Vec<(Timestamp, Belongs)>,
    /// The wanted addresses, as some full read has seen them.
    pub(super) wants: BTreeMap<Guid, BTreeSet<AddressKey>>,
    /// The times at which a clock or the configuration changed, and with it the size of a
    /// directory.
    pub(super) upset: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Whether the last run that read each directory reports something.
    pub(super) reports: BTreeMap<String, bool>,
}

/// Returns the primary address that a person wants, in the form for comparison.
pub(super) fn wanted(facts: &Facts) -> Option<AddressKey> {
    Address::parse(facts.mail.as_deref()?).ok().map(|a| a.key())
}

/// Returns whether the person is a visible leaver of this kind at every moment of the step.
fn leaves(seen: &Seen<'_>, guid: Guid, reason: Reason) -> bool {
    let begun = seen.truths[0].at.minus(std::time::Duration::from_secs(2));
    let is = |truth: &Truth, facts: &Facts| {
        let can_be_known = match reason {
            Reason::Disabled => !truth.dark.contains("userAccountControl"),
            Reason::Expired => !truth.dark.contains("accountExpires") && truth.skew.as_secs() < 240,
            _ => true,
        };
        let at = if reason == Reason::Expired { begun } else { truth.at };
        can_be_known && facts.is_visible && holds(reason, facts, truth, at, seen.rulebook)
    };
    seen.truths.iter().all(|truth| truth.people.get(&guid).is_some_and(|facts| is(truth, facts)))
}

impl Memory {
    /// A clock that is set back moves the instants that were written.
    pub(super) fn clamp(&mut self, now: Timestamp) {
        let Self { grace_periods, since, belonged, .. } = self;
        grace_periods.values_mut().chain(since.values_mut()).for_each(|at| *at = (*at).min(now));
        for (at, _) in belonged.iter_mut() {
            *at = (*at).min(now);
        }
    }

    /// Updates the memory by a step.
    pub(super) fn learn(&mut self, seen: &Seen<'_>, now: Timestamp) {
        // Later writes know about a clock that was set back.
        if self.last.is_some_and(|last| last > now) {
            self.clamp(now);
        }
        self.last = Some(now);
        super::sequences::note_reports(seen, &mut self.reports);
        self.learn_grace_periods(seen, now);
        let linked: BTreeSet<Guid> = seen
            .after
            .users
            .values()
            .filter(|u| u.status() == Status::Active)
            .filter_map(|u| Some(u.link.as_ref()?.guid))
            .collect();
        let read: BTreeSet<String> = seen.readings().collect();
        self.learn_leavers(seen, &linked, &read);
        let belongs = |user: &rosterd::model::User| {
            let person = seen.after.people.get(&user.link.as_ref()?.guid)?;
            Some((user.id, (person.home.clone(), person.entitled_by)))
        };
        let active = seen.after.users.values().filter(|u| u.status() == Status::Active);
        self.belonged.push((now, active.filter_map(belongs).collect()));
        self.learn_wants(seen);
    }

    /// A restored store has its old contents.
    pub(super) fn forget(&mut self, seen: &Seen<'_>, now: Timestamp) {
        let since = seen.truths[0].people.keys();
        let reasons = [Reason::OutOfScope, Reason::NoGroup, Reason::Vanished];
        // Since before the first known step.
        let since =
            since.flat_map(|guid| reasons.map(|reason| ((*guid, reason), Timestamp(0)))).collect();
        let grace_periods =
            seen.after.grace_periods.iter().map(|(key, at)| (*key, (*at).min(now))).collect();
        let belonged = std::mem::take(&mut self.belonged);
        *self = Self {
            grace_periods,
            since,
            belonged,
            upset: Some(now),
            last: Some(now),
            ..Self::default()
        };
    }

    fn learn_wants(&mut self, seen: &Seen<'_>) {
        let last = seen.truths.last().expect("a moment");
        let read: BTreeSet<&str> = seen.whole_reads().collect();
        for (guid, facts) in &last.people {
            if facts.life != Life::Alive || !facts.shows(&["mail"]) {
                self.wants.remove(guid);
            } else if read.iter().any(|directory| last.is_of(directory, &facts.dn)) {
                self.wants.insert(*guid, wanted(facts).into_iter().collect());
            }
        }
    }

    fn learn_grace_periods(&mut self, seen: &Seen<'_>, now: Timestamp) {
        self.grace_periods.retain(|key, _| seen.after.grace_periods.contains_key(key));
        for key in seen.after.grace_periods.keys() {
            self.grace_periods.entry(*key).or_insert(now);
        }
        let is_read = seen.runs().any(|run| run.state != RunState::Running);
        for reason in [Reason::OutOfScope, Reason::NoGroup, Reason::Vanished] {
            for guid in seen.truths[0].people.keys() {
                let is = |truth: &Truth| {
                    truth.people.get(guid).is_some_and(|facts| match reason {
                        Reason::Vanished => !facts.is_visible || facts.life != Life::Alive,
                        reason => holds(reason, facts, truth, truth.at, seen.rulebook),
                    })
                };
                if seen.truths.iter().any(is) {
                    self.since.entry((*guid, reason)).or_insert(now);
                } else if is_read {
                    self.since.remove(&(*guid, reason));
                }
            }
        }
    }

    fn learn_leavers(&mut self, seen: &Seen<'_>, linked: &BTreeSet<Guid>, read: &BTreeSet<String>) {
        // A rejection that has ended may have kept leavers active. The next runs decide about them.
        if matches!(seen.step, Step::Do(Do::Reopen(_))) {
            self.leavers.clear();
        }
        let counted = |counts: &mut BTreeMap<String, u32>| {
            for name in read {
                *counts.entry(name.clone()).or_default() += 1;
            }
        };
        for reason in [Reason::Disabled, Reason::Expired, Reason::Deleted] {
            for guid in linked {
                if leaves(seen, *guid, reason) {
                    counted(self.leavers.entry((*guid, reason)).or_default());
                } else {
                    self.leavers.remove(&(*guid, reason));
                }
            }
        }
        self.leavers.retain(|(guid, _), _| linked.contains(guid));
        for guid in linked {
            if seen.truths.iter().all(|t| t.people.get(guid).is_some_and(|f| !f.is_visible)) {
                counted(self.unseen.entry(*guid).or_default());
            } else {
                self.unseen.remove(guid);
            }
        }
        self.unseen.retain(|guid, _| linked.contains(guid));
    }

    /// Returns the size of a group or an OU: its active users at the beginning of the window or
    /// later. It is no less than now.
    pub(super) fn size(
        &self,
        since: Timestamp,
        books: &Books,
        is: impl Fn(&(String, Option<Guid>)) -> bool,
    ) -> u64 {
        let count = |belongs: &Belongs| belongs.values().filter(|b| is(b)).count() as u64;
        let start =
            self.belonged.iter().rev().find(|(at, _)| *at <= since).or(self.belonged.first());
        let now: Belongs = books
            .users
            .values()
            .filter(|u| u.status() == Status::Active)
            .filter_map(|u| {
                let person = books.people.get(&u.link.as_ref()?.guid)?;
                Some((u.id, (person.home.clone(), person.entitled_by)))
            })
            .collect();
        start.map_or(0, |(_, belongs)| count(belongs)).max(count(&now))
    }
}
