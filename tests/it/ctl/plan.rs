//! Views of plans that are not stored.

use rosterd::control::api;
use rosterd::ctl::plan;
use rosterd::ctl::review::Form;
use serde_json::json;

use super::{a_plan, change, changes, sent, view, with};

#[test]
fn a_plan_is_a_diff() {
    let plan: api::Plan = sent(a_plan(&changes()));
    insta::assert_snapshot!(plan::page(&plan, &Form::default(), &view()).plain(), @"
    corp: 7 changes, 5 would be applied, 2 held
    ! a group of the configuration has been renamed
      changes  2 suspend, 1 change addresses, 1 change tier, 1 create, 1 reactivate, 1 update
      cause    2 disabled, 1 no-group, 4 without
      domain   6 example.com, 1 example.org

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

    held: cluster  1 change: many changes share one cause
    held: grace-period  1 change: checked again after the grace period, then applied

    quarantined: 1
      ? CN=Hal,DC=corp,DC=example,DC=com  contested-address
    ");
}

#[test]
fn suspensions_are_red_and_creations_green() {
    let plan: api::Plan = sent(a_plan(&changes()));
    let text = plan::page(&plan, &Form::default(), &view()).coloured();
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
        plan::page(&sent(a_plan(&json!(people(n)))), &Form::default(), &view())
            .plain()
            .lines()
            .filter(|l| l.starts_with("  + "))
            .count()
    };
    assert_eq!((lines(50), lines(51)), (50, 20));
    let text = plan::page(&sent(a_plan(&json!(people(1234)))), &Form::default(), &view()).plain();
    assert!(text.contains("… and 1,214 more: --all"), "{text}");
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
    let text = plan::page(&plan, &Form::default(), &view()).plain();
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
