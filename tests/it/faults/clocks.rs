//! Clocks that were wrong for a while, and the due work of that time.

use std::sync::Arc;
use std::time::Duration;

use adsim::names;
use rosterd::engine::Directory;
use rosterd::model::{Cron, HoldReason, RunState, Status, Trigger, User};
use rosterd::store::Run;

use super::{
    DAY, HOUR, TEN_YEARS, again, checkpoint, dn_of, followed, guid_of, no_full_runs, tick,
};
use crate::firm::{Firm, alice, see_tombstones};
use crate::hooks::until;

const QUARTER: Duration = Duration::from_mins(15);

fn leave_all_groups(firm: &Firm, user: &User) {
    firm.sim.edit(|ad| {
        for group in [names::BASIC, names::PRO, names::PRO_NESTED] {
            ad.remove_member(group, guid_of(user));
        }
    });
}

fn keep(firm: &Firm) -> (Arc<Directory>, tokio::task::JoinHandle<()>) {
    let directory = firm.engine.directory("corp").unwrap();
    (Arc::clone(&directory), tokio::spawn(Arc::clone(&firm.engine).run_triggers(directory)))
}

async fn suspended(firm: &Firm) -> usize {
    firm.users().await.iter().filter(|user| user.status() == Status::Suspended).count()
}

async fn runs_of(firm: &Firm, trigger: Trigger) -> Vec<Run> {
    let runs = firm.engine.store.runs(Some("corp"), 1_000).await.unwrap();
    runs.into_iter().filter(|r| r.trigger == trigger && r.finished_at.is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_leaves_although_the_clock_was_ahead_when_the_user_last_changed() {
    for jump in [HOUR * 2, TEN_YEARS] {
        let firm = Firm::running(60, |_| {}).await;
        let user = firm.users().await.remove(0);
        firm.clock.advance(jump);
        firm.sim.edit(|ad| ad.set(dn_of(&user).as_str(), "title", "Somebody else"));
        assert_eq!(firm.sync().await.counts.total(), 1);
        firm.clock.set_back(jump);
        firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
        let run = firm.sync().await;
        assert_eq!(
            (run.dropped, again(&firm, &user).await.status()),
            (0, Status::Suspended),
            "{jump:?}: {run:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_first_missed_while_the_clock_was_ahead_leaves_after_the_grace_period() {
    let firm = Firm::running(60, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.clock.advance(TEN_YEARS);
    leave_all_groups(&firm, &user);
    firm.sync().await;
    firm.clock.set_back(TEN_YEARS);
    let told = firm.sync().await;
    assert!(told.warnings.iter().any(|w| w.contains("the clock was ahead")), "{:?}", told.warnings);
    assert_eq!(again(&firm, &user).await.status(), Status::Active, "the grace period begins anew");
    firm.later(QUARTER);
    let run = firm.sync().await;
    assert_eq!(again(&firm, &user).await.status(), Status::Suspended, "{run:?}");
    assert!(
        !run.warnings.iter().any(|w| w.contains("the clock was ahead")),
        "one report: {:?}",
        run.warnings
    );
    let told = firm.events("directory.attention").await;
    assert_eq!(
        told.iter().filter(|event| event.to_string().contains("the clock was ahead")).count(),
        1,
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_ages_no_tombstone_of_a_person_out_of_sight() {
    for is_ahead in [true, false] {
        let firm = Firm::running(60, |_| {}).await;
        see_tombstones(&firm).await;
        let user = firm.users().await.remove(0);
        if is_ahead {
            firm.clock.advance(TEN_YEARS);
        } else {
            firm.clock.set_back(TEN_YEARS);
            firm.sync().await;
            firm.clock.advance(TEN_YEARS);
        }
        firm.sim.edit(|ad| ad.hide_entry(guid_of(&user)));
        firm.sync().await;
        firm.later(QUARTER);
        let run = firm.sync().await;
        assert_eq!(again(&firm, &user).await.status(), Status::Active, "{is_ahead}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_measured_by_the_last_run_before_the_window_under_any_clock() {
    let firm = Firm::running(20, |_| {}).await;
    see_tombstones(&firm).await;
    let users = firm.users().await;
    let delete = |some: &[User]| {
        firm.sim.edit(|ad| some.iter().for_each(|user| ad.delete(guid_of(user))));
    };
    firm.later(DAY * 2);
    firm.sync().await;
    firm.clock.set_back(DAY * 40);
    delete(&users[..4]);
    firm.sync().await;
    assert_eq!(suspended(&firm).await, 4);
    firm.clock.advance(DAY * 40);
    firm.later(DAY + HOUR);
    // A quarter of 16 users is 4, and a quarter of 20 would be 5.
    delete(&users[4..9]);
    let run = firm.sync().await;
    assert_eq!((suspended(&firm).await, run.held), (4, 5), "{run:?}");
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    let changes = firm.engine.store.plan_changes(plan.id).await.unwrap();
    assert!(changes.iter().any(|c| c.hold == Some(HoldReason::Limit)), "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_does_not_make_stored_instants_look_old() {
    let firm = Firm::running(60, |_| {}).await;
    let user = firm.users().await.remove(0);
    leave_all_groups(&firm, &user);
    firm.sync().await;
    let name = firm.engine.directory("corp").unwrap().config.name.clone();
    let grace_periods = firm.engine.store.grace_periods(&name).await.unwrap();
    // The machine starts with a clock of ten years ago; the directory's server has the right time.
    firm.clock.set_back(TEN_YEARS);
    firm.sync().await;
    firm.engine.send_reminders().await.unwrap();
    assert_eq!(
        firm.engine.store.grace_periods(&name).await.unwrap()[0].first_seen,
        grace_periods[0].first_seen
    );
    firm.clock.advance(TEN_YEARS);
    firm.sync().await;
    assert_eq!(
        again(&firm, &user).await.status(),
        Status::Active,
        "missed for seconds, not for years"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_people_are_read_every_night_although_the_clock_was_ahead_for_one() {
    let firm =
        followed(20, |c| c.full = Cron::parse("30 2 * * *", chrono_tz::Tz::UTC).unwrap()).await;
    firm.later(TEN_YEARS);
    assert_eq!(firm.sync().await.error, None);
    firm.clock.set_back(TEN_YEARS);
    firm.sim.set_clock_skew(0);
    let mut full = 0;
    for _ in 0..10 {
        firm.later(DAY);
        full += u32::from(tick(&firm).await.mode.as_str() == "full");
    }
    assert!(full >= 9, "{full} full reads in ten nights");
    assert!(checkpoint(&firm).await.is_some_and(|p| p.full_at <= firm.clock.now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_four_hours_ends_after_four_hours_although_the_clock_was_ahead() {
    let firm =
        Firm::running(10, |c| c.schedule = Cron::parse("* * * * * *", chrono_tz::Tz::UTC).unwrap())
            .await;
    firm.later(TEN_YEARS);
    firm.engine.pause("corp", Some(HOUR * 4), &alice()).await.unwrap();
    firm.clock.set_back(TEN_YEARS);
    firm.sim.set_clock_skew(0);
    firm.engine.send_reminders().await.unwrap();
    let status =
        firm.engine.directory_status(&firm.engine.directory("corp").unwrap()).await.unwrap();
    let until = status.paused_until.expect("still paused");
    assert!(until <= firm.clock.now().plus(HOUR * 4), "{until}");
    firm.later(HOUR * 4);
    let status =
        firm.engine.directory_status(&firm.engine.directory("corp").unwrap()).await.unwrap();
    assert_eq!(status.paused_until, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_given_while_the_clock_was_ahead_expires_after_a_day() {
    let firm = Firm::of(120, |c| c.limits.grace_period = Duration::ZERO).await;
    firm.later(TEN_YEARS);
    assert!(firm.sync().await.held > 50);
    firm.sim.faults().push(
        adsim::Fault::new(
            adsim::When::search().containing("objectcategory=person"),
            adsim::What::Cut,
        )
        .always(),
    );
    let plan = super::held_plan(&firm).await;
    firm.engine.approve(plan.id, alice()).await.unwrap();
    firm.sim.faults().clear();
    firm.clock.set_back(TEN_YEARS);
    firm.sim.set_clock_skew(0);
    firm.engine.send_reminders().await.unwrap();
    firm.later(DAY + HOUR);
    firm.engine.send_reminders().await.unwrap();
    let plan = firm.engine.store.plan(plan.id).await.unwrap().expect("the plan");
    assert_eq!(plan.approved_at, None, "{:?}", plan.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_expires_is_suspended_although_the_servers_clock_is_behind() {
    let firm = Firm::running(20, |c| c.schedule = no_full_runs()).await;
    let users = firm.users().await;
    firm.sim.set_clock_skew(-2);
    let (_, keeping) = keep(&firm);
    until("the run at the start", async || runs_of(&firm, Trigger::Startup).await.pop()).await;
    // The expiries are set in another order than they occur, with fractions of a second. The last
    // one is moved twice.
    let now = firm.clock.now();
    let at = |millis: u64| now.plus(Duration::from_millis(millis)).to_filetime().to_string();
    for (user, millis) in [(2, 5_300), (0, 3_750), (1, 4_001), (3, 900_000), (3, 4_500)] {
        firm.sim.edit(|ad| ad.set(dn_of(&users[user]).as_str(), "accountExpires", &at(millis)));
        firm.engine.sync_user(&users[user].id.to_string(), &alice()).await.unwrap();
    }
    for user in &users[..4] {
        until("the suspension", async || {
            (again(&firm, user).await.status() == Status::Suspended).then_some(())
        })
        .await;
    }
    keeping.abort();
    let tries = runs_of(&firm, Trigger::Expiry).await.len();
    assert!(tries <= 12, "{tries} runs for four expiries");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_while_the_server_cannot_be_reached_is_only_delayed() {
    let firm = Firm::running(20, |c| c.schedule = no_full_runs()).await;
    let user = firm.users().await.remove(0);
    let (_, keeping) = keep(&firm);
    until("the run at the start", async || runs_of(&firm, Trigger::Startup).await.pop()).await;
    let at = firm.clock.now().plus(Duration::from_millis(2_500));
    firm.sim
        .edit(|ad| ad.set(dn_of(&user).as_str(), "accountExpires", &at.to_filetime().to_string()));
    firm.engine.sync_user(&user.id.to_string(), &alice()).await.unwrap();
    firm.sim.faults().push(adsim::Fault::new(adsim::When::Bind, adsim::What::Cut).always());
    until("an attempt that fails", async || {
        runs_of(&firm, Trigger::Expiry).await.into_iter().find(|r| r.state == RunState::Failed)
    })
    .await;
    firm.sim.faults().clear();
    until("the suspension", async || {
        (again(&firm, &user).await.status() == Status::Suspended).then_some(())
    })
    .await;
    keeping.abort();
    assert!(firm.events("run.failed").await.len() <= 2, "the same failure is reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recheck_that_fails_is_tried_less_and_less_often() {
    let firm = Firm::running(30, |c| c.limits.grace_period = Duration::from_secs(2)).await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.purge(guid_of(&user)));
    firm.sync().await;
    firm.sim.crash().await.unwrap();
    let (_, keeping) = keep(&firm);
    until("an attempt that fails", async || runs_of(&firm, Trigger::Recheck).await.pop()).await;
    let failed = until("another attempt", async || {
        let failed = runs_of(&firm, Trigger::Recheck).await;
        (failed.len() > 1).then_some(failed)
    })
    .await;
    keeping.abort();
    let apart = failed[0].started_at.since(failed[1].started_at);
    assert!(apart >= Duration::from_secs(5), "{apart:?}");
    // One for the failed run at the start, at most one for rechecks.
    assert!(firm.events("run.failed").await.len() <= 2, "the same failure is reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_runs_suspend_a_leaver_whose_user_was_written_by_a_clock_that_was_ahead() {
    let firm = followed(20, |c| c.live = true).await;
    let user = firm.users().await.remove(0);
    firm.clock.advance(HOUR * 2);
    firm.sim.edit(|ad| ad.set(dn_of(&user).as_str(), "title", "Somebody else"));
    tick(&firm).await;
    firm.clock.set_back(HOUR * 2);
    let (directory, keeping) = keep(&firm);
    until("changes are followed", async || {
        (directory.following() == rosterd::engine::Following::Live).then_some(())
    })
    .await;
    firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
    until("the suspension", async || {
        (again(&firm, &user).await.status() == Status::Suspended).then_some(())
    })
    .await;
    keeping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_what_was_applied_while_the_clock_was_ahead_for_one_window_only() {
    let firm = followed(100, |_| {}).await;
    let users = firm.users().await;
    firm.later(TEN_YEARS);
    firm.sim.edit(|ad| users.iter().step_by(12).take(8).for_each(|user| ad.delete(guid_of(user))));
    let ahead = firm.sync().await;
    assert_eq!((ahead.counts.suspend, ahead.held), (7, 0), "{ahead:?}");
    firm.clock.set_back(TEN_YEARS);
    firm.sim.set_clock_skew(0);
    firm.sim.edit(|ad| {
        users.iter().skip(1).step_by(12).take(4).for_each(|user| ad.delete(guid_of(user)))
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.held), (0, 4), "they count: {run:?}");
    firm.later(DAY + HOUR);
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.held), (4, 0), "and no longer than a window: {run:?}");
    assert!(
        firm.engine
            .store
            .runs(Some("corp"), 100)
            .await
            .unwrap()
            .iter()
            .all(|r| r.started_at <= firm.clock.now())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_log_is_whole_after_a_clock_that_was_ahead_is_set_right() {
    let firm = Firm::running(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.clock.advance(TEN_YEARS);
    firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
    assert_eq!(firm.sync().await.counts.suspend, 1);
    firm.clock.set_back(TEN_YEARS);
    for _ in 0..2 {
        assert_eq!(firm.sync().await.error, None);
        let verified = firm.engine.store.verify_events(None).await.unwrap();
        assert!(verified.is_ok(), "{verified:?}");
    }
}
