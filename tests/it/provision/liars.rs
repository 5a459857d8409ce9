//! Targets that lie: an answer about one account proves nothing about another one.

use super::*;

const JSON: [(&str, &str); 1] = [("content-type", "application/scim+json")];

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whom_another_client_activated_again_is_out() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let id = id_of(&office.account(&user).expect("an account"));
    office.sim.set(&id, "active", json!(false));
    office.run().await;
    assert_eq!(office.row(&user).await.expect("a row").account.active, Some(false));
    office.sim.set(&id, "active", json!(true));
    office.leave(&user).await;
    office.becomes(&user, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_account_ends_no_access() {
    let office = Office::of(8).await;
    let users = office.firm.users().await;
    let (leaver, other) = (&users[0], &users[1]);
    office.leave(other).await;
    office.becomes(other, false).await;
    office.at_rest().await;
    let inactive = office.account(other).expect("an account").to_string();
    for method in ["PATCH", "GET"] {
        office.sim.fail(Fault::answer(method, 200, &JSON, &inactive).at("/Users/").times(1));
    }
    office.leave(leaver).await;
    until("the account is inactive", async || {
        office.later(Duration::from_mins(5)).await;
        (office.is_active(leaver) == Some(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_answers_with_another_account_links_and_changes_nobody() {
    let office = Office::of(8).await;
    let boss = office.sim.add_user("boss@example.com");
    let users = office.firm.users().await;
    let taken = id_of(&office.account(&users[0]).expect("an account"));
    for id in [boss, taken] {
        let account = office.sim.users().into_iter().find(|a| a["id"] == json!(id)).expect("one");
        office.sim.fail(Fault::answer("POST", 201, &JSON, &account.to_string()).times(1));
        let name = format!("newcomer-{id}");
        let guid = office.firm.sim.edit(|ad| {
            let mail = format!("{name}@example.com");
            ad.add_person(adsim::NewPerson::new(&name).mail(&mail).member_of(adsim::names::PRO))
        });
        office.firm.sync().await;
        let user = office.firm.user(&guid.to_string()).await;
        until("the problem is noted", async || {
            (office.problem(&user).await == Some(ProvisionProblem::Refused)).then_some(())
        })
        .await;
        assert_eq!(office.row(&user).await.expect("a row").account.id, None);
        let before = office.sim.users();
        office.leave(&user).await;
        office.at_rest().await;
        assert_eq!(office.sim.users(), before, "nobody is changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whose_creation_was_lost_is_found_though_the_filter_misses_it() {
    let office = Office::of(8).await;
    office.sim.set_manners(Manners { filter_matches_none: true, ..Manners::default() });
    office.sim.fail(Fault::cut_after("POST"));
    let guid = office.firm.sim.edit(|ad| {
        let person = adsim::NewPerson::new("late").mail("late@example.com");
        ad.add_person(person.member_of(adsim::names::PRO))
    });
    office.firm.sync().await;
    let user = office.firm.user(&guid.to_string()).await;
    until("the account is made", async || office.account(&user).map(drop)).await;
    office.leave(&user).await;
    office.sim.clear_faults();
    until("the account is inactive", async || {
        office.later(Duration::from_mins(5)).await;
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_shows_none_of_our_accounts_gets_no_new_one() {
    for (fault, is_foreign) in [
        (Fault::status("GET", 500), false),
        (Fault::status("GET", 403), false),
        (Fault::login_page("GET", 404), false),
        (Fault::status("GET", 400), true),
    ] {
        let mut office = Office::of(8).await;
        let users = office.firm.users().await;
        office.sim.fail(fault.at("/Users/"));
        office.restart();
        let guid = office.firm.sim.edit(|ad| {
            let person = adsim::NewPerson::new("late").mail("late@example.com");
            ad.add_person(person.member_of(adsim::names::PRO))
        });
        office.leave(&users[0]).await;
        office.firm.sync().await;
        let joiner = office.firm.user(&guid.to_string()).await;
        until("the target is asked for our accounts", async || {
            let log = office.sim.log();
            log.iter().any(|r| r.method == "GET" && r.target.contains("/Users/")).then_some(())
        })
        .await;
        for _ in 0..5 {
            office.later(Duration::from_mins(5)).await;
            assert!(office.account(&joiner).is_none(), "no account is made");
        }
        if !is_foreign {
            until("the leaver's PATCH is sent", async || {
                office.later(Duration::from_mins(5)).await;
                (office.is_active(&users[0]) == Some(false)).then_some(())
            })
            .await;
        }
        let name = TargetName::parse(NAME).expect("a name");
        office.sim.clear_faults();
        office.firm.engine.unlock_target(name.as_str()).await.expect("an operator's word");
        until("the joiner has an account, and the leaver is out", async || {
            office.later(Duration::from_mins(5)).await;
            let is_out = office.is_active(&users[0]) == Some(false);
            (is_out && office.account(&joiner).is_some()).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_about_a_target_ends_with_its_secret() {
    let office = Office::of(8).await;
    office.sim.fail(Fault::status("GET", 404).at("/Users/"));
    let refused = async || office.status().await.state.refused.map(|refused| refused.kind);
    let run = async || {
        let target = office.firm.engine.target(NAME).expect("the target");
        let request = TargetRequest::full(Trigger::Manual, Some(alice()));
        office.firm.engine.run_target(&target, request).await.expect("a run")
    };
    assert!(run().await.error.is_some());
    assert_eq!(refused().await, Some(rosterd::store::RefusalKind::Foreign));
    office.firm.engine.unlock_target(NAME).await.expect("an operator's word");
    assert_eq!(run().await.error, None);
    let file = office.firm.folder.path().join("app.token");
    crate::folder::write(&file, &office.sim.token(), 0o600);
    assert!(run().await.error.is_some(), "another secret may lead to another tenant");
    assert_eq!(refused().await, Some(rosterd::store::RefusalKind::Foreign));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whom_patch_leaves_active_is_out_by_put() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    let account = office.account(&user).expect("an account");
    office.sim.fail(Fault::answer("PATCH", 200, &JSON, &account.to_string()));
    office.leave(&user).await;
    office.becomes(&user, false).await;
    office.at_rest().await;
    assert_eq!(office.account(&user).expect("an account")["title"], account["title"]);
}
