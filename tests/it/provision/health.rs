//! The health of a target: what it refuses to everybody, and what it shows of our accounts.

use std::collections::BTreeSet;

use rosterd::engine::TargetCondition;
use rosterd::model::CheckOutcome;

use super::*;

/// A time limit that no test reaches, so that a request which waits for another one is noticed.
const NEVER: Duration = Duration::from_hours(1);

/// Returns how many requests read an account by its id.
fn reads(office: &Office, since: usize) -> usize {
    let log = office.sim.log();
    let is_it = |r: &&scimsim::Request| r.method == "GET" && r.target.contains("/Users/");
    log[since..].iter().filter(is_it).count()
}

/// Returns the accounts to which a PATCH was sent, in order.
fn patched(office: &Office) -> Vec<String> {
    let log = office.sim.log().into_iter().filter(|request| request.method == "PATCH");
    log.map(|request| request.target).collect()
}

/// Returns the active users, each with the id of its account.
async fn people(office: &Office) -> Vec<(User, String)> {
    let users = office.firm.users().await.into_iter().filter(|user| user.causes.is_empty());
    let id = |user: &User| id_of(&office.account(user).expect("an account"));
    users.map(|user| (user.clone(), id(&user))).collect()
}

/// Gives users another title.
async fn retitle(office: &Office, people: &[(User, String)]) {
    let guids: Vec<_> = people.iter().map(|(user, _)| crate::firm::guid_of(user)).collect();
    office.firm.sim.edit(|ad| guids.iter().for_each(|guid| ad.set(*guid, "title", "Chief")));
    office.firm.sync().await;
}

fn has_title(office: &Office, (user, _): &(User, String)) -> bool {
    office.account(user).expect("an account")["title"] == "Chief"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_that_recognise_a_target_are_asked_for_at_once() {
    let mut office = Office::with(8, |config, _| config.client.timeout = NEVER).await;
    let users = office.firm.users().await;
    // One account is shown, and two are silent.
    office.sim.fail(Fault::hang("GET", false).at("/Users/").times(2));
    let before = office.sim.log().len();
    office.restart();
    office.leave(&users[0]).await;
    office.becomes(&users[0], false).await;
    assert!(reads(&office, before) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recognition_of_a_target_is_not_repeated_for_each_leaver() {
    let mut office = Office::of(12).await;
    let users = office.firm.users().await;
    office.sim.fail(Fault::status("GET", 500).at("/Users/"));
    let before = office.sim.log().len();
    office.restart();
    for user in &users[..4] {
        office.leave(user).await;
        office.becomes(user, false).await;
    }
    // The run at the start asks as well, and the push asks again after a second or two.
    let asked = reads(&office, before);
    assert!(asked <= 15, "{asked} accounts were read");
    until("the target is degraded", async || {
        (office.status().await.condition == TargetCondition::Degraded).then_some(())
    })
    .await;
    let attention = office.status().await.attention.join("\n");
    assert!(attention.contains("cannot be recognised: account of user"), "{attention}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_ten_accounts_rests_and_leavers_do_not_wait() {
    for status in [402, 403, 500] {
        let office = Office::of(40).await;
        let people = people(&office).await;
        let (leaver, others) = people.split_first().expect("people");
        let (leaver, _) = leaver;
        for (_, id) in others {
            office.sim.fail(Fault::status("PATCH", status).at(id));
        }
        retitle(&office, others).await;
        until("the target is degraded", async || {
            (office.status().await.condition == TargetCondition::Degraded).then_some(())
        })
        .await;
        let told = office.status().await.attention.join("\n");
        assert!(told.contains(&format!("10 in a row: it answered {status}")), "{told}");
        let sent: BTreeSet<String> = patched(&office).into_iter().collect();
        let sent = sent.len();
        assert!(sent <= 14, "{sent} of {} accounts were tried", others.len());
        // The rest is over for one account at a time, and for the leaver there is none.
        office.leave(leaver).await;
        office.becomes(leaver, false).await;
        assert_eq!(office.status().await.condition, TargetCondition::Degraded, "{status}");
        let before = patched(&office).len();
        office.later(Duration::from_mins(2)).await;
        until("an account is tried", async || (patched(&office).len() > before).then_some(()))
            .await;
        office.sim.clear_faults();
        until("each account is written", async || {
            office.later(Duration::from_mins(2)).await;
            others.iter().all(|person| has_title(&office, person)).then_some(())
        })
        .await;
        office.at_rest().await;
        for (user, _) in others {
            assert_eq!(office.problem(user).await, None, "{status}");
        }
        assert_eq!(office.status().await.condition, TargetCondition::Ok, "{status}");
        for kind in ["target.unreachable", "target.recovered"] {
            assert_eq!(office.firm.events(kind).await.len(), 1, "{status} {kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_leavers_are_reported_and_tried_until_they_are_out() {
    let office = Office::of(16).await;
    let users = office.firm.users().await;
    office.sim.fail(Fault::status("PATCH", 402));
    let leavers = &users[..11];
    let guids: Vec<_> = leavers.iter().map(crate::firm::guid_of).collect();
    office.firm.sim.edit(|ad| guids.iter().for_each(|guid| ad.disable(*guid)));
    office.firm.sync().await;
    for plan in office.firm.engine.store.plans(false).await.expect("plans") {
        office.firm.engine.approve(plan.id, alice()).await.expect("an approval");
    }
    until("the target is degraded", async || {
        (office.status().await.condition == TargetCondition::Degraded).then_some(())
    })
    .await;
    let told = office.status().await.attention.join("\n");
    assert!(told.contains("refuses leavers, 10 in a row: it answered 402"), "{told}");
    // An hour of refusals makes no leaver wait longer than the others.
    for _ in 0..12 {
        let before = patched(&office).len();
        office.later(Duration::from_secs(400)).await;
        until("each leaver is tried again", async || {
            (patched(&office).len() >= before + leavers.len()).then_some(())
        })
        .await;
    }
    office.sim.clear_faults();
    until("each leaver is out", async || {
        office.later(Duration::from_secs(400)).await;
        leavers.iter().all(|user| office.is_active(user) == Some(false)).then_some(())
    })
    .await;
    until("the target has recovered", async || {
        office.firm.events("target.recovered").await.first().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_leaver_ends_no_row_of_refused_accounts() {
    let office = Office::of(30).await;
    let people = people(&office).await;
    let (leavers, others) = people.split_at(2);
    for (_, id) in others {
        office.sim.fail(Fault::status("PATCH", 402).at(id));
    }
    for (part, (leaver, _)) in others[..10].chunks(5).zip(leavers) {
        retitle(&office, part).await;
        until("each account is refused", async || {
            let tried = patched(&office);
            let is_tried = |id: &String| tried.iter().any(|target| target.ends_with(id));
            part.iter().all(|(_, id)| is_tried(id)).then_some(())
        })
        .await;
        office.leave(leaver).await;
        office.becomes(leaver, false).await;
    }
    until("the target is degraded", async || {
        (office.status().await.condition == TargetCondition::Degraded).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_obeys_the_rate_of_its_target() {
    // Five requests may follow each other at once, and each further one waits.
    let rate = Rate { requests: 8, per: Duration::from_secs(1) };
    let office = Office::before(4, |config, sim| {
        config.rate = rate;
        for n in 0..5 {
            sim.add_user(&format!("user{n}@example.com"));
        }
    })
    .await;
    let begun = std::time::Instant::now();
    let steps = office.firm.engine.check_target(NAME).await.expect("a check");
    let took = begun.elapsed();
    assert!(steps.iter().all(|step| step.outcome != CheckOutcome::Failed), "{steps:#?}");
    let sent = u32::try_from(office.sim.log().len()).expect("a number");
    assert!(sent > 6, "{sent} requests");
    let least = rate.per / rate.requests * (sent - 5);
    assert!(took >= least, "{sent} requests in {took:?}, not within {least:?}");
    // A pause that the target asked for is one for a check, too.
    office.sim.fail(Fault::answer("", 429, &[("retry-after", "1800")], "{}"));
    office.follow();
    until("the target rests", async || {
        let steps = office.firm.engine.check_target(NAME).await.expect("a check");
        let last = steps.last().expect("a step");
        last.finding.contains("asked for a pause of").then_some(())
    })
    .await;
}
