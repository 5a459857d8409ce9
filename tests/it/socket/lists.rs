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

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_what_it_leaves_out_and_a_name_without_a_list_is_an_error() {
    let mut office = Office::open().await;
    office.firm.sim.edit(|ad| {
        ad.add_person(adsim::NewPerson::new("nomail").member_of(adsim::names::PRO));
    });
    office.post("/v1/directories/corp/sync", None).await;
    let (exit, text, _) = rosterctl(&office, "event list --after 0 --limit 3").await;
    assert_eq!(exit, Exit::Done);
    let last = text.lines().last().unwrap();
    assert_eq!(last, "… newer ones follow: --after 3, --limit");
    for (command, words) in [
        ("run list nowhere", "there is no directory or target \"nowhere\""),
        ("event list --type user.suspend", "did you mean user.suspended?"),
        ("target sync app --dry-run", "rosterctl target plan shows what it would do"),
    ] {
        let (exit, _, err) = rosterctl(&office, command).await;
        assert_ne!(exit, Exit::Done, "{command}");
        assert!(err.contains(words), "{command}: {err}");
    }
    let (exit, _, err) = rosterctl(&office, "target pause app --dry-run").await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(office.firm.engine.target_statuses().await.unwrap()[0].state.paused_until, None);

    let (exit, text, _) = rosterctl(&office, "target check app").await;
    assert!(exit == Exit::Done && text.ends_with("app: requests can work\n"), "{text}");
    rosterctl(&office, "target sync app").await;
    let (_, text, _) = rosterctl(&office, "target show app").await;
    assert!(text.contains("capabilities  filter, paging by index, patch"), "{text}");

    let (_, count, _) = rosterctl(&office, "user list --quarantined --count").await;
    let (_, csv, _) = rosterctl(&office, "user list --quarantined --csv").await;
    let (_, json, _) = rosterctl(&office, "user list --quarantined --json").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let entries = json["quarantined"].as_array().unwrap().len();
    assert!(entries > 0, "{json}");
    assert_eq!((count.trim(), csv.lines().count()), (entries.to_string().as_str(), entries + 1));
}

/// Accounts that belong to no user come in pages, too.
#[tokio::test(flavor = "multi_thread")]
async fn all_accounts_that_leavers_left_at_a_target_are_listed() {
    let office = Office::open().await;
    let user = office.firm.users().await.into_iter().find(|user| user.causes.is_empty()).unwrap();
    let id = user.id.to_string();
    office.firm.engine.suspend(&id, "left", &crate::firm::alice()).await.unwrap();
    let name = rosterd::model::TargetName::parse("app").unwrap();
    let accounts: Vec<_> = (0..1_200)
        .map(|n| rosterd::store::UnmanagedAccount {
            id: rosterd::model::RemoteId(format!("a{n:04}")),
            user_name: Some(format!("a{n}@example.com")),
            active: Some(true),
            user: (n % 2 == 0).then_some(user.id),
        })
        .collect();
    office.firm.engine.store.note_unmanaged(&name, &accounts).await.unwrap();
    for (option, of) in [("--left", 600), ("--unmanaged", 1_200)] {
        let (_, text, _) = rosterctl(&office, &format!("target accounts app {option}")).await;
        let listed = text.lines().filter(|line| line.trim_start().starts_with("a0")).count()
            + text.lines().filter(|line| line.trim_start().starts_with("a1")).count();
        assert!(listed >= of, "{option}: {listed}");
        let (_, json, _) =
            rosterctl(&office, &format!("target accounts app {option} --json")).await;
        let json: Value = serde_json::from_str(&json).unwrap();
        let listed = json["accounts"].as_array().unwrap().iter();
        let ours = listed.filter(|a| a["id"].as_str().unwrap().len() == 5).count();
        assert_eq!((ours, json.get("next")), (of, None), "{option}");
    }
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
