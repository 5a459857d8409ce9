//! Writes to accounts, and the values that the target stores of them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_account_is_quarantined_and_all_others_are_written() {
    let office = Office::of(12).await;
    let refusal = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "400", "scimType": "invalidValue", "detail": "bad phone",
    });
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    office.sim.fail(Fault::answer("PATCH", 400, &[], &refusal.to_string()).at(&id).times(1));
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Chief"));
    office.firm.sync().await;
    until("the user is quarantined", async || {
        (office.problem(&user).await == Some(ProvisionProblem::Refused)).then_some(())
    })
    .await;
    let row = office.row(&user).await.expect("a row");
    assert_eq!(row.answer.as_deref(), Some("it answered 400 invalidValue: bad phone"));
    // It is tried again when the user changes.
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Head"));
    office.firm.sync().await;
    until("the account is written", async || {
        (office.account(&user)?["title"] == "Head").then_some(())
    })
    .await;
    office.at_rest().await;
    assert_eq!(office.problem(&user).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_keeps_the_account_and_an_emptied_attribute_is_removed() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let before = office.account(&user).expect("an account");
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| {
        ad.set(guid, "title", "Chief");
        ad.set(guid, "mail", "married@example.com");
    });
    office.firm.sync().await;
    until("the account is renamed", async || {
        let account = office.account(&user)?;
        (account["userName"] == "married@example.com" && account["title"] == "Chief").then_some(())
    })
    .await;
    office.firm.sim.edit(|ad| ad.clear(guid, "title"));
    office.firm.sync().await;
    until("the title is gone", async || {
        office.account(&user)?.get("title").is_none().then_some(())
    })
    .await;
    office.at_rest().await;
    let after = office.account(&user).expect("an account");
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["emails"][0]["value"], "married@example.com");
    assert_eq!(office.run().await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_normalises_is_written_once() {
    let office = Office::before(12, |_, _| {}).await;
    office.sim.set_manners(Manners { normalises: true, ..Manners::default() });
    office.start().await;
    let users = office.firm.active().await;
    until("each user has an account", async || (office.active().len() == users).then_some(()))
        .await;
    office.at_rest().await;
    let before = office.sim.log().len();
    for _ in 0..2 {
        let run = office.run().await;
        assert_eq!((run.counts.total(), run.held), (0, 0));
    }
    assert!(office.sim.log()[before..].iter().all(|request| request.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_target_rests_as_it_asks_and_no_user_is_blamed() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let busy = Fault::answer("PATCH", 429, &[("retry-after", "120")], "{}").times(1);
    office.sim.fail(busy);
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Chief"));
    office.firm.sync().await;
    until("the target rests", async || {
        office.firm.events("target.unreachable").await.first().map(drop)
    })
    .await;
    assert_eq!(office.problem(&user).await, None);
    until("the account is written", async || {
        office.later(Duration::from_secs(10)).await;
        (office.account(&user)?["title"] == "Chief").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_stops_all_requests_until_its_file_changes() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    office.sim.set_token("another");
    office.leave(&user).await;
    until("the target refuses the token", async || {
        office.firm.events("target.unauthorized").await.first().map(drop)
    })
    .await;
    let before = office.sim.log().len();
    let other = office.firm.users().await.pop().expect("a user");
    office.leave(&other).await;
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert_eq!(status.condition.as_str(), "unauthorized");
    assert_eq!(office.sim.log().len(), before, "nothing is sent");
    let new = office.firm.folder.path().join("new");
    crate::folder::write(&new, "another", 0o600);
    std::fs::rename(new, office.firm.folder.path().join("app.token")).expect("a file");
    office.firm.engine.unlock_target(NAME).await.expect("a status");
    until("both accounts are inactive", async || {
        let active = [office.is_active(&user), office.is_active(&other)];
        (active == [Some(false); 2]).then_some(())
    })
    .await;
    assert!(office.firm.events("target.unauthorized").await.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_another_client_are_reported_and_a_leaver_is_out_again() {
    let office = Office::of(12).await;
    let users = office.firm.users().await;
    let id = |user: &User| id_of(&office.account(user).expect("an account"));
    let (renamed, stopped, leaver) = (&users[0], &users[1], &users[2]);
    office.leave(leaver).await;
    until("the account is inactive", async || {
        (office.is_active(leaver) == Some(false)).then_some(())
    })
    .await;
    office.at_rest().await;
    office.sim.set(&id(renamed), "title", json!("King"));
    office.sim.set(&id(stopped), "active", json!(false));
    office.sim.set(&id(leaver), "active", json!(true));
    office.run().await;
    until("the leaver is out again", async || {
        (office.is_active(leaver) == Some(false)).then_some(())
    })
    .await;
    assert_eq!(office.account(renamed).expect("an account")["title"], "King");
    assert_eq!(office.problem(renamed).await, Some(ProvisionProblem::Drifted));
    assert_eq!(office.is_active(stopped), Some(false));
    assert_eq!(office.problem(stopped).await, Some(ProvisionProblem::DeactivatedElsewhere));
    assert_eq!(office.firm.events("provision.drifted").await.len(), 2);
    office.run().await;
    assert_eq!(office.firm.events("provision.drifted").await.len(), 2, "it is told once");
    // An operator overrules the other client.
    office.firm.engine.push_user(NAME, &stopped.id.to_string(), true).await.expect("a push");
    until("the account is active", async || {
        (office.is_active(stopped) == Some(true)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_corrected_where_the_target_says_so() {
    let office = Office::with(8, |config, _| config.drift = DriftAction::Correct).await;
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    let before = office.account(&user).expect("an account")["displayName"].clone();
    office.sim.set(&id, "displayName", json!("King"));
    office.run().await;
    until("the name is set back", async || {
        (office.account(&user)?["displayName"] == before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_html_404_unlinks_no_account_and_a_missing_account_waits_for_a_run() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    office.sim.fail(Fault::login_page("PATCH", 404).times(1));
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Chief"));
    office.firm.sync().await;
    until("the target is unreachable", async || {
        office.firm.events("target.unreachable").await.first().map(drop)
    })
    .await;
    until("the account is written", async || {
        office.later(Duration::from_mins(1)).await;
        (office.account(&user)?["title"] == "Chief").then_some(())
    })
    .await;
    office.at_rest().await;
    assert_eq!(office.row(&user).await.expect("a row").account.id.expect("an id").0, id);
    office.sim.delete(&id);
    office.run().await;
    let new = until("the account is made anew", async || {
        office.later(Duration::from_mins(1)).await;
        office.run().await;
        office.account(&user)
    })
    .await;
    assert_ne!(new["id"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_patch_does_not_find_is_read_and_keeps_its_link() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    let guid = crate::firm::guid_of(&user);
    let retitle = async |title: &str| {
        office.firm.sim.edit(|ad| ad.set(guid, "title", title));
        office.firm.sync().await;
    };
    // PATCH is 404 for an account that GET shows: PUT writes it.
    office.sim.fail(Fault::status("PATCH", 404));
    retitle("Chief").await;
    until("the account is written", async || {
        (office.account(&user)?["title"] == "Chief").then_some(())
    })
    .await;
    office.at_rest().await;
    // PUT is 404, too: the change is refused, and nothing counts as written.
    office.sim.fail(Fault::status("PUT", 404));
    retitle("Head").await;
    until("the user is quarantined", async || {
        (office.problem(&user).await == Some(ProvisionProblem::Refused)).then_some(())
    })
    .await;
    let answer = office.row(&user).await.expect("a row").answer.expect("an answer");
    assert!(answer.contains("finds none to write to"), "{answer}");
    // A missing account is 500: only GET decides that it is gone.
    office.sim.clear_faults();
    office.sim.fail(Fault::status("PATCH", 500));
    office.sim.delete(&id);
    retitle("Boss").await;
    until("the target is tried", async || {
        (office.row(&user).await?.due.attempts > 0).then_some(())
    })
    .await;
    let row = office.row(&user).await.expect("a row");
    assert_eq!((row.account.id.expect("an id").0, row.found_at), (id, None));
}
