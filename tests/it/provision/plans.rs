//! Nothing surprising happens unasked: what does not follow a change of a user is a plan.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_first_import_is_held_and_the_approved_accounts_are_created() {
    let office = Office::before(100, |_, _| {}).await;
    office.start().await;
    let active = office.firm.active().await;
    assert_eq!(office.plan().await.expect("a plan").count, active as u64);
    assert!(office.sim.users().is_empty());
    let shown = office.firm.engine.plan_target(NAME, None).await.expect("a plan");
    assert!(shown.steps.iter().all(|step| step.hold == Some(HoldReason::Limit)));
    let plan = office.plan().await.expect("a plan");
    let rows = office.firm.engine.store.held_rows(plan.id).await.expect("rows");
    let one = Selection { people: vec![rows[0].user.to_string()], ..Selection::default() };
    office
        .firm
        .engine
        .approve_part(plan.id, &one, "a pilot", alice().into())
        .await
        .expect("a part");
    until("the pilot has an account", async || (office.active().len() == 1).then_some(())).await;
    let plan = office.plan().await.expect("the rest");
    assert_eq!(plan.count, active as u64 - 1);
    office.firm.engine.approve(plan.id, alice()).await.expect("an approval");
    until("each user has an account", async || (office.active().len() == active).then_some(()))
        .await;
    office.at_rest().await;
    let plan = office.firm.engine.store.plan(plan.id).await.expect("a plan").expect("the plan");
    assert_eq!(plan.state, PlanState::Applied);
    let run = office.run().await;
    assert_eq!((run.counts.total(), run.held, run.state), (0, 0, RunState::Succeeded));
    assert!(run.complete);
    let log = office.sim.log();
    let changes = |method: &str| log.iter().filter(|request| request.method == method).count();
    assert_eq!((changes("POST"), changes("PATCH")), (active, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_gets_an_account_without_an_approval() {
    let office = Office::of(8).await;
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::PRO)));
    office.firm.sync().await;
    let user = office.firm.user("joiner@example.com").await;
    let account = until("the joiner has an account", async || office.account(&user)).await;
    assert_eq!(account["userName"], "joiner@example.com");
    office.at_rest().await;
    assert_eq!(office.firm.events("provision.created").await.len(), office.sim.users().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_tiers_waits_and_putting_it_back_withdraws_it() {
    let office = Office::of(40).await;
    let before = office.active();
    office.reconfigure(|config| config.tiers = [Tier::Pro].into());
    let plan = until("the plan waits", async || office.plan().await).await;
    assert!(plan.count > 5);
    assert!(
        office
            .kinds_held()
            .await
            .iter()
            .all(|(step, hold)| { step == "deactivate" && *hold == HoldReason::PlanOnly })
    );
    assert_eq!(office.active(), before);
    office.reconfigure(|config| config.tiers = Tier::ALL.into());
    until("the plan is withdrawn", async || office.plan().await.is_none().then_some(())).await;
    office.at_rest().await;
    assert_eq!(office.active(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_mapping_is_held_and_sent_after_the_approval() {
    let office = Office::of(12).await;
    office.reconfigure(|config| {
        config.mapping = mapping(&[("title", "Colleague {display-name}")]);
    });
    until("the plan waits", async || office.plan().await.map(drop)).await;
    assert!(office.sim.users().iter().all(|user| user["title"] != "Colleague"));
    office.approve_all().await;
    office.at_rest().await;
    let is_new =
        |user: &Value| user["title"].as_str().is_some_and(|title| title.starts_with("Colleague "));
    assert!(office.sim.users().iter().all(is_new), "{:#?}", office.sim.users());
    assert_eq!(office.run().await.held, 0);
    // Rules that alter nothing are accepted without an approval.
    office.reconfigure(|config| config.exclude = vec!["nobody@example.com".to_owned()]);
    until("the rules are accepted", async || {
        let status = office.firm.engine.target_statuses().await.expect("a status");
        let hash = office.firm.engine.target(NAME).expect("it").config.rules_hash();
        status[0].state.rules.as_ref().filter(|rules| rules.accepts(&hash)).map(drop)
    })
    .await;
    assert!(office.plan().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_step_stays_off_until_it_is_reopened() {
    let office = Office::of(12).await;
    office.reconfigure(|config| config.tiers = [Tier::Basic].into());
    let plan = until("the plan waits", async || office.plan().await).await;
    let before = office.active();
    office.firm.engine.reject(plan.id, "no", &alice()).await.expect("a rejection");
    office.run().await;
    assert!(office.plan().await.is_none());
    assert_eq!(office.active(), before);
    // A run of the directory leaves the rejection alone.
    office.firm.sync().await;
    office.run().await;
    assert!(office.plan().await.is_none());
    let reopened = office.firm.engine.reopen(plan.id, "", &alice()).await.expect("a plan");
    assert_eq!(reopened.directory.as_str(), NAME);
    office.firm.engine.approve(reopened.id, alice()).await.expect("an approval");
    until("the accounts are inactive", async || {
        (office.active().len() < before.len()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_is_recognised_and_gets_nothing() {
    let office = Office::of(12).await;
    let other = Sim::start().await.expect("a simulator");
    other.set_token(&office.sim.token());
    office.reconfigure(|config| config.client.url = other.url().parse().expect("a URL"));
    until("the target is foreign", async || {
        office.firm.events("target.foreign").await.first().map(drop)
    })
    .await;
    let user = office.someone().await;
    office.leave(&user).await;
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert_eq!(status.condition.as_str(), "foreign");
    assert!(other.log().iter().all(|request| request.method == "GET"));
    assert!(other.users().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_target_gets_no_storm_of_creations() {
    let office = Office::of(20).await;
    for account in office.sim.users() {
        office.sim.delete(&id_of(&account));
    }
    let run = office.run().await;
    assert!(
        run.error
            .is_some_and(|error| error.contains("none of the accounts by which it is recognised"))
    );
    // The operator says that this is the right service.
    office.firm.engine.unlock_target(NAME).await.expect("a status");
    until("the accounts are planned", async || {
        office.run().await;
        office.plan().await.map(drop)
    })
    .await;
    assert!(office.sim.users().is_empty());
    let held = office.kinds_held().await;
    assert!(held.iter().all(|(step, hold)| step == "create" && *hold == HoldReason::Cluster));
    let users = office.firm.active().await;
    assert_eq!(held.len(), users);
    office.approve_all().await;
    until("each user has an account", async || (office.active().len() == users).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_target_keeps_its_accounts_and_catches_up_when_it_returns() {
    let office = Office::of(12).await;
    let target = office.firm.engine.target(NAME).expect("the target").config.clone();
    let user = office.someone().await;
    office.firm.engine.reconfigure_targets(Vec::new());
    office.leave(&user).await;
    let statuses = office.firm.engine.target_statuses().await.expect("a status");
    assert_eq!(statuses[0].condition.as_str(), "removed");
    assert_eq!(office.is_active(&user), Some(true));
    office.firm.engine.reconfigure_targets(vec![target]);
    office.follow();
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    let refused = office.firm.engine.forget_target(NAME).await.expect_err("it is configured");
    assert!(refused.to_string().contains("is configured"), "{refused}");
    office.firm.engine.reconfigure_targets(Vec::new());
    let accounts = office.sim.users().len() as u64;
    assert_eq!(office.firm.engine.forget_target(NAME).await.expect("a count"), accounts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_only_target_sends_only_what_is_approved() {
    let office = Office::with(8, |config, _| config.mode = Mode::PlanOnly).await;
    let user = office.someone().await;
    office.leave(&user).await;
    let held = until("the deactivation waits", async || office.plan().await).await;
    assert_eq!((held.count, office.is_active(&user)), (1, Some(true)));
    office.approve_all().await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_long_inactive_is_deleted_by_approval_only() {
    let time = Duration::from_hours(24 * 90);
    let office = Office::with(8, |config, _| {
        config.delete_after = Some(time);
        let none = rosterd::reconcile::Limit { percent: 0, at_least: 0, at_most: None };
        config.limits.classes.insert(rosterd::model::ChangeClass::Deleted, none);
    })
    .await;
    let user = office.someone().await;
    office.leave(&user).await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    office.at_rest().await;
    assert_eq!(office.run().await.held, 0);
    office.firm.later(time);
    office.run().await;
    assert_eq!(office.kinds_held().await, [("delete".to_owned(), HoldReason::Limit)]);
    assert_eq!(office.is_active(&user), Some(false));
    office.approve_all().await;
    until("the account is deleted", async || office.account(&user).is_none().then_some(())).await;
    until("the event is there", async || {
        office.firm.events("provision.deleted").await.first().map(drop)
    })
    .await;
}
