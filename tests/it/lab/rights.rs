//! Lost rights: invisible data changes no user.

use std::time::Duration;

use rosterd::model::{Filter, HoldReason, RunState, Status};

use super::branch::{Branch, PROVISIONED};
use super::{DOMAIN, staff};

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn an_ou_that_can_no_longer_be_listed_suspends_no_user() {
    for can_see_tombstones in [false, true] {
        let branch = Branch::running(|_| {}).await;
        if can_see_tombstones {
            // A tombstone that was read proves visibility.
            branch.lab.samba("grant-tombstones", &[]);
            branch.lab.delete(&staff("Operations", "Rita Costa"));
        }
        let sales = format!("OU=Sales,OU=Staff,{DOMAIN}");
        branch.lab.samba("deny-list", &[&sales]);
        let run = branch.sync().await;
        assert_eq!(
            (run.state, run.counts.suspend),
            (RunState::Held, 0),
            "tombstones {can_see_tombstones}: {run:?}"
        );
        assert_eq!(branch.active().await, PROVISIONED);
        let plan = branch.engine.store.plans(false).await.expect("plans").remove(0);
        let held = branch.engine.store.plan_changes(plan.id).await.expect("changes");
        assert_eq!(held.len(), 9, "the users of Sales");
        assert!(held.iter().all(|c| c.reason.map(|r| r.as_str()) == Some("vanished")), "{held:?}");
        assert!(
            held.iter()
                .all(|c| matches!(c.hold, Some(HoldReason::NoWitness | HoldReason::Cluster))),
            "{held:?}"
        );
        branch.lab.samba("allow-list", &[&sales]);
        branch.quiet("visible people are unchanged").await;
        assert!(
            branch.engine.store.plans(false).await.expect("plans").is_empty(),
            "the plan is withdrawn"
        );
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_unreadable_attributes_keeps_its_user_unchanged() {
    let branch = Branch::running(|_| {}).await;
    let ken = staff("Engineering", "Ken Thompson");
    let before = branch.user("ken.thompson@example.com").await;
    for attribute in [
        "mail",
        "userAccountControl",
        "accountExpires",
        "memberOf",
        "primaryGroupID",
        "displayName",
        "objectGUID",
        "objectClass",
        "objectCategory",
        "sAMAccountType",
    ] {
        branch.lab.samba("deny-attribute", &[&ken, attribute]);
        let run = branch.sync().await;
        let now = branch.user(&before.id.to_string()).await;
        assert_eq!(
            (now.status(), now.tier, now.addresses),
            (Status::Active, before.tier, before.addresses.clone()),
            "{attribute}: {run:?}"
        );
        assert_eq!(run.state, RunState::Succeeded, "{attribute}: {run:?}");
        branch.lab.samba("allow-attribute", &[&ken, attribute]);
    }
    branch.sync().await;
    branch.quiet("all attributes are readable again").await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_that_no_person_shows_fails_the_run_and_is_named() {
    let branch = Branch::running(|_| {}).await;
    let before = branch.users().await;
    branch.lab.samba("deny-attribute", &[DOMAIN, "userAccountControl"]);
    let run = branch.sync().await;
    assert_eq!((run.state, run.counts.total()), (RunState::Failed, 0), "{run:?}");
    assert!(run.error.as_deref().is_some_and(|e| e.contains("userAccountControl")), "{run:?}");
    assert_eq!(branch.users().await, before);
    branch.lab.samba("allow-attribute", &[DOMAIN, "userAccountControl"]);
    branch.quiet("the right is back").await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_by_a_negated_filter_stays_out_when_each_entry_hides_the_attribute() {
    let filter = "(!(employeeType=left))";
    let branch = Branch::running(|c| {
        let parsed = Filter::parse(filter).expect("a filter");
        c.settings.filter = Some((filter.to_owned(), parsed));
        c.limits.grace_period = Duration::ZERO;
    })
    .await;
    let ken = staff("Engineering", "Ken Thompson");
    let before = branch.user("ken.thompson@example.com").await.id.to_string();
    branch.lab.set(&ken, &[("employeeType", "left")]);
    branch.sync().await;
    assert_eq!(branch.user(&before).await.status(), Status::Suspended);
    // The right is taken on the entry itself, and another attribute is written.
    branch.lab.samba("deny-attribute", &[&ken, "employeeType"]);
    branch.lab.set(&ken, &[("description", "left in spring")]);
    let run = branch.sync().await;
    assert_eq!((run.state, run.counts.total(), run.held), (RunState::Held, 0, 1), "{run:?}");
    branch.lab.samba("allow-attribute", &[&ken, "employeeType"]);
    branch.lab.set(&ken, &[("employeeType", "staff")]);
    branch.sync().await;
    assert_eq!(branch.user(&before).await.status(), Status::Active);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn an_invisible_nested_group_changes_none_of_its_members() {
    let (hidden, groups) = (format!("OU=Hidden,{DOMAIN}"), format!("OU=Groups,{DOMAIN}"));
    let platform = format!("CN=Platform Team,{groups}");
    for what in ["the group", "the groups' memberOf", "the groups' member", "all memberOf"] {
        let branch = Branch::running(|_| {}).await;
        branch
            .lab
            .ldif(&format!("dn: {hidden}\nchangetype: add\nobjectClass: organizationalUnit\n"));
        match what {
            "the group" => {
                branch.lab.move_to(&platform, &hidden);
                branch.quiet("a group may be in any container").await;
                branch.lab.samba("deny-list", &[&hidden]);
            }
            "the groups' memberOf" => {
                drop(branch.lab.samba("deny-attribute", &[&groups, "memberOf"]))
            }
            "the groups' member" => drop(branch.lab.samba("deny-attribute", &[&groups, "member"])),
            _ => drop(branch.lab.samba("deny-attribute", &[DOMAIN, "memberOf"])),
        }
        for _ in 0..2 {
            let run = branch.sync().await;
            assert_eq!((run.counts.suspend, run.counts.tier), (0, 0), "{what}: {run:?}");
        }
        assert_eq!(branch.active().await, PROVISIONED, "{what}");
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_moved_to_an_invisible_ou_is_held_and_not_suspended() {
    let branch = Branch::running(|_| {}).await;
    let hidden = format!("OU=Hidden,{DOMAIN}");
    branch.lab.ldif(&format!("dn: {hidden}\nchangetype: add\nobjectClass: organizationalUnit\n"));
    branch.lab.samba("deny-list", &[&hidden]);
    branch.lab.samba("grant-tombstones", &[]);
    branch.lab.delete(&staff("Operations", "Rita Costa"));
    branch.lab.move_to(&staff("Engineering", "Ken Thompson"), &hidden);
    let run = branch.sync().await;
    assert_eq!(
        (run.state, run.counts.suspend, run.held),
        (RunState::Held, 0, 1),
        "with visible tombstones, no tombstone means invisible: {run:?}"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_shows_no_person_suspends_no_user() {
    let bases =
        ["Engineering", "Sales", "Operations"].map(|ou| format!("OU={ou},OU=Staff,{DOMAIN}"));
    let branch = Branch::running(|c| c.settings.bases = bases.to_vec()).await;
    branch.lab.samba("deny-list", &[&bases[1]]);
    branch.lab.disable(&staff("Engineering", "Ken Thompson"));
    for _ in 0..2 {
        let run = branch.sync().await;
        assert!(matches!(run.state, RunState::Held | RunState::Failed), "{run:?}");
        assert_eq!(branch.active().await, PROVISIONED - 1, "only the disabled user: {run:?}");
    }
    branch.lab.samba("allow-list", &[&bases[1]]);
    branch.quiet("the base shows its people again").await;
}
