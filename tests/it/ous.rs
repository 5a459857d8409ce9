//! OUs with rules of their own: exclusions.

use adsim::NewPerson;
use rosterd::engine::ReloadOutcome;
use rosterd::model::{Dn, HoldReason, Reason, RunState, Status, User};

use crate::acme::alice;
use crate::firm::{Firm, again, dn_of};

/// The grace period of the default limits.
const GRACE_PERIOD: std::time::Duration = std::time::Duration::from_mins(10);

fn engineering(firm: &Firm) -> Dn {
    firm.sim.look(|ad| Dn::new(ad.dn("Engineering").as_str()))
}

async fn users_below(firm: &Firm, ou: &Dn) -> Vec<User> {
    let users = firm.users().await.into_iter();
    users.filter(|user| Dn::new(dn_of(user)).is_within(ou)).collect()
}

/// Creates a person in the Basic group.
fn hire(firm: &Firm, login: &str, ou: &str) {
    firm.sim.edit(|ad| {
        let mail = format!("{login}@example.com");
        let new = ad.add_person(NewPerson::new(login).name("New", login).mail(mail).ou(ou));
        ad.add_member(adsim::names::BASIC, new);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn people_below_an_excluded_ou_are_suspended_once_an_operator_approves() {
    let firm = Firm::running(60, |_| {}).await;
    let ou = engineering(&firm);
    let people = users_below(&firm, &ou).await;
    assert!(people.len() > 3, "{people:?}");
    let outcome = firm.reconfigure(|c| c.settings.exclude_ou = vec![ou.clone()]);
    assert_eq!(outcome, ReloadOutcome::Rescoped);
    let run = firm.sync().await;
    assert_eq!((run.state, run.held), (RunState::Held, people.len() as u64), "{run:?}");
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    let held = firm.engine.store.plan_summary(plan.id).await.unwrap();
    assert!(held.iter().all(|h| h.hold == Some(HoldReason::PlanOnly)), "{held:?}");
    firm.later(GRACE_PERIOD);
    firm.engine.approve(plan.id, alice()).await.unwrap();
    for user in &people {
        let cause = again(&firm, user).await.causes.weightiest().cloned().unwrap();
        assert_eq!(cause.reason, Reason::OutOfScope);
        assert_eq!(cause.evidence.attribute, "distinguishedName");
        assert_eq!(cause.evidence.value, format!("excluded by {ou}"));
    }
    // The name in the file is outdated from here on. The GUID of the OU still excludes its people.
    firm.sim.edit(|ad| ad.rename("Engineering", "Laboratories"));
    hire(&firm, "robot", "Laboratories");
    let run = firm.sync().await;
    assert_eq!((run.state, run.counts.total()), (RunState::Succeeded, 0), "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("is now OU=Laboratories")), "{run:?}");
    assert!(firm.engine.find_user("robot@example.com").await.is_err());
    assert_eq!(again(&firm, &people[0]).await.status(), Status::Suspended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_excluded_ou_creates_no_user_and_delays_no_leaver() {
    let firm = Firm::running(60, |_| {}).await;
    let before = firm.active().await;
    let missing = Dn::new(format!("OU=Robots,{}", firm.sim.root_dn()));
    firm.reconfigure(|c| c.settings.exclude_ou = vec![missing.clone()]);
    hire(&firm, "newbie", "Engineering");
    let leaver = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(dn_of(&leaver).as_str()));
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.counts.total(), run.held), (1, 1, 0), "{run:?}");
    let warning = format!("the excluded OU {missing} was not found: check exclude-ou");
    assert!(run.warnings.iter().any(|w| w.starts_with(&warning)), "{run:?}");
    assert_eq!(again(&firm, &leaver).await.status(), Status::Suspended);
    assert!(firm.engine.find_user("newbie@example.com").await.is_err());
    assert_eq!(firm.active().await, before - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_directory_names_the_excluded_ou_that_does_not_exist() {
    let missing = |c: &mut rosterd::engine::DirectoryConfig| {
        c.settings.exclude_ou = vec![Dn::new(format!("OU=Robots,{}", c.settings.bases[0]))];
    };
    let firm = Firm::of(10, missing).await;
    let report = firm.engine.check_directory("corp").await.unwrap();
    let step = report.steps.iter().find(|step| step.name == "exclude-ou").expect("a step");
    assert!(step.finding.ends_with("was not found"), "{step:?}");
}
