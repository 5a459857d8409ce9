//! Mass events: held changes, changes that pass, and the scope of an approval.

use std::time::Duration;

use rosterd::model::*;
use rosterd::reconcile::Limit;

use crate::firm::{Firm, again, alice, dn_of, guid_of};
use crate::world::*;

const NOTHING_LOST: fn() -> Loss = Loss::default;
const HOUR: Duration = Duration::from_hours(1);
const GRACE_PERIOD: Duration = Duration::from_mins(11);

fn with_tombstones() -> Loss {
    Loss { tombstones_visible: true, ..Loss::default() }
}

#[test]
fn a_mass_of_leavers_is_held_and_single_ones_leave_in_a_company_of_any_size() {
    /// A way to leave, and the sight that a run needs to notice it.
    type Leaving = (&'static str, fn(&mut Facts), Loss);
    let leaving: [Leaving; 4] = [
        ("deleted", |p| p.life = Life::Tombstone, with_tombstones()),
        ("vanished", |p| p.life = Life::Purged, Loss::default()),
        ("moved away", |p| p.ou = "Elsewhere".to_owned(), Loss::default()),
        ("taken out of all groups", |p| (p.pro, p.basic) = (false, false), Loss::default()),
    ];
    for (name, leave, sight) in leaving {
        for n in [8, 30, 150] {
            let observe_twice = |company: &mut Company| {
                company.run(&sight);
                company.later(GRACE_PERIOD);
                company.run(&sight);
            };
            let mut company = Company::running(n);
            leave(company.person(1));
            observe_twice(&mut company);
            assert_eq!(
                company.active(),
                u64::from(n) - 1,
                "one of {n} {name}: {:?}",
                company.waiting()
            );
            let mut company = Company::running(n);
            for who in 0..=n * 2 / 3 {
                leave(company.person(who));
            }
            observe_twice(&mut company);
            assert_eq!(
                company.active(),
                u64::from(n),
                "most of {n} {name}: {:?}",
                company.waiting()
            );
            assert_eq!(
                company.waiting().len() as u32,
                n * 2 / 3 + 1,
                "{n} {name}: all changes are shown"
            );
        }
    }
}

#[test]
fn a_slow_bleed_of_any_class_stops_at_the_daily_limit() {
    type Bleed = (ChangeClass, fn(&mut Facts), Loss);
    let table: [Bleed; 5] = [
        (ChangeClass::Deleted, |p| p.life = Life::Tombstone, with_tombstones()),
        (ChangeClass::Gone, |p| p.life = Life::Purged, Loss::default()),
        (ChangeClass::Gone, |p| (p.pro, p.basic) = (false, false), Loss::default()),
        (ChangeClass::Downgrade, |p| p.pro = false, Loss::default()),
        (ChangeClass::Readdress, |p| p.mail = format!("new.{}", p.mail), Loss::default()),
    ];
    for (class, harm, sight) in table {
        let mut company = Company::running(150);
        let mut slices = (0..150).step_by(3).collect::<Vec<u32>>();
        for _ in 0..25 {
            // Two people an hour: each slice alone is far below every limit.
            for who in slices.drain(..2.min(slices.len())) {
                harm(company.person(who));
            }
            company.run(&sight);
            company.later(HOUR);
        }
        let allowed = company.limits.allowed(class, 150) as usize;
        let applied: Vec<Timestamp> =
            company.applied.iter().filter(|(_, c)| *c == class).map(|(at, _)| *at).collect();
        for since in &applied {
            let in_a_day =
                applied.iter().filter(|at| *at >= since && at.since(*since) < HOUR * 24).count();
            assert!(in_a_day <= allowed, "{class}: {in_a_day} in a day, {allowed} may");
        }
        assert!(
            !applied.is_empty() && !company.held.is_empty(),
            "{class}: some changes were applied, and the rest is held"
        );
    }
}

#[test]
fn a_script_that_disables_all_people_stops_at_the_limit_and_one_run_undoes_it() {
    let mut company = Company::running(100);
    for n in 0..100 {
        company.person(n).disabled = true;
    }
    company.run(&NOTHING_LOST());
    company.later(HOUR);
    company.run(&NOTHING_LOST());
    let active = company.active();
    assert!((60..=80).contains(&active), "{active}");
    for n in 0..100 {
        company.person(n).disabled = false;
    }
    company.run(&NOTHING_LOST());
    assert_eq!(
        (company.active(), company.held.len()),
        (100, 0),
        "recent suspensions are lifted without a limit"
    );
}

#[test]
fn mass_reactivations_and_upgrades_are_held_like_mass_suspensions() {
    let mut company = Company::running(100);
    for day in 0..5 {
        for n in 0..12 {
            company.person(day * 12 + n).disabled = true;
        }
        company.run(&NOTHING_LOST());
        company.later(HOUR * 25);
    }
    assert_eq!(company.active(), 40);
    company.later(HOUR * 24 * 8);
    for n in 0..60 {
        company.person(n).disabled = false;
    }
    company.run(&NOTHING_LOST());
    assert_eq!((company.active(), company.held.len()), (40, 60), "{:?}", company.waiting().first());
    company.approve_all(&NOTHING_LOST());
    assert_eq!(company.active(), 100);

    let mut company = Company::running(100);
    for n in 0..100 {
        company.person(n).pro = true;
    }
    company.run(&NOTHING_LOST());
    let pro = company.users.values().filter(|u| u.tier == Tier::Pro).count();
    assert_eq!((pro, company.held.len()), (34, 66));
}

#[test]
fn a_first_run_and_a_run_on_an_empty_store_suspend_no_user() {
    let mut company = Company::of(60);
    for n in 0..20 {
        company.person(n).disabled = true;
        company.person(n + 20).expires = Expiry::At(company.now);
    }
    company.unmanaged("p50@example.com");
    company.run(&NOTHING_LOST());
    company.approve_all(&NOTHING_LOST());
    assert_eq!(
        (company.users.len(), company.active()),
        (20, 20),
        "disabled and expired people are not provisioned"
    );
    // The store is lost: all people are new, and none has left.
    let before = company.active();
    let mut anew = Company { truth: company.truth.clone(), ..Company::of(0) };
    anew.run(&NOTHING_LOST());
    anew.approve_all(&NOTHING_LOST());
    assert_eq!((anew.users.len() as u64, anew.active()), (before, before));
}

#[test]
fn a_domain_that_is_no_longer_claimed_suspends_only_its_leavers() {
    let mut company = Company::running(60);
    company.claims.clear();
    company.person(1).disabled = true;
    company.person(2).life = Life::Tombstone;
    company.run(&with_tombstones());
    assert_eq!((company.active(), company.held.len()), (58, 0), "{:?}", company.waiting());
    assert_eq!((company.status(1), company.status(2)), (Status::Suspended, Status::Suspended));
    company.claims = vec!["example.com", "example.org"];
    company.run(&with_tombstones());
    assert_eq!((company.active(), company.held.len()), (58, 0));
}

#[test]
fn a_lost_claim_and_a_mass_of_leavers_are_judged_separately() {
    let mut company = Company::running(60);
    company.claims = vec!["example.org"];
    for n in 0..30 {
        company.person(n).life = Life::Tombstone;
    }
    company.run(&with_tombstones());
    assert_eq!((company.active(), company.held.len()), (60, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layoff_is_applied_by_one_approval_of_exactly_the_plan_shown() {
    let limit = Limit { percent: 1, at_least: 5, at_most: None };
    let firm = Firm::running(160, |c| {
        c.limits.classes.insert(ChangeClass::Deleted, limit);
    })
    .await;
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.set_recycle_bin(true);
    });
    let users = firm.users().await;
    let directory = firm.engine.directory("corp").unwrap();
    let before = firm.active().await;
    firm.sim.edit(|ad| {
        users[..40].iter().for_each(|u| ad.delete(dn_of(u)));
        users[40..43].iter().for_each(|u| ad.disable(dn_of(u)));
    });
    for _ in 0..2 {
        let run = firm.sync().await;
        assert_eq!(
            (run.state, run.held, before - firm.active().await),
            (RunState::Held, 40, 3),
            "the three disabled users do not wait: {run:?}"
        );
        let status = firm.engine.directory_status(&directory).await.unwrap();
        assert!(
            status.attention.iter().any(|a| a.contains("40 changes wait for approval")),
            "{:?}",
            status.attention
        );
    }
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    let guid = |n: usize| guid_of(&users[n]);
    // One of them was deleted by mistake and is restored before the approval. Others leave after
    // the plan was shown.
    firm.sim.edit(|ad| {
        ad.restore(guid(0));
        users[50..70].iter().for_each(|u| ad.delete(dn_of(u)));
    });
    let approval = firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!((approval.run.counts.suspend, approval.run.held), (39, 0), "{approval:?}");
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Active,
        "an approval does not apply a change that is no longer asked for"
    );
    let run = firm.sync().await;
    assert_eq!(
        (run.state, run.held, before - firm.active().await),
        (RunState::Held, 20, 42),
        "an approval covers the shown changes only: {run:?}"
    );
    let again = firm.engine.approve(plan.id, alice()).await;
    assert!(again.is_err(), "an approval is valid once: {again:?}");
    assert_eq!(before - firm.active().await, 42);
    // The whole layoff was a mistake, and its suspensions are lifted at once.
    firm.sim.edit(|ad| (1..40).chain(50..70).for_each(|n| ad.restore(guid(n))));
    let run = firm.sync().await;
    assert_eq!(
        (run.counts.reactivate, run.held, before - firm.active().await),
        (39, 0, 3),
        "{run:?}"
    );
}
