//! Reports: rows of events and users, their numbers, and the printed form.

use rosterd::control::api;
use rosterd::ctl::report::{By, Document, Period, Report, Row, Tally, event_row, listed, user_row};
use serde_json::{Value, json};

use super::{a_user, seen, sent, view, with};

fn known(name: &str, status: &str) -> Value {
    json!({ "display_name": name, "primary_email": "ann@example.com", "sam_account_name": "ann", "status": status,
        "employee_id": "E-1", "department": "Sales", "manager": "CN=Lee\\, Bo,OU=Heads,DC=corp", "tier": "pro",
        "directory": "corp", "dn": "CN=Ann,OU=Sales,DC=corp" })
}

fn an_event(kind: &str, more: &Value) -> api::Event {
    let data = json!({ "actor": "rosterd", "run": "r1", "account": "acme", "before": { "status": "active" },
        "after": { "status": "suspended", "cause": "no-group" }, "evidence": seen("memberOf", "none of 2 groups"),
        "user": { "before": known("Ann Lee", "active"), "after": known("Ann Lee", "suspended") } });
    sent(
        json!({ "seq": 7, "type": kind, "time": "2026-11-20T08:00:00Z", "subject": "u1", "data": with(data, more) }),
    )
}

/// Returns the filled cells of a row, by the names of their columns.
fn cells(report: Report, row: &Row) -> String {
    let filled = report.columns().iter().zip(&row.cells).filter(|(_, cell)| !cell.is_empty());
    let lines: Vec<String> =
        filled.map(|(column, cell)| format!("{}: {cell}\n", column.name)).collect();
    lines.concat()
}

#[test]
fn a_change_that_two_operators_approved_is_reported_with_both() {
    let given = |actor: &str, comment: &str| json!({ "actor": actor, "uid": 1000, "at": "2026-11-20T07:00:00Z", "comment": comment });
    let by = |approvals: Value| {
        let approval = json!({ "approval": { "plan": "p1", "by": "bob", "comment": "fine", "approvals": approvals } });
        let event = an_event("user.suspended", &approval);
        let row = event_row(Report::Leavers, &event, None).unwrap();
        ["approved_by", "comment"]
            .map(|name| row.cells[Report::Leavers.column(name).unwrap()].clone())
    };
    let both = json!([given("ann", "CHG-1"), given("cem", ""), given("bob", "fine")]);
    assert_eq!(by(both), ["ann, cem, bob", "ann: CHG-1; bob: fine"]);
    assert_eq!(by(json!([given("bob", "fine")])), ["bob", "fine"]);
}

#[test]
fn a_leaver_is_reported_with_time_cause_evidence_and_approval() {
    let approval = json!({ "approval": { "plan": "p1", "by": "alice", "comment": "HR-117" } });
    let event = an_event("user.suspended", &approval);
    let row = event_row(Report::Leavers, &event, Some("2026-11-21T09:00:00Z")).unwrap();
    insta::assert_snapshot!(cells(Report::Leavers, &row), @"
    left_at: 2026-11-20T08:00:00Z
    display_name: Ann Lee
    primary_email: ann@example.com
    cause: no-group
    approved_by: alice
    department: Sales
    manager: Lee, Bo
    ou: OU=Sales,DC=corp
    tier: pro
    sam_account_name: ann
    employee_id: E-1
    account: acme
    directory: corp
    evidence: memberOf = none of 2 groups at CN=Ben,OU=Sales,DC=corp,DC=example,DC=com, seen on ldaps://dc1.corp.example.com, 2026-11-24 02:57 UTC
    comment: HR-117
    plan: p1
    returned_at: 2026-11-21T09:00:00Z
    run: r1
    seq: 7
    user_id: u1
    ");
}

#[test]
fn the_approver_of_a_leaver_is_an_operator_or_the_limits_of_the_configuration() {
    let by = |kind: &str, more: &Value| {
        let row = event_row(Report::Leavers, &an_event(kind, more), None)?;
        Some(row.cells[Report::Leavers.column("approved_by").unwrap()].clone())
    };
    let by_operator =
        json!({ "actor": "bob", "after": { "status": "suspended", "cause": "operator" } });
    let synced_by_bob = json!({ "actor": "bob" });
    for (kind, more, approved_by) in [
        ("user.suspended", &json!({}), Some("automatic")),
        ("user.suspended", &synced_by_bob, Some("automatic")),
        ("user.suspended", &by_operator, Some("bob")),
        ("user.released", &synced_by_bob, Some("bob")),
        // A suspended user has no access to lose.
        ("user.removed", &json!({ "before": { "status": "suspended" } }), None),
    ] {
        assert_eq!(by(kind, more).as_deref(), approved_by, "{kind} {more}");
    }
}

#[test]
fn a_report_is_a_table_of_people_with_local_times() {
    let rows = [
        event_row(Report::Leavers, &an_event("user.suspended", &json!({})), None).unwrap(),
        event_row(Report::Leavers, &an_event("user.released", &json!({})), None).unwrap(),
    ];
    insta::assert_snapshot!(listed(Report::Leavers, &rows, &view()).plain(), @"
    LEFT                  NAME     ADDRESS          CAUSE            APPROVED BY  DEPARTMENT
    2026-11-20 08:00 UTC  Ann Lee  ann@example.com  no-group         automatic    Sales
    2026-11-20 08:00 UTC  Ann Lee  ann@example.com  domain released  rosterd      Sales
    ");
    assert_eq!(listed(Report::Joiners, &[], &view()).plain(), "no joiners\n");
}

#[test]
fn people_are_counted_by_group_and_tier() {
    let people = ["Sales", "Sales", "IT", ""].map(|department| {
        let tier = if department == "IT" { "basic" } else { "pro" };
        let profile = json!({ "tier": tier, "profile": { "department": department } });
        user_row(Report::Licences, &sent(with(a_user(), &profile)))
    });
    let mut tally = Tally::default();
    for row in &people {
        tally.add(row, Report::Licences.column("department"));
    }
    insta::assert_snapshot!(tally.show(Report::Licences, By::Department, &view()).plain(), @"
    DEPARTMENT     PRO  BASIC  ALL
    Sales          2    0      2
    no department  1    0      1
    IT             0    1      1
    4 people with access
    ");
    assert_eq!(
        tally.as_csv(By::Department).plain(),
        "department,pro,basic,all\r\nSales,2,0,2\r\n,1,0,1\r\nIT,0,1,1\r\n"
    );
}

#[test]
fn the_last_sign_in_of_a_report_is_the_later_one_of_rosterd_and_ad() {
    let at = Report::Inactive.column("last_sign_in_at").unwrap();
    let last =
        |more: &Value| user_row(Report::Inactive, &sent(with(a_user(), more))).cells[at].clone();
    let here = json!({ "joined_at": "2026-03-02T09:00:00.000Z", "last_sign_in_at": "2026-11-01T09:00:00.000Z" });
    assert_eq!(last(&here), "2026-11-01T09:00:00.000Z");
    let in_ad = json!({ "profile": { "extra": { "lastLogonTimestamp": ["134396820000000000"] } } });
    assert_eq!(last(&with(here, &in_ad)), "2026-11-20T21:00:00.000Z");
    assert_eq!(last(&json!({ "joined_at": null })), "");
}

#[test]
fn a_printed_report_has_charts_without_a_script_and_escapes_all_text() {
    let evil = "<script>alert(1)</script>";
    let rows: Vec<Row> = [evil, "=HYPERLINK(1)"]
        .into_iter()
        .zip(["2026-11-20T08:00:00Z", "2026-11-22T08:00:00Z"])
        .map(|(name, time)| {
            let names = with(known(name, "active"), &json!({ "department": name }));
            let mut event =
                an_event("user.suspended", &json!({ "user": { "before": names, "after": null } }));
            event.document["time"] = json!(time);
            event_row(Report::Leavers, &event, None).unwrap()
        })
        .collect();
    let mut tally = Tally::default();
    for row in &rows {
        tally.add(row, Report::Leavers.column("department"));
    }
    let period = Period { since: Some("2026-11-01T00:00:00Z".to_owned()), until: None };
    let (by, view) = (By::Department, view());
    let document =
        Document { report: Report::Leavers, period: &period, by, tally: &tally, view: &view };
    let page = format!(
        "{}{}{}{}",
        document.head(),
        document.begin(),
        document.rows(&rows),
        Document::end()
    );
    assert!(
        !page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(page.contains("default-src 'none'"), "{page}");
    // One bar for each department, one column for each day from the first to the last.
    assert_eq!((page.matches("<svg").count(), page.matches("<rect").count()), (2, 2 + 3), "{page}");
    for attribute in ["onload", "onclick", "javascript:", " src=", " href="] {
        assert!(!page.contains(attribute), "{attribute} in {page}");
    }
}
