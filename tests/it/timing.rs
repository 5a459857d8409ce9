//! The timing of runs: schedules, pauses, and missed ticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adsim::{Fault, What, When};
use rosterd::engine::{Engine, EngineError, Periodic};
use rosterd::model::{Cron, Status, Trigger};
use rosterd::store::Run;

use crate::firm::{Firm, again, alice, dn_of};

/// Returns the finished automatic runs, oldest first.
async fn automatic_runs(engine: &Engine) -> Vec<Run> {
    let mut runs = engine.store.runs(Some("corp"), 1_000).await.expect("runs");
    runs.retain(|run| {
        matches!(run.trigger, Trigger::Startup | Trigger::Schedule) && run.finished_at.is_some()
    });
    runs.sort_by_key(|run| run.started_at);
    runs
}

/// Runs the directory's background task until this many automatic runs have ended.
async fn run_until(engine: &Arc<Engine>, count: usize) -> Vec<Run> {
    let directory = engine.directory("corp").expect("corp");
    let mut progress = directory.progress();
    let keeping = tokio::spawn(Arc::clone(engine).run_triggers(directory));
    let runs = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            let runs = automatic_runs(engine).await;
            if runs.len() >= count {
                return runs;
            }
            progress.changed().await.expect("a directory");
        }
    });
    let runs = runs.await.expect("so many runs");
    keeping.abort();
    runs
}

fn every_second(config: &mut rosterd::engine::DirectoryConfig) {
    config.schedule = Cron::parse("* * * * * *", chrono_tz::Tz::UTC).expect("a schedule");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_restart_and_its_missed_ticks_become_one_run() {
    let firm = Firm::running(5, every_second).await;
    let paused = firm
        .engine
        .pause("corp", Some(Duration::from_millis(2_500)), &alice())
        .await
        .expect("a pause");
    let until = paused.paused_until.expect("an end");
    let engine = firm.restarted();
    let status =
        engine.directory_status(&engine.directory("corp").expect("corp")).await.expect("a status");
    assert_eq!((status.state.as_str(), status.paused_until), ("paused", Some(until)));
    let runs = run_until(&engine, 2).await;
    assert!(runs[0].started_at >= until, "{:?} began before {until}", runs[0]);
    assert!(
        runs[1].started_at.since(runs[0].started_at) > Duration::from_millis(1),
        "two missed ticks become one run"
    );
    let seconds: Vec<i64> = runs.iter().map(|run| run.started_at.0 / 1_000_000).collect();
    assert!(seconds.windows(2).all(|pair| pair[0] < pair[1]), "{seconds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_without_a_length_lasts_four_hours_unless_resumed() {
    let firm = Firm::running(5, every_second).await;
    let until = firm.clock.now().plus(Duration::from_hours(4));
    let paused = firm
        .engine
        .pause("corp", None, &alice())
        .await
        .expect("a pause")
        .paused_until
        .expect("an end");
    assert!(paused >= until && paused.since(until) < Duration::from_secs(20), "{paused}");
    let directory = firm.engine.directory("corp").expect("corp");
    let keeping = tokio::spawn(Arc::clone(&firm.engine).run_triggers(Arc::clone(&directory)));
    let mut progress = directory.progress();
    let begun = tokio::time::timeout(Duration::from_millis(2_500), progress.changed()).await;
    assert!(begun.is_err(), "no run begins");
    let status = firm.engine.directory_status(&directory).await.expect("a status");
    assert_eq!((status.state.as_str(), status.next_run), ("paused", Some(paused)));
    firm.engine.resume("corp", &alice()).await.expect("the end of the pause");
    tokio::time::timeout(Duration::from_secs(20), progress.changed())
        .await
        .expect("a run")
        .expect("a directory");
    keeping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_missed_during_a_long_run_become_one_run() {
    let firm = Firm::running(5, every_second).await;
    let slow = When::search().containing("objectCategory=person").nth(1);
    firm.sim.faults().push(Fault::new(slow, What::Delay(Duration::from_millis(3_300))));
    let runs = run_until(&firm.engine, 4).await;
    let end = runs[0].finished_at.expect("an end");
    assert!(end.since(runs[0].started_at) > Duration::from_secs(3), "{:?}", runs[0]);
    let soon = runs[1..]
        .iter()
        .filter(|run| run.started_at.since(end) < Duration::from_millis(900))
        .count();
    assert!(
        (1..=2).contains(&soon),
        "three missed ticks become one run, and the next tick may be near: {runs:?}"
    );
}

/// A task whose first two rounds fail. Its fourth round stops the daemon.
struct Flaky {
    engine: Arc<Engine>,
    rounds: u32,
    has_ended: Arc<AtomicBool>,
}

impl Periodic for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn period(&self) -> Duration {
        Duration::from_millis(1)
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        self.rounds += 1;
        let has_failed = self.engine.failed_tasks().contains("flaky");
        assert_eq!(has_failed, matches!(self.rounds, 2 | 3), "round {}", self.rounds);
        if self.rounds == 4 {
            self.engine.stop.cancel();
        }
        if self.rounds <= 2 { Err(EngineError::Reloaded) } else { Ok(()) }
    }

    async fn last_round(&mut self) -> Result<(), EngineError> {
        self.has_ended.store(true, Ordering::Release);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_periodic_task_is_repeated_after_a_failure_and_ends_with_the_daemon() {
    let firm = Firm::running(1, |_| {}).await;
    let has_ended = Arc::new(AtomicBool::new(false));
    let task =
        Flaky { engine: Arc::clone(&firm.engine), rounds: 0, has_ended: Arc::clone(&has_ended) };
    let ended = Arc::clone(&firm.engine).drive(task);
    tokio::time::timeout(Duration::from_mins(1), ended).await.expect("an end");
    assert!(has_ended.load(Ordering::Acquire));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_person_counts_as_overdue_until_a_run_suspends_it() {
    let firm = Firm::running(20, |_| {}).await;
    let directory = firm.engine.directory("corp").unwrap();
    let overdue = async || firm.engine.directory_status(&directory).await.unwrap().overdue_expiries;
    let users = firm.users().await;
    let user = users.iter().find(|user| user.link.is_some()).unwrap();
    let now = Duration::from_micros(firm.clock.now().0 as u64);
    let soon = std::time::UNIX_EPOCH + now + Duration::from_mins(30);
    firm.sim.edit(|ad| ad.set_expiry(dn_of(user).as_str(), soon));
    firm.sync().await;
    assert_eq!(overdue().await, 0, "it is to come");
    firm.later(Duration::from_mins(33));
    assert_eq!(overdue().await, 0, "a run takes time");
    firm.later(Duration::from_mins(5));
    assert_eq!(overdue().await, 1);
    firm.sync().await;
    assert_eq!((overdue().await, again(&firm, user).await.status()), (0, Status::Suspended));
    // An operator may keep the person active.
    firm.engine.activate(&user.id.to_string(), &alice()).await.unwrap();
    assert_eq!(overdue().await, 0);
}
