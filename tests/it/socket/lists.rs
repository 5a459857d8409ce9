//! Events and held plans that are longer than one page.

use rosterd::ctl::Exit;
use rosterd::model::{Mode, User};
use serde_json::Value;

use super::Office;
use super::commands::rosterctl;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_events_has_all_of_them_and_a_list_says_what_it_leaves_out() {
    let office = Office::open().await;
    let events: Vec<_> = (0..2_500)
        .map(|n| {
            let cause = rosterd::model::EventCause {
                actor: rosterd::model::Actor("root".to_owned()),
                run: None,
                account: None,
                at: office.firm.clock.now(),
            };
            rosterd::model::Event::about(
                "user.suspended",
                format!("{n}"),
                &cause,
                Value::Null,
                Value::Null,
            )
        })
        .collect();
    office.firm.engine.store.record(&events, &office.firm.clock).await.unwrap();
    let (_, csv, _) = rosterctl(&office, "event list --type user.suspended --csv").await;
    assert_eq!(csv.lines().count(), 2_501);
    let (_, json, _) = rosterctl(&office, "event list --type user.suspended --json").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["events"].as_array().unwrap().len(), 2_500);
    let (_, text, _) = rosterctl(&office, "event list --type user.suspended").await;
    assert!(
        text.ends_with("… 2,300 older ones: --limit, --since\n"),
        "{}",
        &text[text.len() - 200..]
    );
    let (_, text, _) = rosterctl(&office, "event list --type user.suspended --limit 1200").await;
    assert!(
        text.ends_with("… 1,300 older ones: --limit, --since\n"),
        "{}",
        &text[text.len() - 200..]
    );
}

/// A plan that comes in pages is one document to the operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_a_run_of_several_pages_are_shown_and_approved_whole() {
    let mut office = Office::of(1_500, Mode::PlanOnly).await;
    let sim = &office.firm.sim;
    let people: Vec<String> = sim.look(|ad| {
        let people = ad.people().into_iter();
        people.filter_map(|guid| ad.value(guid, "sAMAccountName")).collect()
    });
    for name in people {
        sim.edit(|ad| ad.set(name.as_str(), "displayName", "Somebody Else"));
    }
    let run = office.post("/v1/directories/corp/sync", None).await;
    let held = run["held"].as_u64().unwrap();
    assert!(held > 1_000, "{run}");
    let id = office.get("/v1/held").await["held"][0]["id"].as_str().unwrap().to_owned();
    let whole = office.get(&format!("/v1/held/{id}")).await;
    let all = whole["changes"].as_array().unwrap();
    assert_eq!((all.len() as u64, whole.get("next")), (held, None));

    let pages = pages(&mut office, &format!("/v1/held/{id}")).await;
    let of_pages: Vec<&Value> =
        pages.iter().flat_map(|page| page["changes"].as_array().unwrap()).collect();
    assert_eq!(of_pages, all.iter().collect::<Vec<_>>());
    let of_groups: Vec<usize> =
        pages.iter().map(|page| page["by"].as_array().unwrap().len()).collect();
    assert!(of_groups[0] > 0 && of_groups[1..].iter().all(|groups| *groups == 0), "{of_groups:?}");

    let (_, json, _) = rosterctl(&office, "held show --json").await;
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown, whole);
    assert_eq!(rosterctl(&office, "held approve").await.0, Exit::Done);
    let users = office.firm.users().await;
    let renamed = |user: &&User| user.profile.display_name.as_deref() == Some("Somebody Else");
    assert_eq!(users.iter().filter(renamed).count() as u64, held);

    let run = office.get("/v1/runs?limit=1").await["runs"][0]["id"].as_str().unwrap().to_owned();
    let whole = office.get(&format!("/v1/runs/{run}")).await;
    let all = whole["applied"].as_array().unwrap();
    assert_eq!((all.len() as u64, whole.get("next")), (held, None));
    let pages = self::pages(&mut office, &format!("/v1/runs/{run}")).await;
    let of_pages: Vec<&Value> =
        pages.iter().flat_map(|page| page["applied"].as_array().unwrap()).collect();
    assert_eq!(of_pages, all.iter().collect::<Vec<_>>());
    let (_, json, _) = rosterctl(&office, "run show latest --json").await;
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown, whole);
}

/// Returns the pages of a document, with 500 items each.
async fn pages(office: &mut Office, path: &str) -> Vec<Value> {
    let mut pages: Vec<Value> = Vec::new();
    let mut after = String::new();
    loop {
        let page = office.get(&format!("{path}?limit=500{after}")).await;
        let next = page["next"].as_str().map(|next| format!("&after={next}"));
        pages.push(page);
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    office.expect(400, &format!("get {path}?after=nothing"), None).await;
    pages
}
