//! What holds for every company, every history and every loss.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use crate::world::*;

/// One thing that happens between two runs.
#[derive(Clone, Debug)]
enum Happening {
    Disable(u32),
    Enable(u32),
    Expire(u32),
    Delete(u32),
    Purge(u32),
    LeaveGroups(u32),
    JoinPro(u32),
    Rename(u32, u32),
    Swap(u32, u32),
    TakeAddress(u32, u32),
    MoveOut(u32),
    Join(u32),
    Approve,
    Wait(u64),
}

fn happening(n: u32) -> impl Strategy<Value = Happening> {
    let who = 0..n;
    prop_oneof![
        who.clone().prop_map(Happening::Disable),
        who.clone().prop_map(Happening::Enable),
        who.clone().prop_map(Happening::Expire),
        who.clone().prop_map(Happening::Delete),
        who.clone().prop_map(Happening::Purge),
        who.clone().prop_map(Happening::LeaveGroups),
        who.clone().prop_map(Happening::JoinPro),
        (who.clone(), 0..100u32).prop_map(|(a, b)| Happening::Rename(a, b)),
        (who.clone(), who.clone()).prop_map(|(a, b)| Happening::Swap(a, b)),
        (who.clone(), who.clone()).prop_map(|(a, b)| Happening::TakeAddress(a, b)),
        who.clone().prop_map(Happening::MoveOut),
        (1000..1010u32).prop_map(Happening::Join),
        Just(Happening::Approve),
        (1..2000u64).prop_map(Happening::Wait),
    ]
}

fn loss(n: u32) -> impl Strategy<Value = Loss> {
    let some = move || prop::collection::btree_set((0..n).prop_map(guid), 0..(n as usize / 2));
    let none_or = move || prop_oneof![3 => Just(BTreeSet::new()), 1 => some()];
    let ous = prop_oneof![3 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(prop_oneof![Just("Sales".to_owned()), Just("Engineering".to_owned())], 1..3)];
    let end = prop_oneof![4 => Just(None), 1 => Just(Some(PageEnd::Cut)), 1 => Just(Some(PageEnd::Refused(4))), 1 => Just(Some(PageEnd::NoControl))];
    (ous, none_or(), none_or(), none_or(), none_or(), none_or(), any::<bool>(), any::<bool>(), end).prop_map(
        |(hidden_ous, skipped, hidden, no_control, no_mail, no_member_of, groups_blind, tombstones_visible, end)| Loss {
            hidden_ous,
            skipped,
            hidden,
            no_control,
            no_mail,
            no_member_of,
            groups_blind,
            tombstones_visible,
            end,
            reversed: false,
        },
    )
}

fn happen(company: &mut Company, what: &Happening) {
    let now = company.now;
    match what {
        Happening::Disable(n) => company.person(*n).disabled = true,
        Happening::Enable(n) => company.person(*n).disabled = false,
        Happening::Expire(n) => company.person(*n).expires = Expiry::At(now),
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
        Happening::Join(n) => {
            let mut truth = Company::of(1).person(0).clone();
            truth.mail = format!("p{n}@example.com");
            truth.proxies.clear();
            company.truth.insert(guid(*n), truth);
        }
        Happening::Approve => company.approve_all(&Loss::default()),
        Happening::Wait(minutes) => company.later(Duration::from_mins(*minutes)),
    }
}

/// Whether the person is there, enabled and entitled: nobody has a reason to suspend it.
fn is_in_order(truth: &Facts, now: Timestamp) -> bool {
    let expired = matches!(truth.expires, Expiry::At(at) if at <= now);
    truth.life == Life::Alive && !truth.disabled && !expired && truth.ou != "Elsewhere" && (truth.pro || truth.basic)
}

const PEOPLE: u32 = 40;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nobody_enabled_and_present_is_suspended_whatever_is_lost_beyond_the_floor(losses in prop::collection::vec((loss(PEOPLE), 1..30u64), 1..12)) {
        let mut company = Company::running(PEOPLE);
        for (loss, minutes) in &losses {
            company.run(loss);
            company.later(Duration::from_mins(*minutes));
        }
        let floor = company.limits.allowed(Class::Gone, u64::from(PEOPLE));
        let wrong = u64::from(PEOPLE) - company.active();
        prop_assert!(wrong <= floor, "{wrong} people suspended, the floor is {floor}");
    }

    #[test]
    fn everybody_seen_disabled_is_suspended_within_one_run_or_waits_in_sight(
        history in prop::collection::vec(happening(PEOPLE), 0..12), leavers in prop::collection::btree_set(0..PEOPLE, 1..20), loss in loss(PEOPLE)
    ) {
        let mut company = Company::running(PEOPLE);
        for what in &history {
            happen(&mut company, what);
            company.run(&Loss::default());
        }
        for n in &leavers {
            company.person(*n).disabled = true;
        }
        company.run(&loss);
        for n in &leavers {
            let truth = &company.truth[&guid(*n)];
            let seen = truth.life == Life::Alive && !loss.hidden.contains(&guid(*n)) && !loss.hidden_ous.contains(&truth.ou) && !loss.no_control.contains(&guid(*n));
            if let Some(user) = company.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == guid(*n))).filter(|_| seen) {
                let waits = company.held.iter().any(|h| h.change.user == user.id && h.change.reason() == Some(Reason::Disabled));
                prop_assert!(user.status() == Status::Suspended || waits, "{n} is active and nobody is told");
            }
        }
    }

    #[test]
    fn a_second_run_over_the_same_directory_does_nothing(history in prop::collection::vec(happening(PEOPLE), 0..15), loss in loss(PEOPLE)) {
        let mut company = Company::running(PEOPLE);
        for what in &history {
            happen(&mut company, what);
        }
        company.run(&loss);
        company.run(&loss);
        let users = company.users.clone();
        let held: Vec<Digest> = company.held.iter().map(|h| h.change.digest()).collect();
        company.run(&loss);
        // Whoever was suspended in the first run may get its further causes in the second; a third finds nothing.
        prop_assert_eq!(&company.users, &users);
        prop_assert_eq!(company.held.iter().map(|h| h.change.digest()).collect::<Vec<_>>(), held);
    }

    #[test]
    fn what_recovers_is_as_if_nothing_had_been_lost(losses in prop::collection::vec(loss(PEOPLE), 1..6)) {
        let mut company = Company::running(PEOPLE);
        for loss in &losses {
            company.run(loss);
        }
        company.run(&Loss::default());
        company.run(&Loss::default());
        prop_assert_eq!(company.active(), u64::from(PEOPLE));
        prop_assert!(company.held.is_empty(), "{:?}", company.waiting());
    }

    #[test]
    fn in_the_end_everybody_is_what_the_directory_says(history in prop::collection::vec(happening(PEOPLE), 0..25)) {
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
    fn without_a_claim_nobody_is_created_and_nobody_is_readdressed(history in prop::collection::vec(happening(PEOPLE), 0..12)) {
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
