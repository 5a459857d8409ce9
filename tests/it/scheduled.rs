//! Suspensions that operators schedule: they survive restarts, pauses and failures.

use std::time::Duration;

use rosterd::engine::EngineError;
use rosterd::model::{Reason, Status};

use crate::acme::alice;
use crate::firm::{Firm, again};
use crate::hooks::until;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_suspension_takes_place_after_a_restart_and_during_a_pause() {
    let firm = Firm::running(20, |c| c.schedule = crate::firm::no_full_runs()).await;
    let users = firm.users().await;
    let (leaver, other) = (&users[0], &users[1]);
    let at = firm.clock.now().plus(HOUR);
    for user in [leaver, other] {
        let who = user.id.to_string();
        firm.engine.suspend_at(&who, at, "last day", &alice()).await.unwrap();
    }
    firm.engine.cancel_suspension(&other.id.to_string(), &alice()).await.unwrap();
    assert_eq!(again(&firm, leaver).await.status(), Status::Active);
    let scheduled = firm.engine.store.scheduled_suspensions().await.unwrap();
    assert_eq!(scheduled.keys().collect::<Vec<_>>(), [&leaver.id]);
    firm.engine.pause("corp", Some(HOUR * 24), &alice()).await.unwrap();
    firm.later(HOUR * 2);
    let engine = firm.restarted();
    let directory = engine.directory("corp").unwrap();
    let task = tokio::spawn(std::sync::Arc::clone(&engine).run_triggers(directory));
    until("a suspension", async || {
        (again(&firm, leaver).await.status() == Status::Suspended).then_some(())
    })
    .await;
    task.abort();
    let cause = again(&firm, leaver).await.causes.weightiest().cloned().unwrap();
    assert_eq!((cause.reason, cause.evidence.value.as_str()), (Reason::Operator, "last day"));
    assert_eq!(again(&firm, other).await.status(), Status::Active);
    assert_eq!(firm.events("user.suspension_scheduled").await.len(), 2);
    let cancelled = &firm.events("user.suspension_cancelled").await[0]["data"];
    assert_eq!(cancelled["user"]["after"]["status"], "active", "hooks see who it is: {cancelled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_is_scheduled_for_the_future_and_cancelled_once() {
    let firm = Firm::running(20, |_| {}).await;
    let who = firm.users().await[0].id.to_string();
    let refused = |error: EngineError| error.to_string();
    let past = firm.engine.suspend_at(&who, firm.clock.now(), "", &alice()).await.unwrap_err();
    assert!(refused(past).contains("is not in the future"));
    let none = firm.engine.cancel_suspension(&who, &alice()).await.unwrap_err();
    assert!(refused(none).starts_with("no suspension of"));
    // A user who is suspended by hand meanwhile has nothing left to be suspended from.
    let at = firm.clock.now().plus(HOUR);
    firm.engine.suspend_at(&who, at, "", &alice()).await.unwrap();
    firm.engine.suspend(&who, "at once", &alice()).await.unwrap();
    firm.later(HOUR * 2);
    let directory = firm.engine.directory("corp").unwrap();
    let task = tokio::spawn(std::sync::Arc::clone(&firm.engine).run_triggers(directory));
    until("the end of the schedule", async || {
        firm.engine.store.scheduled_suspensions().await.unwrap().is_empty().then_some(())
    })
    .await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_suspension_waits_for_a_user_without_access() {
    let firm = Firm::running(20, |c| c.schedule = crate::firm::no_full_runs()).await;
    let user = firm.users().await.remove(0);
    let at = firm.clock.now().plus(HOUR);
    firm.engine.suspend_at(&user.id.to_string(), at, "last day", &alice()).await.unwrap();
    firm.engine.release("example.com", Some("acme"), &alice()).await.unwrap();
    firm.later(HOUR * 2);
    let directory = firm.engine.directory("corp").unwrap();
    let task = tokio::spawn(std::sync::Arc::clone(&firm.engine).run_triggers(directory));
    firm.engine.claim("acme", "example.com", &alice()).await.unwrap();
    firm.sync().await;
    for plan in firm.engine.store.plans(false).await.unwrap() {
        firm.engine.approve(plan.id, alice()).await.unwrap();
    }
    until("a suspension", async || {
        (again(&firm, &user).await.status() == Status::Suspended).then_some(())
    })
    .await;
    task.abort();
}
