//! Views of held plans and approvals.

use rosterd::control::api;
use rosterd::ctl::held;
use rosterd::ctl::review::{By, Form};
use rosterd::ctl::text::View;
use serde_json::{Value, json};

use super::{a_held_plan, a_run, change, changes, sent, view, with};

#[test]
fn a_plan_held_by_a_gate_shows_the_output_of_the_gate() {
    let note = json!({ "note": ["the gate board holds it: it ended with exit status 1", "not on a \u{1b}[31mFriday"], "by": [] });
    let plan: api::HeldPlan = sent(with(a_held_plan(), &note));
    let shown = held::show(&plan, &Form::default(), &view()).plain();
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
    insta::assert_snapshot!(held::show(&plan, &Form::default(), &view()).plain(), @"
    held plan 4e2b8c22 of corp: waits for approval, 23 changes
      id           019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22
      held since   2026-11-24 02:58 UTC, 3 minutes ago
      made by run  4e2b8c11
      alice  \"one of them at once\"
      ! 1 change approved, and applied as soon as the directory can be read, until 2026-11-25 02:58 UTC

    suspend as no-group: 20 (group roster pro)
      cluster: 20 changes share one cause
      --cause group:6f9619ff-8b86-d011-b42d-00c04fc964aa
      - gone@example.com  no-group  [held: cluster]
          memberOf = none of 2 groups at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on
          ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC

    downgrade: 3
      limit: more than [safety] allows in one window
      --cause downgrade

    Approve: rosterctl held approve 4e2b8c22
    Reject:  rosterctl held reject 4e2b8c22
    ");
}

#[test]
fn a_plan_for_two_operators_shows_who_approved_it_and_what_is_missing() {
    let given = json!([{ "actor": "ann", "uid": 1000, "at": "2026-11-24T02:59:00.000Z", "comment": "CHG-1", "count": 23 }]);
    let approvals = json!({ "approvals_needed": 2, "approvals": given });
    let plan: api::HeldPlan = sent(with(a_held_plan(), &approvals));
    let shown = held::show(&plan, &Form::default(), &view()).plain();
    assert!(
        shown.contains("  ann  approved 23 changes on 2026-11-24 02:59 UTC: \"CHG-1\"\n"),
        "{shown}"
    );
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing =
        "each change needs the approval of 2 operators: another one than ann has to approve, too";
    assert!(words(&shown).contains(missing), "{shown}");
    let approval: api::Approval = sent(with(
        with(a_run("held"), &json!({ "held": 23 })),
        &json!({ "waiting": with(a_held_plan(), &approvals) }),
    ));
    let shown = words(&held::approved(&approval, &view()).plain());
    assert!(shown.ends_with(&format!("! {missing}")), "{shown}");
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

/// Returns a change of a person in an OU.
fn of_person(kind: &str, n: usize, ou: &str, department: &str) -> Value {
    change(
        kind,
        &format!("p{n}@example.com"),
        &json!({
            "user_id": format!("u{n}"), "key": "create", "held": "limit", "class": "create",
            "person": { "name": format!("Person {n}"), "dn": format!("CN=P{n},OU={ou},DC=corp,DC=example,DC=com"),
                "department": department, "manager": "CN=Ada Lovelace,DC=corp,DC=example,DC=com", "tier": if n % 3 == 2 { "pro" } else { "basic" } },
            "after": { "tier": if n % 3 == 2 { "pro" } else { "basic" }, "profile": { "display_name": format!("Person {n}") } }
        }),
    )
}

fn a_large_plan() -> Value {
    let people = (0..3_000).map(|n| match n {
        0..2_000 => of_person("create", n, "Sales", "Sales"),
        2_000..2_999 => of_person("create", n, "Lab", "Research"),
        _ => of_person("create", n, "Lab", ""),
    });
    with(
        a_held_plan(),
        &json!({
            "count": 3_000,
            "by": [{ "kind": "create", "class": "create", "reason": null, "cause": null, "key": "create", "held": "limit",
                "count": 3_000, "limit": { "allowed": 50, "applied": 7, "window": "24h" } }],
            "changes": people.collect::<Vec<_>>()
        }),
    )
}

#[test]
fn the_changes_of_a_plan_are_sorted_by_the_names_of_their_people() {
    let named =
        |name: &str| with(of_person("create", 0, "Lab", ""), &json!({ "display_name": name }));
    let people = ["bob", "Zoe", "Anna"].map(named);
    let plan: api::HeldPlan = sent(with(a_held_plan(), &json!({ "changes": people })));
    let mut changes = plan.changes.expect("changes");
    held::sort_by_name(&mut changes);
    let names: Vec<_> =
        changes.iter().filter_map(|change| change.display_name.as_deref()).collect();
    assert_eq!(names, ["Anna", "bob", "Zoe"]);
}

#[test]
fn a_large_plan_begins_with_its_totals_and_the_limit() {
    let plan: api::HeldPlan = sent(a_large_plan());
    let view = View { width: 80, ..view() };
    let shown = held::show(&plan, &Form::default(), &view).plain();
    let first: Vec<&str> = shown.lines().take(16).collect();
    insta::assert_snapshot!(first.join("\n"), @"
    held plan 4e2b8c22 of corp: waits for approval, 3,000 changes
      id           019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22
      held since   2026-11-24 02:58 UTC, 3 minutes ago
      made by run  4e2b8c11

      changes     3,000 create
      tier        2,000 basic, 1,000 pro
      OU          2,000 OU=Sales, 1,000 OU=Lab
      domain      3,000 example.com
      department  2,000 Sales, 999 Research, 1 without

    create: 3,000
      limit: more than [safety] create allows in 24h (limit 50, 7 applied, 3,000
      wait)
      + p0@example.com  Person 0, basic  [held: limit]
      + p1@example.com  Person 1, basic  [held: limit]
    ");
    let last: Vec<&str> = shown.lines().skip_while(|line| !line.contains('…')).collect();
    insta::assert_snapshot!(last.join("\n"), @"
      … and 2,980 more: rosterctl held show 4e2b8c22 --all

    Approve: rosterctl held approve 4e2b8c22
    A part:  rosterctl held approve 4e2b8c22 --first 10 (or --ou, --cause, --user)
    Reject:  rosterctl held reject 4e2b8c22
    ");
}

#[test]
fn a_person_with_a_note_is_among_the_first_of_a_large_plan() {
    let mut document = a_large_plan();
    document["changes"][2_500]["person"]["note"] = json!("parental leave");
    let plan: api::HeldPlan = sent(document);
    let shown = held::show(&plan, &Form::default(), &view()).plain();
    assert!(shown.contains("note        1 parental leave, 2,999 without"), "{shown}");
    assert!(shown.contains("  + p2500@example.com"), "{shown}");
    assert!(shown.contains("      note: parental leave"), "{shown}");
}

#[test]
fn a_large_plan_is_grouped_by_manager_or_ou_and_shown_whole() {
    let plan: api::HeldPlan = sent(a_large_plan());
    let view = View { width: 80, ..view() };
    let headings = |by: By| {
        let shown = held::show(&plan, &Form { by: Some(by), ..Form::default() }, &view).plain();
        let is_heading = |line: &&str| !line.starts_with(' ') && line.ends_with("00");
        shown.lines().filter(is_heading).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(headings(By::Manager), ["Ada Lovelace: 3,000"]);
    assert_eq!(
        headings(By::Ou),
        ["OU=Sales,DC=corp,DC=example,DC=com: 2,000", "OU=Lab,DC=corp,DC=example,DC=com: 1,000"]
    );
    let whole = held::show(&plan, &Form { all: true, ..Form::default() }, &view).plain();
    assert_eq!(whole.lines().filter(|line| line.starts_with("  + ")).count(), 3_000);
}

#[test]
fn a_plan_that_lets_people_back_in_is_not_titled_a_suspension() {
    let back = json!({ "by": [{ "kind": "reactivate", "class": null, "reason": "out-of-scope", "cause": null,
        "key": "other:out-of-scope", "held": "plan-only", "count": 2 }] });
    let plan: api::HeldPlan = sent(with(a_held_plan(), &back));
    let shown = held::show(&plan, &Form::default(), &view()).plain();
    assert!(shown.contains("reactivate, no longer out-of-scope: 2"), "{shown}");
    assert!(!shown.contains("suspend"), "{shown}");
}

#[test]
fn the_question_of_an_approval_counts_what_it_does() {
    let counted = |kinds: &[(&str, usize)], of: u64| {
        let changes: Vec<api::Change> = kinds
            .iter()
            .flat_map(|(kind, n)| (0..*n).map(|n| sent(of_person(kind, n, "Sales", ""))))
            .collect();
        held::question(&changes.iter().collect::<Vec<_>>(), of)
    };
    assert_eq!(
        counted(&[("create", 2_999)], 2_999),
        "Re-check and apply 2,999 changes (2,999 new people)?"
    );
    assert_eq!(
        counted(&[("suspend", 1), ("reactivate", 2), ("update", 3)], 20),
        "Re-check and apply 6 of 20 changes (1 suspension, 2 reactivations, 3 other)?"
    );
    assert_eq!(counted(&[("update", 1)], 1), "Re-check and apply 1 change?");
}

#[test]
fn a_held_plan_of_a_target_says_what_becomes_of_each_account() {
    let step = |kind: &str, step: &str, email: &str, reason: Value, before: Value, after: Value| {
        change(
            kind,
            email,
            &json!({
                "key": "other", "held": "plan-only",
                "before": { "id": "s4", "attributes": before },
                "after": { "target": "app", "step": step, "reason": reason, "attributes": after },
            }),
        )
    };
    let none = || json!({});
    let title = |text: Value| json!({ "title": text });
    let changes = [
        step("suspend", "deactivate", "ann@example.com", json!("out-of-scope"), none(), none()),
        step("link", "adopt", "bob@example.com", json!(null), none(), none()),
        step("link", "adopt", "cid@example.com", json!("suspended"), none(), none()),
        step(
            "create",
            "create",
            "dan@example.com",
            json!(null),
            title(json!(null)),
            title(json!("Clerk")),
        ),
        step(
            "update",
            "update",
            "eve@example.com",
            json!(null),
            title(json!("Clerk")),
            title(json!("Chief")),
        ),
        step("remove", "delete", "fay@example.com", json!("suspended"), none(), none()),
        step("reactivate", "reactivate", "gil@example.com", json!(null), none(), none()),
    ];
    let group = |kind: &str| {
        json!({ "kind": kind, "class": null, "reason": null, "cause": null, "key": "other",
            "held": "plan-only", "count": 1 })
    };
    let by = ["suspend", "link", "create", "update", "remove", "reactivate"].map(group);
    let plan: api::HeldPlan = sent(with(
        a_held_plan(),
        &json!({ "directory": "app", "by": by, "changes": changes, "count": 7 }),
    ));
    let shown = held::show(&plan, &Form::default(), &view()).plain();
    let lines = shown.lines().filter(|line| {
        let line = line.trim_start();
        line.starts_with("changes")
            || line.contains("@example.com  ")
            || line.starts_with("plan-only")
    });
    let lines: std::collections::BTreeSet<&str> = lines.collect();
    insta::assert_snapshot!(lines.into_iter().collect::<Vec<_>>().join("\n"), @r#"
      + bob@example.com  account s4  [held: plan-only]
      + dan@example.com  title: Clerk  [held: plan-only]
      + gil@example.com  reactivate  [held: plan-only]
      - ann@example.com  its user is out of scope of the target  [held: plan-only]
      - cid@example.com  account s4; its user is suspended  [held: plan-only]
      - fay@example.com  its user is suspended  [held: plan-only]
      changes  1 adopt, 1 adopt and deactivate, 1 create, 1 deactivate, 1 delete, 1 reactivate, 1 in 1
      plan-only: mode = "plan-only", or the configuration changed who is in scope
      ~ eve@example.com  title: Clerk → Chief  [held: plan-only]
    "#);
}
