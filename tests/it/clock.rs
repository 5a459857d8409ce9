//! Clock jumps, of our clock and the directory's. Decisions based on time need both to agree.

use std::time::Duration;

use rosterd::model::{RunState, Trigger};

use crate::firm::Firm;

const HOUR: Duration = Duration::from_hours(1);
const TEN_YEARS: Duration = Duration::from_hours(24 * 3_653);

/// In this company every fourth account expires in a year. The first person is the service account.
async fn with_contracts(people: usize) -> Firm {
    let firm = Firm::running(people, |_| {}).await;
    let in_a_year = firm.sim.now() + Duration::from_hours(24 * 365);
    firm.sim.edit(|ad| {
        for person in ad.people().into_iter().skip(1).step_by(4) {
            ad.set_expiry(person, in_a_year);
        }
    });
    assert_eq!(firm.sync().await.error, None);
    firm
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_jump_suspends_no_user_and_reports_the_difference() {
    let firm = with_contracts(100).await;
    let before = firm.active().await;
    for (jump, back) in
        [(HOUR, false), (TEN_YEARS, false), (HOUR, true), (TEN_YEARS, true), (TEN_YEARS * 5, true)]
    {
        if back {
            firm.clock.set_back(jump)
        } else {
            firm.clock.advance(jump)
        }
        for _ in 0..2 {
            let run = firm.sync().await;
            assert_eq!(
                (run.state, run.counts.total(), run.held),
                (RunState::Succeeded, 0, 0),
                "{jump:?} {back}: {run:?}"
            );
            let told = run
                .warnings
                .iter()
                .any(|w| w.contains("clock") && w.contains("no account expires"));
            assert!(told, "{jump:?}: {:?}", run.warnings);
        }
        if back {
            firm.clock.advance(jump)
        } else {
            firm.clock.set_back(jump)
        }
        let right = firm.sync().await;
        // A clock that was ahead is reported. Stored instants then lie in the future.
        assert!(
            right.warnings.iter().all(|w| w.contains("the clock was ahead")),
            "{:?}",
            right.warnings
        );
        assert_eq!((right.state, firm.active().await), (RunState::Succeeded, before), "{right:?}");
        assert_eq!(firm.sync().await.warnings, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directorys_clock_alone_expires_no_user() {
    let firm = with_contracts(60).await;
    let before = firm.active().await;
    for seconds in
        [TEN_YEARS.as_secs().cast_signed(), -TEN_YEARS.as_secs().cast_signed(), 3_600, -3_600]
    {
        firm.sim.set_clock_skew(seconds);
        let run = firm.sync().await;
        assert_eq!(
            (run.state, run.counts.total(), firm.active().await),
            (RunState::Succeeded, 0, before),
            "{seconds}: {run:?}"
        );
    }
    firm.sim.set_clock_skew(0);
    assert_eq!(firm.sync().await.warnings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_jump_does_not_release_changes_held_by_a_limit() {
    let firm = Firm::running(120, |_| {}).await;
    firm.sim.edit(|ad| ad.show_tombstones(true));
    let leavers: Vec<String> = firm
        .users()
        .await
        .into_iter()
        .filter_map(|u| u.link)
        .map(|l| l.dn.as_str().to_owned())
        .take(40)
        .collect();
    firm.sim.edit(|ad| leavers.iter().for_each(|dn| ad.delete(dn.as_str())));
    let held = firm.sync().await;
    // A few people of a small OU may leave; the others are held.
    assert!(held.state == RunState::Held && held.held >= 30, "{held:?}");
    let before = firm.active().await;
    for jump in [HOUR, HOUR * 25, TEN_YEARS] {
        firm.clock.advance(jump);
        let run = firm.sync().await;
        assert_eq!(
            (run.state, run.counts.suspend, run.held, firm.active().await),
            (RunState::Held, 0, held.held, before),
            "{jump:?}: {run:?}"
        );
    }
    firm.clock.set_back(TEN_YEARS * 2);
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, firm.active().await), (0, before), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_continues_after_the_clock_was_ahead() {
    let firm = Firm::running(10, |c| {
        c.schedule = rosterd::model::Cron::parse("* * * * * *", chrono_tz::Tz::UTC).unwrap()
    })
    .await;
    let directory = firm.engine.directory("corp").unwrap();
    let keeping = tokio::spawn(std::sync::Arc::clone(&firm.engine).run_triggers(directory));
    let scheduled = async || {
        let runs = firm.engine.store.runs(None, 1_000).await.unwrap();
        runs.iter().filter(|r| r.trigger == Trigger::Schedule).count()
    };
    let more_than = async |count: usize| {
        tokio::time::timeout(Duration::from_secs(20), async {
            while scheduled().await <= count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    };
    for (jump, back) in [(TEN_YEARS, false), (TEN_YEARS, true), (HOUR, true)] {
        if back {
            firm.clock.set_back(jump)
        } else {
            firm.clock.advance(jump)
        }
        let before = scheduled().await + 1;
        assert!(
            more_than(before).await.is_ok(),
            "no run is due any more after a jump of {jump:?}, back: {back}"
        );
    }
    keeping.abort();
}
