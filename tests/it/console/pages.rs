//! The pages over a daemon with a simulated directory.

use rosterd::engine::Selection;
use rosterd::model::{Actor, Approver, Mode, PlanState, Status};
use rosterd::reconcile::Approvals;
use serde_json::json;

use super::{Visitor, office_with_leavers, take_groups};
use crate::firm::{dn_of, held_plan};
use crate::socket::{Office, rosterctl};

/// Returns the ids of the people with a tick.
fn ticked(page: &str) -> Vec<&str> {
    let inputs = page.split("<input ").filter(|input| input.contains("name=\"who\""));
    inputs
        .filter(|input| input.split('>').next().unwrap().contains("checked"))
        .map(|input| input.split("value=\"").nth(1).unwrap().split('"').next().unwrap())
        .collect()
}

/// Returns the form of an approval of these people, as the page sends it.
fn form<'a>(
    digest: &'a str,
    token: &'a str,
    people: &[&'a str],
    number: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let fields = [("digest", digest), ("token", token), ("number", number), ("comment", "CHG-7")];
    people.iter().map(|id| ("who", *id)).chain(fields).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_approved_without_the_person_left_out() {
    let (office, id) = office_with_leavers(100, 60).await;
    let visitor = Visitor::of(&office).await;
    let path = format!("/held/{id}");
    let shown = visitor.get(&path);
    let (digest, token) = (shown.input("digest"), shown.input("token"));
    let active = office.firm.active().await;
    let all = ticked(&shown.body);
    assert_eq!(all.len(), 60);
    let (left_out, chosen) = all.split_last().unwrap();
    let approve = format!("{path}/approve");
    for (people, number, why) in [
        (chosen, "", "type 59 into the field"),
        (chosen, "60", "type 59 into the field"),
        (&[][..], "0", "Tick at least one person"),
        (&["00000000-0000-0000-0000-000000000000"], "1", "Tick at least one person"),
    ] {
        let answer = visitor.post(&approve, &form(&digest, &token, people, number));
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(why), "{why}: {}", answer.body);
        let kept: Vec<&str> = chosen.iter().copied().filter(|id| people.contains(id)).collect();
        assert_eq!(ticked(&answer.body), kept, "ticks and comment stay");
        assert!(answer.body.contains("value=\"CHG-7\""));
    }
    assert_eq!(office.firm.active().await, active);

    let answer = visitor.post(&approve, &form(&digest, &token, chosen, "59"));
    assert_eq!(answer.status, 303, "{}", answer.body);
    let run = visitor.page(answer.header("location").unwrap());
    assert!(run.contains("59 suspended") && run.contains("1 change waits for a decision"), "{run}");
    let suspended: Vec<String> = office
        .firm
        .users()
        .await
        .iter()
        .filter(|user| user.status() == Status::Suspended)
        .map(|user| user.id.to_string())
        .collect();
    assert_eq!(suspended.len(), 59);
    assert!(!suspended.contains(&(*left_out).to_owned()));

    // The log names the person and the console, and the history shows both.
    let approved = office.firm.events("plan.approved").await.pop().unwrap();
    assert_eq!(approved["data"]["actor"], json!(office.me));
    assert_eq!(approved["data"]["via"], json!("console"));
    let events = office.firm.events("user.suspended").await;
    assert_eq!(events[0]["data"]["approval"]["comment"], json!("CHG-7"));
    let person = visitor.page(&format!("/person/{}", suspended[0]));
    assert!(person.contains(&format!("approved by {}", office.me)), "{person}");
    let (_, listed, _) = rosterctl(&office, "event list --type plan.*").await;
    assert!(listed.contains("console"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_completes_an_approval_and_the_same_uid_counts_once() {
    let (office, id) = office_with_leavers(100, 10).await;
    office.firm.reconfigure(|config| config.limits.approvals = Approvals { needed: 2, above: 0 });
    let visitor = Visitor::of(&office).await;
    let path = format!("/held/{id}");
    let approve = || {
        let shown = visitor.get(&path);
        let (digest, token) = (shown.input("digest"), shown.input("token"));
        visitor.post(&format!("{path}/approve"), &form(&digest, &token, &ticked(&shown.body), "10"))
    };
    let active = office.firm.active().await;
    assert_eq!(approve().status, 303);
    let missing = format!("another one than {} has to approve, too", office.me);
    assert!(visitor.page(&path).contains(&missing), "{}", visitor.page(&path));
    let again = approve();
    assert_eq!(again.status, 422, "{}", again.body);
    assert!(again.body.contains("you have approved these changes already"), "{}", again.body);
    assert_eq!(office.firm.active().await, active);
    let plan = held_plan(&office.firm).await;
    let other = Approver { uid: Some(4_000_000), actor: Actor("bob".to_owned()) };
    office.firm.engine.approve_part(plan.id, &Selection::default(), "", other).await.unwrap();
    assert_eq!(office.firm.active().await, active - 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_plan_is_explained_in_words_and_not_in_codes() {
    let (office, id) = office_with_leavers(40, 3).await;
    let visitor = Visitor::of(&office).await;
    for path in ["/held".to_owned(), format!("/held/{id}"), format!("/held/{id}?by=cause")] {
        let page = visitor.page(&path);
        assert!(page.contains("in none of the groups that give access"), "{path}: {page}");
        for code in ["suspend as", ">no-group", "plan-only: "] {
            assert!(!page.contains(code), "{path} says {code}: {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_fits_the_terminal_and_an_empty_file_names_no_one() {
    let (office, _) = office_with_leavers(40, 3).await;
    let file = office.firm.folder.path().join("nobody.txt");
    std::fs::write(&file, "\n").unwrap();
    for (command, says) in [
        (format!("held approve --file {}", file.display()), "is empty"),
        ("held approve --department Kitchen".to_owned(), "has no change with --department"),
    ] {
        let (_, _, error) = rosterctl(&office, &command).await;
        assert!(error.replace("\n       ", " ").contains(says), "{error}");
        let longest = error.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{error}");
    }
}

/// Enter in a field presses the first button of its form.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_button_of_a_decision_approves() {
    let (office, id) = office_with_leavers(40, 3).await;
    let visitor = Visitor::of(&office).await;
    let page = visitor.page(&format!("/held/{id}"));
    let (_, form) = page.split_once("id=\"decision\"").unwrap();
    let (form, _) = form.split_once("</form>").unwrap();
    assert!(form.starts_with(&format!(" method=\"post\" action=\"/held/{id}/approve\"")), "{form}");
    let first = form.split("<button").nth(1).unwrap().split('>').next().unwrap();
    assert!(first.contains("id=\"approve\"") && !first.contains("formaction"), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_last_day_asked_for_is_listed() {
    let office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    let created = office.firm.events("user.created").await.pop().unwrap();
    let day = &created["time"].as_str().unwrap()[..10];
    for path in ["/events", "/events.csv"] {
        let path = format!("{path}?type=user.created&since={day}&until={day}");
        let page = visitor.page(&path);
        assert!(page.contains(created["subject"].as_str().unwrap()), "{path}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_events_leave_out_none_of_one_transaction() {
    let office = Office::of(300, Mode::PlanOnly).await;
    let visitor = Visitor::of(&office).await;
    let all = office.firm.events("user.created").await.len();
    assert!(all > 100, "{all} events");
    let (mut seen, mut next) = (Vec::new(), Some("/events?type=user.created".to_owned()));
    while let Some(path) = next {
        let page = visitor.page(&path);
        let numbers = page.split("no. ").skip(1).map(|rest| rest.split('<').next().unwrap());
        seen.extend(numbers.map(|number| number.parse::<u64>().unwrap()));
        let mut links = page.split("href=\"").map(|rest| rest.split('"').next().unwrap());
        next = links.find(|link| link.contains("before=")).map(|link| link.replace("&amp;", "&"));
    }
    assert!(seen.is_sorted_by(|one, next| one > next), "{seen:?}");
    assert_eq!(seen.len(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_people_is_filtered_before_it_is_cut() {
    let mut office = Office::open().await;
    let mut users = office.firm.users().await;
    users.sort_by_key(|user| user.id);
    let last = users.pop().unwrap();
    let address = last.addresses.primary.as_ref().unwrap().to_string();
    let letter = &address[..1];
    let found = office.get(&format!("/v1/users/search?q={letter}")).await;
    let found = found["users"].as_array().unwrap().len();
    office.post(&format!("/v1/users/{}/suspend", last.id), Some(json!({ "reason": "x" }))).await;
    let visitor = Visitor::of(&office).await;
    let (mut pages, mut after) = (0, String::new());
    loop {
        let path = format!("/v1/users/search?q={letter}&limit=1{after}");
        let page = office.get(&path).await;
        pages += page["users"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(pages, found, "the pages have all of them");
    let one = office.get(&format!("/v1/users/search?q={letter}&status=suspended&limit=1")).await;
    assert_eq!(one["users"][0]["id"], json!(last.id.to_string()), "{one:#}");
    let page = visitor.page(&format!("/people?q={letter}&status=suspended"));
    assert!(page.contains(&last.id.to_string()) && page.contains("1 person on this page"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_counts_the_users_and_not_the_accounts_of_targets() {
    let mut office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    let created = |page: &str| {
        let (_, legend) = page.split_once("class=\"legend\"").unwrap();
        legend.split(" created").next().unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    let before = created(&visitor.page("/"));
    let run = office.post("/v1/targets/app/sync", None).await;
    assert_ne!(run["changes"]["create"], json!(0), "{run:#}");
    assert_eq!(created(&visitor.page("/")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_a_form_opened_as_a_page_says_so() {
    let (office, id) = office_with_leavers(40, 2).await;
    let visitor = Visitor::of(&office).await;
    for path in [format!("/held/{id}/approve"), "/leave".to_owned()] {
        let answer = visitor.get(&path);
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.body.contains("This address takes a form"), "{path}: {}", answer.body);
    }
    let token = visitor.token();
    let answer = visitor.post("/events", &[("token", &token)]);
    assert_eq!(answer.status, 405);
    assert!(answer.body.contains("This page takes no form"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_changed_meanwhile_is_refused_with_the_difference() {
    let (office, id) = office_with_leavers(40, 3).await;
    let visitor = Visitor::of(&office).await;
    let shown = visitor.get(&format!("/held/{id}"));
    let (digest, token) = (shown.input("digest"), shown.input("token"));
    let people = ticked(&shown.body);
    let active = office.firm.active().await;
    let gone = office.firm.user(people[0]).await;
    office.firm.sim.edit(|ad| ad.add_member(adsim::names::BASIC, dn_of(&gone).as_str()));
    let newcomer = office.firm.users().await;
    let newcomer = newcomer.iter().filter(|user| user.link.is_some());
    let newcomer = newcomer.clone().nth(20).unwrap().clone();
    office.firm.sim.edit(|ad| {
        for group in [adsim::names::PRO, adsim::names::PRO_NESTED, adsim::names::BASIC] {
            ad.remove_member(group, dn_of(&newcomer).as_str());
        }
    });
    office.firm.sync().await;
    let now = held_plan(&office.firm).await;
    for verb in ["approve", "reject"] {
        let chosen = [people[0], people[2]];
        let answer =
            visitor.post(&format!("/held/{id}/{verb}"), &form(&digest, &token, &chosen, ""));
        assert_eq!(answer.status, 409, "{}", answer.body);
        let kept = ticked(&answer.body);
        assert_eq!(kept.len(), 2, "{}", answer.body);
        assert!(kept.contains(&people[2]) && kept.contains(&&*newcomer.id.to_string()));
        assert!(answer.body.contains("value=\"CHG-7\""), "the comment stays");
        let tools = format!("class=\"tools\" method=\"get\" action=\"/held/{}\"", now.id);
        assert!(answer.body.contains(&tools), "another grouping is asked of the present plan");
        let name = |user: &rosterd::model::User| user.profile.display_name.clone().unwrap();
        for said in [
            "Nothing was approved: the plan has changed".to_owned(),
            format!("New: 1 change – {}", name(&newcomer)),
            format!("No longer in it: 1 change – {}", name(&gone)),
        ] {
            assert!(answer.body.contains(&said), "{said}\n{}", answer.body);
        }
        assert_eq!(answer.input("digest"), held_plan(&office.firm).await.digest.to_string());
    }
    assert_eq!(office.firm.active().await, active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_reverted_as_it_was_shown_and_by_its_number_of_people() {
    let (office, id) = office_with_leavers(100, 60).await;
    let visitor = Visitor::of(&office).await;
    let plan = visitor.get(&format!("/held/{id}"));
    let (digest, token) = (plan.input("digest"), plan.input("token"));
    let people = ticked(&plan.body);
    let approved =
        visitor.post(&format!("/held/{id}/approve"), &form(&digest, &token, &people, "60"));
    let undo = format!("{}/undo", approved.header("location").unwrap());
    let first = visitor.get(&undo);
    assert!(first.body.contains("An undo would change 60 people."), "{}", first.body);
    let first = first.input("shown");
    let fields = |shown, number| [("token", token.as_str()), ("shown", shown), ("number", number)];

    // One of them is activated by hand, so that the undo is another one.
    visitor.post(&format!("/person/{}/activate", people[0]), &[("token", &token)]);
    let active = office.firm.active().await;
    let answer = visitor.post(&undo, &fields(&first, "60"));
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("Nothing was reverted. The undo would do something else now"));
    let second = answer.input("shown");
    let answer = visitor.post(&undo, &fields(&second, "60"));
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.contains("Type 59 into the field"), "{}", answer.body);
    assert_eq!(office.firm.active().await, active);

    let answer = visitor.post(&undo, &fields(&second, "59"));
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(office.firm.active().await, active + 59);
    let run = visitor.page(answer.header("location").unwrap());
    assert!(run.contains("59 reactivated"), "{run}");
    let undone = office.firm.events("run.undone").await.pop().unwrap();
    assert_eq!(undone["data"]["via"], json!("console"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_rejected_and_reopened_and_a_person_suspended_and_activated() {
    let (office, id) = office_with_leavers(40, 3).await;
    let visitor = Visitor::of(&office).await;
    let token = visitor.token();
    let digest = visitor.get(&format!("/held/{id}")).input("digest");
    let fields = [("token", token.as_str()), ("digest", &digest), ("comment", "not today")];
    let reject = format!("/held/{id}/reject");
    let asked = visitor.post(&reject, &fields);
    assert_eq!(asked.status, 200, "{}", asked.body);
    assert!(asked.body.contains("Reject 3 changes of corp?"), "{}", asked.body);
    assert_eq!(held_plan(&office.firm).await.state, PlanState::Open, "it was only asked");
    let (sure, comment) = (asked.input("sure"), asked.input("comment"));
    let confirmed =
        [("token", token.as_str()), ("digest", &digest), ("sure", &sure), ("comment", &comment)];
    let answer = visitor.post(&reject, &confirmed);
    assert_eq!(answer.status, 303, "{}", answer.body);
    let page = visitor.page(answer.header("location").unwrap());
    assert!(page.contains("rejected") && page.contains("not today"), "{page}");
    let reopen = format!("action=\"/held/{id}/reopen\"");
    for path in ["/", "/held"] {
        let page = visitor.page(path);
        assert!(page.contains("rejected by") && page.contains(&reopen), "{path}: {page}");
    }
    let answer = visitor.post(&format!("/held/{id}/reopen"), &fields);
    let page = visitor.page(answer.header("location").unwrap());
    assert!(page.contains("waits for a decision"), "{page}");

    let user = office.firm.users().await.pop().unwrap().id.to_string();
    let fields = [("token", token.as_str()), ("reason", " ")];
    let answer = visitor.post(&format!("/person/{user}/suspend"), &fields);
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.contains("Write the reason down"), "{}", answer.body);
    assert_eq!(office.firm.user(&user).await.status(), Status::Active);
    let fields = [("token", token.as_str()), ("reason", "lost <laptop>")];
    assert_eq!(visitor.post(&format!("/person/{user}/suspend"), &fields).status, 303);
    let page = visitor.page(&format!("/person/{user}"));
    assert!(page.contains("lost &lt;laptop&gt;") && page.contains("via console"), "{page}");
    assert_eq!(visitor.post(&format!("/person/{user}/activate"), &fields).status, 303);
    assert_eq!(office.firm.user(&user).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_grouped_and_searched_by_the_values_of_its_people() {
    let (office, id) = office_with_leavers(60, 20).await;
    let visitor = Visitor::of(&office).await;
    let names = |by: &str| {
        let page = visitor.page(&format!("/held/{id}?by={by}"));
        let groups: Vec<String> = page
            .split("class=\"group-name\">")
            .skip(1)
            .map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect();
        groups
    };
    assert!(names("ou").iter().all(|name| name.starts_with("OU=")), "{:?}", names("ou"));
    assert_eq!(names("cause"), ["in none of the groups that give access"]);
    assert!(names("tier").iter().all(|name| ["basic", "pro"].contains(&name.as_str())));
    assert_eq!(names("nonsense"), names("ou"));
    let one = office.firm.user(ticked(&visitor.page(&format!("/held/{id}")))[0]).await;
    let address = one.addresses.primary.as_ref().unwrap().to_string();
    let page = visitor.page(&format!("/held/{id}?q={address}"));
    assert_eq!(ticked(&page), [one.id.to_string()]);
    assert!(page.contains("The search matches 1 of 20 people"), "{page}");
}

/// The pages of the console for this plan, run and person.
pub(super) fn paths(plan: &str, run: &str, person: &str) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/",
        "/held",
        "/held?all=true",
        "/people",
        "/people?q=a&status=active",
        "/problems",
        "/runs",
        "/systems",
        "/systems/hooks/vpn",
        "/events",
        "/events?type=user.*",
        "/events/verify",
        "/reports",
        "/reports/leavers",
        "/reports/joiners",
        "/reports/changes",
        "/reports/access-review?by=department",
        "/reports/expiring",
        "/reports/inactive",
    ]
    .map(str::to_owned)
    .into();
    paths.extend([
        format!("/held/{plan}"),
        format!("/runs/{run}"),
        format!("/runs/{run}/undo"),
        format!("/person/{person}"),
        "/person/nobody@example.com".to_owned(),
    ]);
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_display_name_stays_text_on_every_page() {
    let office = Office::open().await;
    let users = office.firm.users().await;
    let user = users.iter().find(|user| user.link.is_some()).unwrap();
    let evil = "<script>alert(1)</script>\"><img src=http://evil.example/x onerror=alert(1)>";
    office.firm.sim.edit(|ad| ad.set(dn_of(user).as_str(), "displayName", evil));
    office.firm.sync().await;
    take_groups(&office, 5).await;
    let plan = held_plan(&office.firm).await;
    let visitor = Visitor::of(&office).await;
    let run = plan.run.to_string();
    let mut seen = 0;
    for path in paths(&plan.id.to_string(), &run, &user.id.to_string()) {
        let page = visitor.page(&path);
        seen += usize::from(page.contains("&lt;script&gt;alert(1)"));
        for wrong in ["<script>", "<img", " style=", "src=\"http", "href=\"http"] {
            assert!(!page.contains(wrong), "{wrong} in {path}: {page}");
        }
        // No attribute is a handler.
        let tags = page.split('<').skip(1).map(|tag| tag.split('>').next().unwrap());
        assert!(tags.into_iter().all(|tag| !tag.contains(" on")), "{path}");
    }
    assert!(seen >= 1, "the name is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_the_console_has_the_rows_of_rosterctl() {
    let office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    for (path, command) in [
        ("/people.csv", "user list --csv"),
        ("/events.csv?type=user.created", "event list --type user.created --csv"),
        ("/reports/joiners/csv?since=30d", "report joiners --csv"),
    ] {
        let answer = visitor.get(path);
        assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
        let (_, csv, _) = rosterctl(&office, command).await;
        let rows = |text: &str| {
            let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
            rows.sort();
            rows
        };
        assert!(csv.lines().count() > 10, "{csv}");
        assert_eq!(rows(&answer.body), rows(&csv), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_created_anew_is_linked_after_a_look_at_both_entries() {
    let mut office = Office::open().await;
    let [user, _, _, guid] = office.leavers().await;
    let visitor = Visitor::of(&office).await;
    let list = visitor.page("/problems");
    assert!(list.contains("address-held") && list.contains(&format!("/problems/{guid}")), "{list}");
    let compared = visitor.get(&format!("/problems/{guid}"));
    assert!(compared.body.contains("created anew: link them"), "{}", compared.body);
    assert_eq!(compared.input("user"), user);
    let fields = [("token", compared.input("token")), ("user", user.clone())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let answer = visitor.post(&format!("/problems/{guid}/relink"), &fields);
    assert_eq!(answer.status, 303, "{}", answer.body);
    let linked = office.firm.user(&user).await;
    assert_eq!(linked.link.unwrap().guid.to_string(), guid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_delivers_its_dead_letters_again_at_a_click() {
    let office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    assert!(visitor.page("/systems").contains("vpn"));
    let token = visitor.token();
    let answer = visitor.post("/systems/hooks/vpn/redeliver", &[("token", &token)]);
    assert_eq!(answer.header("location"), Some("/systems/hooks/vpn"));
    let event = office.firm.events("hook.redelivered").await.pop().unwrap();
    assert_eq!(event["data"]["via"], json!("console"));
}
