//! Decisions: an operator's decision holds, an answer is based on data that was read, and records
//! are true.

use std::sync::Arc;

use adsim::{Fault, NewPerson, What, When, names};
use rosterd::engine::Rules;
use rosterd::model::Retention;
use rosterd::model::*;
use rosterd::store::{
    Applied, Consent, Decision, EventFilter, HeldPlan, StoreError, UserFilter, Writer,
};

use super::{DAY, HOUR, again, dn_of, guid_of, held_plan, no_full_runs, see_tombstones, tick};
use crate::firm::{Firm, alice};
use crate::hooks::until;

fn bob() -> Actor {
    Actor("bob".to_owned())
}

fn word(actor: &Actor) -> Decision<'_> {
    Decision { actor, comment: "" }
}

/// Returns an approval that no other one has to follow.
fn consent(by: &Approver) -> Consent<'_> {
    Consent { by, comment: "", needed: 1, valid_from: Timestamp(0) }
}

async fn attention(firm: &Firm) -> Vec<String> {
    let directory = firm.engine.directory("corp").expect("corp");
    firm.engine.directory_status(&directory).await.expect("a status").attention
}

async fn waiting(firm: &Firm) -> Vec<HeldPlan> {
    firm.engine.store.plans(false).await.expect("plans")
}

async fn state_of(firm: &Firm, plan: &HeldPlan) -> PlanState {
    firm.engine.store.plan(plan.id).await.expect("a plan").expect("it is known").state
}

/// Returns a company with six deletions applied today and four more held over the limit.
async fn four_deletions_over_the_limit() -> (Firm, Vec<User>) {
    let firm = Firm::running(100, |c| c.full = no_full_runs()).await;
    see_tombstones(&firm).await;
    let doomed: Vec<User> = firm.users().await.into_iter().step_by(5).collect();
    firm.sim.edit(|ad| doomed.iter().take(6).for_each(|user| ad.delete(guid_of(user))));
    assert_eq!(firm.sync().await.counts.suspend, 6);
    firm.sim.edit(|ad| doomed.iter().skip(6).take(4).for_each(|user| ad.delete(guid_of(user))));
    assert_eq!(firm.sync().await.held, 4);
    (firm, doomed[6..10].to_vec())
}

/// Returns a company whose configuration excludes two users by mistake, so that their suspension is
/// held.
async fn two_excluded_by_mistake() -> (Firm, usize, Vec<User>) {
    let firm = Firm::running(100, |c| c.limits.grace_period = std::time::Duration::ZERO).await;
    let users: Vec<User> = firm.users().await.into_iter().take(2).collect();
    let addresses: Vec<String> = users
        .iter()
        .map(|u| u.addresses.primary.clone().expect("an address").to_string())
        .collect();
    let before = firm.active().await;
    firm.reconfigure(|c| c.exclude = addresses);
    let run = firm.sync().await;
    assert_eq!((run.state, run.held), (RunState::Held, 2), "it only plans: {run:?}");
    (firm, before, users)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_rejected_under_a_new_scope_is_suspended_by_no_later_run() {
    let (firm, before, users) = two_excluded_by_mistake().await;
    firm.engine
        .reject(held_plan(&firm).await.id, "that was a slip in the file", &alice())
        .await
        .unwrap();
    for n in 0..4 {
        let run = firm.sync().await;
        assert_eq!(
            (run.counts.total(), run.held, run.state),
            (0, 0, RunState::Succeeded),
            "run {n}: {run:?}"
        );
        firm.later(DAY);
    }
    let asked = firm.engine.sync_user(&users[0].id.to_string(), &alice()).await.unwrap();
    assert_eq!((asked.counts.total(), firm.active().await), (0, before), "by name neither");
    assert!(attention(&firm).await.iter().any(|a| a.contains("runs only plan until then")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_with_a_rejected_change_is_accepted_only_after_reopening_and_approval() {
    let (firm, before, users) = two_excluded_by_mistake().await;
    let rejected = held_plan(&firm).await;
    firm.engine.reject(rejected.id, "", &alice()).await.unwrap();
    // Another plan under the same scope is held and approved, which does not concern the two.
    firm.sim.edit(|ad| ad.set(dn_of(&users[0]).as_str(), "title", "Chief"));
    let run = firm.sync().await;
    assert_eq!((run.held, waiting(&firm).await.len()), (1, 1), "{run:?}");
    firm.engine.approve(held_plan(&firm).await.id, bob()).await.unwrap();
    assert_eq!(firm.sync().await.counts.total(), 0);
    assert_eq!(firm.active().await, before);

    let open = firm.engine.reopen(rejected.id, "they do leave", &bob()).await.unwrap();
    assert_eq!((open.id, open.state, open.count), (rejected.id, PlanState::Open, 2));
    assert_eq!(firm.events("plan.reopened").await[0]["data"]["actor"], "bob");
    let run = firm.sync().await;
    assert_eq!((run.held, firm.active().await), (2, before), "it is held again: {run:?}");
    let approval = firm.engine.approve(rejected.id, alice()).await.unwrap();
    assert_eq!((approval.run.counts.suspend, firm.active().await), (2, before - 2));
    firm.sim.edit(|ad| ad.set(dn_of(&users[1]).as_str(), "title", "Chief"));
    let run = firm.sync().await;
    assert_eq!((run.held, run.counts.update), (0, 1), "and the scope is accepted with it: {run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_scope_ends_with_the_configuration_that_asked_for_it() {
    let (firm, before, users) = two_excluded_by_mistake().await;
    let rejected = held_plan(&firm).await;
    firm.engine.reject(rejected.id, "", &alice()).await.unwrap();
    firm.reconfigure(|c| c.exclude = Vec::new());
    let run = firm.sync().await;
    assert_eq!((run.held, state_of(&firm, &rejected).await), (0, PlanState::Withdrawn), "{run:?}");
    assert!(!attention(&firm).await.iter().any(|a| a.contains("rejected")));
    // The same mistake again is a new plan.
    let again: Vec<String> =
        users.iter().map(|u| u.addresses.primary.clone().unwrap().to_string()).collect();
    firm.reconfigure(|c| c.exclude = again);
    assert_eq!((firm.sync().await.held, firm.active().await), (2, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_rejected_over_the_limit_is_not_applied_after_the_window() {
    let (firm, users) = four_deletions_over_the_limit().await;
    let before = firm.active().await;
    let rejected = held_plan(&firm).await;
    firm.engine.reject(rejected.id, "no: these four are being restored", &alice()).await.unwrap();
    let rows = firm.events("run.held").await.len();
    firm.later(DAY + HOUR);
    let mut runs = vec![firm.sync().await, tick(&firm).await];
    runs.push(firm.engine.sync_user(&users[0].id.to_string(), &alice()).await.unwrap());
    for run in runs {
        assert_eq!(
            (run.counts.suspend, run.held, run.state),
            (0, 0, RunState::Succeeded),
            "{} {run:?}",
            run.mode
        );
    }
    assert_eq!(
        (firm.active().await, firm.events("run.held").await.len()),
        (before, rows),
        "no new change is reported"
    );
    // Other changes of the class use the limit; rejected changes take no part of it.
    let next = firm
        .users()
        .await
        .into_iter()
        .find(|u| u.status() == Status::Active && !users.iter().any(|r| r.id == u.id))
        .unwrap();
    firm.sim.edit(|ad| ad.delete(guid_of(&next)));
    assert_eq!(firm.sync().await.counts.suspend, 1);
    // The rejection is reported every day, because leavers stay active by it.
    let said = attention(&firm).await;
    assert!(
        said.iter().any(|a| a.starts_with(
            "4 leavers stay active because alice rejected their suspension as deleted"
        )),
        "{said:?}"
    );
    firm.engine.send_reminders().await.unwrap();
    let told = firm.events("directory.attention").await;
    let told =
        told.iter().filter(|e| e["data"]["after"]["plan"] == rejected.id.to_string()).count();
    assert_eq!(told, 1, "a day later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_suspension_does_not_prevent_one_for_another_reason() {
    let (firm, users) = four_deletions_over_the_limit().await;
    // The first of the four is rejected as deleted, then restored, then disabled, which is another
    // change.
    firm.engine.reject(held_plan(&firm).await.id, "", &alice()).await.unwrap();
    let disabled: Vec<User> =
        firm.users().await.into_iter().filter(|u| u.status() == Status::Active).take(60).collect();
    let disabled: Vec<&User> =
        disabled.iter().filter(|u| !users.iter().any(|r| r.id == u.id)).collect();
    firm.sim.edit(|ad| disabled.iter().for_each(|user| ad.disable(guid_of(user))));
    firm.sync().await;
    let held = held_plan(&firm).await;
    let rows = firm.engine.store.held_rows(held.id).await.unwrap();
    firm.engine.reject(held.id, "not these", &alice()).await.unwrap();
    let kept = firm.user(&rows[0].user.to_string()).await;
    assert_eq!(kept.status(), Status::Active);
    firm.sim.edit(|ad| ad.set(guid_of(&kept), "accountExpires", "132000000000000000"));
    firm.later(DAY + HOUR);
    firm.sync().await;
    let now = again(&firm, &kept).await;
    let causes: Vec<Reason> = now.causes.iter().map(|c| c.reason).collect();
    assert_eq!(causes, [Reason::Expired], "disabled was rejected, expired was not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_ends_when_the_directory_shows_that_the_change_is_obsolete() {
    let (firm, users) = four_deletions_over_the_limit().await;
    let rejected = held_plan(&firm).await;
    firm.engine.reject(rejected.id, "", &alice()).await.unwrap();
    // Deleted objects are not visible any more: no change is proposed, and that is no evidence.
    firm.sim.edit(|ad| ad.show_tombstones(false));
    firm.sync().await;
    assert_eq!(
        firm.engine.store.rejections(&DirectoryName::parse("corp").unwrap()).await.unwrap().len(),
        4
    );
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.restore(guid_of(&users[0]));
    });
    let run = firm.sync().await;
    assert_eq!(firm.engine.store.plan(rejected.id).await.unwrap().unwrap().count, 3, "{run:?}");
    firm.later(DAY + HOUR);
    firm.sim.edit(|ad| ad.delete(guid_of(&users[0])));
    firm.sync().await;
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Suspended,
        "deleted again is a new question, within the limit"
    );
    assert_eq!(again(&firm, &users[1]).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_creation_stays_rejected_when_the_title_changes() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let import = held_plan(&firm).await;
    firm.engine.reject(import.id, "not yet", &alice()).await.unwrap();
    let person = firm.sim.look(|ad| ad.people()[0]);
    firm.sim.edit(|ad| {
        ad.set(person, "title", "Chief");
        ad.add_person(
            NewPerson::new("late").mail("late@example.com").ou("Finance").member_of(names::BASIC),
        );
    });
    let run = firm.sync().await;
    assert_eq!(
        (run.counts.create, run.held),
        (1, 0),
        "one newcomer is within the limit, and no other change is held: {run:?}"
    );
    assert_eq!((firm.users().await.len(), waiting(&firm).await.len()), (1, 0));
    // A part of the plan can be approved by name; the rest stays rejected.
    let rows = firm.engine.store.held_rows(import.id).await.unwrap();
    let refused = firm.engine.approve(import.id, bob()).await.unwrap_err();
    assert!(
        refused.to_string().contains("was rejected by alice: reopen it with rosterctl held reopen"),
        "{refused}"
    );
    let which =
        rosterd::engine::Selection { people: vec![rows[0].user.to_string()], ..Default::default() };
    let approval = firm.engine.approve_part(import.id, &which, "", bob().into()).await.unwrap();
    assert_eq!((approval.run.counts.create, approval.waiting.is_none()), (1, true), "{approval:?}");
    assert_eq!(
        (state_of(&firm, &import).await, firm.sync().await.counts.total()),
        (PlanState::Rejected, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_plan_joins_the_held_one() {
    let (firm, _) = four_deletions_over_the_limit().await;
    let rejected = held_plan(&firm).await;
    firm.engine.reject(rejected.id, "", &alice()).await.unwrap();
    let others: Vec<User> =
        firm.users().await.into_iter().filter(|u| u.status() == Status::Active).collect();
    let gone: Vec<&User> = others.iter().rev().take(3).collect();
    firm.sim.edit(|ad| gone.iter().for_each(|user| ad.delete(guid_of(user))));
    assert_eq!(firm.sync().await.held, 3);
    let other = held_plan(&firm).await;
    let joined = firm.engine.reopen(rejected.id, "", &bob()).await.unwrap();
    assert_eq!((joined.count, waiting(&firm).await.len()), (7, 1));
    assert_eq!(
        (state_of(&firm, &rejected).await, state_of(&firm, &other).await),
        (PlanState::Superseded, PlanState::Superseded)
    );
    let run = firm.sync().await;
    assert_eq!(
        (run.held, held_plan(&firm).await.id),
        (7, joined.id),
        "the next run finds the same: {run:?}"
    );
}

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
async fn the_first_run_after_a_rebaseline_only_plans_in_spite_of_a_concurrent_read() {
    let firm = Firm::running(60, |c| c.limits.grace_period = std::time::Duration::ZERO).await;
    let before = firm.active().await;
    let reading = "objectcategory=person)(objectclass=user";
    firm.sim.faults().push(Fault::new(
        When::search().containing(reading),
        What::Delay(std::time::Duration::from_secs(2)),
    ));
    let directory = firm.engine.directory("corp").unwrap();
    let mut progress = directory.progress();
    let rebaseline = async {
        progress.wait_for(|p| p.phase == rosterd::engine::Phase::Reading).await.unwrap();
        firm.engine.rebaseline("corp", &alice()).await.unwrap();
    };
    let (run, ()) = tokio::join!(firm.sync(), rebaseline);
    assert_eq!(run.error, None);
    let state = firm.engine.store.directory(&directory.config.name).await.unwrap();
    assert_eq!(
        (state.checkpoint, state.counts == rosterd::reconcile::AttributeCounts::default()),
        (None, true),
        "what rebaseline set stays"
    );
    let leaver = firm.users().await.remove(0);
    firm.sim.edit(|ad| {
        for group in [names::BASIC, names::PRO, names::PRO_NESTED] {
            ad.remove_member(group, guid_of(&leaver));
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.held, firm.active().await), (0, 1, before), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_plan_with_an_expired_approval_are_held_again() {
    let firm = Firm::of(120, |c| {
        c.full = no_full_runs();
        c.limits.grace_period = std::time::Duration::ZERO;
    })
    .await;
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
        ad.delete("nobody");
    });
    let run = firm.sync().await;
    assert!(run.held > 50);
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    firm.engine.approve(held_plan(&firm).await.id, alice()).await.unwrap();
    firm.later(DAY + HOUR);
    firm.engine.send_reminders().await.unwrap();
    assert!(waiting(&firm).await.is_empty());
    firm.sim.faults().clear();
    tick(&firm).await;
    assert_eq!(
        waiting(&firm).await.first().map(|p| p.count),
        Some(run.held),
        "an incremental run suffices"
    );
    let corp = DirectoryName::parse("corp").unwrap();
    // Planned again, they are pending by their plan alone.
    firm.engine.reject(held_plan(&firm).await.id, "", &alice()).await.unwrap();
    assert_eq!(
        firm.engine.store.pending(&corp, firm.clock.now()).await.unwrap().len() as u64,
        run.held
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_plan_is_not_restored_by_a_concurrent_approval() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let seen = held_plan(&firm).await;
    firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("late").mail("late@example.com").ou("Finance").member_of(names::BASIC),
        );
    });
    assert_eq!(firm.sync().await.held, seen.count + 1);
    let store = &firm.engine.store;
    store.approve_plan(&seen, None, consent(&alice().into()), &firm.clock).await.unwrap();
    assert_eq!(
        (waiting(&firm).await.len(), state_of(&firm, &seen).await),
        (1, PlanState::Superseded)
    );
    // A change that was rejected, expired or applied since is not restored either.
    let seen = held_plan(&firm).await;
    store.reject_plan(&seen, word(&bob()), &firm.clock).await.unwrap();
    let raced =
        store.approve_plan(&seen, None, consent(&alice().into()), &firm.clock).await.unwrap_err();
    assert!(
        matches!(raced, StoreError::Raced { .. })
            && raced.to_string().contains("is rejected by bob by now"),
        "{raced}"
    );
    assert_eq!((waiting(&firm).await.len(), firm.sync().await.counts.total()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_rejection_nor_an_expiry_takes_back_an_approval_that_came_first() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let (seen, store) = (held_plan(&firm).await, &firm.engine.store);
    store.approve_plan(&seen, None, consent(&alice().into()), &firm.clock).await.unwrap();
    let late = held_plan(&firm).await;
    firm.later(HOUR);
    store.approve_plan(&late, None, consent(&bob().into()), &firm.clock).await.unwrap();
    store.expire_approval(&late, &firm.clock).await.unwrap();
    assert_eq!(
        state_of(&firm, &seen).await,
        PlanState::Approved,
        "the approval that expired is not the one that counts"
    );
    let run = firm.sync().await;
    assert_eq!(
        (run.counts.create, state_of(&firm, &seen).await),
        (seen.count, PlanState::Applied),
        "{run:?}"
    );
    let raced = store.reject_plan(&seen, word(&bob()), &firm.clock).await.unwrap_err();
    assert!(raced.to_string().contains("is applied by now"), "{raced}");
    let said = firm.engine.reject(seen.id, "", &bob()).await.unwrap_err();
    assert!(said.to_string().contains("is applied already"), "{said}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_rejected_and_reopened_is_one_event_each() {
    let (firm, _) = four_deletions_over_the_limit().await;
    let held = held_plan(&firm).await;
    firm.engine.reject(held.id, "no", &alice()).await.unwrap();
    let twice = firm.engine.reject(held.id, "no", &bob()).await.unwrap_err();
    assert!(twice.to_string().contains("is rejected by alice already"), "{twice}");
    firm.engine.reopen(held.id, "yes", &bob()).await.unwrap();
    assert!(
        firm.engine
            .reopen(held.id, "yes", &bob())
            .await
            .unwrap_err()
            .to_string()
            .contains("is open, not rejected")
    );
    let filter =
        EventFilter { kinds: vec!["plan.*".to_owned()], limit: 100, ..EventFilter::default() };
    let told = firm.engine.store.events(&filter).await.unwrap();
    let of_it: Vec<&str> = told
        .iter()
        .filter(|e| e.document["subject"] == held.id.to_string())
        .filter_map(|e| e.document["type"].as_str())
        .collect();
    assert_eq!(of_it, ["plan.rejected", "plan.reopened"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_scope_with_nothing_held_asks_for_no_approval() {
    let firm = Firm::running(3, |_| {}).await;
    firm.reconfigure(|c| c.exclude = vec!["nobody@example.com".to_owned()]);
    let run = firm.sync().await;
    assert_eq!(run.held, 0);
    assert!(run.warnings.iter().all(|w| !w.contains("approval")), "{:?}", run.warnings);
}
