//! Laws about runs that follow other runs.

use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use super::history::*;
use crate::world::*;

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
