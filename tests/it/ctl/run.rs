//! Views of runs.

use rosterd::control::api;
use rosterd::ctl::text::View;
use rosterd::ctl::{run, sync};
use serde_json::json;

use super::{a_run, sent, view, with};

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

#[test]
fn a_list_says_how_many_rows_it_leaves_out() {
    let runs: api::Runs = sent(json!({ "runs": [a_run("succeeded")], "older": 2880 }));
    let shown = run::list(&runs, &view()).plain();
    assert!(shown.ends_with("… 2,880 older: --limit, --since\n"), "{shown}");
}

#[test]
fn a_run_of_a_target_names_the_commands_of_targets() {
    let run =
        with(a_run("succeeded"), &json!({ "directory": "app", "target": true, "quarantined": 2 }));
    let shown = run::summary(&sent(run), &view()).plain();
    insta::assert_snapshot!(shown, @"
    app: done in 2.3 s; 1,204 accounts listed from ldaps://dc1.corp.example.com (full)
      ✓ 1 deactivation, 12 creations, 3 updates admitted; left to send:
        rosterctl target accounts app --pending
      ! 2 users cannot be provisioned: rosterctl target accounts app --quarantined
    ");
    let run = with(a_run("succeeded"), &json!({ "mode": "scoped", "quarantined": 2 }));
    let shown = run::summary(&sent(run), &view()).plain();
    assert!(shown.contains("2 entries of those read in quarantine"), "{shown}");
}
