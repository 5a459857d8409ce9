//! Approvals of held plans, whole or in part, with comments and daily reminders.

use std::time::Duration;

use adsim::{Fault, NewPerson, What, When, names};
use rosterd::engine::{DirectoryConfig, Selection};
use rosterd::model::{Actor, Approver, PlanState, RunState, Status};
use rosterd::reconcile::Approvals;
use serde_json::Value;

use crate::firm::{Firm, alice, dn_of, held_plan};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_approved_by_cause_or_by_person_and_the_rest_stays_held() {
    let firm = Firm::of(200, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let rows = firm.engine.store.held_rows(plan.id).await.unwrap();
    let people: Vec<String> = rows
        .iter()
        .take(2)
        .map(|row| row.email.clone().unwrap())
        .chain([rows[2].guid.unwrap().to_string()])
        .collect();

    for (which, said) in [
        (
            Selection { causes: vec!["ou:nowhere".to_owned()], people: Vec::new(), digest: None },
            "nothing of this plan has the cause \"ou:nowhere\": it has \"create\"",
        ),
        (
            Selection {
                causes: Vec::new(),
                people: vec!["nobody@example.com".to_owned()],
                digest: None,
            },
            "nothing of this plan is about nobody@example.com",
        ),
    ] {
        let refused =
            firm.engine.approve_part(plan.id, &which, "", alice().into()).await.unwrap_err();
        assert!(refused.to_string().starts_with(said), "{refused}");
    }
    let which = Selection { causes: Vec::new(), people, digest: None };
    let approval =
        firm.engine.approve_part(plan.id, &which, "the new branch", alice().into()).await.unwrap();
    assert_eq!(
        (approval.run.counts.create, approval.run.state),
        (3, RunState::Held),
        "{approval:?}"
    );
    let waiting = approval.waiting.expect("the rest of the plan");
    assert_eq!(
        (waiting.id, waiting.count, waiting.comment.as_deref()),
        (plan.id, plan.count - 3, Some("the new branch"))
    );
    let told = &firm.events("plan.approved").await[0]["data"]["after"];
    assert_eq!(
        (&told["count"], &told["of"], &told["comment"]),
        (&3.into(), &plan.count.into(), &"the new branch".into())
    );
    assert_eq!(firm.sync().await.counts.total(), 0, "the rest is still held");

    let by_cause =
        Selection { causes: vec!["create".to_owned()], people: Vec::new(), digest: None };
    let approval = firm.engine.approve_part(plan.id, &by_cause, "", alice().into()).await.unwrap();
    assert_eq!((approval.run.counts.create, approval.waiting.is_none()), (plan.count - 3, true));
    assert_eq!(firm.engine.store.plan(plan.id).await.unwrap().unwrap().state, PlanState::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_two_people_of_a_plan_approves_neither() {
    let firm = Firm::of(100, |_| {}).await;
    firm.sim.edit(|ad| {
        for (n, letter) in ["a", "b"].iter().enumerate() {
            let namesake = NewPerson::new(format!("twin{n}"))
                .mail(&format!("twin-{letter}@example.com"))
                .cn(&format!("Grace Twin {n}"))
                .with("displayName", "Grace Twin")
                .member_of(names::BASIC);
            ad.add_person(namesake);
        }
    });
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let of = |who: &str| Selection { people: vec![who.to_owned()], ..Selection::default() };
    let refused = firm.engine.approve_part(plan.id, &of("grace twin"), "", alice().into()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "2 people of this plan are called \"grace twin\": name one of twin-a@example.com, twin-b@example.com"
    );
    assert_eq!(firm.active().await, 0);
    let approval =
        firm.engine.approve_part(plan.id, &of("twin1"), "", alice().into()).await.unwrap();
    assert_eq!(approval.run.counts.create, 1);
    assert_eq!(firm.user("twin-b@example.com").await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_plan_is_reported_with_its_groups_and_its_first_people_by_name() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let [event] = firm.events("run.held").await.try_into().unwrap();
    let after = &event["data"]["after"];
    let by = after["by"].as_array().unwrap();
    let count: u64 = by.iter().map(|group| group["count"].as_u64().unwrap()).sum();
    assert_eq!(
        (count, &by[0]["kind"], &by[0]["held"]),
        (plan.count, &"create".into(), &"limit".into())
    );
    let names: Vec<String> = after["people"]
        .as_array()
        .unwrap()
        .iter()
        .map(|person| person["display_name"].as_str().unwrap().to_lowercase())
        .collect();
    let rows = firm.engine.store.held_rows(plan.id).await.unwrap();
    let mut all: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(row.names.display_name.as_ref()?.to_lowercase()))
        .collect();
    all.sort();
    assert_eq!(names, all[..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_about_to_expire_is_reported_once() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    firm.engine.approve(plan.id, alice()).await.unwrap();
    firm.engine.send_reminders().await.unwrap();
    assert_eq!(firm.events("plan.expiring").await.len(), 0, "a day is left");
    let directory = firm.engine.directory("corp").unwrap();
    let status = firm.engine.directory_status(&directory).await.unwrap();
    let approved = firm.engine.store.plan(plan.id).await.unwrap().unwrap().approved_at.unwrap();
    assert_eq!(status.approval_expires, Some(approved.plus(Duration::from_hours(24))));
    assert_eq!(status.held_since, Some(plan.created_at), "the age of the oldest held change");
    firm.later(Duration::from_hours(19));
    firm.engine.send_reminders().await.unwrap();
    firm.engine.send_reminders().await.unwrap();
    let [event] = firm.events("plan.expiring").await.try_into().unwrap();
    let after = &event["data"]["after"];
    assert_eq!((&after["count"], &after["approved_by"]), (&plan.count.into(), &"alice".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_change_is_retried_until_the_approval_expires() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let rows = firm.engine.store.held_rows(plan.id).await.unwrap();
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    let which =
        Selection { causes: Vec::new(), people: vec![rows[0].user.to_string()], digest: None };
    let approval = firm.engine.approve_part(plan.id, &which, "", alice().into()).await.unwrap();
    assert_eq!(
        (approval.run.state, approval.run.counts.total()),
        (RunState::Failed, 0),
        "{approval:?}"
    );
    firm.sim.faults().clear();
    // A joiner makes another plan, which still contains the approved changes.
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("late").mail("late@example.com").member_of(names::PRO))
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.create, run.held), (1, plan.count), "{run:?}");
    let next = held_plan(&firm).await;
    assert_ne!(next.id, plan.id);

    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    firm.engine.approve(next.id, alice()).await.unwrap();
    firm.later(Duration::from_hours(25));
    firm.engine.send_reminders().await.unwrap();
    assert_eq!(firm.engine.store.plan(next.id).await.unwrap().unwrap().state, PlanState::Expired);
    assert_eq!(firm.events("plan.expired").await.len(), 1, "the event needs no run");
    firm.sim.faults().clear();
    let run = firm.sync().await;
    assert_eq!(
        (run.counts.create, run.held),
        (0, plan.count),
        "another approval is needed: {run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_plan_is_announced_daily_and_a_rejected_one_is_not() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let announced = async || {
        firm.engine.send_reminders().await.unwrap();
        let told = firm.events("directory.attention").await;
        told.into_iter()
            .filter(|e| e["data"]["after"]["plan"] == plan.id.to_string())
            .collect::<Vec<_>>()
    };
    assert!(announced().await.is_empty(), "the first announcement is the event of the plan itself");
    for day in 1..3 {
        firm.later(Duration::from_hours(25));
        assert_eq!(announced().await.len(), day);
        assert_eq!(announced().await.len(), day, "one announcement a day");
    }
    assert_eq!(announced().await[0]["data"]["after"]["count"], plan.count);
    firm.engine.reject(plan.id, "not before Monday", &alice()).await.unwrap();
    firm.later(Duration::from_hours(49));
    assert_eq!(announced().await.len(), 2, "a rejected plan is not announced");
    firm.sync().await;
    let status =
        firm.engine.directory_status(&firm.engine.directory("corp").unwrap()).await.unwrap();
    let said =
        status.attention.iter().find(|a| a.contains("rejected")).expect("a line of the status");
    assert!(said.contains(&format!("{} changes were rejected", plan.count)), "{said}");
    assert_eq!(firm.users().await.iter().filter(|u| u.status() == Status::Active).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_a_plan_that_changed_since_it_was_shown_is_refused() {
    let firm = Firm::of(200, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let seen = Selection { digest: Some("0".repeat(64)), ..Selection::default() };
    let refused = firm.engine.approve_part(plan.id, &seen, "", alice().into()).await.unwrap_err();
    assert!(refused.to_string().contains("has changed since it was shown"), "{refused}");
    let seen = Selection { digest: Some(plan.digest.to_string()), ..Selection::default() };
    let approval = firm.engine.approve_part(plan.id, &seen, "", alice().into()).await.unwrap();
    assert_eq!(approval.run.counts.create, plan.count);
}

/// Returns an operator with a uid and a name.
fn operator(uid: u32, name: &str) -> Approver {
    Approver { uid: Some(uid), actor: Actor(name.to_owned()) }
}

fn two_above_50(config: &mut DirectoryConfig) {
    config.limits.approvals = Approvals { needed: 2, above: 50 };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_plan_is_applied_once_two_operators_have_approved_it() {
    let firm = Firm::of(120, two_above_50).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let all = Selection { digest: Some(plan.digest.to_string()), ..Selection::default() };
    let approve = |by, comment| firm.engine.approve_part(plan.id, &all, comment, by);
    let first = approve(operator(1000, "ann"), "CHG-1").await.unwrap();
    assert_eq!((first.run.counts.total(), first.run.held), (0, plan.count), "{first:?}");
    let waiting = first.waiting.expect("the plan");
    assert_eq!((waiting.id, waiting.state), (plan.id, PlanState::Open));
    // The same person counts once, whatever its name. No run applies the plan meanwhile.
    for same in [operator(1000, "ann"), operator(1000, "ann-admin")] {
        let refused = approve(same, "").await.unwrap_err().to_string();
        assert!(refused.starts_with("you have approved these changes already"), "{refused}");
    }
    assert_eq!(firm.sync().await.counts.total(), 0);
    let given = firm.engine.store.plan_approvals(plan.id).await.unwrap();
    let [(approval, changes)] = &*given else { panic!("{given:?}") };
    assert_eq!((&approval.by, &*approval.comment), (&operator(1000, "ann"), "CHG-1"));
    assert_eq!(*changes, plan.count);
    let second = approve(operator(1001, "bob"), "").await.unwrap();
    assert_eq!((second.run.counts.create, second.waiting.is_none()), (plan.count, true));
    // The scope of the plan is accepted, as by one operator.
    assert_eq!(firm.sync().await.warnings, Vec::<String>::new());
    let told = firm.events("plan.approval_given").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["data"]["after"]["needed"], 2);
    let told = firm.events("plan.approved").await;
    let approvals = told[0]["data"]["after"]["approvals"].as_array().unwrap();
    let names: Vec<_> = approvals.iter().map(|a| (&a["actor"], &a["uid"])).collect();
    assert_eq!(names, [(&"ann".into(), &1000.into()), (&"bob".into(), &1001.into())]);
    for event in firm.events("user.created").await {
        let approval = &event["data"]["approval"];
        let given = approval["approvals"].as_array().unwrap();
        let given: Vec<_> = given.iter().map(|one| (&one["actor"], &one["comment"])).collect();
        assert_eq!(given, [(&"ann".into(), &"CHG-1".into()), (&"bob".into(), &"".into())]);
        assert_eq!((&approval["by"], &approval["comment"]), (&"bob".into(), &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_names_the_operator_who_approved_its_change_and_not_the_last_of_the_plan() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let rows = firm.engine.store.held_rows(plan.id).await.unwrap();
    let of =
        |n: usize| Selection { people: vec![rows[n].user.to_string()], ..Selection::default() };
    // The directory cannot be read until both have approved.
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    for (n, name) in ["ann", "bob"].into_iter().enumerate() {
        let by = operator(1000 + n as u32, name);
        firm.engine.approve_part(plan.id, &of(n), "", by).await.unwrap();
    }
    firm.sim.faults().clear();
    assert_eq!(firm.sync().await.counts.create, 2);
    for (n, name) in ["ann", "bob"].into_iter().enumerate() {
        let id = rows[n].user.to_string();
        let created = firm.events("user.created").await;
        let event = created.iter().find(|event| event["subject"] == id).unwrap();
        assert_eq!(event["data"]["approval"]["by"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_approve_each_change_and_not_only_the_plan() {
    let firm = Firm::of(120, two_above_50).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let rows = firm.engine.store.held_rows(plan.id).await.unwrap();
    let some = |n: usize| Selection {
        people: rows.iter().take(n).map(|row| row.user.to_string()).collect(),
        ..Selection::default()
    };
    let approve = async |n, by| {
        firm.engine.approve_part(plan.id, &some(n), "", by).await.unwrap().run.counts.create
    };
    assert_eq!(approve(3, operator(1000, "ann")).await, 0);
    assert_eq!(approve(5, operator(1001, "bob")).await, 3);
    // The rest is a part of a large plan, whatever its size.
    let all = Selection::default();
    let rest = firm.engine.approve_part(plan.id, &all, "", operator(1001, "bob"));
    assert_eq!(rest.await.unwrap().run.counts.create, 0);
    let rest = firm.engine.approve_part(plan.id, &all, "", operator(1000, "ann"));
    assert_eq!(rest.await.unwrap().run.counts.create, plan.count - 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_approval_ends_with_its_time_and_with_a_rejection() {
    let firm = Firm::of(120, two_above_50).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let (ann, bob) = (operator(1000, "ann"), operator(1001, "bob"));
    let all = Selection::default();
    let approve_all = |by| firm.engine.approve_part(plan.id, &all, "", by);
    approve_all(ann.clone()).await.unwrap();
    firm.later(Duration::from_hours(25));
    assert_eq!(approve_all(bob.clone()).await.unwrap().run.counts.create, 0);
    firm.engine.reject(plan.id, "", &alice()).await.unwrap();
    firm.engine.reopen(plan.id, "", &alice()).await.unwrap();
    assert_eq!(approve_all(ann).await.unwrap().run.counts.create, 0);
    assert_eq!(approve_all(bob).await.unwrap().run.counts.create, plan.count);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_person_approval_delays_no_leaver() {
    let firm = Firm::running(40, |c| c.limits.approvals = Approvals { needed: 2, above: 0 }).await;
    let leaver = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(dn_of(&leaver).as_str()));
    assert_eq!(firm.sync().await.counts.suspend, 1);
}
