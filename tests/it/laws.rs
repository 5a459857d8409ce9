//! Properties that hold for every company, every history and every loss of sight.
//!
//! The two most important ones are tried on companies of all shapes. A loss of sight suspends no person
//! who is in order. A person who was seen disabled is suspended or held.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use rosterd::clock::Clock;
use rosterd::model::*;
use rosterd::reconcile::*;

use crate::world::*;

/// An event between two runs.
#[derive(Clone, Debug)]
enum Happening {
    Disable(u32),
    Enable(u32),
    Expire(u32),
    /// The leave date of the person passes.
    Leave(u32),
    Delete(u32),
    Purge(u32),
    LeaveGroups(u32),
    JoinPro(u32),
    Rename(u32, u32),
    Swap(u32, u32),
    TakeAddress(u32, u32),
    MoveOut(u32),
    BadMail(u32),
    Join(u32),
    Approve,
    Wait(u64),
    /// The clock is ahead by so many hours during one run.
    ClockAhead(u64),
}

fn happening(n: u32) -> impl Strategy<Value = Happening> {
    let person = 0..n;
    prop_oneof![
        person.clone().prop_map(Happening::Disable),
        person.clone().prop_map(Happening::Enable),
        person.clone().prop_map(Happening::Expire),
        person.clone().prop_map(Happening::Leave),
        person.clone().prop_map(Happening::Delete),
        person.clone().prop_map(Happening::Purge),
        person.clone().prop_map(Happening::LeaveGroups),
        person.clone().prop_map(Happening::JoinPro),
        (person.clone(), 0..100u32).prop_map(|(a, b)| Happening::Rename(a, b)),
        (person.clone(), person.clone()).prop_map(|(a, b)| Happening::Swap(a, b)),
        (person.clone(), person.clone()).prop_map(|(a, b)| Happening::TakeAddress(a, b)),
        person.clone().prop_map(Happening::MoveOut),
        person.clone().prop_map(Happening::BadMail),
        (1000..1010u32).prop_map(Happening::Join),
        Just(Happening::Approve),
        (1..2000u64).prop_map(Happening::Wait),
        (1..100_000u64).prop_map(Happening::ClockAhead),
    ]
}

fn loss(n: u32) -> impl Strategy<Value = Loss> {
    let some =
        move || prop::collection::btree_set((0..n).prop_map(guid), 0..(n as usize / 2).max(2));
    let none_or = move || prop_oneof![3 => Just(BTreeSet::new()), 1 => some()];
    let rarely = || prop::bool::weighted(0.15);
    let ous = ["Sales", "Engineering", "Operations"].map(str::to_owned).to_vec();
    let ous = prop_oneof![3 => Just(Vec::new()), 1 => prop::sample::subsequence(ous, 1..=2)];
    let groups =
        prop_oneof![3 => Just(Vec::new()), 1 => prop::sample::subsequence(vec![PRO, BASIC], 1..=2)];
    let ends = [
        PageEnd::Cut,
        PageEnd::Refused(4),
        PageEnd::Refused(51),
        PageEnd::NoControl,
        PageEnd::SameCookie,
    ];
    let end = prop::option::weighted(0.35, (0..3usize, prop::sample::select(ends.to_vec())));
    let cut_after = prop::option::weighted(0.2, 0..n as usize);
    let entries = (ous, none_or(), none_or(), none_or(), none_or(), none_or(), none_or());
    let server = (
        groups,
        rarely(),
        any::<bool>(),
        end,
        cut_after,
        rarely(),
        rarely(),
        rarely(),
        any::<bool>(),
        rarely(),
        rarely(),
    );
    (entries, server).prop_map(
        |((ous, skipped, hidden, no_control, no_mail, no_member_of, broken), server)| {
            let (
                groups,
                no_basic_group,
                tombstones_visible,
                end,
                cut_after,
                other_server,
                unconfirmed,
                clocks_apart,
                reversed,
                on_replica,
                groups_unasked,
            ) = server;
            Loss {
                hidden_ous: ous.into_iter().collect(),
                skipped,
                hidden,
                no_control,
                no_mail,
                no_member_of,
                broken,
                blind_groups: groups.into_iter().collect(),
                no_basic_group,
                tombstones_visible,
                end,
                cut_after,
                other_server,
                on_replica,
                groups_unasked,
                unconfirmed,
                clocks_apart,
                reversed,
            }
        },
    )
}

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    Happens(Happening),
    /// A run with a loss of sight, followed by so many minutes.
    Run(Box<Loss>, u64),
}

fn life(n: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![1 => happening(n).prop_map(Step::Happens), 2 => (loss(n), 1..90u64).prop_map(|(l, m)| Step::Run(Box::new(l), m))];
    prop::collection::vec(step, 1..14)
}

/// A company and its history.
#[derive(Clone, Debug)]
struct Story {
    /// The OU of each person, and whether it is in the Pro and the Basic group.
    people: Vec<(usize, bool, bool)>,
    /// Whether each OU is a base of its own.
    has_several_bases: bool,
    has_grace_period: bool,
    without: WithoutGroup,
    hold_all: HoldAll,
    protected: Vec<u32>,
    life: Vec<Step>,
}

fn story() -> impl Strategy<Value = Story> {
    (3..32u32).prop_flat_map(|n| {
        let people = prop::collection::vec((0..3usize, prop::bool::weighted(0.3), prop::bool::weighted(0.9)), n as usize);
        let without = prop::sample::select(vec![WithoutGroup::Suspend, WithoutGroup::Keep, WithoutGroup::Basic]);
        let hold_all =
            prop_oneof![8 => Just(HoldAll::No), 1 => Just(HoldAll::ExceptPositive), 1 => Just(HoldAll::Everything(HoldReason::PlanOnly))];
        (people, any::<bool>(), any::<bool>(), without, hold_all, prop::collection::vec(0..n, 0..3), life(n)).prop_map(
            |(people, has_several_bases, has_grace_period, without, hold_all, protected, life)| Story {
                people,
                has_several_bases,
                has_grace_period,
                without,
                hold_all,
                protected,
                life,
            },
        )
    })
}

impl Story {
    /// Returns the company with all people provisioned.
    fn company(&self) -> Company {
        let mut company = Company::of(self.people.len() as u32);
        for (n, (ou, pro, basic)) in (0..).zip(&self.people) {
            let truth = company.person(n);
            ["Engineering", "Sales", "Operations"][*ou].clone_into(&mut truth.ou);
            // Two people of three are always in a group.
            (truth.pro, truth.basic) = (*pro, *basic || n % 3 > 0);
            if n % 4 > 0 {
                truth.proxies.clear();
            }
        }
        if self.has_several_bases {
            company.bases =
                ["Engineering", "Sales", "Operations"].map(|ou| format!("OU={ou},{BASE}")).to_vec();
        }
        if !self.has_grace_period {
            company.limits.grace_period = Duration::ZERO;
        }
        company.without = self.without;
        let mut company = company.at_work();
        company.protected = self.protected.iter().map(|n| guid(*n)).collect();
        company.hold_all = self.hold_all;
        company
    }
}

/// Tries so many cases. With `PROPTEST_RNG_SEED` set to the seed of a failure, the same cases are tried.
fn try_all<S: Strategy<Value: Debug>>(
    cases: u32,
    strategy: &S,
    law: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let seed = std::env::var("PROPTEST_RNG_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(Clock::system().now().0.cast_unsigned());
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if let Err(failure) = TestRunner::new(config).run(strategy, law) {
        panic!("PROPTEST_RNG_SEED={seed}: {failure}");
    }
}

fn happen(company: &mut Company, what: &Happening) {
    let now = company.now;
    match what {
        Happening::Disable(n) => company.person(*n).disabled = true,
        Happening::Enable(n) => company.person(*n).disabled = false,
        Happening::Expire(n) => company.person(*n).expires = Expiry::At(now),
        Happening::Leave(n) => company.person(*n).leave = Field::Text(now.to_string()),
        Happening::Delete(n) => company.person(*n).life = Life::Tombstone,
        Happening::Purge(n) => company.person(*n).life = Life::Purged,
        Happening::LeaveGroups(n) => {
            let truth = company.person(*n);
            (truth.pro, truth.basic) = (false, false);
        }
        Happening::JoinPro(n) => company.person(*n).pro = true,
        Happening::Rename(n, m) => company.person(*n).mail = format!("new{m}@example.com"),
        Happening::Swap(a, b) => {
            let (x, y) = (company.person(*a).mail.clone(), company.person(*b).mail.clone());
            company.person(*a).mail = y;
            company.person(*b).mail = x;
        }
        Happening::TakeAddress(a, b) => {
            let mail = company.person(*b).mail.clone();
            company.person(*a).mail = mail;
        }
        Happening::MoveOut(n) => company.person(*n).ou = "Elsewhere".into(),
        Happening::BadMail(n) => company.person(*n).mail = "<nobody>".into(),
        Happening::Join(n) => {
            let mut truth = Company::of(1).person(0).clone();
            truth.mail = format!("p{n}@example.com");
            truth.proxies.clear();
            company.truth.insert(guid(*n), truth);
        }
        Happening::Approve => company.approve_all(&Loss::default()),
        Happening::Wait(minutes) => company.later(Duration::from_mins(*minutes)),
        Happening::ClockAhead(hours) => {
            company.later(Duration::from_hours(*hours));
            // The server's clock is right.
            company.run(&Loss { clocks_apart: true, ..Loss::default() });
            company.set_back(Duration::from_hours(*hours));
        }
    }
}

/// Returns whether the person is present, enabled and entitled, so that no cause holds.
fn is_in_order(truth: &Facts, now: Timestamp) -> bool {
    let expired = truth.has_expired(now);
    truth.life == Life::Alive
        && !truth.disabled
        && !expired
        && truth.ou != "Elsewhere"
        && (truth.pro || truth.basic)
}

/// Returns the person that an event gives a cause to be suspended.
fn is_about(what: &Happening) -> Option<u32> {
    match what {
        Happening::Disable(n)
        | Happening::Expire(n)
        | Happening::Leave(n)
        | Happening::Delete(n)
        | Happening::Purge(n)
        | Happening::LeaveGroups(n)
        | Happening::MoveOut(n) => Some(*n),
        _ => None,
    }
}

fn user_of(company: &Company, n: u32) -> Option<&User> {
    company.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == guid(n)))
}

#[test]
fn no_loss_of_sight_suspends_more_people_in_order_than_the_daily_limit() {
    try_all(1_500, &story(), |story| {
        let mut company = story.company();
        let mut in_order: BTreeSet<u32> = (0..story.people.len() as u32)
            .filter(|n| user_of(&company, *n).is_some_and(|u| u.status() == Status::Active))
            .collect();
        let (a_day, begin) =
            (company.limits.allowed(ChangeClass::Gone, company.active()), company.now);
        for step in &story.life {
            match step {
                Step::Happens(what) => {
                    in_order.retain(|n| is_about(what) != Some(*n));
                    happen(&mut company, what);
                }
                Step::Run(loss, minutes) => {
                    company.run(loss);
                    company.later(Duration::from_mins(*minutes));
                }
            }
            let wrong: Vec<&User> = in_order
                .iter()
                .filter_map(|n| user_of(&company, *n))
                .filter(|u| u.status() == Status::Suspended)
                .collect();
            // The limit is one of a day, so a loss that lasts reaches it every day.
            let days = 1 + company.now.since(begin).as_secs() / company.limits.window.as_secs();
            let limit = a_day * days;
            prop_assert!(
                wrong.len() as u64 <= limit,
                "{} people suspended, the limit is {limit}",
                wrong.len()
            );
            for user in wrong {
                let causes: Vec<Reason> = user.causes.iter().map(|c| c.reason).collect();
                prop_assert_eq!(
                    causes,
                    [Reason::Vanished],
                    "a cause other than vanished was seen of a person in order"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn a_loss_of_sight_that_differs_from_leaving_changes_no_user_without_limits() {
    try_all(1_000, &story(), |story| {
        let mut company = story.company();
        company.limits.grace_period = Duration::ZERO;
        for limit in company.limits.classes.values_mut() {
            *limit = Limit { percent: 100, at_least: 10_000, at_most: None };
        }
        let before = company.users.clone();
        for step in &story.life {
            let Step::Run(loss, minutes) = step else { continue };
            // A single hidden person looks deleted where tombstones are hidden, too: limits are for that.
            let hidden =
                if loss.tombstones_visible { loss.hidden.clone() } else { BTreeSet::new() };
            company.run(&Loss { hidden, ..Loss::clone(loss) });
            company.later(Duration::from_mins(*minutes));
            for (id, user) in &company.users {
                prop_assert_eq!(
                    (user.status(), user.tier),
                    (before[id].status(), before[id].tier),
                    "{:?}",
                    user.causes
                );
            }
        }
        Ok(())
    });
}

#[test]
fn a_person_seen_disabled_is_suspended_or_held_in_the_same_run() {
    try_all(1_500, &story(), |story| {
        let mut company = story.company();
        for step in &story.life {
            match step {
                Step::Happens(what) => happen(&mut company, what),
                Step::Run(loss, minutes) => {
                    company.run(loss);
                    let seen: Vec<&User> = company
                        .users
                        .values()
                        .filter(|u| {
                            u.link.as_ref().is_some_and(|l| company.seen_disabled.contains(&l.guid))
                        })
                        .collect();
                    for user in seen {
                        let held = company.held.iter().find(|h| {
                            h.change.user == user.id && h.change.reason() == Some(Reason::Disabled)
                        });
                        let waits = held.is_some_and(|h| h.hold != HoldReason::GracePeriod);
                        prop_assert!(
                            user.status() == Status::Suspended || waits,
                            "{} is active and not held: {held:?}",
                            user.id
                        );
                    }
                    company.later(Duration::from_mins(*minutes));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_reactivated_user_has_no_cause_left() {
    try_all(1_500, &story(), |story| {
        let mut company = story.company();
        for step in &story.life {
            let before = company.clone();
            match step {
                Step::Happens(what) => happen(&mut company, what),
                Step::Run(loss, minutes) => {
                    company.run(loss);
                    for user in company.users.values().filter(|u| u.status() == Status::Active) {
                        let was_suspended = before
                            .users
                            .get(&user.id)
                            .is_some_and(|u| u.status() == Status::Suspended);
                        let Some(link) = user.link.as_ref().filter(|_| was_suspended) else {
                            continue;
                        };
                        let truth = &company.truth[&link.guid];
                        let is_entitled =
                            truth.pro || truth.basic || story.without != WithoutGroup::Suspend;
                        let truth = Facts { basic: is_entitled, ..truth.clone() };
                        prop_assert!(
                            is_in_order(&truth, company.now),
                            "{} came back: {truth:?} under {loss:?}",
                            link.guid
                        );
                    }
                    company.later(Duration::from_mins(*minutes));
                }
            }
        }
        Ok(())
    });
}

/// A person leaves an OU or a group. A run may follow.
#[derive(Clone, Debug)]
struct Leaving {
    person: u32,
    way: usize,
    minutes: u64,
    is_followed: bool,
}

#[test]
fn slices_of_an_event_are_held_where_one_run_would_hold_it() {
    let leaving = (0..30u32, 0..4usize, 1..40u64, any::<bool>()).prop_map(
        |(person, way, minutes, is_followed)| Leaving { person, way, minutes, is_followed },
    );
    let lives = (prop::collection::vec(leaving, 1..30), any::<bool>());
    try_all(400, &lives, |(leavings, has_grace_period)| {
        let mut company = Company::running(30);
        company.limits.window = Duration::from_hours(48);
        company.limits.grace_period =
            if has_grace_period { Duration::from_mins(10) } else { Duration::ZERO };
        for limit in company.limits.classes.values_mut() {
            *limit = Limit { percent: 100, at_least: 10_000, at_most: None };
        }
        let mut belonged = company.members();
        for Leaving { person, way, minutes, is_followed } in leavings {
            let person = company.person(person);
            match way {
                0 => person.life = Life::Tombstone,
                1 => "Elsewhere".clone_into(&mut person.ou),
                2 => (person.pro, person.basic) = (false, false),
                _ => person.pro = false,
            }
            if is_followed {
                company.run(&Loss { tombstones_visible: true, ..Loss::default() });
                company.later(Duration::from_mins(minutes));
            }
            // A cluster is the group that was lost, or the OU that the entry was in.
            let now = company.members();
            for (cluster, users) in &now {
                belonged.entry(cluster.clone()).or_default().extend(users);
            }
            let has_left = |cluster: &str, id: &UserId| {
                // Only the first cause takes the user out of a cluster.
                let first = company.users[id].causes.iter().min_by_key(|c| c.since);
                let gone =
                    first.is_some_and(|c| matches!(c.reason, Reason::Deleted | Reason::OutOfScope));
                !now.get(cluster).is_some_and(|users| users.contains(id))
                    && gone != cluster.starts_with("group:")
            };
            for (cluster, before) in &belonged {
                let gone = before.iter().filter(|id| has_left(cluster, id)).count();
                prop_assert!(
                    gone < 5 || gone * 100 < before.len() * 30,
                    "{gone} of {} of {cluster} without an operator",
                    before.len()
                );
            }
        }
        Ok(())
    });
}

const PEOPLE: u32 = 24;

/// People who leave without a tombstone: out of scope, out of all groups, or purged.
fn absences() -> impl Strategy<Value = Vec<(u32, usize)>> {
    prop::collection::vec((0..PEOPLE, 0..3usize), 1..12)
}

fn absent(company: &mut Company, absences: &[(u32, usize)]) {
    let ways = [Happening::MoveOut, Happening::LeaveGroups, Happening::Purge];
    for (person, way) in absences {
        happen(company, &ways[*way](*person));
    }
}

fn causes(company: &Company) -> Vec<(UserId, Tier, Vec<Reason>)> {
    let of = |user: &User| (user.id, user.tier, user.causes.iter().map(|c| c.reason).collect());
    company.users.values().map(of).collect()
}

#[test]
fn a_grace_period_decides_when_a_change_is_applied_and_not_whether() {
    try_all(300, &(absences(), 1..12u64), |(absences, limit)| {
        let mut at_once = Company::running(PEOPLE);
        for class in [ChangeClass::Gone, ChangeClass::Downgrade] {
            let limit = Limit { percent: 0, at_least: limit, at_most: None };
            at_once.limits.classes.insert(class, limit);
        }
        let mut later = at_once.clone();
        at_once.limits.grace_period = Duration::ZERO;
        absent(&mut at_once, &absences);
        absent(&mut later, &absences);
        at_once.run(&Loss::default());
        later.run(&Loss::default());
        prop_assert_eq!(causes(&later), causes(&Company::running(PEOPLE)));
        later.later(later.limits.grace_period);
        later.run(&Loss::default());
        prop_assert_eq!(causes(&later), causes(&at_once));
        Ok(())
    });
}

#[test]
fn an_incomplete_read_applies_positive_suspensions_only() {
    let history = prop::collection::vec(happening(PEOPLE), 1..12);
    try_all(300, &(history, 0..PEOPLE as usize), |(history, entries)| {
        let mut company = Company::running(PEOPLE);
        for what in &history {
            happen(&mut company, what);
        }
        let end = Some((0, PageEnd::Cut));
        company.run(&Loss { end, cut_after: Some(entries), ..Loss::default() });
        for change in &company.written {
            let is_positive = change.kind == ChangeVerb::Suspend
                && change.reason.is_some_and(Reason::is_positive);
            prop_assert!(is_positive, "{change:?}");
        }
        Ok(())
    });
}

#[test]
fn absences_wait_ten_minutes_after_a_change_of_server() {
    try_all(300, &(absences(), 0..20u64), |(absences, minutes)| {
        let mut company = Company::running(PEOPLE);
        company.limits.grace_period = Duration::ZERO;
        for limit in company.limits.classes.values_mut() {
            *limit = Limit { percent: 100, at_least: 10_000, at_most: None };
        }
        let before = causes(&company);
        absent(&mut company, &absences);
        let replica = Loss { on_replica: true, ..Loss::default() };
        company.run(&replica);
        prop_assert_eq!(&causes(&company), &before, "the replica may lag behind");
        company.later(Duration::from_mins(minutes));
        company.run(&replica);
        if minutes < 10 {
            prop_assert_eq!(&causes(&company), &before, "the replica may still lag behind");
        } else {
            let waits = company.held.iter().any(|h| h.hold == HoldReason::GracePeriod);
            prop_assert!(!waits, "{:?}", company.waiting());
        }
        Ok(())
    });
}

proptest! {
    // Each case is a history of several runs.
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn a_third_run_over_the_same_directory_changes_nothing(history in prop::collection::vec(happening(PEOPLE), 0..15), loss in loss(PEOPLE)) {
        let mut company = Company::running(PEOPLE);
        for what in &history {
            happen(&mut company, what);
        }
        company.run(&loss);
        company.run(&loss);
        let users = company.users.clone();
        let held: Vec<Digest> = company.held.iter().map(|h| h.change.digest()).collect();
        company.run(&loss);
        // A user suspended by the first run may get further causes by the second.
        prop_assert_eq!(&company.users, &users);
        prop_assert_eq!(company.held.iter().map(|h| h.change.digest()).collect::<Vec<_>>(), held);
    }

    #[test]
    fn after_a_loss_of_sight_ends_all_users_are_as_before(losses in prop::collection::vec(loss(PEOPLE), 1..6)) {
        let mut company = Company::running(PEOPLE);
        for loss in &losses {
            company.run(loss);
        }
        company.run(&Loss::default());
        // The server may have changed, so that reactivations wait.
        company.later(Duration::from_mins(10));
        company.run(&Loss::default());
        company.run(&Loss::default());
        prop_assert_eq!(company.active(), u64::from(PEOPLE));
        prop_assert!(company.held.is_empty(), "{:?}", company.waiting());
    }

    #[test]
    fn after_approvals_every_user_is_as_the_directory_says(history in prop::collection::vec(happening(PEOPLE), 0..25)) {
        let mut company = Company::running(PEOPLE);
        for what in &history {
            happen(&mut company, what);
            company.run(&Loss::default());
        }
        for _ in 0..3 {
            company.later(Duration::from_hours(25));
            company.run(&Loss::default());
            company.approve_all(&Loss::default());
        }
        for (guid, truth) in &company.truth {
            let Some(user) = company.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == *guid)) else { continue };
            let contested = company.quarantined.iter().any(|q| q.object_guid == *guid);
            if is_in_order(truth, company.now) {
                prop_assert!(contested || user.status() == Status::Active, "{guid} should be active: {:?}", user.causes);
            } else {
                prop_assert_eq!(user.status(), Status::Suspended);
            }
        }
    }

    #[test]
    fn the_order_of_entries_changes_nothing(history in prop::collection::vec(happening(PEOPLE), 0..20)) {
        let (mut one, mut other) = (Company::running(PEOPLE), Company::running(PEOPLE));
        for what in &history {
            happen(&mut one, what);
            happen(&mut other, what);
            one.run(&Loss::default());
            other.run(&Loss { reversed: true, ..Loss::default() });
        }
        prop_assert_eq!(one.users, other.users);
        prop_assert_eq!(one.held, other.held);
    }

    #[test]
    fn slices_and_their_order_do_not_change_who_holds_an_address(
        wants in prop::collection::vec((0..12u32, 0..8u32, prop::bool::ANY), 1..14),
        joiners in prop::collection::btree_set(1000..1006u32, 0..6),
        order in Just((0..18u32).collect::<Vec<_>>()).prop_shuffle(),
        size in 1..6usize,
    ) {
        let edit = |company: &mut Company| {
            for n in &joiners {
                happen(company, &Happening::Join(*n));
            }
            let people: Vec<u32> = (0..12).chain(joiners.iter().copied()).collect();
            for (who, address, is_alias) in &wants {
                let truth = company.person(people[(*who as usize * 7) % people.len()]);
                if *is_alias {
                    truth.proxies = vec![format!("smtp:p{address}@example.com")];
                } else {
                    truth.mail = format!("p{address}@example.com");
                }
            }
            people
        };
        let running = Company::running(12);
        let (mut whole, mut sliced) = (running.clone(), running);
        for limit in whole.limits.classes.values_mut().chain(sliced.limits.classes.values_mut()) {
            *limit = Limit { percent: 100, at_least: 10_000, at_most: None };
        }
        edit(&mut whole);
        let people = edit(&mut sliced);
        whole.run(&Loss::default());
        let order: Vec<Guid> = order.iter().filter_map(|n| people.get(*n as usize)).map(|n| guid(*n)).collect();
        for slice in order.chunks(size) {
            sliced.run_over(&slice.iter().copied().collect());
        }
        for company in [&mut whole, &mut sliced] {
            // Refused people are read again.
            company.run(&Loss::default());
            company.run(&Loss::default());
        }
        let holders = |company: &Company| -> Vec<(UserId, Addresses)> { company.users.values().map(|u| (u.id, u.addresses.clone())).collect() };
        prop_assert_eq!(holders(&whole), holders(&sliced));
        let reasons = |company: &Company| company.quarantined.iter().map(|q| (q.object_guid, q.reason)).collect::<Vec<_>>();
        prop_assert_eq!(reasons(&whole), reasons(&sliced));
    }

    #[test]
    fn without_a_claim_no_user_is_created_or_readdressed(history in prop::collection::vec(happening(PEOPLE), 0..12)) {
        let mut company = Company::running(PEOPLE);
        company.claims.clear();
        let before: Vec<_> = company.users.values().map(|u| (u.id, u.addresses.clone())).collect();
        for what in &history {
            happen(&mut company, what);
            company.run(&Loss::default());
        }
        prop_assert_eq!(company.users.values().map(|u| (u.id, u.addresses.clone())).collect::<Vec<_>>(), before);
    }
}

/// An event, a run, or an action of an operator.
#[derive(Clone, Debug)]
enum Deed {
    Happens(Happening),
    Run(Box<Loss>, u64),
    Reject,
    Reopen,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let run = (loss(PEOPLE), 1..1_500u64);
    let deed = prop_oneof![
        6 => happening(PEOPLE).prop_map(Deed::Happens),
        3 => Just(Deed::Run(Box::default(), 20)),
        2 => run.prop_map(|(loss, minutes)| Deed::Run(Box::new(loss), minutes)),
        3 => Just(Deed::Reject),
        1 => Just(Deed::Reopen),
    ];
    prop::collection::vec(deed, 1..30)
}

/// Returns whether the reason holds in the directory, visible or not.
fn is_true(reason: Reason, truth: &Facts, now: Timestamp) -> bool {
    let is_alive = truth.life == Life::Alive;
    match reason {
        Reason::Operator => false,
        Reason::Disabled => is_alive && truth.disabled,
        Reason::Expired => is_alive && truth.has_expired(now),
        Reason::Deleted => truth.life == Life::Tombstone,
        Reason::OutOfScope => is_alive && truth.ou == "Elsewhere",
        Reason::NoGroup => is_alive && !truth.pro && !truth.basic,
        Reason::Vanished => truth.life == Life::Purged,
    }
}

#[test]
fn no_rejected_suspension_is_applied_while_the_directory_is_unchanged() {
    let hold_all = prop_oneof![4 => Just(HoldAll::No), 2 => Just(HoldAll::ExceptPositive), 1 => Just(HoldAll::Everything(HoldReason::PlanOnly))];
    let rejections = std::cell::Cell::new(0_u32);
    try_all(1_500, &(deeds(), hold_all, any::<bool>()), |(deeds, hold_all, has_grace_period)| {
        let mut company = Company::running(PEOPLE);
        // The limits are low, so that there are held changes to reject.
        for limit in company.limits.classes.values_mut() {
            *limit = Limit { percent: 4, at_least: 1, at_most: None };
        }
        if !has_grace_period {
            company.limits.grace_period = Duration::ZERO;
        }
        company.hold_all = hold_all;
        let mut rejected: Vec<(UserId, Guid, Reason, String)> = Vec::new();
        for deed in &deeds {
            match deed {
                Deed::Happens(what) => happen(&mut company, what),
                Deed::Run(loss, minutes) => {
                    company.run(loss);
                    company.later(Duration::from_mins(*minutes));
                }
                Deed::Reject => {
                    for held in company.held.iter().filter(|h| {
                        !matches!(h.hold, HoldReason::GracePeriod | HoldReason::Rejected)
                    }) {
                        let (ChangeKind::Suspend { cause, .. }, Some(guid)) =
                            (&held.change.kind, held.change.guid)
                        else {
                            continue;
                        };
                        let truth = &company.truth[&guid];
                        let is_applied = company.users[&held.change.user].causes.has(cause.reason);
                        if is_true(cause.reason, truth, company.now) && !is_applied {
                            rejected.push((
                                held.change.user,
                                guid,
                                cause.reason,
                                format!("{truth:?}"),
                            ));
                        }
                    }
                    company.reject_all();
                }
                Deed::Reopen => {
                    rejected.clear();
                    company.reopen_all();
                }
            }
            rejected.retain(|(_, guid, _, was)| format!("{:?}", company.truth[guid]) == *was);
            rejections.set(rejections.get() + rejected.len() as u32);
            for (user, _, reason, was) in &rejected {
                let causes = &company.users[user].causes;
                prop_assert!(
                    !causes.has(*reason),
                    "{user} is suspended as {reason} although that was rejected: {was}"
                );
            }
        }
        Ok(())
    });
    assert!(
        rejections.get() > 500,
        "the law is tried on {} rejected suspensions",
        rejections.get()
    );
}

/// Returns a loss of sight that leaves people undecided without hiding their addresses.
fn indecision(n: u32) -> impl Strategy<Value = Loss> {
    let some = prop::collection::btree_set((0..n).prop_map(guid), 0..n as usize);
    (some, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(no_control, no_basic_group, clocks_apart, groups_unasked)| Loss {
            no_control,
            no_basic_group,
            clocks_apart,
            groups_unasked,
            tombstones_visible: true,
            ..Loss::default()
        },
    )
}

#[test]
fn no_undecided_person_loses_its_address_to_another_who_wants_it() {
    let wants = prop::collection::vec((0..PEOPLE + 6, 0..3u32, prop::bool::weighted(0.3)), 2..8);
    try_all(400, &(wants, indecision(PEOPLE + 6)), |(wants, loss)| {
        let mut company = Company::running(PEOPLE);
        for n in PEOPLE..PEOPLE + 6 {
            happen(&mut company, &Happening::Join(n));
        }
        for (who, address, is_alias) in &wants {
            let person = company.person(*who);
            if *is_alias {
                person.proxies = vec![format!("smtp:contested{address}@example.com")];
            } else {
                person.mail = format!("contested{address}@example.com");
            }
        }
        company.run(&loss);
        for address in (0..3).map(|n| format!("contested{n}@example.com")) {
            let alias = format!("smtp:{address}");
            let primaries = company.truth.values().filter(|t| t.mail == address).count();
            let wanting = |t: &&Facts| t.mail == address || t.proxies.contains(&alias);
            let is_contested = match primaries {
                0 => company.truth.values().filter(wanting).count() > 1,
                _ => primaries > 1,
            };
            let key = Address::parse(&address).expect("an address").key();
            let holders: Vec<_> =
                company.users.values().filter(|u| u.addresses.keys().contains(&key)).collect();
            prop_assert!(!is_contested || holders.is_empty(), "{address}: {holders:?}");
            let is_alias =
                |u: &&User| u.addresses.primary.as_ref().is_none_or(|primary| primary.key() != key);
            let aliases = holders.into_iter().filter(is_alias).count();
            prop_assert!(primaries == 0 || aliases == 0, "{address} is an alias of another");
        }
        Ok(())
    });
}
