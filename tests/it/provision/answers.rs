//! Answers of a target that lies about itself, asks for a pause, or names accounts strangely.

use super::*;

async fn retitle(office: &Office, user: &User, title: &str) {
    let guid = crate::firm::guid_of(user);
    office.firm.sim.edit(|ad| ad.set(guid, "title", title));
    office.firm.sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_target_rests_as_long_as_it_asks_and_no_attempt_counts() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let table = [
        (429, Some("120"), 120),
        (429, Some("a date"), 90),
        (429, None, 1),
        (503, Some("60"), 60),
        (429, Some("999999"), 3600),
    ];
    for (number, (status, after, seconds)) in table.into_iter().enumerate() {
        let at = office.firm.clock.now().plus(Duration::from_mins(2));
        let date = chrono::DateTime::from_timestamp_micros(at.0).expect("a date").to_rfc2822();
        let after = after.map(|text| if text == "a date" { date.as_str() } else { text });
        let headers: Vec<(&str, &str)> =
            after.into_iter().map(|text| ("retry-after", text)).collect();
        office.sim.fail(Fault::answer("PATCH", status, &headers, "{}").times(1));
        let title = format!("Title {number}");
        let begun = office.firm.clock.now();
        retitle(&office, &user, &title).await;
        until("the target rests", async || {
            let told = office.firm.events("target.unreachable").await.len();
            (told > number).then_some(())
        })
        .await;
        let row = office.row(&user).await.expect("a row");
        assert_eq!((row.due.attempts, row.problem), (0, None), "{status} {after:?}");
        assert_ne!(office.account(&user).expect("an account")["title"], title.as_str());
        until("the account is written", async || {
            office.later(Duration::from_secs(5)).await;
            (office.account(&user)?["title"] == title.as_str()).then_some(())
        })
        .await;
        let waited = office.firm.clock.now().since(begun).as_secs();
        assert!(waited >= seconds, "{status} {after:?}: {waited} of {seconds} seconds");
        office.at_rest().await;
        until("the target has recovered", async || {
            let told = office.firm.events("target.recovered").await.len();
            (told > number).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_declares_little_or_lies_is_used_as_it_answers() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let half = Fault::answer("GET", 200, &[], r#"{"patch":{"supported":true},"filter":{}}"#);
    let none = Manners { no_discovery: true, ..Manners::default() };
    let lie = Manners { no_patch: true, ..Manners::default() };
    let table = [
        ("no document", none, None, true),
        ("half of one", Manners::default(), Some(half.at("ServiceProviderConfig")), true),
        ("a lie", lie, None, false),
    ];
    for (what, manners, fault, has_patch) in table {
        office.sim.set_manners(manners);
        if let Some(fault) = fault {
            office.sim.fail(fault);
        }
        office.firm.engine.unlock_target(NAME).await.expect("a status");
        office.run().await;
        retitle(&office, &user, what).await;
        until("the account is written", async || {
            (office.account(&user)?["title"] == what).then_some(())
        })
        .await;
        office.at_rest().await;
        // Without a document each capability is tried.
        let known = office.status().await.state.capabilities.map(|c| (c.patch, c.filter));
        assert_eq!(known.unwrap_or((true, true)), (has_patch, true), "{what}");
        let run = office.run().await;
        assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None), "{what}");
        office.sim.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_any_id_is_deactivated_below_the_base_url() {
    let office = Office::before(9, |_, _| {}).await;
    let mut users = office.firm.users().await;
    users.retain(|user| user.causes.is_empty());
    let ids = ["a/b ?c", "ü@x", "%2e%2e", "..x", "a&b=c#d"];
    let account = |user: &User, id: &str| {
        let name = user.addresses.primary.as_ref().expect("an address").to_string();
        json!({ "id": id, "userName": name, "externalId": user.id, "active": true })
    };
    for (user, id) in users.iter().zip(ids) {
        office.sim.add(&account(user, id));
    }
    // A URL cannot name this one.
    let unnamed = &users[ids.len()];
    office.sim.add(&account(unnamed, ".."));
    office.start().await;
    for (user, id) in users.iter().zip(ids) {
        let linked = async || office.row(user).await.and_then(|row| row.account.id);
        assert_eq!(until("the account is linked", linked).await.0, id);
        office.leave(user).await;
        office.becomes(user, false).await;
    }
    assert_eq!(office.is_active(unnamed), Some(true));
    let log = office.sim.log();
    assert!(log.iter().all(|request| request.method != "DELETE"));
    let known = ["Users", "ServiceProviderConfig"];
    assert!(log.iter().all(|request| {
        known.iter().any(|path| request.target.starts_with(&format!("/scim/v2/{path}")))
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_location_of_an_account_is_never_followed() {
    let elsewhere = Sim::start().await.expect("a simulator");
    let foreign: &'static str = Box::leak(format!("{}/Users/{{id}}", elsewhere.url()).into());
    for location in ["/scim/v2/Users/{id}", "Users/{name}", foreign] {
        let office = Office::before(6, |_, _| {}).await;
        office.sim.set_manners(Manners { location, ..Manners::default() });
        office.start().await;
        let users = office.firm.active().await;
        until("each user has an account", async || (office.active().len() == users).then_some(()))
            .await;
        let user = office.someone().await;
        office.leave(&user).await;
        office.becomes(&user, false).await;
        office.at_rest().await;
        assert_eq!(office.run().await.counts.total(), 0, "{location}");
    }
    assert!(elsewhere.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn email_addresses_are_replaced_as_a_whole_or_left_alone() {
    for (path, kept) in [("{primary-email}", 0), ("", 1)] {
        let office = Office::before(6, |config, _| {
            config.mapping = mapping(&[("emails[work]", path)]);
        })
        .await;
        let user = office.someone().await;
        let name = user.addresses.primary.as_ref().expect("an address").to_string();
        office.sim.add(&json!({
            "userName": name, "externalId": user.id, "active": true,
            "emails": [{ "value": "private@elsewhere.example", "type": "home" }],
        }));
        office.start().await;
        office.run().await;
        let account = office.account(&user).expect("an account");
        let emails = account["emails"].as_array().expect("emails");
        let count = |address: &str| emails.iter().filter(|e| e["value"] == address).count();
        assert_eq!(count("private@elsewhere.example"), kept, "{emails:?}");
        assert_eq!(count(&name), 1 - kept, "{emails:?}");
        assert_eq!(office.run().await.counts.total(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_the_target_ignores_is_sent_once() {
    let office = Office::of(6).await;
    let user = office.someone().await;
    retitle(&office, &user, "Chief").await;
    until("the account is written", async || {
        (office.account(&user)?["title"] == "Chief").then_some(())
    })
    .await;
    office.at_rest().await;
    office.sim.set_manners(Manners { keeps_removed: true, ..Manners::default() });
    let id = id_of(&office.account(&user).expect("an account"));
    let removals = || {
        let sent = office.requests("PATCH", &id);
        let operations = sent.iter().filter_map(|body| body["Operations"].as_array());
        operations.flatten().filter(|operation| operation["op"] == "remove").count()
    };
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.clear(guid, "title"));
    office.firm.sync().await;
    until("the removal is sent", async || (removals() > 0).then_some(())).await;
    office.at_rest().await;
    for _ in 0..2 {
        let run = office.run().await;
        assert_eq!((run.counts.total(), run.held), (0, 0));
    }
    assert_eq!(removals(), 1);
    assert_eq!(office.problem(&user).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_validity_that_a_token_states_itself() {
    let office = Office::before(6, |_, _| {}).await;
    let now = office.firm.clock.now();
    let day = Duration::from_hours(24);
    for (exp, words) in [
        (now.minus(day), Some("the token expired")),
        (now.plus(day), Some("the token expires")),
        (now.plus(day * 90), None),
    ] {
        let exp = Timestamp::from_seconds(exp.to_utc().timestamp());
        let file = office.firm.folder.path().join("app.token");
        crate::folder::write(&file, &crate::targets::jwt(exp), 0o600);
        let status = office.status().await;
        assert_eq!(status.token_expires, Some(exp));
        let said = status.attention.iter().find(|line| line.contains("the token"));
        assert_eq!(said.is_some(), words.is_some(), "{:?}", status.attention);
        assert!(said.is_none_or(|line| line.contains(words.unwrap_or_default())), "{said:?}");
    }
}
