//! A law about the slices in which a run plans its people.

use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use super::history::*;
use crate::world::*;

/// An event, a run, or an action of an operator.
#[derive(Clone, Debug)]
enum Deed {
    Happens(Happening),
    /// A person names an address that others name, too: as its primary one, or as an alias.
    Wants(u32, u32, bool),
    /// A user of the account gets an address that people may name.
    Invite(u32),
    Run(Box<Loss>, u64),
    Approve,
    Reject,
    Reopen,
    /// The next runs are in quiet hours, or are not.
    Quiet(bool),
    LoseGroups,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let wants = (0..PEOPLE, 0..6u32, any::<bool>());
    let run = (loss(PEOPLE), 1..1_500u64);
    let deed = prop_oneof![
        12 => happening(PEOPLE).prop_map(Deed::Happens),
        8 => wants.prop_map(|(who, address, is_alias)| Deed::Wants(who, address, is_alias)),
        1 => (0..6u32).prop_map(Deed::Invite),
        3 => Just(Deed::Run(Box::default(), 20)),
        2 => run.prop_map(|(loss, minutes)| Deed::Run(Box::new(loss), minutes)),
        2 => Just(Deed::Approve),
        1 => Just(Deed::Reject),
        1 => Just(Deed::Reopen),
        1 => any::<bool>().prop_map(Deed::Quiet),
        1 => Just(Deed::LoseGroups),
    ];
    prop::collection::vec(deed, 1..40)
}

fn does(company: &mut Company, deed: &Deed) {
    match deed {
        Deed::Happens(what) => happen(company, what),
        Deed::Wants(who, address, true) => {
            company.person(*who).proxies = vec![format!("smtp:w{address}@example.com")];
        }
        Deed::Wants(who, address, false) => {
            company.person(*who).mail = format!("w{address}@example.com");
        }
        Deed::Invite(address) => {
            let address = format!("w{address}@example.com");
            let key = Address::parse(&address).expect("an address").key();
            let is_free = company.users.values().all(|user| !user.addresses.keys().contains(&key));
            let is_new = company.users.values().all(|user| user.link.is_some());
            if is_free && is_new {
                company.unmanaged(&address);
            }
        }
        Deed::Run(loss, minutes) => {
            company.run(loss);
            company.later(Duration::from_mins(*minutes));
        }
        Deed::Approve => company.approve_all(&Loss::default()),
        Deed::Reject => company.reject_all(),
        Deed::Reopen => company.reopen_all(),
        Deed::Quiet(is_quiet) => company.is_quiet = *is_quiet,
        Deed::LoseGroups => {
            (0..PEOPLE / 2).for_each(|n| happen(company, &Happening::LeaveGroups(n)))
        }
    }
}

/// Returns everything that a run leaves, in an order of its own.
fn left(company: &Company) -> Vec<Vec<String>> {
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let mut all = vec![
        company.users.values().map(|user| format!("{user:?}")).collect(),
        company.people.values().map(|person| format!("{person:?}")).collect(),
        sorted(company.held.iter().map(|held| format!("{held:?}")).collect()),
        sorted(company.quarantined.iter().map(|one| format!("{one:?}")).collect()),
        sorted(company.grace_periods.iter().map(|period| format!("{period:?}")).collect()),
        sorted(company.written.iter().map(|change| format!("{change:?}")).collect()),
        sorted(company.rejections.iter().map(|rejection| format!("{rejection:?}")).collect()),
    ];
    all.push(company.warned.clone());
    all
}

#[test]
fn a_run_in_slices_gives_the_verdict_of_one_in_one_piece() {
    let hold_all = prop_oneof![
        8 => Just(HoldAll::No),
        1 => Just(HoldAll::ExceptPositive),
        1 => Just(HoldAll::Everything(HoldReason::PlanOnly)),
    ];
    let size = prop_oneof![2 => Just(7), 1 => 1..7_usize];
    let sliced = std::cell::Cell::new(0_u32);
    try_all(
        200,
        &(deeds(), hold_all, size, any::<bool>()),
        |(deeds, hold_all, size, is_strict)| {
            let mut whole = Company::running(PEOPLE);
            whole.hold_all = hold_all;
            for limit in whole.limits.classes.values_mut().filter(|_| is_strict) {
                *limit = Limit { percent: 4, at_least: 2, at_most: None };
            }
            let mut parts = Company { slice: size, ..whole.clone() };
            for deed in &deeds {
                does(&mut whole, deed);
                does(&mut parts, deed);
                if matches!(deed, Deed::Run(..) | Deed::Approve) {
                    prop_assert_eq!(left(&whole), left(&parts), "after {:?}", deed);
                    sliced.set(sliced.get() + u32::from(parts.slices_planned > 1));
                }
            }
            Ok(())
        },
    );
    assert!(sliced.get() > 100, "only {} runs had several slices", sliced.get());
}

#[test]
fn a_first_import_in_slices_creates_whom_one_in_one_piece_creates() {
    let wants = prop::collection::vec((0..PEOPLE, 0..6u32, any::<bool>()), 0..20);
    try_all(200, &(wants, 1..9_usize), |(wants, size)| {
        let mut whole = Company::of(PEOPLE);
        for (who, address, is_alias) in wants {
            does(&mut whole, &Deed::Wants(who, address, is_alias));
        }
        let mut parts = Company { slice: size, ..whole.clone() };
        for company in [&mut whole, &mut parts] {
            company.run(&Loss::default());
        }
        prop_assert_eq!(left(&whole), left(&parts), "planned");
        for company in [&mut whole, &mut parts] {
            company.approve_all(&Loss::default());
        }
        prop_assert_eq!(left(&whole), left(&parts), "approved");
        Ok(())
    });
}

fn evidence(company: &Company) -> Evidence {
    Evidence {
        server: String::new(),
        object: None,
        dn: None,
        attribute: "userAccountControl".to_owned(),
        value: "514".to_owned(),
        seen_at: company.now,
    }
}

#[test]
fn a_limit_admits_the_same_people_in_whatever_slices_they_are_planned() {
    let company = Company::running(9);
    let limit = |_| Limit { percent: 0, at_least: 4, at_most: None };
    let classes = ChangeClass::ALL.map(|class| (class, limit(class))).into();
    let limits = Limits { classes, ..Limits::default() };
    let (replica, protected) = (Replica::default(), std::collections::BTreeSet::new());
    let bounds = company.bounds(&limits, &replica, &protected);
    let leaves = |n: &u32| {
        let evidence = evidence(&company);
        let by = By::Directory("corp".to_owned());
        let cause = Cause { reason: Reason::Disabled, since: company.now, by, evidence };
        let kind = ChangeKind::Suspend { cause, was_active: true };
        let class = Some(ChangeClass::Confirmed);
        Change { class, ..Change::by_hand(company.user(*n), kind) }
    };
    let slice = |people: &[u32]| {
        let changes = people.iter().map(leaves).collect();
        Proposal { plan: Plan { changes, ..Plan::default() }, ..Proposal::default() }
    };
    let admitted = |slices: &[&[u32]]| {
        let mut tally = Tally::default();
        for people in slices {
            tally.add(&slice(people), &bounds);
        }
        let ruling = tally.rule(&bounds);
        let mut admitted = Vec::new();
        for (at, people) in slices.iter().enumerate() {
            let Ruled { admitted: some, .. } = ruling.split(at, slice(people));
            admitted.extend(some.changes().filter_map(|(change, _)| change.guid));
        }
        admitted.sort();
        admitted
    };
    let first = admitted(&[&[0, 1, 2, 3, 4, 5, 6, 7, 8]]);
    assert_eq!(first, [0, 1, 2, 3].map(guid), "the hourly allowance is four");
    assert_eq!(admitted(&[&[0, 7, 8], &[1, 2, 6], &[3, 4, 5]]), first);
}
