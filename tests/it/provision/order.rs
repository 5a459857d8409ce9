//! The order of requests: the request of a leaver is the next one, whatever else is to be sent.

use super::*;

/// Returns how many requests came after `begun`, and before the deactivation of an account.
fn overtaken(office: &Office, begun: usize, id: &str) -> usize {
    let log = office.sim.log();
    let is_it = |request: &scimsim::Request| {
        request.method == "PATCH"
            && request.target.ends_with(&format!("/Users/{id}"))
            && request.body["Operations"][0]["path"] == "active"
    };
    let at = log.iter().position(is_it).expect("a deactivation");
    at.saturating_sub(begun)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_overtakes_an_import_at_a_rate_limit() {
    for busy in [None, Some(Fault::answer("POST", 429, &[("retry-after", "1")], "{}").times(1))] {
        let office = Office::before(70, |config, _| {
            config.rate = Rate { requests: 80, per: Duration::from_secs(1) };
        })
        .await;
        office.start().await;
        let plan = office.plan().await.expect("the import");
        let rows = office.firm.engine.store.held_rows(plan.id).await.expect("rows");
        let one = Selection { people: vec![rows[0].user.to_string()], ..Selection::default() };
        let by = alice().into();
        office.firm.engine.approve_part(plan.id, &one, "a pilot", by).await.expect("a part");
        until("the pilot has an account", async || (office.active().len() == 1).then_some(()))
            .await;
        let user = office.firm.user(&rows[0].user.to_string()).await;
        let id = id_of(&office.account(&user).expect("an account"));
        office.approve_all().await;
        until("the import is under way", async || (office.active().len() > 8).then_some(())).await;
        if let Some(fault) = busy {
            office.sim.fail(fault);
        }
        office.leave(&user).await;
        let begun = office.sim.log().len();
        office.becomes(&user, false).await;
        let overtaken = overtaken(&office, begun, &id);
        // Requests that were under way when the leaver was suspended are in the log already.
        assert!(overtaken <= 4, "{overtaken} requests were sent before");
        assert!(office.active().len() < 50, "the import is still under way");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_leaves_during_its_creation_is_out_before_the_import_continues() {
    let office = Office::before(40, |config, _| {
        config.rate = Rate { requests: 20, per: Duration::from_secs(1) };
    })
    .await;
    office.start().await;
    let users = office.firm.users().await;
    let name = TargetName::parse(NAME).expect("a name");
    let user = until("a creation is under way", async || {
        let rows = office.firm.engine.store.counterparts(&name, None, None, 100).await;
        let rows = rows.expect("rows").into_iter();
        let row = rows.into_iter().find(|row| row.account.state == CounterpartState::Intended)?;
        users.iter().find(|user| user.id == row.account.user)
    })
    .await;
    office.leave(user).await;
    let begun = office.sim.log().len();
    office.becomes(user, false).await;
    let id = id_of(&office.account(user).expect("an account"));
    let overtaken = overtaken(&office, begun, &id);
    assert!(overtaken <= 8, "{overtaken} requests were sent before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_waits_for_no_answer_of_another_request() {
    let office = Office::with(8, |config, _| config.concurrency = 1).await;
    let users = office.firm.users().await;
    office.sim.fail(Fault::hang("PATCH", false).times(1));
    let guid = crate::firm::guid_of(&users[1]);
    office.firm.sim.edit(|ad| ad.set(guid, "title", "Chief"));
    office.firm.sync().await;
    office.sim.requested("PATCH").await;
    office.leave(&users[0]).await;
    office.becomes(&users[0], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_is_first_after_nine_days_of_outage_and_two_kills() {
    let mut office = Office::of(40).await;
    let users = office.firm.users().await;
    let (leaver, others) = (users[0].clone(), &users[1..25]);
    let id = id_of(&office.account(&leaver).expect("an account"));
    office.sim.fail(Fault::cut_before(""));
    let guids: Vec<_> = others.iter().map(crate::firm::guid_of).collect();
    office.firm.sim.edit(|ad| guids.iter().for_each(|guid| ad.set(*guid, "title", "Chief")));
    office.firm.sync().await;
    office.leave(&leaver).await;
    for _ in 0..2 {
        office.firm.later(Duration::from_hours(9 * 12));
        office.restart();
        let before = office.sim.log().len();
        until("the target is tried again", async || {
            office.later(Duration::from_mins(1)).await;
            (office.sim.log().len() > before + 3).then_some(())
        })
        .await;
    }
    let row = office.row(&leaver).await.expect("a row");
    assert_eq!((row.problem, row.due.lane), (None, Some(rosterd::model::Lane::Leaver)));
    let before = office.sim.log().len();
    office.sim.clear_faults();
    until("the account is inactive", async || {
        office.later(Duration::from_mins(1)).await;
        (office.is_active(&leaver) == Some(false)).then_some(())
    })
    .await;
    let log = office.sim.log();
    let writes: Vec<_> = log[before..].iter().filter(|request| request.method != "GET").collect();
    let at = writes.iter().position(|request| request.target.ends_with(&id)).expect("a write");
    // Four accounts may have been under way with the attempt that failed last, each with two requests.
    assert!(at <= 8, "{at} requests were sent before: {writes:#?}");
    assert_eq!(writes[at].body["Operations"][0]["path"], "active");
    office.at_rest().await;
    for other in others {
        assert_eq!(office.account(other).expect("an account")["title"], "Chief");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whom_another_client_activated_is_before_other_steps_of_a_run() {
    let office = Office::of(8).await;
    let user = office.someone().await;
    office.leave(&user).await;
    office.becomes(&user, false).await;
    office.at_rest().await;
    let id = id_of(&office.account(&user).expect("an account"));
    office.sim.set(&id, "active", json!(true));
    office.sim.fail(Fault::status("PATCH", 500));
    let target = office.firm.engine.target(NAME).expect("the target");
    let request = TargetRequest::full(Trigger::Manual, Some(alice()));
    office.firm.engine.run_target(&target, request).await.expect("a run");
    let row = office.row(&user).await.expect("a row");
    assert_eq!(row.due.lane, Some(rosterd::model::Lane::Leaver));
    office.sim.clear_faults();
    until("the account is inactive", async || {
        office.later(Duration::from_mins(5)).await;
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
}
