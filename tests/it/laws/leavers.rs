//! Laws about leavers: when they are suspended, held, or reactivated.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use super::history::*;
use crate::world::*;

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

/// A person leaves an OU or a group, or a dozen people are hired. A run may follow.
#[derive(Clone, Debug)]
struct Leaving {
    person: u32,
    way: usize,
    minutes: u64,
    is_followed: bool,
}

#[test]
fn slices_of_an_event_are_held_where_one_run_would_hold_it() {
    let leaving = (0..30u32, 0..5usize, 1..40u64, any::<bool>()).prop_map(
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
        let mut ever = company.members();
        for Leaving { person, way, minutes, is_followed } in leavings {
            let hired = u32::try_from(company.truth.len()).expect("few people");
            let leaver = company.person(person);
            match way {
                0 => leaver.life = Life::Tombstone,
                1 => "Elsewhere".clone_into(&mut leaver.ou),
                2 => (leaver.pro, leaver.basic) = (false, false),
                3 => leaver.pro = false,
                _ => company.truth.extend((hired..hired + 12).map(|n| (guid(n), Facts::of(n)))),
            }
            let before = company.clone();
            if is_followed {
                company.run(&Loss { tombstones_visible: true, ..Loss::default() });
                company.later(Duration::from_mins(minutes));
            }
            let (was, is) = (before.members(), company.members());
            for (cluster, users) in &is {
                ever.entry(cluster.clone()).or_default().extend(users);
            }
            let is_event = |gone: usize, of: usize| gone >= 5 && gone * 100 >= of * 30;
            for (cluster, users) in &ever {
                let newcomers = company.newcomers(cluster, Timestamp(0));
                let (lost, now) = (left(&before, cluster, users), left(&company, cluster, users));
                let belonged: BTreeSet<UserId> = users.difference(&newcomers).copied().collect();
                let size = belonged.len().max(was.get(cluster).map_or(0, BTreeSet::len));
                prop_assert!(
                    lost == now || !is_event(now.len(), size),
                    "{} of {size} of {cluster} without an operator",
                    now.len()
                );
                let now = now.intersection(&belonged).count();
                prop_assert!(
                    !is_event(now, belonged.len()),
                    "{now} of the former {} of {cluster} without an operator",
                    belonged.len()
                );
            }
        }
        Ok(())
    });
}

/// Returns the users who left a cluster: the group that was lost, or the OU that the entry was in.
fn left(company: &Company, cluster: &str, users: &BTreeSet<UserId>) -> BTreeSet<UserId> {
    let members = company.members();
    let has_left = |id: &&UserId| {
        // Only the first cause takes the user out of a cluster.
        let Some(user) = company.users.get(*id) else { return false };
        let first = user.causes.iter().min_by_key(|c| c.since);
        let gone = first.is_some_and(|c| matches!(c.reason, Reason::Deleted | Reason::OutOfScope));
        !members.get(cluster).is_some_and(|users| users.contains(id))
            && gone != cluster.starts_with("group:")
    };
    users.iter().filter(has_left).copied().collect()
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
