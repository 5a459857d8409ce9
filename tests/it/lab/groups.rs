//! Groups: nested deeper, left, renamed, emptied, deleted, made primary.

use rosterd::model::{Reason, RunState, Tier};
use serde_json::Value;

use super::branch::{Branch, PROVISIONED};
use super::office::Office;
use super::{BASIC, DOMAIN, PRO, staff};

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn tiers_follow_groups_however_deep_they_are_nested() {
    let branch = Branch::running(|_| {}).await;
    let deep = format!("CN=Night Owls,OU=Groups,{DOMAIN}");
    let julia = staff("Sales", "Julia Weber");
    branch.lab.ldif(&format!("dn: {deep}\nchangetype: add\nobjectClass: group\nsAMAccountName: Night Owls\nmember: {julia}\n"));
    branch.quiet("an unrelated group gives no tier").await;
    branch.lab.join(&format!("CN=Platform Team,OU=Groups,{DOMAIN}"), &deep);
    // The nesting is also a cycle.
    branch.lab.join(&deep, &format!("CN=Engineering Leads,OU=Groups,{DOMAIN}"));
    let run = branch.sync().await;
    assert_eq!((run.counts.tier, run.counts.total()), (1, 1), "{run:?}");
    assert_eq!(branch.user("julia.weber@example.com").await.tier, Tier::Pro);
    branch.lab.leave(&deep, &julia);
    let run = branch.sync().await;
    assert_eq!((run.counts.tier, run.counts.total()), (1, 1), "{run:?}");
    assert_eq!(
        branch.user("julia.weber@example.com").await.tier,
        Tier::Basic,
        "she is still in Roster Basic"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_removed_from_the_last_group_is_suspended_until_added_again() {
    let branch = Branch::running(|_| {}).await;
    let karl = staff("Operations", "Karl Larsen");
    branch.lab.leave(BASIC, &karl);
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.counts.total()), (1, 1), "{run:?}");
    assert_eq!(branch.reason("karl.larsen@example.com").await, Some(Reason::NoGroup));
    branch.lab.join(PRO, &karl);
    branch.sync().await;
    let back = branch.user("karl.larsen@example.com").await;
    assert_eq!((back.causes.is_empty(), back.tier), (true, Tier::Pro));
    branch.quiet("no change is left to apply").await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_group_gives_its_tier_and_takes_it_away() {
    let branch = Branch::running(|_| {}).await;
    let (elif, grace) = (staff("Sales", "Elif Yılmaz"), staff("Engineering", "Grace Hopper"));
    let found = branch.lab.samba("search", &["(sAMAccountName=Roster Pro)", "primaryGroupToken"]);
    let token = found
        .lines()
        .find_map(|l| l.strip_prefix("primaryGroupToken: "))
        .expect("a token")
        .to_owned();
    branch.lab.join(PRO, &elif);
    branch.sync().await;
    assert_eq!(branch.user("elif.yilmaz@example.com").await.tier, Tier::Pro);
    branch.lab.set(&elif, &[("primaryGroupID", &token)]);
    branch.lab.set(&grace, &[("primaryGroupID", "513")]);
    // AD makes a person that leaves a primary group an ordinary member of it.
    branch.quiet("Elif is Pro by primary group now, Grace by membership").await;
    branch.lab.leave(PRO, &grace);
    branch.sync().await;
    assert_eq!(branch.reason("grace.hopper@example.com").await, Some(Reason::NoGroup));
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_group_is_followed() {
    let branch = Branch::running(|_| {}).await;
    branch.lab.rename(PRO, "CN=Amazing People");
    branch.lab.set(
        &format!("CN=Amazing People,OU=Groups,{DOMAIN}"),
        &[("sAMAccountName", "Amazing People")],
    );
    let run = branch.sync().await;
    assert_eq!((run.state, run.counts.total(), run.held), (RunState::Succeeded, 0, 0), "{run:?}");
    assert!(
        run.warnings.iter().any(|w| w.contains("Roster Pro")),
        "the new name is reported: {:?}",
        run.warnings
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_group_changes_no_user_and_is_reported() {
    let branch = Branch::running(|_| {}).await;
    branch.lab.set(BASIC, &[("member", "")]);
    for _ in 0..2 {
        let run = branch.sync().await;
        assert_eq!((run.counts.suspend, run.counts.tier), (0, 0), "{run:?}");
        assert!(run.warnings.iter().any(|w| w.contains("looks empty")), "{run:?}");
    }
    assert_eq!(branch.active().await, PROVISIONED);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_group_freezes_tiers_and_leavers_are_still_suspended() {
    let branch = Branch::running(|_| {}).await;
    // AD deletes no group that is a primary group.
    branch.lab.set(&staff("Operations", "Oskar Nilsson"), &[("primaryGroupID", "513")]);
    branch.lab.delete(BASIC);
    branch.lab.disable(&staff("Sales", "Diego García"));
    for _ in 0..2 {
        let run = branch.sync().await;
        assert_eq!(run.state, RunState::Failed, "{run:?}");
        assert!(run.error.as_deref().is_some_and(|e| e.contains("Roster Basic")), "{run:?}");
    }
    assert_eq!(branch.reason("diego.garcia@example.com").await, Some(Reason::Disabled));
    assert_eq!(branch.active().await, PROVISIONED - 1);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_exist_is_an_error_that_names_it() {
    let branch =
        Branch::of(|c| c.settings.groups[1].1 = rosterd::model::GroupName::parse("Rooster Basic"))
            .await;
    let run = branch.sync().await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    assert!(run.error.as_deref().is_some_and(|e| e.contains("Rooster Basic")), "{run:?}");
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_successor_of_a_deleted_group_counts_once_an_operator_accepts_it() {
    let office = Office::of_acme("[directory.safety]\ngrace-period = \"0s\"");
    office.sync();
    let users = office.users();
    office.lab.set(&staff("Operations", "Oskar Nilsson"), &[("primaryGroupID", "513")]);
    let found = office.lab.samba("search", &["-t", "(sAMAccountName=Roster Basic)", "member"]);
    let members: Vec<String> =
        found.lines().filter(|l| l.starts_with("member:")).map(str::to_owned).collect();
    assert!(members.len() > 15, "{found}");
    office.lab.delete(BASIC);
    assert_eq!(office.ctl("sync corp").0, 1);
    let members = members.join("\n");
    office.lab.ldif(&format!("dn: {BASIC}\nchangetype: add\nobjectClass: group\nsAMAccountName: Roster Basic\n{members}\n"));
    let (code, run) = office.ctl("sync corp");
    assert_eq!(code, 1, "a group of the same name is not the same group: {run:#}");
    office.done("directory rebaseline corp");
    office.sync();
    let now = office.users();
    let shown = |users: &[Value]| {
        users
            .iter()
            .map(|u| (u["id"].clone(), u["status"].clone(), u["tier"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&now), shown(&users), "no user has changed");
}
