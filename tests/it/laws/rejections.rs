//! A law about suspensions that an operator rejects.

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
