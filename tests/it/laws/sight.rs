//! Laws about losses of sight, incomplete reads and changes of server.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use super::history::*;
use crate::world::*;

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
