//! Views of domains and claims.

use rosterd::control::api;
use rosterd::ctl::domain;
use serde_json::json;

use super::{a_claim, sent, view};

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
fn a_claim_prints_the_record_to_paste() {
    insta::assert_snapshot!(domain::claimed(&sent(a_claim("pending")), false, &view()).plain(), @r#"
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
