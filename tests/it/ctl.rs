//! The text that operators read. Views are functions of a document, so no daemon is needed here.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::{CommandFactory as _, Parser as _};
use rosterd::control::api;
use rosterd::ctl::id::{Meaning, resolve, short};
use rosterd::ctl::terminal::Wish;
use rosterd::ctl::text::{View, harmless, harmless_value};
use rosterd::ctl::{
    Cli, Exit, Terminal, domain, event, held, plan, run, status, sync, user, users,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

fn view() -> View {
    View { width: 100, now: "2026-11-24T03:01:00Z".parse().expect("a time") }
}

/// Parses a document as a view receives it.
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

fn with(mut document: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().expect("fields") {
        document[name] = value.clone();
    }
    document
}

fn seen(attribute: &str, value: &str) -> Value {
    json!([{ "server": "ldaps://dc1.corp.example.com", "object": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "dn": "CN=Ben,OU=Sales,DC=corp,DC=example,DC=com", "attribute": attribute, "value": value, "seen_at": "2026-11-24T02:57:00.000Z" }])
}

fn change(kind: &str, email: &str, more: &Value) -> Value {
    with(
        json!({ "kind": kind, "class": null, "user_id": "b1", "email": email, "object_guid": null, "reason": null,
            "evidence": [], "held": null, "before": null, "after": null }),
        more,
    )
}

fn changes() -> Value {
    json!([
        change(
            "create",
            "carla@example.com",
            &json!({ "class": "create", "after": { "tier": "pro", "profile": { "display_name": "Carla Example" } } })
        ),
        change(
            "suspend",
            "ben@example.com",
            &json!({ "class": "confirmed", "reason": "disabled", "evidence": seen("userAccountControl", "514") })
        ),
        change(
            "suspend",
            "gone@example.com",
            &json!({ "class": "gone", "reason": "no-group", "evidence": seen("memberOf", "none of 2 groups"), "held": "cluster" })
        ),
        change(
            "tier",
            "dora@example.com",
            &json!({ "class": "downgrade", "held": "grace-period", "before": { "tier": "pro" }, "after": { "tier": "basic" } })
        ),
        change(
            "update",
            "emil@example.org",
            &json!({ "class": "readdress",
            "before": { "primary_email": "emil@example.com", "secondary_emails": [] },
            "after": { "primary_email": "emil@example.org", "secondary_emails": ["emil@example.com"] } })
        ),
        change(
            "update",
            "fay@example.com",
            &json!({ "before": { "title": null }, "after": { "title": "Head of Sales" } })
        ),
        change(
            "reactivate",
            "gus@example.com",
            &json!({ "class": "reactivate", "reason": "disabled", "evidence": seen("userAccountControl", "512") })
        ),
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
            { "class": "gone", "reason": "no-group", "cause": "group:6f9619ff-8b86-d011-b42d-00c04fc964aa", "name": "roster pro",
              "key": "group:6f9619ff-8b86-d011-b42d-00c04fc964aa", "held": "cluster", "count": 20 },
            { "class": "downgrade", "reason": null, "cause": null, "key": "downgrade", "held": "limit", "count": 3, "approved": 1 }
        ] })
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn status_is_one_page() {
    let status: api::Status = sent(json!({
        "version": "0.1.0", "started_at": "2026-11-21T03:00:00.000Z", "hooks": { "pending": 0, "failed": 2, "removed": 17 },
        "directories": [
            { "name": "corp", "account": "acme", "state": "ok", "server": "ldaps://dc1.corp.example.com", "live": true,
              "last_attempt": "2026-11-24T02:58:00.000Z", "last_success": "2026-11-24T02:58:00.000Z",
              "last_complete_read": "2026-11-24T02:58:00.000Z", "next_run": "2026-11-24T03:15:00.000Z", "paused_until": null,
              "servers": [
                { "url": "ldaps://dc1.corp.example.com", "in_use": true, "reachable": true, "failing_since": null, "reason": null,
                  "certificate_until": "2027-03-01T00:00:00.000Z", "writable": true, "site": "Berlin" },
                { "url": "ldaps://dc2", "in_use": false, "reachable": false,
                  "failing_since": "2026-11-24T00:01:00.000Z", "reason": "ldaps://dc2: cannot connect",
                  "certificate_until": null, "writable": null, "site": null },
                { "url": "ldaps://dc3", "in_use": false, "reachable": true, "failing_since": null, "reason": null,
                  "certificate_until": null, "writable": true, "site": "Munich",
                  "followed_since": "2026-11-24T00:01:00.000Z" }],
              "users": { "active": 1204, "suspended": 17 }, "held": 23, "quarantined": 2,
              "attention": ["23 changes wait for approval: rosterctl held show 019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22",
                            "2 entries cannot be used as they are: rosterctl user list --quarantined"] },
            { "name": "lab", "account": "acme-lab", "state": "degraded", "server": "ldaps://lab", "live": false,
              "last_attempt": "2026-11-24T03:00:30.000Z", "last_success": "2026-11-23T03:00:00.000Z",
              "last_complete_read": null, "next_run": null, "paused_until": "9999-12-31T23:59:59.999Z",
              "users": { "active": 0, "suspended": 0 }, "held": 0, "quarantined": 0, "attention": ["no server answers: connection refused"] }
        ]
    }));
    insta::assert_snapshot!(status::page(&status, &view()).plain(), @"
    rosterd 0.1.0, running since 2026-11-21 03:00 UTC, 3 days ago

    ● corp → account acme: ok, follows changes live
      users          1,204 active, 17 suspended, 23 changes held, 2 quarantined
      last run       2026-11-24 02:58 UTC, 3 minutes ago, from ldaps://dc1.corp.example.com
      complete read  2026-11-24 02:58 UTC, 3 minutes ago
      next run       2026-11-24 03:15 UTC, in 14 minutes
      server         ldaps://dc1.corp.example.com, in use, site Berlin, certificate until 2027-03-01
      server         ldaps://dc2, unreachable since 2026-11-24 00:01 UTC, 3 hours ago
      server         ldaps://dc3, reachable, site Munich, followed since 2026-11-24 00:01 UTC, 3 hours
                     ago
      ! 23 changes wait for approval: rosterctl held show 019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22
      ! 2 entries cannot be used as they are: rosterctl user list --quarantined

    ● lab → account acme-lab: degraded
      users          0 active, 0 suspended
      last success   2026-11-23 03:00 UTC, 24 hours ago, from ldaps://lab
      last attempt   2026-11-24 03:00 UTC, 30 seconds ago
      complete read  never
      next run       none is scheduled
      paused until   resumed: rosterctl directory resume lab
      ! no server answers: connection refused

    hooks: 0 pending, 2 deliveries failed
      17 deliveries for hooks that are no longer configured: rosterctl hook list
    ");
}

#[test]
fn a_sync_is_summed_up() {
    let quiet = with(
        a_run("succeeded"),
        &json!({ "directory": "lab", "changes": api::Changes::default() }),
    );
    let held = with(
        a_run("held"),
        &json!({ "held": 23, "quarantined": 1, "dropped": 2, "warnings": ["a canary has moved"] }),
    );
    let failed = with(
        a_run("failed"),
        &json!({ "directory": "branch", "error": "ldaps://dc9: the connection was refused", "changes": api::Changes::default() }),
    );
    let runs: api::Runs = sent(json!({ "runs": [quiet, held, failed] }));
    insta::assert_snapshot!(sync::page(&runs, &view()).plain(), @"
    lab: done in 2.3 s; 1,204 entries read from ldaps://dc1.corp.example.com (full)
      nothing changed
    corp: done in 2.3 s, with changes held; 1,204 entries read from ldaps://dc1.corp.example.com (full)
      ✓ 1 suspended, 12 created, 2 moved to another tier, 3 updated
      ! 23 changes wait for approval: rosterctl held list
      ! 2 changes were dropped, because the user changed meanwhile; the next run plans again
      ! 1 entry in quarantine: rosterctl user list --quarantined
      ! a canary has moved
    branch: failed in 2.3 s; 1,204 entries read from ldaps://dc1.corp.example.com (full)
      ✗ ldaps://dc9: the connection was refused
    ");
}

#[test]
fn a_plan_is_a_diff() {
    let plan: api::Plan = sent(a_plan(&changes()));
    insta::assert_snapshot!(plan::page(&plan, &view()).plain(), @"
    corp: 7 changes, 5 would be applied, 2 held
    ! a group of the configuration has been renamed

    suspend: 2 (1 held)
      - ben@example.com  disabled
          userAccountControl = 514 at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on
          ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC
      - gone@example.com  no-group  [held: cluster]
          memberOf = none of 2 groups at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on
          ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC

    reactivate: 1
      + gus@example.com  no longer disabled
          userAccountControl = 512 at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on
          ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC

    create: 1
      + carla@example.com  Carla Example, pro

    change tier: 1 (1 held)
      ~ dora@example.com  tier: pro → basic  [held: grace-period]

    change addresses: 1
      ~ emil@example.org  primary email: emil@example.com → emil@example.org; secondary emails: nothing
        → emil@example.com

    update: 1
      ~ fay@example.com  title: nothing → Head of Sales

    held: cluster  1 change: many changes have this one cause
    held: grace-period  1 change: the grace period runs; rosterd rechecks by itself

    quarantined: 1
      ? CN=Hal,DC=corp,DC=example,DC=com  contested-address
    ");
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
    let people = |n: usize| {
        (0..n)
            .map(|i| {
                change(
                    "create",
                    &format!("p{i}@example.com"),
                    &json!({ "after": { "tier": "pro" } }),
                )
            })
            .collect::<Vec<_>>()
    };
    let lines = |n: usize| {
        plan::page(&sent(a_plan(&json!(people(n)))), &view())
            .plain()
            .lines()
            .filter(|l| l.starts_with("  + "))
            .count()
    };
    assert_eq!((lines(50), lines(51)), (50, 20));
    let text = plan::page(&sent(a_plan(&json!(people(1234)))), &view()).plain();
    assert!(text.contains("… and 1,214 more (use --json for all)"), "{text}");
}

#[test]
fn a_plan_held_by_a_gate_shows_the_output_of_the_gate() {
    let note = json!({ "note": ["the gate board holds it: it ended with exit status 1", "not on a \u{1b}[31mFriday"], "by": [] });
    let plan: api::HeldPlan = sent(with(a_held_plan(), &note));
    let shown = held::show(&plan, &view()).plain();
    let lines: Vec<&str> = shown.lines().skip(4).take(2).collect();
    assert_eq!(
        lines,
        [
            "  ! the gate board holds it: it ended with exit status 1",
            "      not on a \\u{1b}[31mFriday"
        ],
        "{shown}"
    );
}

#[test]
fn a_held_plan_shows_its_changes_reasons_and_commands() {
    let plan: api::HeldPlan = sent(with(
        a_held_plan(),
        &json!({
            "changes": [with(changes()[2].clone(), &json!({ "key": "group:6f9619ff-8b86-d011-b42d-00c04fc964aa" }))],
            "actor": "alice", "comment": "one of them at once", "approval_expires": "2026-11-25T02:58:00.000Z"
        }),
    ));
    insta::assert_snapshot!(held::show(&plan, &view()).plain(), @"
    held plan 4e2b8c22 of corp: waits for approval, 23 changes
      id           019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22
      held since   2026-11-24 02:58 UTC, 3 minutes ago
      made by run  4e2b8c11
      alice  \"one of them at once\"
      ! 1 change approved, and applied as soon as the directory can be read, until 2026-11-25 02:58 UTC

    suspend as no-group: 20 (group roster pro)
      cluster: many changes have this one cause
      --cause group:6f9619ff-8b86-d011-b42d-00c04fc964aa
      - gone@example.com  no-group  [held: cluster]
          memberOf = none of 2 groups at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on
          ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC

    downgrade: 3
      limit: the class has reached its limit for the window
      --cause downgrade

    to apply:  rosterctl held approve 4e2b8c22
    a part:    rosterctl held approve 4e2b8c22 --cause … or --user …
    to refuse: rosterctl held reject 4e2b8c22
    ");
}

#[test]
fn held_plans_are_listed_by_their_short_ids() {
    let plans: api::HeldPlans = sent(json!({ "held": [a_held_plan()] }));
    insta::assert_snapshot!(held::list(&plans, &view()).plain(), @"
    ID        DIRECTORY  STATE               SINCE                 CHANGES  WHAT
    4e2b8c22  corp       waits for approval  2026-11-24 02:58 UTC  23       20 suspend as no-group
                                                                            (group roster pro); 3
                                                                            downgrade
    ");
}

#[test]
fn an_approval_shows_what_is_still_held() {
    let approval: api::Approval = sent(with(
        with(a_run("held"), &json!({ "held": 23 })),
        &json!({ "waiting": a_held_plan() }),
    ));
    insta::assert_snapshot!(held::approved(&approval, &view()).plain(), @"
    corp: done in 2.3 s, with changes held; 1,204 entries read from ldaps://dc1.corp.example.com (full)
      ✓ 1 suspended, 12 created, 2 moved to another tier, 3 updated
      ! 23 changes wait for approval: rosterctl held show 4e2b8c22
    ");
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
        "quarantine": ["contested-address"], "overrides": [], "invited_at": null, "joined_at": "2026-03-02T09:00:00.000Z",
        "created_at": "2026-03-01T09:00:00.000Z", "updated_at": "2026-11-24T02:57:00.000Z" })
}

#[test]
fn a_user_is_shown_with_every_cause_and_its_evidence() {
    insta::assert_snapshot!(user::show(&sent(a_user()), &view()).plain(), @r#"
    ben@example.com: suspended, pro, in acme
      name     Ben Example
      also     b.example@example.com
               ben@example.org
      title    Head of Sales
      id       5d41402a-bc4b-8a76-b971-9d911017c592
      person   6f9619ff-8b86-d011-b42d-00c04fc964ff in directory corp
               CN=Ben,OU=Sales,DC=corp,DC=example,DC=com
      joined   2026-03-02 09:00 UTC, 267 days ago
      created  2026-03-01 09:00 UTC, 268 days ago
      updated  2026-11-24 02:57 UTC, 4 minutes ago
      ✗ suspended by operator root since 2026-11-24 02:00 UTC, 61 minutes ago
          "stolen laptop", 2026-11-24 02:00 UTC
      ✗ suspended as disabled by directory corp since 2026-11-24 02:57 UTC, 4 minutes ago
          userAccountControl = 514 at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on
          ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC
      ! the directory entry is quarantined: contested-address
    "#);
}

#[test]
fn a_user_is_shown_with_logon_names_further_attributes_and_expiry() {
    let user = with(
        a_user(),
        &json!({ "expires_at": "2026-11-30T23:00:00.000Z", "suspension": null, "status": "active", "quarantine": [],
            "profile": { "sam_account_name": "bexample", "user_principal_name": "ben@corp.example.com",
            "extra": { "division": ["Sales", "Trade"], "costCenter": [] } } }),
    );
    insta::assert_snapshot!(user::show(&sent(user.clone()), &view()).plain(), @"
    ben@example.com: active, pro, in acme
      name        Ben Example
      also        b.example@example.com
                  ben@example.org
      logon name  bexample
      UPN         ben@corp.example.com
      costCenter  nothing
      division    Sales, Trade
      id          5d41402a-bc4b-8a76-b971-9d911017c592
      person      6f9619ff-8b86-d011-b42d-00c04fc964ff in directory corp
                  CN=Ben,OU=Sales,DC=corp,DC=example,DC=com
      expires     2026-11-30 23:00 UTC, in 7 days
      joined      2026-03-02 09:00 UTC, 267 days ago
      created     2026-03-01 09:00 UTC, 268 days ago
      updated     2026-11-24 02:57 UTC, 4 minutes ago
    ");
    let users: api::Users = sent(json!({ "users": [user] }));
    insta::assert_snapshot!(users::list(&users, &view()).plain(), @"
    ADDRESS          NAME         ACCOUNT  STATUS  TIER  DIRECTORY  WHY
    ben@example.com  Ben Example  acme     active  pro   corp       expires 2026-11-30 23:00 UTC
    ");
}

fn an_event(kind: &str, user: &Value, before: &Value, after: &Value) -> Value {
    json!({ "seq": 7, "specversion": "1.0", "id": "e1", "source": "rosterd", "type": kind, "time": "2026-11-24T02:58:00Z",
        "subject": "5d41402a-bc4b-8a76-b971-9d911017c592",
        "data": { "actor": "rosterd", "run": "r1", "account": "acme", "before": before, "after": after,
            "evidence": seen("userAccountControl", "514"), "user": user } })
}

#[test]
fn the_csv_of_events_names_people_in_columns_and_has_no_json() {
    let known = |name: &str, email: &str, sam: &str| {
        json!({ "display_name": name, "primary_email": email, "sam_account_name": sam,
            "user_principal_name": "ann@corp.example.com", "employee_id": "E-1", "status": "active" })
    };
    let married = json!({ "before": known("Ann Lee", "ann.lee@example.com", "alee"),
        "after": known("Ann Roe", "ann.roe@example.com", "aroe") });
    let left = json!({ "before": known("Ann Roe", "ann.roe@example.com", "aroe"), "after": null });
    let events: api::Events = sent(json!({ "events": [
        an_event("user.suspended", &married, &json!({ "status": "active" }), &json!({ "status": "suspended", "cause": "disabled" })),
        an_event("user.removed", &left, &json!({ "status": "active" }), &Value::Null),
    ] }));
    let text = event::as_csv(&events).plain();
    assert!(!text.contains(['{', '[']), "{text}");
    insta::assert_snapshot!(text.replace("\r\n", "\n"), @r#"
    seq,time,type,subject,display_name,primary_email,sam_account_name,user_principal_name,employee_id,former_display_name,former_primary_email,former_sam_account_name,actor,run,account,before,after,evidence,id
    7,2026-11-24T02:58:00Z,user.suspended,5d41402a-bc4b-8a76-b971-9d911017c592,Ann Roe,ann.roe@example.com,aroe,ann@corp.example.com,E-1,Ann Lee,ann.lee@example.com,alee,rosterd,r1,acme,status active,"cause disabled, status suspended","userAccountControl = 514 at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC",e1
    7,2026-11-24T02:58:00Z,user.removed,5d41402a-bc4b-8a76-b971-9d911017c592,Ann Roe,ann.roe@example.com,aroe,ann@corp.example.com,E-1,,,,rosterd,r1,acme,status active,,"userAccountControl = 514 at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC",e1
    "#);
    let list = event::list(&events, &view()).plain();
    assert_eq!(list.matches("ann.roe@example.com").count(), 2, "{list}");
    assert!(!list.contains("5d41402a"), "users are listed by address: {list}");
}

#[test]
fn a_change_names_its_user_by_name_address_and_logon_name() {
    let known = |sam: Option<&str>, name: Option<&str>, email: Option<&str>| {
        let names = json!({ "display_name": name, "sam_account_name": sam, "email": email });
        change("suspend", "", &with(names, &json!({ "class": "confirmed", "reason": "disabled" })))
    };
    let (ann, email) = (Some("Ann Lee"), Some("ann.lee@example.com"));
    let changes = json!([
        known(Some("alee"), ann, email),
        known(Some("ann.lee"), ann, email),
        known(Some("alee"), None, email),
        known(Some("alee"), ann, None),
        known(None, None, None),
    ]);
    let plan: api::Plan = sent(a_plan(&changes));
    let text = plan::page(&plan, &view()).plain();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("- ")).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "- Ann Lee <ann.lee@example.com> (alee)  disabled",
            "- Ann Lee <ann.lee@example.com>  disabled",
            "- ann.lee@example.com (alee)  disabled",
            "- Ann Lee (alee)  disabled",
            "- b1  disabled",
        ]
    );
}

#[test]
fn users_are_listed() {
    let users: api::Users = sent(json!({ "users": [a_user()] }));
    insta::assert_snapshot!(users::list(&users, &view()).plain(), @"
    ADDRESS          NAME         ACCOUNT  STATUS     TIER  DIRECTORY  WHY
    ben@example.com  Ben Example  acme     suspended  pro   corp       operator since 2026-11-24 02:00
                                                                       UTC, quarantined:
                                                                       contested-address
    ");
}

#[test]
fn users_are_exported_without_formulas() {
    let evil = with(
        a_user(),
        &json!({ "display_name": "=cmd|' /C calc'!A0", "primary_email": "+ben@example.com",
            "expires_at": "2026-11-30T23:00:00.000Z", "profile": { "title": "Head of Sales", "sam_account_name": "bexample",
            "extra": { "division": ["Sales", "Trade"] } } }),
    );
    let users: api::Users = sent(json!({ "users": [evil] }));
    insta::assert_snapshot!(users::as_csv(&users).plain().replace("\r\n", "\n"), @r#"
    id,account,status,tier,primary_email,secondary_emails,display_name,given_name,surname,sam_account_name,user_principal_name,title,department,employee_id,directory,object_guid,expires_at,reason,suspended_since,quarantine,invited_at,joined_at,created_at,updated_at,division
    5d41402a-bc4b-8a76-b971-9d911017c592,acme,suspended,pro,'+ben@example.com,b.example@example.com ben@example.org,'=cmd|' /C calc'!A0,Ben,Example,bexample,,Head of Sales,,,corp,6f9619ff-8b86-d011-b42d-00c04fc964ff,2026-11-30T23:00:00.000Z,operator,2026-11-24T02:00:00.000Z,contested-address,,2026-03-02T09:00:00.000Z,2026-03-01T09:00:00.000Z,2026-11-24T02:57:00.000Z,"Sales, Trade"
    "#);
}

#[test]
fn a_release_is_shown_person_by_person_before_it_is_done() {
    let release: api::Release = sent(
        json!({ "domain": "example.com", "account": "acme", "dry_run": true, "becomes_team": true, "users": [
        { "id": "1", "primary_email": "ann@example.com", "effect": "released" },
        { "id": "2", "primary_email": "ben@example.com", "effect": "stays-suspended" },
        { "id": "3", "primary_email": "cat@example.org", "effect": "loses-address" }] }),
    );
    insta::assert_snapshot!(domain::released(&release, &view()).plain(), @"
    example.com would be released from acme: 3 users would be affected
      it was the last domain: acme would become a team, and its directories provision no users
      1 released: they can no longer sign in, and their addresses are free
        ann@example.com
      1 stay suspended, and keep their addresses from being used by others
        ben@example.com
      1 lose their secondary addresses in it
        cat@example.org
    ");
}

#[test]
fn invitations_are_answered_one_by_one() {
    let invitations: api::Invitations = sent(json!({ "invitations": [
        { "address": "a@x.com", "outcome": "invited", "user": "1", "detail": null },
        { "address": "b@y.com", "outcome": "already-here", "user": "2", "detail": null },
        { "address": "c@z.com", "outcome": "elsewhere", "user": null, "detail": "the address belongs to another account" }] }));
    insta::assert_snapshot!(user::invited(&invitations, &view()).plain(), @"
    ADDRESS  OUTCOME       WHY
    a@x.com  invited
    b@y.com  already here
    c@z.com  elsewhere     the address belongs to another account
    ");
}

#[test]
fn activating_shows_the_causes_that_remain() {
    let activation: api::Activation =
        sent(with(a_user(), &json!({ "remains": ["disabled: AD has to say otherwise first"] })));
    insta::assert_snapshot!(user::activated(&activation, &view()).plain(), @"
    ben@example.com: suspended
      one cause keeps it suspended:
      ✗ disabled: AD has to say otherwise first
    ");
}

#[test]
fn runs_are_listed() {
    let failed = with(
        a_run("failed"),
        &json!({ "trigger": "schedule", "error": "no server answers", "changes": api::Changes::default() }),
    );
    let runs: api::Runs = sent(
        json!({ "runs": [failed, with(a_run("held"), &json!({ "held": 23 })), a_run("succeeded")] }),
    );
    insta::assert_snapshot!(run::list(&runs, &View { width: usize::MAX, ..view() }).plain(), @"
    ID        STARTED               DIRECTORY  WHY             STATE      READ   APPLIED                                                      ALSO
    4e2b8c11  2026-11-24 02:58 UTC  corp       schedule, full  failed     1,204  nothing                                                      no server answers
    4e2b8c11  2026-11-24 02:58 UTC  corp       manual, full    held       1,204  1 suspended, 12 created, 2 moved to another tier, 3 updated  23 held
    4e2b8c11  2026-11-24 02:58 UTC  corp       manual, full    succeeded  1,204  1 suspended, 12 created, 2 moved to another tier, 3 updated
    ");
}

fn a_claim(state: &str) -> Value {
    json!({ "id": "c1", "account": "acme", "domain": "example.com", "state": state, "claimed_at": "2026-11-24T02:58:00.000Z",
        "record": { "name": "_rosterd-challenge.example.com", "value": "rosterd-domain-verification=3f2a" },
        "verified_at": null, "checked_at": "2026-11-24T03:00:55.000Z", "finding": "DNS has no TXT record _rosterd-challenge.example.com" })
}

#[test]
fn a_claim_prints_the_record_to_paste() {
    insta::assert_snapshot!(domain::claimed(&sent(a_claim("pending")), &view()).plain(), @r#"
    example.com is claimed for acme: pending

    Add this record to the DNS of example.com, and keep it there:

    _rosterd-challenge.example.com. 3600 IN TXT "rosterd-domain-verification=3f2a"

    Then: rosterctl domain verify example.com (rosterd also looks for it by itself from time to time)
    "#);
}

#[test]
fn a_failed_verification_shows_the_records_found() {
    insta::assert_snapshot!(domain::verified(&sent(a_claim("pending")), &view()).plain(), @r#"
    example.com of acme: pending
      found   DNS has no TXT record _rosterd-challenge.example.com
      looked  2026-11-24 03:00 UTC, 5 seconds ago

    The expected record:

    _rosterd-challenge.example.com. 3600 IN TXT "rosterd-domain-verification=3f2a"
    "#);
}

#[test]
fn every_outcome_has_its_exit_status() {
    let run_ends = |state: &str, held: u64| {
        run::exit(&sent(with(a_run(state), &json!({ "held": held })))).code()
    };
    assert_eq!(
        [
            run_ends("succeeded", 0),
            run_ends("succeeded", 1),
            run_ends("held", 2),
            run_ends("failed", 2),
            run_ends("cancelled", 0)
        ],
        [0, 3, 3, 1, 1]
    );
    let plan_ends = |held: Value| {
        plan::exit(&sent(a_plan(&json!([change("suspend", "a@b.c", &json!({ "held": held }))]))))
            .code()
    };
    let holds = [Value::Null, json!("grace-period"), json!("rejected"), json!("limit")];
    assert_eq!(holds.map(plan_ends), [0, 0, 0, 3]);
    let approval_ends = |waiting: Value| {
        held::exit(&sent(with(a_run("succeeded"), &json!({ "waiting": waiting })))).code()
    };
    assert_eq!([approval_ends(Value::Null), approval_ends(a_held_plan())], [0, 3]);
    assert_eq!(
        [
            domain::exit(&sent(a_claim("verified"))).code(),
            domain::exit(&sent(a_claim("pending"))).code()
        ],
        [0, 1]
    );
    let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Held, Exit::NoDaemon, Exit::NotAllowed]
        .map(Exit::code);
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    assert_eq!(
        [Exit::Done, Exit::Held, Exit::Failed].into_iter().max(),
        Some(Exit::Failed),
        "a failed run outweighs a held one"
    );
}

#[test]
fn control_characters_from_the_directory_do_not_reach_the_terminal() {
    assert_eq!(
        harmless("Ren\u{e9}e \u{5c71}\u{7530} \u{1f469}\u{200d}\u{1f52c}"),
        "Ren\u{e9}e \u{5c71}\u{7530} \u{1f469}\u{200d}\u{1f52c}"
    );
    assert_eq!(
        harmless("a\u{1b}[2Jb\r\nc\u{9b}\u{202e}d\u{2061}e"),
        r"a\u{1b}[2Jb\r\nc\u{9b}\u{202e}d\u{2061}e"
    );
    let evil = "Ben\u{1b}]0;owned\u{7}\nrosterd: all is well\u{202e}";
    let user: api::User = sent(with(
        a_user(),
        &json!({ "display_name": evil, "directory": { "name": "corp", "object_guid": "g", "dn": evil } }),
    ));
    for text in [
        user::show(&user, &view()).plain(),
        users::list(&api::Users { users: vec![user], next: None }, &view()).plain(),
    ] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
        assert!(!text.lines().any(|l| l.starts_with("rosterd:")), "{text}");
    }
}

fn many_users() -> api::Users {
    let named = |name: &str, address: &str| {
        with(a_user(), &json!({ "display_name": name, "primary_email": address }))
    };
    let long = "a-very-long-address-that-nobody-should-have-but-somebody-has@subdomain.of.a.company.example.com";
    sent(json!({ "users": [
        named("Ann", "ann@example.com"),
        named("\u{5c71}\u{7530} \u{592a}\u{90ce}", "yamada@example.com"),
        named("Rene\u{301}e Zoe\u{308}", "renee@example.com"),
        named("Hubert Blaine Wolfeschlegelsteinhausenbergerdorff Senior", long),
    ] }))
}

#[test]
fn tables_fit_every_terminal_and_without_one_each_row_is_a_line() {
    let failed = with(
        a_run("failed"),
        &json!({ "error": "ldaps://dc1.corp.example.com: the connection was refused, and so by all others" }),
    );
    let runs: api::Runs = sent(json!({ "runs": [failed, a_run("succeeded")] }));
    let plans: api::HeldPlans = sent(json!({ "held": [a_held_plan()] }));
    for width in [40, 60, 72, 80, 100, 132, 200] {
        let view = View { width, ..view() };
        for page in
            [users::list(&many_users(), &view), run::list(&runs, &view), held::list(&plans, &view)]
        {
            let text = page.plain();
            // In a block, a word longer than the terminal is not broken, because it may be copied.
            let over: Vec<_> = text
                .lines()
                .filter(|l| {
                    l.width() > width
                        && l.split("  ").last().is_some_and(|v| v.trim().contains(' '))
                })
                .collect();
            assert!(over.is_empty(), "at {width}: {over:#?}\n{text}");
        }
    }
    let nowhere = View { width: usize::MAX, ..view() };
    assert_eq!(users::list(&many_users(), &nowhere).plain().lines().count(), 5);
    assert_eq!(run::list(&runs, &nowhere).plain().lines().count(), 3);
}

#[test]
fn wide_and_combining_characters_keep_the_columns_aligned() {
    let text = users::list(&many_users(), &View { width: usize::MAX, ..view() }).plain();
    let begins = |line: &str, word: &str| {
        line[..line.find(word).unwrap_or_else(|| panic!("{word} in {line}"))].width()
    };
    let mut lines = text.lines();
    let expected = begins(lines.next().unwrap(), "ACCOUNT");
    for line in lines {
        assert_eq!(begins(line, "acme"), expected, "{text}");
    }
}

#[test]
fn a_value_too_long_for_its_column_breaks_between_its_parts() {
    let text = users::list(&many_users(), &View { width: 89, ..view() }).plain();
    let begins: Vec<_> = text
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .filter(|w| w.contains("yamada") || w.contains("example.com"))
        .collect();
    assert_eq!(begins[..4], ["ann@example.com", "yamada@", "example.com", "example.com"], "{text}");
}

#[test]
fn a_narrow_terminal_gets_a_block_for_each_row() {
    let users = api::Users { users: many_users().users.into_iter().take(2).collect(), next: None };
    insta::assert_snapshot!(users::list(&users, &View { width: 50, ..view() }).plain(), @"
    ann@example.com
      name       Ann
      account    acme
      status     suspended
      tier       pro
      directory  corp
      why        operator since 2026-11-24 02:00 UTC,
                 quarantined: contested-address
    yamada@example.com
      name       山田 太郎
      account    acme
      status     suspended
      tier       pro
      directory  corp
      why        operator since 2026-11-24 02:00 UTC,
                 quarantined: contested-address
    ");
}

#[test]
fn a_colour_ends_with_its_line_and_resumes_on_the_next() {
    let failed = with(
        a_run("failed"),
        &json!({ "error": "one two three four five six seven eight nine ten eleven twelve" }),
    );
    let text =
        run::list(&sent(json!({ "runs": [failed] })), &View { width: 100, ..view() }).coloured();
    assert!(text.lines().filter(|l| l.contains("\u{1b}[31m")).count() > 2, "{text}");
    for line in text.lines() {
        assert_eq!(
            line.matches("\u{1b}[0m").count(),
            line.matches("\u{1b}[").count() / 2,
            "{line:?}"
        );
        assert!(
            !line.contains('\u{1b}')
                || line.ends_with("\u{1b}[0m")
                || !line.rsplit("\u{1b}[0m").next().unwrap().contains('\u{1b}')
        );
    }
}

#[test]
fn colours_depend_on_the_terminal_and_the_environment() {
    let wish = |no_color, force, is_dumb| Wish { no_color, force, is_dumb };
    for (wish, on_a_terminal, into_a_file) in [
        (wish(false, false, false), true, false),
        (wish(true, false, false), false, false),
        (wish(false, true, false), true, true),
        (wish(true, true, false), false, false),
        (wish(false, false, true), false, false),
    ] {
        assert_eq!(
            (wish.colours(true), wish.colours(false)),
            (on_a_terminal, into_a_file),
            "{wish:?}"
        );
    }
}

#[tokio::test]
async fn the_command_line_overrides_the_environment_about_colours() {
    for (words, coloured) in [
        (&["status"][..], false),
        (&["status", "--color", "always"], true),
        (&["--color=never", "status"], false),
    ] {
        let err = Output::default();
        typed(Output::default(), &err, words).await;
        assert_eq!(err.text().contains("\u{1b}[31merror:"), coloured, "{words:?}");
    }
}

/// An output whose text can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a lock").clone()).expect("text")
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output whose reader has closed the pipe.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn typed(out: impl Write + Send + 'static, err: &Output, words: &[&str]) -> Exit {
    let cli = Cli::try_parse_from(
        ["rosterctl", "--socket", "/nonexistent/control.sock"].iter().chain(words),
    )
    .expect("a command");
    let (out, err) = (Box::new(out), Box::new(err.clone()));
    let (colour, interactive) = (false, false);
    let mut terminal = Terminal {
        out,
        err,
        width: 100,
        colour,
        err_colour: colour,
        interactive,
        draws: interactive,
        now: Box::new(|| view().now),
    };
    run(cli, &mut terminal).await
}

#[tokio::test]
async fn without_a_daemon_the_message_names_the_socket_and_the_remedy() {
    let (out, err) = (Output::default(), Output::default());
    assert_eq!(typed(out.clone(), &err, &["status"]).await, Exit::NoDaemon);
    assert_eq!(out.text(), "");
    insta::assert_snapshot!(err.text(), @"
    error: no rosterd answers on /nonexistent/control.sock (there is no such socket): is it running? systemctl status rosterd
    ");
}

#[tokio::test]
async fn with_json_a_failure_is_a_problem_on_standard_output() {
    let (out, err) = (Output::default(), Output::default());
    assert_eq!(typed(out.clone(), &err, &["status", "--json"]).await, Exit::NoDaemon);
    let problem: api::Problem = serde_json::from_str(&out.text()).expect("one document");
    assert_eq!((problem.status, problem.kind.as_str()), (503, "about:blank"));
}

#[tokio::test]
async fn a_suspending_command_without_a_terminal_requires_yes() {
    for words in [["held", "approve", "4e2b8c22"], ["user", "suspend", "ben@example.com"]] {
        let (out, err) = (Output::default(), Output::default());
        assert_eq!(typed(out, &err, &words).await, Exit::Usage);
        assert!(err.text().contains("add --yes"), "{}", err.text());
        let with_yes = [words.as_slice(), &["--yes"]].concat();
        assert_eq!(
            typed(Output::default(), &Output::default(), &with_yes).await,
            Exit::NoDaemon,
            "it was asked for"
        );
    }
}

#[tokio::test]
async fn a_closed_output_pipe_is_no_failure() {
    let err = Output::default();
    assert_eq!(typed(ClosedPipe, &err, &["completions", "bash"]).await, Exit::Done);
    assert_eq!(err.text(), "");
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
    assert_eq!(resolve("b4c1", ids), Meaning::None, "the middle of an id does not match");
}
