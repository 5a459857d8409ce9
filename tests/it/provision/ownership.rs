//! Ownership: rosterd changes only accounts that it created, or that it was told to adopt.

use super::*;

fn account(name: &str, external_id: Option<&str>) -> Value {
    json!({ "userName": name, "externalId": external_id, "active": true, "title": "Theirs" })
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_accounts_are_linked_held_or_left_by_their_external_id() {
    let office = Office::before(12, |_, _| {}).await;
    let mut users = office.firm.users().await;
    users.retain(|user| user.causes.is_empty());
    let name = |n: usize| users[n].addresses.primary.clone().expect("an address").to_string();
    let ours = office.sim.add(&account(&name(0), Some(&users[0].id.to_string())));
    let unmanaged = office.sim.add(&account(&name(1).to_uppercase(), None));
    let theirs = office.sim.add(&account(&name(2), Some("another")));
    let stranger = office.sim.add(&account("root@elsewhere.example", None));
    office.start().await;
    // Ours, theirs and the unmanaged account are there for three users.
    let expected = users.len() - 3 + 4;
    until("the others have accounts", async || {
        (office.sim.users().len() == expected).then_some(())
    })
    .await;
    office.at_rest().await;
    assert_eq!(office.row(&users[0]).await.expect("a row").account.id.expect("an id").0, ours);
    assert_eq!(office.problem(&users[2]).await, Some(ProvisionProblem::ManagedElsewhere));
    let held = office.kinds_held().await;
    assert_eq!(held[0], ("adopt".to_owned(), HoldReason::Adoption), "{held:?}");
    let title = |id: &str| {
        let users = office.sim.users();
        users.iter().find(|user| user["id"] == id).expect("an account")["title"].clone()
    };
    assert_eq!(title(&unmanaged), "Theirs");
    office.approve_all().await;
    until("the account is adopted", async || {
        (office.row(&users[1]).await?.account.id?.0 == unmanaged).then_some(())
    })
    .await;
    office.at_rest().await;
    for id in [theirs, stranger] {
        assert_eq!(title(&id), "Theirs");
        for method in ["PATCH", "PUT", "DELETE"] {
            assert_eq!(office.requests(method, &id), Vec::<Value>::new());
        }
    }
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert_eq!(status.left, 0);
    assert_eq!(office.run().await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dishonest_filter_adopts_and_creates_for_nobody_else() {
    let office = Office::before(8, |_, _| {}).await;
    office.sim.add(&account("stranger@elsewhere.example", None));
    let manners = Manners { filter_matches_all: true, no_uniqueness: true, ..Manners::default() };
    office.sim.set_manners(manners);
    office.start().await;
    let users = office.firm.active().await;
    until("each user has an account", async || (office.active().len() == users + 1).then_some(()))
        .await;
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::PRO)));
    office.firm.sync().await;
    until("the joiner has an account", async || (office.active().len() == users + 2).then_some(()))
        .await;
    office.at_rest().await;
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert!(!status.state.capabilities.expect("learned").filter);
    assert_eq!(office.run().await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_in_other_case_is_found_in_the_list() {
    let office = Office::of(8).await;
    let id = office.sim.add(&account("Joiner@Example.com", None));
    let manners = Manners { filter_is_case_sensitive: true, ..Manners::default() };
    office.sim.set_manners(manners);
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::PRO)));
    office.firm.sync().await;
    until("the adoption waits", async || office.plan().await.map(drop)).await;
    assert_eq!(office.kinds_held().await[0].0, "adopt");
    assert_eq!(office.requests("PATCH", &id), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_lost_answers_to_a_creation_leave_one_account() {
    let office = Office::of(8).await;
    office.sim.set_manners(Manners { no_uniqueness: true, ..Manners::default() });
    office.sim.fail(Fault::cut_after("POST").times(10));
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::PRO)));
    office.firm.sync().await;
    let user = office.firm.user("joiner@example.com").await;
    until("the account is linked", async || {
        office.later(Duration::from_mins(1)).await;
        let row = office.row(&user).await?;
        (row.account.state == CounterpartState::Linked).then_some(())
    })
    .await;
    office.at_rest().await;
    let named = office.sim.users().into_iter().filter(|a| a["userName"] == "joiner@example.com");
    assert_eq!(named.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_invisibly_quarantines_its_user_alone() {
    let office = Office::of(8).await;
    office.sim.fail(Fault::status("POST", 409));
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::PRO)));
    office.firm.sync().await;
    let user = office.firm.user("joiner@example.com").await;
    until("the user is quarantined", async || {
        office.later(Duration::from_secs(30)).await;
        (office.problem(&user).await == Some(ProvisionProblem::TakenInvisibly)).then_some(())
    })
    .await;
    assert_eq!(office.firm.events("provision.quarantined").await.len(), 1);
    let mut others = office.firm.users().await;
    others.retain(|other| other.id != user.id && other.causes.is_empty());
    let other = &others[0];
    office.leave(other).await;
    until("the account is inactive", async || {
        (office.is_active(other) == Some(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_with_our_id_are_ambiguous_and_stay_as_they_are() {
    let office = Office::before(8, |_, _| {}).await;
    office.sim.set_manners(Manners { no_uniqueness: true, ..Manners::default() });
    let user = office.someone().await;
    let ids = ["a@example.com", "b@example.com"]
        .map(|name| office.sim.add(&account(name, Some(&user.id.to_string()))));
    office.start().await;
    let expected = office.firm.active().await - 1 + 2;
    until("the others have accounts", async || {
        (office.sim.users().len() == expected).then_some(())
    })
    .await;
    assert_eq!(office.problem(&user).await, Some(ProvisionProblem::Ambiguous));
    for id in ids {
        assert_eq!(office.requests("PATCH", &id), Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_an_earlier_leaver_is_adopted_and_deactivated_by_approval() {
    let office = Office::before(8, |_, _| {}).await;
    let user = office.someone().await;
    let name = user.addresses.primary.clone().expect("an address").to_string();
    let id = office.sim.add(&account(&name, None));
    office.leave(&user).await;
    office.start().await;
    let status = &office.firm.engine.target_statuses().await.expect("a status")[0];
    assert_eq!(status.left, 1);
    assert!(status.attention.iter().any(|line| line.contains("name of a suspended user")));
    let held = office.kinds_held().await;
    assert_eq!(held, [("adopt".to_owned(), HoldReason::Adoption)]);
    office.approve_all().await;
    until("the account is inactive", async || {
        let users = office.sim.users();
        let found = users.iter().find(|user| user["id"] == id.as_str())?;
        (found["active"] == json!(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_adopts_and_disowns_an_account_by_its_id() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let who = user.id.to_string();
    office.firm.engine.disown_account(NAME, &who).await.expect("disowned");
    office.leave(&user).await;
    office.at_rest().await;
    assert_eq!(office.is_active(&user), Some(true), "a disowned account is not ours any more");
    let guid = crate::firm::guid_of(&user);
    office.firm.sim.edit(|ad| ad.enable(guid));
    office.firm.sync().await;
    let other = office.sim.add(&account("other@elsewhere.example", Some("theirs")));
    let missing = rosterd::model::RemoteId("nowhere".to_owned());
    let refused = office.firm.engine.adopt_account(NAME, &who, missing).await.expect_err("no");
    assert!(refused.to_string().contains("shows no account of the id nowhere"), "{refused}");
    let id = rosterd::model::RemoteId(other.clone());
    office.firm.engine.adopt_account(NAME, &who, id).await.expect("adopted");
    until("the account has our id", async || {
        let users = office.sim.users();
        let found = users.iter().find(|account| account["id"] == other.as_str())?;
        (found["externalId"] == who.as_str()).then_some(())
    })
    .await;
}
