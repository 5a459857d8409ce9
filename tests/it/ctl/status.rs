//! The status page.

use rosterd::control::api;
use rosterd::ctl::status;
use rosterd::ctl::text::View;
use serde_json::json;

use super::{sent, view};

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
                  "certificate_until": "2027-03-01T00:00:00.000Z", "writable": null, "site": null },
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
fn a_run_under_way_is_shown_with_its_progress() {
    let running = json!({ "id": "r", "mode": "full", "trigger": "schedule", "started_at": "2026-11-24T03:00:40.000Z",
        "progress": { "entries": 1800, "expected": 3021, "phase": "reading" } });
    let status: api::Status = sent(json!({
        "version": "0.1.0", "started_at": "2026-11-21T03:00:00.000Z", "hooks": { "pending": 0, "failed": 0, "removed": 0 },
        "directories": [{ "name": "corp", "account": "acme", "state": "ok", "server": null, "live": true, "running": running,
            "last_attempt": null, "last_success": null, "last_complete_read": null, "next_run": null, "paused_until": null,
            "users": { "active": 1, "suspended": 0 }, "held": 0, "quarantined": 0, "attention": [] }]
    }));
    let shown = status::page(&status, &view()).plain();
    assert!(shown.contains("running        full, for 20.0 s, 1,800 of about 3,021"), "{shown}");
}

#[test]
fn the_status_says_what_waits_for_the_end_of_quiet_hours() {
    let quiet =
        json!({ "until": "2026-11-24T06:00:00.000Z", "people": { "create": 2, "update": 1 } });
    let status: api::Status = sent(json!({
        "version": "0.1.0", "started_at": "2026-11-21T03:00:00.000Z", "hooks": { "pending": 0, "failed": 0, "removed": 0 },
        "directories": [{ "name": "corp", "account": "acme", "state": "ok", "server": null, "live": true, "quiet": quiet,
            "last_attempt": null, "last_success": null, "last_complete_read": null, "next_run": null, "paused_until": null,
            "users": { "active": 1, "suspended": 0 }, "held": 0, "quarantined": 0, "attention": [] }]
    }));
    let shown = status::page(&status, &view()).plain();
    assert!(
        shown.contains("quiet hours    2 create, 1 update, until 2026-11-24 06:00 UTC"),
        "{shown}"
    );
}

#[test]
fn times_are_local_unless_utc_is_asked_for() {
    let status: api::Status =
        sent(json!({ "version": "0.1.0", "started_at": "2026-11-21T03:00:00.000Z",
        "hooks": { "pending": 0, "failed": 0, "removed": 0 }, "directories": [] }));
    let berlin = View { zone: chrono_tz::Europe::Berlin, ..view() };
    let shown = status::page(&status, &berlin).plain();
    assert!(shown.starts_with("rosterd 0.1.0, running since 2026-11-21 04:00 CET"), "{shown}");
}
