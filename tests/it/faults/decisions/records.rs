//! The records of runs and users are true, also those of a run that was cut off.

use std::sync::Arc;

use rosterd::engine::Rules;
use rosterd::model::{Retention, *};
use rosterd::store::{Applied, UserFilter, Writer};

use crate::faults::{DAY, HOUR, again, guid_of, held_plan};
use crate::firm::{Firm, alice};
use crate::hooks::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cut_by_a_reload_records_its_changes() {
    let firm = Firm::of(4_000, |c| c.settings.page_size = 1_000).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let approving = firm.engine.approve(plan.id, alice());
    let first = UserFilter { limit: Some(1), ..UserFilter::default() };
    let cutting = async {
        until("some are written", async || {
            (!firm.engine.store.users(&first).await.unwrap().is_empty()).then_some(())
        })
        .await;
        firm.reconfigure(|c| c.stale_after = HOUR * 7);
    };
    let (approval, ()) = tokio::join!(approving, cutting);
    let run = approval.expect("a run").run;
    let users = firm.users().await.len() as u64;
    assert_eq!((run.state, run.counts.create), (RunState::Cancelled, users), "{run:?}");
    let said = run.error.unwrap_or_default();
    assert!(
        users > 0 && said.contains(&format!("{users} changes had been applied and stay")),
        "{said}"
    );
    assert_eq!(firm.events("run.cancelled").await[0]["data"]["after"]["changes"]["create"], users);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cut_by_a_crash_records_its_changes_at_the_next_start() {
    let firm = Firm::of(4_000, |c| c.settings.page_size = 1_000).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let engine = Arc::clone(&firm.engine);
    let approving = tokio::spawn(async move { engine.approve(plan.id, alice()).await });
    let first = UserFilter { limit: Some(1), ..UserFilter::default() };
    until("some are written", async || {
        (!firm.engine.store.users(&first).await.unwrap().is_empty()).then_some(())
    })
    .await;
    approving.abort();
    let _ = approving.await;
    assert_eq!(firm.engine.store.cancel_cut_runs(firm.clock.now()).await.unwrap(), 1);
    let run = firm.engine.store.runs(Some("corp"), 1).await.unwrap().remove(0);
    assert_eq!(
        (run.state, run.counts.create),
        (RunState::Cancelled, firm.users().await.len() as u64),
        "{run:?}"
    );
    assert!(run.error.unwrap_or_default().contains("had been applied and stay"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_write_is_a_run_before_it_changes_anything() {
    let firm = Firm::running(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.engine.suspend(&user.id.to_string(), "", &alice()).await.unwrap();
    let run = firm.engine.store.runs(None, 1).await.unwrap().remove(0);
    assert_eq!(
        (run.state, run.counts.suspend, run.finished_at.is_some()),
        (RunState::Succeeded, 1, true)
    );
    // Changes of a run without a final record are counted from their rows.
    let store = &firm.engine.store;
    let account =
        store.account(&Handle::parse("acme").unwrap()).await.unwrap().unwrap().reference();
    let cut = rosterd::store::Run {
        id: RunId(firm.clock.new_id()),
        state: RunState::Running,
        finished_at: None,
        ..run
    };
    let cut = rosterd::store::Run { counts: ChangeCounts::default(), ..cut };
    store.save_run(&cut).await.unwrap();
    let user = again(&firm, &user).await;
    let lifted: Causes = user.causes.iter().cloned().collect::<Vec<_>>().into();
    let kind = ChangeKind::Reactivate {
        lifted,
        remaining: std::collections::BTreeSet::new(),
        evidence: Vec::new(),
    };
    let writer = Writer {
        right: rosterd::store::Right::Leader,
        run: cut.id,
        directory: None,
        account,
        actor: alice(),
        observed_from: ObservationNumber::default(),
        clock: &firm.clock,
        asked: &[],
    };
    let admitted =
        rosterd::reconcile::Admitted::by_operator(vec![Change::by_hand(&user, kind)], alice());
    store.apply(&admitted, &writer, &mut Applied::default()).await.unwrap();
    store.cancel_cut_runs(firm.clock.now()).await.unwrap();
    let cut = store.run(cut.id).await.unwrap().unwrap();
    assert_eq!((cut.state, cut.counts.reactivate), (RunState::Cancelled, 1));
    assert!(
        cut.error
            .unwrap()
            .ends_with("1 change had been applied and stays; the next run does the rest")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_removed_user_is_not_that_of_the_user_who_has_its_id_now() {
    let firm = Firm::running(40, |_| {}).await;
    let was = firm.engine.configured();
    let directories = was.directories.values().map(|d| d.config.clone()).collect();
    let retention = Retention { remove_after: Some(DAY * 365), ..Retention::default() };
    firm.engine.reconfigure(directories, Rules { retention, ..was.rules.clone() });
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.set(guid_of(&user), "title", "Clerk"));
    let edited = firm.sync().await;
    assert_eq!(edited.counts.update, 1);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    firm.sync().await;
    firm.later(DAY * 366);
    assert_eq!(firm.engine.apply_retention().await.unwrap().removed, 1);
    firm.sim.edit(|ad| ad.enable(guid_of(&user)));
    assert_eq!(firm.sync().await.counts.create, 1, "hired again");
    let now = firm.user(&user.id.to_string()).await;
    let history = firm.engine.history(&now).await.unwrap();
    assert_eq!(
        history.iter().map(|(_, change)| change.kind.as_str()).collect::<Vec<_>>(),
        ["create"]
    );
    // The runs that created and changed the former user do not affect the present one.
    let runs = firm.engine.store.runs(Some("corp"), 50).await.unwrap();
    for run in runs.iter().filter(|run| run.id == edited.id || run.counts.create > 1) {
        let undoing = firm.engine.plan_undo(run.id).await.unwrap();
        assert!(
            !undoing.changes.iter().any(|change| change.user == user.id),
            "{:?}",
            undoing.changes
        );
        assert!(
            undoing
                .left
                .iter()
                .any(|left| left.user == user.id && left.why.contains("another one")),
            "{:?}",
            undoing.left
        );
    }
}
