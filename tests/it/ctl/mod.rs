//! The text that operators read. Views are functions of a document, so no daemon is needed here.

mod domain;
mod event;
mod held;
mod plan;
mod report;
mod run;
mod status;
mod terminal;
mod text;
mod user;

use rosterd::ctl::text::{View, harmless_value};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use terminal::Output;

fn view() -> View {
    View {
        width: 100,
        now: "2026-11-24T03:01:00Z".parse().expect("a time"),
        zone: chrono_tz::Tz::UTC,
    }
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
            &json!({ "kind": "suspend", "class": "gone", "reason": "no-group", "evidence": seen("memberOf", "none of 2 groups"), "held": "cluster" })
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
            { "kind": "suspend", "class": "gone", "reason": "no-group", "cause": "group:6f9619ff-8b86-d011-b42d-00c04fc964aa", "name": "roster pro",
              "key": "group:6f9619ff-8b86-d011-b42d-00c04fc964aa", "held": "cluster", "count": 20 },
            { "kind": "tier", "class": "downgrade", "reason": null, "cause": null, "key": "downgrade", "held": "limit", "count": 3, "approved": 1 }
        ] })
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

fn a_claim(state: &str) -> Value {
    json!({ "id": "c1", "account": "acme", "domain": "example.com", "state": state, "claimed_at": "2026-11-24T02:58:00.000Z",
        "record": { "name": "_rosterd-challenge.example.com", "value": "rosterd-domain-verification=3f2a" },
        "verified_at": null, "checked_at": "2026-11-24T03:00:55.000Z", "finding": "DNS has no TXT record _rosterd-challenge.example.com" })
}
