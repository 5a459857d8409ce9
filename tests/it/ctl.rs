//! What operators read. Views are functions of a document, so no daemon is needed here.

use clap::CommandFactory as _;
use rosterd::control::api;
use rosterd::ctl::id::{Meaning, resolve, short};
use rosterd::ctl::text::{View, harmless, harmless_value};
use rosterd::ctl::{Cli, Exit, domain, held, plan, run, status, sync, user};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn view() -> View {
    View { width: 100, now: "2026-11-24T03:01:00Z".parse().expect("a time") }
}

/// A document as a view is given it.
fn sent<T: DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(harmless_value(document)).expect("a document of the wire")
}

fn a_run(state: &str) -> Value {
    json!({
        "id": "019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c11", "directory": "corp", "trigger": "manual", "mode": "full", "state": state,
        "actor": "root", "started_at": "2026-11-24T02:58:00.000Z", "finished_at": "2026-11-24T02:58:02.310Z",
        "read": { "entries": 1204, "complete": true, "server": "ldaps://dc1.corp.example.com" },
        "changes": { "create": 12, "update": 3, "suspend": 1, "reactivate": 0, "tier": 2, "link": 0, "release": 0 },
        "held": 0, "quarantined": 0, "dropped": 0, "error": null, "warnings": []
    })
}

fn with(mut document: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().expect("fields") {
        document[name] = value.clone();
    }
    document
}

fn seen(attribute: &str, value: &str) -> Value {
    json!([{ "server": "ldaps://dc1.corp.example.com", "object": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "dn": "CN=Ben,OU=Sales,DC=corp,DC=example,DC=com", "attribute": attribute, "value": value, "seen_at": "2026-11-24T02:57:00.000Z" }])
}

fn change(kind: &str, email: &str, more: Value) -> Value {
    with(
        json!({ "kind": kind, "class": null, "user_id": "b1", "email": email, "object_guid": null, "reason": null,
            "evidence": [], "held": null, "before": null, "after": null }),
        more,
    )
}

fn changes() -> Value {
    json!([
        change("create", "carla@example.com", json!({ "class": "create", "after": { "tier": "pro", "profile": { "display_name": "Carla Example" } } })),
        change("suspend", "ben@example.com", json!({ "class": "confirmed", "reason": "disabled", "evidence": seen("userAccountControl", "514") })),
        change("suspend", "gone@example.com", json!({ "class": "gone", "reason": "no-group", "evidence": seen("memberOf", "none of 2 groups"), "held": "cluster" })),
        change("tier", "dora@example.com", json!({ "class": "downgrade", "held": "settling", "before": { "tier": "pro" }, "after": { "tier": "basic" } })),
        change("update", "emil@example.org", json!({ "class": "readdress",
            "before": { "primary_email": "emil@example.com", "secondary_emails": [] },
            "after": { "primary_email": "emil@example.org", "secondary_emails": ["emil@example.com"] } })),
        change("update", "fay@example.com", json!({ "before": { "title": null }, "after": { "title": "Head of Sales" } })),
        change("reactivate", "gus@example.com", json!({ "class": "reactivate", "reason": "disabled", "evidence": seen("userAccountControl", "512") })),
    ])
}

fn a_plan(changes: &Value) -> Value {
    json!({ "id": null, "directory": "corp", "changes": changes, "error": null, "warnings": ["a group of the configuration has been renamed"],
        "quarantined": [{ "object_guid": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "dn": "CN=Hal,DC=corp,DC=example,DC=com", "reason": "contested-address" }] })
}

fn a_held_plan() -> Value {
    json!({ "id": "019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22", "directory": "corp", "run": "019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c11",
        "digest": "00", "state": "open", "created_at": "2026-11-24T02:58:00.000Z", "actor": null, "count": 23,
        "by": [
            { "class": "gone", "reason": "no-group", "cause": "group:Roster Pro", "held": "cluster", "count": 20 },
            { "class": "downgrade", "reason": null, "cause": null, "held": "limit", "count": 3 }
        ] })
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn status_is_one_page() {
    let status: api::Status = sent(json!({
        "version": "0.1.0", "started_at": "2026-11-21T03:00:00.000Z", "hooks": { "pending": 0, "failed": 2 },
        "directories": [
            { "name": "corp", "account": "acme", "state": "ok", "server": "ldaps://dc1.corp.example.com", "live": true,
              "last_attempt": "2026-11-24T02:58:00.000Z", "last_success": "2026-11-24T02:58:00.000Z",
              "last_complete_read": "2026-11-24T02:58:00.000Z", "next_run": "2026-11-24T03:15:00.000Z", "paused_until": null,
              "users": { "active": 1204, "suspended": 17 }, "held": 23, "quarantined": 2,
              "attention": ["23 changes wait for approval: rosterctl held show 019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22",
                            "2 entries cannot be used as they are: rosterctl user list --quarantined"] },
            { "name": "lab", "account": "acme-lab", "state": "degraded", "server": "ldaps://lab", "live": false,
              "last_attempt": "2026-11-24T03:00:30.000Z", "last_success": "2026-11-23T03:00:00.000Z",
              "last_complete_read": null, "next_run": null, "paused_until": "9999-12-31T23:59:59.999Z",
              "users": { "active": 0, "suspended": 0 }, "held": 0, "quarantined": 0, "attention": ["no server answers: connection refused"] }
        ]
    }));
    insta::assert_snapshot!(status::page(&status, &view()).plain(), @"");
}

#[test]
fn a_sync_is_summed_up() {
    let quiet = with(a_run("succeeded"), json!({ "directory": "lab", "changes": api::Changes::default() }));
    let held = with(a_run("held"), json!({ "held": 23, "quarantined": 1, "dropped": 2, "warnings": ["a canary has moved"] }));
    let failed = with(a_run("failed"), json!({ "directory": "branch", "error": "ldaps://dc9: the connection was refused", "changes": api::Changes::default() }));
    let runs: api::Runs = sent(json!({ "runs": [quiet, held, failed] }));
    insta::assert_snapshot!(sync::page(&runs, &view()).plain(), @"");
}

#[test]
fn a_plan_is_a_diff() {
    let plan: api::Plan = sent(a_plan(&changes()));
    insta::assert_snapshot!(plan::page(&plan, &view()).plain(), @"");
}

#[test]
fn suspensions_are_red_and_creations_green() {
    let plan: api::Plan = sent(a_plan(&changes()));
    let text = plan::page(&plan, &view()).coloured();
    assert!(text.contains("\u{1b}[31m- ben@example.com  disabled\u{1b}[0m"), "{text}");
    assert!(text.contains("\u{1b}[32m+ carla@example.com  Carla Example, pro\u{1b}[0m"), "{text}");
}

#[test]
fn many_changes_of_one_kind_are_cut_short_and_fifty_are_not() {
    let people = |n: usize| (0..n).map(|i| change("create", &format!("p{i}@example.com"), json!({ "after": { "tier": "pro" } }))).collect::<Vec<_>>();
    let lines = |n: usize| plan::page(&sent(a_plan(&json!(people(n)))), &view()).plain().lines().filter(|l| l.starts_with("  + ")).count();
    assert_eq!((lines(50), lines(51)), (50, 20));
    let text = plan::page(&sent(a_plan(&json!(people(1234)))), &view()).plain();
    assert!(text.contains("… and 1,214 more (use --json for all)"), "{text}");
}

#[test]
fn a_held_plan_says_what_waits_why_and_what_to_type() {
    let plan: api::HeldPlan = sent(with(a_held_plan(), json!({ "changes": [changes()[2]] })));
    insta::assert_snapshot!(held::show(&plan, &view()).plain(), @"");
}

#[test]
fn held_plans_are_listed_by_their_short_ids() {
    let plans: api::HeldPlans = sent(json!({ "held": [a_held_plan()] }));
    insta::assert_snapshot!(held::list(&plans, &view()).plain(), @"");
}

#[test]
fn an_approval_tells_what_still_waits() {
    let approval: api::Approval = sent(with(with(a_run("held"), json!({ "held": 23 })), json!({ "waiting": a_held_plan() })));
    insta::assert_snapshot!(held::approved(&approval, &view()).plain(), @"");
}

fn a_user() -> Value {
    json!({ "id": "5d41402a-bc4b-8a76-b971-9d911017c592", "account": "acme", "status": "suspended", "tier": "pro",
        "primary_email": "ben@example.com", "secondary_emails": ["b.example@example.com", "ben@example.org"],
        "display_name": "Ben Example", "given_name": "Ben", "surname": "Example", "profile": { "title": "Head of Sales", "phone": null },
        "directory": { "name": "corp", "object_guid": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "dn": "CN=Ben,OU=Sales,DC=corp,DC=example,DC=com" },
        "suspension": { "reason": "operator", "since": "2026-11-24T02:00:00.000Z", "causes": [
            { "reason": "operator", "since": "2026-11-24T02:00:00.000Z", "by": "operator root",
              "evidence": { "server": "rosterd", "attribute": "operator", "value": "stolen laptop", "seen_at": "2026-11-24T02:00:00.000Z" } },
            { "reason": "disabled", "since": "2026-11-24T02:57:00.000Z", "by": "directory corp", "evidence": seen("userAccountControl", "514")[0] }
        ] },
        "quarantine": ["contested-address"], "pinned": [], "invited_at": null, "joined_at": "2026-03-02T09:00:00.000Z",
        "created_at": "2026-03-01T09:00:00.000Z", "updated_at": "2026-11-24T02:57:00.000Z" })
}

#[test]
fn a_user_is_shown_with_every_cause_and_what_was_seen() {
    insta::assert_snapshot!(user::show(&sent(a_user()), &view()).plain(), @"");
}

#[test]
fn users_are_listed() {
    let users: api::Users = sent(json!({ "users": [a_user()] }));
    insta::assert_snapshot!(user::list(&users, &view()).plain(), @"");
}

#[test]
fn activating_says_what_remains() {
    let activation: api::Activation = sent(with(a_user(), json!({ "remains": ["disabled: AD has to say otherwise first"] })));
    insta::assert_snapshot!(user::activated(&activation, &view()).plain(), @"");
}

#[test]
fn runs_are_listed() {
    let failed = with(a_run("failed"), json!({ "trigger": "schedule", "error": "no server answers", "changes": api::Changes::default() }));
    let runs: api::Runs = sent(json!({ "runs": [failed, with(a_run("held"), json!({ "held": 23 })), a_run("succeeded")] }));
    insta::assert_snapshot!(run::list(&runs, &View { width: usize::MAX, ..view() }).plain(), @"");
}

fn a_claim(state: &str) -> Value {
    json!({ "id": "c1", "account": "acme", "domain": "example.com", "state": state, "claimed_at": "2026-11-24T02:58:00.000Z",
        "record": { "name": "_rosterd-challenge.example.com", "value": "rosterd-domain-verification=3f2a" },
        "verified_at": null, "checked_at": "2026-11-24T03:00:55.000Z", "finding": "DNS has no TXT record _rosterd-challenge.example.com" })
}

#[test]
fn a_claim_prints_the_record_to_paste() {
    insta::assert_snapshot!(domain::claimed(&sent(a_claim("pending")), &view()).plain(), @"");
}

#[test]
fn a_verification_that_failed_says_what_was_found() {
    insta::assert_snapshot!(domain::verified(&sent(a_claim("pending")), &view()).plain(), @"");
}

#[test]
fn every_way_to_end_has_its_exit_status() {
    let run_ends = |state: &str, held: u64| run::exit(&sent(with(a_run(state), json!({ "held": held })))).code();
    assert_eq!([run_ends("succeeded", 0), run_ends("succeeded", 1), run_ends("held", 2), run_ends("failed", 2), run_ends("cancelled", 0)], [0, 3, 3, 1, 1]);
    let plan_ends = |held: Value| plan::exit(&sent(a_plan(&json!([change("suspend", "a@b.c", json!({ "held": held }))])))).code();
    assert_eq!([plan_ends(Value::Null), plan_ends(json!("settling")), plan_ends(json!("limit"))], [0, 0, 3]);
    let approval_ends = |waiting: Value| held::exit(&sent(with(a_run("succeeded"), json!({ "waiting": waiting })))).code();
    assert_eq!([approval_ends(Value::Null), approval_ends(a_held_plan())], [0, 3]);
    assert_eq!([domain::exit(&sent(a_claim("verified"))).code(), domain::exit(&sent(a_claim("pending"))).code()], [0, 1]);
    let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Held, Exit::NoDaemon, Exit::NotAllowed].map(Exit::code);
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    assert_eq!([Exit::Done, Exit::Held, Exit::Failed].into_iter().max(), Some(Exit::Failed), "a failed run outweighs a held one");
}

#[test]
fn what_came_from_the_directory_does_nothing_to_the_terminal() {
    assert_eq!(harmless("Ren\u{e9}e \u{5c71}\u{7530} \u{1f469}\u{200d}\u{1f52c}"), "Ren\u{e9}e \u{5c71}\u{7530} \u{1f469}\u{200d}\u{1f52c}");
    assert_eq!(harmless("a\u{1b}[2Jb\r\nc\u{9b}\u{202e}d\u{2061}e"), r"a\u{1b}[2Jb\r\nc\u{9b}\u{202e}d\u{2061}e");
    let evil = "Ben\u{1b}]0;owned\u{7}\nrosterd: all is well\u{202e}";
    let user: api::User = sent(with(a_user(), json!({ "display_name": evil, "directory": { "name": "corp", "object_guid": "g", "dn": evil } })));
    for text in [user::show(&user, &view()).plain(), user::list(&api::Users { users: vec![user], next: None }, &view()).plain()] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
        assert!(!text.lines().any(|l| l.starts_with("rosterd:")), "{text}");
    }
}

#[test]
fn ids_are_found_by_their_beginning_or_end() {
    let ids = ["019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c11", "019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22"];
    assert_eq!(short(ids[0]), "4e2b8c11");
    assert_eq!(resolve("4E2B8C11", ids), Meaning::This(ids[0]));
    assert_eq!(resolve("8c22", ids), Meaning::This(ids[1]));
    assert_eq!(resolve("51-0d6f4e2b8c22", ids), Meaning::This(ids[1]));
    assert_eq!(resolve("019ab4c17d10", ids[..1].iter().copied()), Meaning::This(ids[0]));
    assert_eq!(resolve("019ab4c1", ids), Meaning::Several(ids.to_vec()));
    assert_eq!(resolve("c22", ids), Meaning::TooShort);
    assert_eq!(resolve("ffff", ids), Meaning::None);
    assert_eq!(resolve("b4c1", ids), Meaning::None, "the middle of an id is not looked at");
}
