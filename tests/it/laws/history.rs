//! Companies, their histories and losses of sight, made at random.

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
pub(super) enum Happening {
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

pub(super) fn happening(n: u32) -> impl Strategy<Value = Happening> {
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

pub(super) fn loss(n: u32) -> impl Strategy<Value = Loss> {
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
pub(super) enum Step {
    Happens(Happening),
    /// A run with a loss of sight, followed by so many minutes.
    Run(Box<Loss>, u64),
}

pub(super) fn life(n: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![1 => happening(n).prop_map(Step::Happens), 2 => (loss(n), 1..90u64).prop_map(|(l, m)| Step::Run(Box::new(l), m))];
    prop::collection::vec(step, 1..14)
}

/// A company and its history.
#[derive(Clone, Debug)]
pub(super) struct Story {
    /// The OU of each person, and whether it is in the Pro and the Basic group.
    pub(super) people: Vec<(usize, bool, bool)>,
    /// Whether each OU is a base of its own.
    pub(super) has_several_bases: bool,
    pub(super) has_grace_period: bool,
    pub(super) without: WithoutGroup,
    pub(super) hold_all: HoldAll,
    pub(super) protected: Vec<u32>,
    pub(super) life: Vec<Step>,
}

pub(super) fn story() -> impl Strategy<Value = Story> {
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
    pub(super) fn company(&self) -> Company {
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
pub(super) fn try_all<S: Strategy<Value: Debug>>(
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

pub(super) fn happen(company: &mut Company, what: &Happening) {
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
pub(super) fn is_in_order(truth: &Facts, now: Timestamp) -> bool {
    let expired = truth.has_expired(now);
    truth.life == Life::Alive
        && !truth.disabled
        && !expired
        && truth.ou != "Elsewhere"
        && (truth.pro || truth.basic)
}

/// Returns the person that an event gives a cause to be suspended.
pub(super) fn is_about(what: &Happening) -> Option<u32> {
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

pub(super) fn user_of(company: &Company, n: u32) -> Option<&User> {
    company.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == guid(n)))
}

pub(super) const PEOPLE: u32 = 24;

/// People who leave without a tombstone: out of scope, out of all groups, or purged.
pub(super) fn absences() -> impl Strategy<Value = Vec<(u32, usize)>> {
    prop::collection::vec((0..PEOPLE, 0..3usize), 1..12)
}

pub(super) fn absent(company: &mut Company, absences: &[(u32, usize)]) {
    let ways = [Happening::MoveOut, Happening::LeaveGroups, Happening::Purge];
    for (person, way) in absences {
        happen(company, &ways[*way](*person));
    }
}

pub(super) fn causes(company: &Company) -> Vec<(UserId, Tier, Vec<Reason>)> {
    let of = |user: &User| (user.id, user.tier, user.causes.iter().map(|c| c.reason).collect());
    company.users.values().map(of).collect()
}
