//! Entries of one person in two directories, and members of other domains.

use rosterd::engine::DirectoryConfig;
use rosterd::model::{DirectoryName, Status};

use super::branch::Branch;
use super::{BASIC, DOMAIN, PRO, staff};
use crate::acme;

const ALAN: &str = "alan.turing@example.com";

/// Returns a branch of two directories: `corp` over one OU, and `emea` over another.
async fn two_offices() -> Branch {
    let branch = Branch::of(|_| {}).await;
    let corp = branch.engine.directory("corp").expect("corp").config.clone();
    let over = |name: &str, ou: &str| -> DirectoryConfig {
        let mut config = corp.clone();
        config.name = DirectoryName::parse(name).expect("a name");
        config.settings.bases = vec![format!("OU={ou},OU=Staff,{DOMAIN}")];
        config
    };
    let was = branch.engine.configured();
    let directories = vec![over("corp", "Engineering"), over("emea", "Sales")];
    branch.engine.reconfigure(directories, was.rules.clone());
    for name in ["corp", "emea"] {
        let run = acme::sync(&branch.engine, name).await;
        assert_eq!((run.error.as_deref(), run.held), (None, 0), "{run:?}");
    }
    branch
}

async fn directory_of(branch: &Branch, who: &str) -> String {
    branch.user(who).await.link.expect("a link").directory.to_string()
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_user_is_proposed_by_its_sid_history_and_linked_on_approval() {
    let branch = two_offices().await;
    let (former, entry) = (staff("Engineering", "Alan Turing"), staff("Sales", "Alan Migrated"));
    branch.lab.hire(&entry, "alan.migrated", BASIC);
    branch.lab.set(&entry, &[("mail", ALAN)]);
    branch.lab.samba("sid-history", &[&entry, &former]);
    branch.lab.disable(&former);
    for name in ["corp", "emea"] {
        acme::sync(&branch.engine, name).await;
    }
    assert_eq!(branch.user(ALAN).await.status(), Status::Suspended, "locked out by the migration");
    let run = branch.engine.relink_by_sid_history("emea", &acme::alice()).await.expect("a run");
    assert_eq!((run.error.as_deref(), run.held), (None, 1), "{run:?}");
    let plan = branch.engine.store.plans(false).await.expect("plans").remove(0);
    branch.engine.approve(plan.id, acme::alice()).await.expect("an approval");
    assert_eq!(
        (branch.user(ALAN).await.status(), directory_of(&branch, ALAN).await.as_str()),
        (Status::Active, "emea")
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_moves_with_its_entry_to_the_ou_of_another_directory() {
    let branch = two_offices().await;
    let before = branch.user(ALAN).await;
    branch
        .lab
        .move_to(&staff("Engineering", "Alan Turing"), &format!("OU=Sales,OU=Staff,{DOMAIN}"));
    for name in ["corp", "emea"] {
        let run = acme::sync(&branch.engine, name).await;
        assert_eq!((run.counts.suspend, run.counts.create, run.held), (0, 0, 0), "{run:?}");
    }
    let now = branch.user(ALAN).await;
    assert_eq!((now.id, now.status()), (before.id, Status::Active));
    assert_eq!(directory_of(&branch, ALAN).await, "emea");
    branch.lab.disable(&staff("Sales", "Alan Turing"));
    acme::sync(&branch.engine, "emea").await;
    assert_eq!(branch.user(ALAN).await.status(), Status::Suspended);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_security_principal_in_a_group_is_told_by_run_and_check() {
    let branch = Branch::of(|_| {}).await;
    branch.lab.join(PRO, "<SID=S-1-5-21-1-2-3-1105>");
    let run = branch.sync().await;
    let sentence = "1 member of Roster Pro is of another domain, and this directory gives them no tier: S-1-5-21-1-2-3-1105";
    assert!(run.warnings.iter().any(|w| w.starts_with(sentence)), "{run:?}");
    let check = branch.engine.check_directory("corp").await.expect("a check");
    assert!(check.steps.iter().any(|step| step.finding.starts_with(sentence)), "{check:?}");
}
