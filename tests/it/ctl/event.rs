//! Views of events.

use rosterd::control::api;
use rosterd::ctl::event;
use serde_json::{Value, json};

use super::{seen, sent, view};

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
    let text = event::as_csv(&events, &view()).plain();
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
