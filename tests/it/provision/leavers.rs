//! A leaver is out: soon, verified, and whatever else the target does.

use rosterd::engine::Rules;
use rosterd::model::Retention;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_is_deactivated_and_returns_with_the_same_account() {
    let office = Office::of(12).await;
    let user = office.someone().await;
    let before = office.account(&user).expect("an account");
    office.leave(&user).await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    office.at_rest().await;
    let events = office.firm.events("provision.deactivated").await;
    let run = &office.firm.events("user.suspended").await[0]["data"]["run"];
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["subject"], &events[0]["data"]["run"]), (&json!(user.id), run));
    let row = office.row(&user).await.expect("a counterpart");
    assert_eq!((row.account.active, row.account.deactivated_by_us), (Some(false), true));

    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.enable(guid));
    office.firm.sync().await;
    until("the account is active", async || (office.is_active(&user) == Some(true)).then_some(()))
        .await;
    assert_eq!(office.account(&user).expect("an account")["id"], before["id"]);
    office.at_rest().await;
    assert_eq!(office.run().await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivation_is_a_request_of_its_own_before_the_others() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    office.sim.set_manners(Manners { one_operation: true, ..Manners::default() });
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| {
        ad.disable(guid);
        ad.set(guid, "title", "Former clerk");
        ad.set(guid, "telephoneNumber", "+49 1");
    });
    office.firm.sync().await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    let requests = office.requests("PATCH", &id);
    let operations = requests[0]["Operations"].as_array().expect("operations");
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0]["path"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivation_without_effect_is_reported_and_repeated() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    office.sim.set_manners(Manners { ignores_active: true, ..Manners::default() });
    office.leave(&user).await;
    until("the problem is noted", async || {
        (office.problem(&user).await == Some(ProvisionProblem::Ineffective)).then_some(())
    })
    .await;
    let row = office.row(&user).await.expect("a row");
    assert!(row.due.at.is_some() && row.due.attempts > 0, "{row:?}");
    assert!(row.answer.expect("an answer").contains("still shows the account as active"));
    office.sim.set_manners(Manners::default());
    office.later(Duration::from_mins(10)).await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    office.at_rest().await;
    assert_eq!(office.problem(&user).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_is_no_success_and_the_target_is_tried_again() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    office.sim.fail(Fault::login_page("", 200).times(3));
    office.leave(&user).await;
    until("the target is unreachable", async || {
        office.firm.events("target.unreachable").await.first().map(drop)
    })
    .await;
    assert_eq!(office.is_active(&user), Some(true));
    until("the account is inactive", async || {
        office.later(Duration::from_mins(1)).await;
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    office.at_rest().await;
    until("the target has recovered", async || {
        office.firm.events("target.recovered").await.first().map(drop)
    })
    .await;
    assert_eq!(office.firm.events("target.unreachable").await.len(), 1, "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_suspended_while_its_creation_is_unanswered_is_deactivated() {
    let office = Office::of(8).await;
    office.sim.fail(Fault::cut_after("POST").times(1));
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::BASIC)));
    office.firm.sync().await;
    office.sim.requested("POST").await;
    let user = office.firm.user("joiner@example.com").await;
    until("the account is at the target", async || office.account(&user)).await;
    office.leave(&user).await;
    until("the account is inactive", async || {
        office.later(Duration::from_secs(30)).await;
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    let accounts = office.sim.users();
    let named = accounts.iter().filter(|account| account["userName"] == "joiner@example.com");
    assert_eq!(named.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_down_for_days_gets_its_leavers_first() {
    let office = Office::of(12).await;
    let users = office.firm.users().await;
    let (first, second) = (&users[0], &users[1]);
    office.sim.fail(Fault::cut_before(""));
    let guid = crate::firm::guid_of(second);
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Chief"));
    office.firm.sync().await;
    office.leave(first).await;
    office.firm.later(Duration::from_hours(9 * 24));
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert!(
        status.attention.iter().any(|line| line.contains("a suspended user has been active there")),
        "{:?}",
        status.attention
    );
    let before = office.sim.log().len();
    office.sim.clear_faults();
    until("the account is inactive", async || {
        office.later(Duration::from_mins(1)).await;
        (office.is_active(first) == Some(false)).then_some(())
    })
    .await;
    office.at_rest().await;
    let log = office.sim.log();
    let patched: Vec<_> = log[before..].iter().filter(|r| r.method == "PATCH").collect();
    assert_eq!(patched[0].body["Operations"][0]["path"], "active", "{patched:#?}");
    assert_eq!(office.account(second).expect("an account")["title"], "Chief");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_delays_no_deactivation() {
    const TEN_YEARS: Duration = Duration::from_hours(24 * 3_653);
    let office = Office::of(8).await;
    let user = office.someone().await;
    office.firm.later(TEN_YEARS);
    office.sim.fail(Fault::cut_before("").times(3));
    office.leave(&user).await;
    until("the target is unreachable", async || {
        office.firm.events("target.unreachable").await.first().map(drop)
    })
    .await;
    office.firm.clock.set_back(TEN_YEARS);
    office.firm.sim.set_clock_skew(0);
    office.firm.sync().await;
    until("the account is inactive", async || {
        office.later(Duration::from_secs(30)).await;
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    let row = office.row(&user).await.expect("a counterpart");
    assert!(row.sent_at.is_some_and(|at| at <= office.firm.clock.now()), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_are_deactivated_while_rules_wait_for_approval_and_not_in_a_pause() {
    let office = Office::of(12).await;
    let users = office.firm.users().await;
    office.reconfigure(|config| config.mapping = mapping(&[("title", "{department}")]));
    until("the new rules are planned", async || office.plan().await.map(drop)).await;
    office.leave(&users[0]).await;
    until("the account is inactive", async || {
        (office.is_active(&users[0]) == Some(false)).then_some(())
    })
    .await;
    office.firm.engine.pause_target(NAME, Duration::from_hours(1)).await.expect("a pause");
    office.leave(&users[1]).await;
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert!(status.attention.iter().any(|line| line.contains("the target is paused")));
    assert_eq!(office.is_active(&users[1]), Some(true));
    office.firm.engine.resume_target(NAME).await.expect("a resume");
    until("the account is inactive", async || {
        (office.is_active(&users[1]) == Some(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_of_a_target_without_patch_is_put_with_active_false() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    office.sim.set(&id, "nickName", json!("An"));
    office.sim.set_manners(Manners { no_patch: true, ..Manners::default() });
    office.leave(&user).await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    assert_eq!(office.account(&user).expect("an account")["nickName"], "An");
    for body in office.requests("PUT", &id) {
        assert_eq!(body["active"], json!(false));
    }
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert!(!status.state.capabilities.expect("learned").patch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_user_loses_its_account_and_then_its_counterpart() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    office.leave(&user).await;
    until("the account is inactive", async || {
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.delete(guid));
    office.firm.sync().await;
    office.sim.set(&id_of(&office.account(&user).expect("an account")), "active", json!(true));
    let was = office.firm.engine.configured();
    let directories = was.directories.values().map(|d| d.config.clone()).collect();
    let retention =
        Retention { remove_after: Some(Duration::from_hours(24)), ..Retention::default() };
    office.firm.engine.reconfigure(directories, Rules { retention, ..was.rules.clone() });
    office.firm.later(Duration::from_hours(48));
    let forgotten = office.firm.engine.apply_retention().await.expect("a count");
    assert_eq!(forgotten.removed, 1);
    // Its user has no name any more, and the account is deactivated by its id.
    until("the counterpart is gone", async || office.row(&user).await.is_none().then_some(()))
        .await;
    let accounts = office.sim.users();
    let account = accounts.iter().find(|account| account["externalId"] == user.id.to_string());
    assert_eq!(account.expect("an account")["active"], json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_in_quarantine_or_in_a_held_plan_is_out_at_once() {
    let office = Office::of(24).await;
    let users = office.firm.users().await;
    let (quarantined, held, drifted) = (&users[0], &users[1], &users[2]);
    let id = id_of(&office.account(quarantined).expect("an account"));
    office.sim.fail(Fault::status("PATCH", 400).at(&id).times(1));
    let guid = crate::firm::guid_of(quarantined);
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Chief"));
    office.firm.sync().await;
    until("the user is quarantined", async || {
        (office.problem(quarantined).await == Some(ProvisionProblem::Refused)).then_some(())
    })
    .await;
    // Another client changes the account of the third, and new rules wait for an operator.
    office.sim.set(&id_of(&office.account(drifted).expect("an account")), "title", json!("King"));
    office.reconfigure(|config| config.mapping = mapping(&[("title", "{department}")]));
    until("the plan waits", async || office.plan().await.map(drop)).await;
    for user in [quarantined, held, drifted] {
        office.leave(user).await;
        office.becomes(user, false).await;
    }
    assert!(office.plan().await.is_some(), "the rules still wait");
}
