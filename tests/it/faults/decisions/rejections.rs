//! Rejected changes: none is applied until the plan is reopened, or the directory shows another
//! state.

use adsim::{NewPerson, names};
use rosterd::model::*;
use rosterd::store::EventFilter;

use super::{
    attention, bob, four_deletions_over_the_limit, state_of, two_excluded_by_mistake, waiting,
};
use crate::faults::{DAY, HOUR, again, dn_of, guid_of, held_plan, tick};
use crate::firm::{Firm, alice};

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
