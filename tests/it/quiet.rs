//! Quiet hours: what can wait waits, and leavers never do.

use std::time::Duration;

use adsim::NewPerson;
use proptest::prelude::*;
use rosterd::model::{ChangeVerb, QuietHours, Status};
use rosterd::store::UserFilter;

use crate::firm::{Firm, again, dn_of, tick};
use crate::world::{Company, Loss};

/// Returns quiet hours from an hour ago, for as long as that.
fn for_an_hour(firm: &Firm) -> QuietHours {
    let now = firm.clock.now().to_utc();
    let time = |hours: i64| (now + chrono::Duration::hours(hours)).format("%H:%M").to_string();
    let mut quiet = QuietHours::none(chrono_tz::Tz::UTC);
    quiet.add(&format!("{}-{}", time(-1), time(1))).expect("a time of the day");
    quiet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_waits_for_the_end_of_quiet_hours_and_a_leaver_does_not() {
    let firm = Firm::running(60, |_| {}).await;
    crate::firm::see_tombstones(&firm).await;
    let quiet = for_an_hour(&firm);
    firm.reconfigure(|c| c.quiet = quiet.clone());
    let users = firm.users().await;
    let (leaver, mover) = (&users[0], &users[1]);
    firm.sim.edit(|ad| {
        let new =
            NewPerson::new("newbie").name("New", "Bie").mail("newbie@example.com").ou("Sales");
        let new = ad.add_person(new);
        ad.add_member(adsim::names::BASIC, new);
        ad.disable(dn_of(leaver).as_str());
        ad.set(dn_of(mover).as_str(), "title", "Director");
    });
    let run = tick(&firm).await;
    assert_eq!((run.counts.suspend, run.counts.total(), run.held), (1, 1, 0), "{run:?}");
    assert_eq!(again(&firm, leaver).await.status(), Status::Suspended);
    let directory = firm.engine.directory("corp").unwrap();
    let status = firm.engine.directory_status(&directory).await.unwrap();
    let wait = status.quiet.expect("changes that wait");
    assert_eq!(Some(wait.until), quiet.until(firm.clock.now()));
    assert_eq!(wait.people, [(ChangeVerb::Create, 1), (ChangeVerb::Update, 1)].into());
    // AD reports the joiner once. The next run reads it again nevertheless, and so does a restart.
    assert_eq!(tick(&firm).await.counts.total(), 0);
    firm.later(Duration::from_hours(2));
    let run = tick(&firm).await;
    assert_eq!((run.counts.create, run.counts.update), (1, 1), "{run:?}");
    let status = firm.engine.directory_status(&directory).await.unwrap();
    assert_eq!(status.quiet, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_beyond_a_limit_call_no_operator_during_quiet_hours() {
    let firm = Firm::of(120, |_| {}).await;
    let quiet = for_an_hour(&firm);
    firm.reconfigure(|c| c.quiet = quiet);
    let run = firm.sync().await;
    assert_eq!((run.counts.total(), run.held), (0, 0), "{run:?}");
    assert!(firm.engine.store.plans(true).await.unwrap().is_empty());
    assert!(firm.events("run.held").await.is_empty());
    firm.later(Duration::from_hours(2));
    assert!(firm.sync().await.held > 50);
    assert_eq!(firm.engine.store.users(&UserFilter::default()).await.unwrap().len(), 0);
}

#[test]
fn a_plan_that_waits_for_an_operator_stays_open_during_quiet_hours() {
    let mut company = Company::of(60);
    company.run(&Loss::default());
    let held = company.waiting();
    assert_eq!(held.len(), 60);
    company.is_quiet = true;
    company.run(&Loss::default());
    assert_eq!(company.waiting(), held);
    // Approved changes are applied at once.
    company.approve_all(&Loss::default());
    assert_eq!(company.active(), 60);
}

proptest! {
    #[test]
    fn quiet_hours_and_limits_of_ous_only_hold_more_and_never_a_leaver(
        happenings in prop::collection::vec((0..30u32, 0..6u8), 1..20),
        is_quiet: bool,
        at_most in 0..3u64,
    ) {
        let mut plain = Company::running(30);
        plain.limits.grace_period = Duration::ZERO;
        for (n, what) in happenings {
            let person = plain.person(n);
            match what {
                0 => person.disabled = true,
                1 => person.life = crate::world::Life::Tombstone,
                2 => person.pro = !person.pro,
                3 => person.ou = "Elsewhere".to_owned(),
                4 => person.name = "Other".to_owned(),
                _ => person.mail = format!("new{n}@example.com"),
            }
        }
        let mut ruled = plain.clone();
        ruled.is_quiet = is_quiet;
        ruled.rules = crate::ous::limits_everywhere(at_most);
        for company in [&mut plain, &mut ruled] {
            company.run(&Loss { tombstones_visible: true, ..Loss::default() });
        }
        let of = |company: &Company, leavers_only: bool| -> Vec<String> {
            let written = company.written.iter();
            let written = written.filter(|w| !leavers_only || w.reason.is_some_and(|r| r.is_positive()));
            written.map(|w| format!("{} {} {:?}", w.user, w.kind, w.reason)).collect()
        };
        prop_assert_eq!(of(&plain, true), of(&ruled, true));
        let all = of(&plain, false);
        for change in of(&ruled, false) {
            prop_assert!(all.contains(&change), "{change} is applied by the rules alone");
        }
        let may_wait = |kind| matches!(kind, ChangeVerb::Create | ChangeVerb::Tier | ChangeVerb::Update);
        prop_assert!(!is_quiet || !ruled.written.iter().any(|w| may_wait(w.kind)));
    }
}
