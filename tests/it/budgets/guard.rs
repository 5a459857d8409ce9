//! No sequence of full and scoped runs exceeds a limit of the guard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use super::{HOUR, class};
use crate::world::guid;

/// One event in the company.
#[derive(Clone, Debug)]
enum Event {
    /// This many people, from an index on, ask for a change of this class.
    Want(ChangeClass, usize, usize),
    /// They do not ask for it any more.
    Forget(usize, usize),
    /// An operator reactivates all suspended users.
    Back(usize, usize),
    Full,
    /// A run over this many people, from an index on.
    Scoped(usize, usize),
    /// All held changes are approved.
    Approve,
    Wait(u64),
}

fn event(people: usize) -> impl Strategy<Value = Event> {
    let some = move || (0..people, 1..=people);
    prop_oneof![
        4 => (class(), some()).prop_map(|(class, (from, count))| Event::Want(class, from, count)),
        1 => some().prop_map(|(from, count)| Event::Forget(from, count)),
        2 => some().prop_map(|(from, count)| Event::Back(from, count)),
        4 => Just(Event::Full),
        4 => some().prop_map(|(from, count)| Event::Scoped(from, count)),
        1 => Just(Event::Approve),
        3 => (1..15u64).prop_map(Event::Wait),
        3 => (15..600u64).prop_map(Event::Wait),
        1 => (600..4000u64).prop_map(Event::Wait),
    ]
}

/// The stored state of one person, the only state that passes from one run to the next.
#[derive(Clone, Debug)]
struct Person {
    is_active: bool,
    /// The change that the directory asks for.
    wants: Option<ChangeClass>,
    is_held: bool,
    first_seen: Option<Timestamp>,
    is_due: bool,
}

/// A company reduced to its budget.
#[derive(Clone, Debug)]
struct Office {
    limits: Limits,
    now: Timestamp,
    people: Vec<Person>,
    /// Changes applied without approval.
    applied: Vec<(Timestamp, ChangeClass)>,
    /// Active users after each step.
    actives: Vec<(Timestamp, u64)>,
}

/// The changes of one run by class: asked for, and applied.
type Outcome = BTreeMap<ChangeClass, (u64, u64)>;

fn is_suspension(class: ChangeClass) -> bool {
    matches!(class, ChangeClass::Confirmed | ChangeClass::Deleted | ChangeClass::Gone)
}

impl Office {
    fn of(people: usize) -> Self {
        let person = Person {
            is_active: true,
            wants: None,
            is_held: false,
            first_seen: None,
            is_due: false,
        };
        let now = Timestamp(1_700_000_000_000_000);
        let limits = Limits::default();
        Self {
            limits,
            now,
            people: vec![person; people],
            applied: Vec::new(),
            actives: vec![(now, people as u64)],
        }
    }

    fn active(&self) -> u64 {
        self.people.iter().filter(|p| p.is_active).count() as u64
    }

    /// Returns the users that were active at the beginning of the current window.
    fn active_before(&self) -> u64 {
        let start = self.now.minus(self.limits.window);
        self.actives.iter().rev().find(|(at, _)| *at <= start).unwrap_or(&self.actives[0]).1
    }

    fn used(&self, class: ChangeClass, span: Duration) -> u64 {
        let since = self.now.minus(span);
        self.applied.iter().filter(|(at, c)| *c == class && *at > since).count() as u64
    }

    fn change(&self, n: usize) -> Option<Change> {
        let class = self.people[n].wants?;
        let who = guid(n as u32);
        let evidence = Evidence::of_operator("", Some(who), self.now);
        let suspended = |reason| {
            let cause = Cause {
                reason,
                since: self.now,
                by: By::Directory("corp".to_owned()),
                evidence: evidence.clone(),
            };
            ChangeKind::Suspend { cause, was_active: true }
        };
        let other = Box::new(Profile { display_name: Some(format!("{n}")), ..Profile::default() });
        let kind = match class {
            ChangeClass::Confirmed => suspended(Reason::Disabled),
            ChangeClass::Deleted => suspended(Reason::Deleted),
            ChangeClass::Gone => suspended(Reason::OutOfScope),
            ChangeClass::Downgrade => {
                ChangeKind::Tier { before: Tier::Pro, after: Tier::Basic, evidence }
            }
            ChangeClass::Upgrade => {
                ChangeKind::Tier { before: Tier::Basic, after: Tier::Pro, evidence }
            }
            // The budget counts by class only.
            ChangeClass::Create | ChangeClass::Readdress | ChangeClass::Reactivate => {
                ChangeKind::Update { before: Box::default(), after: other }
            }
        };
        let user = UserId::of_person(AccountId(uuid::Uuid::nil()), who);
        Some(Change {
            user,
            guid: Some(who),
            email: None,
            names: Names::default(),
            kind,
            class: Some(class),
            version: Some(1),
            cluster: None,
            home: None,
        })
    }

    /// Runs over these people as the engine does. The held changes of the others are counted from
    /// the store.
    fn run(&mut self, scope: &BTreeSet<usize>, approve: bool) -> Outcome {
        let changes: Vec<Change> = scope.iter().filter_map(|n| self.change(*n)).collect();
        let mut outcome = Outcome::new();
        for change in &changes {
            outcome.entry(change.class.expect("a class")).or_default().0 += 1;
        }
        let elsewhere = (0..self.people.len())
            .filter(|n| !scope.contains(n) && (self.people[*n].is_held || self.people[*n].is_due));
        let waits = |n| {
            self.change(n).map(|c| Waiting {
                user: c.user,
                class: c.class.expect("a class"),
                cluster: None,
                home: None,
                digest: None,
            })
        };
        let held = (0..self.people.len()).filter(|n| approve && self.people[*n].is_held);
        let first_seen = changes.iter().filter_map(|c| {
            Some(((c.user, GraceCause::of(c)?), self.people[person_of(c)].first_seen?))
        });
        let bounds = Bounds {
            limits: &self.limits,
            active: self.active_before(),
            used: ChangeClass::ALL
                .into_iter()
                .map(|c| {
                    (c, Used { window: self.used(c, self.limits.window), hour: self.used(c, HOUR) })
                })
                .collect(),
            waiting: elsewhere.filter_map(waits).collect(),
            first_seen: first_seen.collect(),
            ous: Vec::new(),
            is_quiet: false,
            held: BTreeSet::new(),
            clusters: BTreeMap::new(),
            newcomers: BTreeMap::new(),
            protected: &BTreeSet::new(),
            hold_all: HoldAll::No,
            approved: held.filter_map(|n| Some(self.change(n)?.digest())).collect(),
            rejected: Rejected::default(),
            replica: &Replica::default(),
            server_changed_at: None,
            deferred_until: None,
            now: self.now,
        };
        let plan = Plan { changes, quarantined: Vec::new() };
        let verdict = guard(Proposal { plan, ..Proposal::default() }, &bounds);

        for n in scope {
            let person = &mut self.people[*n];
            (person.is_held, person.is_due) = (false, false);
        }
        for held in &verdict.held {
            self.people[person_of(&held.change)].is_held = held.hold != HoldReason::GracePeriod;
        }
        for grace_periods in &verdict.grace_periods {
            let person = &mut self.people[index_of(grace_periods.guid)];
            (person.first_seen, person.is_due) =
                (Some(grace_periods.first_seen), grace_periods.due.is_some());
        }
        for (change, approved) in verdict.admitted.changes() {
            let (person, class) =
                (&mut self.people[person_of(change)], change.class.expect("a class"));
            (person.wants, person.first_seen) = (None, None);
            person.is_active &= !is_suspension(class);
            if !approved {
                self.applied.push((self.now, class));
                outcome.entry(class).or_default().1 += 1;
            }
        }
        self.actives.push((self.now, self.active()));
        outcome
    }

    fn some(&self, from: usize, count: usize) -> BTreeSet<usize> {
        (from..from + count).map(|n| n % self.people.len()).collect()
    }

    fn full(&mut self) -> Outcome {
        self.run(&(0..self.people.len()).collect(), false)
    }

    fn want(&mut self, class: ChangeClass, whom: &BTreeSet<usize>) {
        for n in whom {
            let person = &mut self.people[*n];
            if person.is_active && person.wants != Some(class) {
                (person.wants, person.first_seen, person.is_held, person.is_due) =
                    (Some(class), None, false, false);
            }
        }
    }

    fn apply(&mut self, what: &Event) -> Option<Outcome> {
        match what {
            Event::Want(class, from, count) => self.want(*class, &self.some(*from, *count)),
            Event::Forget(from, count) => self.some(*from, *count).iter().for_each(|n| {
                let person = &mut self.people[*n];
                (person.wants, person.first_seen, person.is_held, person.is_due) =
                    (None, None, false, false);
            }),
            Event::Back(from, count) => {
                self.some(*from, *count).iter().for_each(|n| self.people[*n].is_active = true)
            }
            Event::Full => return Some(self.full()),
            Event::Scoped(from, count) => {
                return Some(self.run(&self.some(*from, *count), false));
            }
            Event::Approve => {
                let held: BTreeSet<usize> =
                    (0..self.people.len()).filter(|n| self.people[*n].is_held).collect();
                return Some(self.run(&held, true));
            }
            Event::Wait(minutes) => self.now = self.now.plus(Duration::from_mins(*minutes)),
        }
        None
    }

    /// Returns the excess of a class in the current window.
    fn excess(&self, class: ChangeClass) -> Option<String> {
        let (window, hour) = (self.used(class, self.limits.window), self.used(class, HOUR));
        let allowed = self.limits.allowed(class, self.active_before());
        let is_let_through =
            class == ChangeClass::Confirmed && hour <= self.limits.classes[&class].at_least;
        (window > allowed && !is_let_through).then(|| {
            format!("{window} of {class}, which allows {allowed}; {hour} in the last hour")
        })
    }
}

/// Returns the index of a person: the inverse of `guid`.
fn index_of(who: Guid) -> usize {
    let Guid(bytes) = who;
    u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize
}

fn person_of(change: &Change) -> usize {
    index_of(change.guid.expect("a person"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_runs_bleeds_a_company_slowly((people, history) in (1..120usize).prop_flat_map(|n| (Just(n), prop::collection::vec(event(n), 1..40)))) {
        let mut office = Office::of(people);
        for what in &history {
            if let Some(outcome) = office.apply(what) {
                for (class, (asked, applied)) in outcome {
                    // Each run has its own window. A change within the limit then may exceed that
                    // of a later window.
                    if applied > 0 {
                        prop_assert_eq!(office.excess(class), None, "{:?}", what);
                    }
                    // All changes of a class are applied, or none. Confirmed ones are applied in
                    // order.
                    let is_whole = applied == 0 || applied == asked || matches!(class, ChangeClass::Confirmed | ChangeClass::Gone | ChangeClass::Downgrade);
                    prop_assert!(is_whole || matches!(what, Event::Approve), "{applied} of {asked} of {class}");
                }
            }
        }
    }

    #[test]
    fn a_tiny_company_loses_two_users_or_a_quarter_without_approval(
        people in 1..=10usize,
        class in prop::sample::select(vec![ChangeClass::Deleted, ChangeClass::Gone, ChangeClass::Downgrade]),
        runs in prop::collection::vec((any::<bool>(), 0..10usize, 1..=10usize, 1..120u64), 1..40),
    ) {
        let mut office = Office::of(people);
        for (is_full, from, count, minutes) in &runs {
            office.want(class, &office.some(*from, *count));
            if *is_full { office.full() } else { office.run(&office.some(*from, *count), false) };
            let (within_a_day, was_active) = (office.used(class, office.limits.window), office.active_before() as usize);
            prop_assert!(within_a_day <= 2.max(was_active / 4) as u64, "{within_a_day} of {was_active}");
            office.now = office.now.plus(Duration::from_mins(*minutes));
        }
    }
}

// Mass events, which take longer.
proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn a_mass_event_over_the_limit_does_not_pass_in_slices(
        class in prop::sample::select(vec![ChangeClass::Deleted, ChangeClass::Upgrade, ChangeClass::Create, ChangeClass::Readdress, ChangeClass::Reactivate, ChangeClass::Gone, ChangeClass::Downgrade]),
        people in 1..150usize,
        slices in prop::collection::vec((0..150usize, 1..30usize, 0..30u64), 1..30),
    ) {
        let mut office = Office::of(people);
        let everybody: BTreeSet<usize> = (0..people).collect();
        office.want(class, &everybody);
        // All absences were observed before, and their grace period has passed.
        office.full();
        office.now = office.now.plus(office.limits.grace_period);
        let allowed = office.limits.allowed(class, people as u64);
        let before = office.applied.len();
        for (from, count, minutes) in &slices {
            office.run(&office.some(*from, *count), false);
            office.now = office.now.plus(Duration::from_mins(*minutes));
        }
        if people as u64 > allowed {
            prop_assert_eq!((before, office.applied.len()), (0, 0), "{} are held, {} are allowed", people, allowed);
        }
    }

    #[test]
    fn a_few_disabled_users_are_suspended_at_once_while_a_mass_event_is_held(
        people in 30..150usize,
        mass in prop::sample::select(vec![ChangeClass::Deleted, ChangeClass::Gone, ChangeClass::Downgrade, ChangeClass::Readdress]),
        leavers in prop::collection::btree_set(0..150usize, 1..=10),
        is_scoped in any::<bool>(),
    ) {
        let mut office = Office::of(people);
        let leavers: BTreeSet<usize> = leavers.into_iter().map(|n| n % people).collect();
        office.want(mass, &(0..people).collect());
        office.full();
        office.now = office.now.plus(office.limits.grace_period);
        office.full();
        let held = office.people.iter().filter(|p| p.is_held).count() as u64;
        prop_assert!(held > office.limits.allowed(mass, people as u64) && office.applied.is_empty());
        office.want(ChangeClass::Confirmed, &leavers);
        let outcome = if is_scoped { office.run(&leavers, false) } else { office.full() };
        let all = leavers.len() as u64;
        prop_assert_eq!(outcome[&ChangeClass::Confirmed], (all, all));
    }

    #[test]
    fn ten_of_many_disabled_users_are_suspended_each_hour_and_the_rest_is_held(people in 1..150usize, hours in 1..30u64) {
        let mut office = Office::of(people);
        office.want(ChangeClass::Confirmed, &(0..people).collect());
        for _ in 0..hours {
            office.full();
            let left = office.people.iter().filter(|p| p.is_active).count();
            prop_assert_eq!(office.people.iter().filter(|p| p.is_held).count(), left, "all remaining users are held");
            office.now = office.now.plus(HOUR);
        }
        let least = (10 * hours).min(people as u64);
        prop_assert!(office.applied.len() as u64 >= least, "{} in {hours} hours", office.applied.len());
    }
}
