//! Views of users and invitations.

use rosterd::control::api;
use rosterd::ctl::{user, users};
use serde_json::json;

use super::{a_user, sent, view, with};

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
    id,account,status,tier,primary_email,secondary_emails,display_name,given_name,surname,sam_account_name,user_principal_name,title,department,employee_id,directory,object_guid,expires_at,reason,suspended_since,quarantine,invited_at,joined_at,created_at,updated_at,note,division
    5d41402a-bc4b-8a76-b971-9d911017c592,acme,suspended,pro,'+ben@example.com,b.example@example.com ben@example.org,'=cmd|' /C calc'!A0,Ben,Example,bexample,,Head of Sales,,,corp,6f9619ff-8b86-d011-b42d-00c04fc964ff,2026-11-30T23:00:00.000Z,operator,2026-11-24T02:00:00.000Z,contested-address,,2026-03-02T09:00:00.000Z,2026-03-01T09:00:00.000Z,2026-11-24T02:57:00.000Z,,"Sales, Trade"
    "#);
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

#[test]
fn a_note_is_shown_with_its_author_and_without_control_characters() {
    let note =
        json!({ "text": "legal\u{1b}[31m hold", "actor": "ann", "at": "2026-11-24T02:00:00.000Z" });
    let user = with(a_user(), &json!({ "note": note }));
    let shown = user::show(&sent(user.clone()), &view()).plain();
    assert!(
        shown.contains("! note of ann: \"legal\\u{1b}[31m hold\", 2026-11-24 02:00 UTC"),
        "{shown}"
    );
    let listed = users::list(&sent(json!({ "users": [user] })), &view()).plain();
    assert!(listed.contains("note: legal\\u{1b}[31m"), "{listed}");
}

#[test]
fn a_list_says_when_a_scheduled_suspension_begins() {
    let scheduled = json!({ "at": "2026-11-30T17:00:00.000Z", "actor": "ann", "reason": "leaves" });
    let user = with(
        a_user(),
        &json!({ "suspension": null, "status": "active", "quarantine": [], "scheduled_suspension": scheduled }),
    );
    let shown = users::list(&sent(json!({ "users": [user] })), &view()).plain();
    assert!(shown.contains("suspended from 2026-11-30 17:00 UTC"), "{shown}");
}
