//! OUs with rules of their own: exclusions, tiers and limits.

use std::collections::BTreeMap;

use adsim::{Fault, NewPerson, What, When};
use rosterd::engine::ReloadOutcome;
use rosterd::model::{ChangeClass, Dn, HoldReason, Reason, RunState, Status, Tier, User};
use rosterd::reconcile::{Limit, Ou, OuRule, OuRules};

use crate::acme::alice;
use crate::firm::{Firm, again, dn_of};
use crate::world::{BASE, Company, Loss};

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
    let mail = format!("{login}@example.com");
    firm.sim.edit(|ad| {
        let new = ad.add_person(NewPerson::new(login).name("New", login).mail(&mail).ou(ou));
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
    let (counts, state) = (&run.counts, run.state);
    assert_eq!((counts.create, counts.suspend, counts.reactivate), (0, 0, 0), "{run:?}");
    assert_eq!(state, RunState::Succeeded);
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

fn rule(ou: &Dn, tier: Option<Tier>, limits: &[(ChangeClass, Limit)]) -> OuRules {
    let limits: BTreeMap<ChangeClass, Limit> = limits.iter().copied().collect();
    let ou = Ou { configured: ou.clone(), present: Some(ou.clone()) };
    OuRules(vec![OuRule { ou, tier, limits }])
}

fn at_most(n: u64) -> Limit {
    Limit { percent: 100, at_least: 0, at_most: Some(n) }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_in_no_group_have_the_tier_of_their_ou() {
    let firm = Firm::running(60, |_| {}).await;
    let ou = engineering(&firm);
    firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("intern")
                .name("In", "Tern")
                .mail("intern@example.com")
                .ou("Engineering"),
        );
    });
    let run = firm.sync().await;
    assert_eq!(run.counts.total(), 0, "{run:?}");
    let outcome = firm.reconfigure(|c| c.settings.rules = rule(&ou, Some(Tier::Basic), &[]));
    assert_eq!(outcome, ReloadOutcome::Rescoped);
    assert!(firm.sync().await.held >= 1);
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    firm.engine.approve(plan.id, alice()).await.unwrap();
    let intern = firm.user("intern@example.com").await;
    assert_eq!((intern.status(), intern.tier), (Status::Active, Tier::Basic));
    // A group wins over the OU.
    firm.sim.edit(|ad| ad.add_member(adsim::names::PRO, "intern"));
    firm.sync().await;
    assert_eq!(again(&firm, &intern).await.tier, Tier::Pro);
    // Outside of the OU a person without a group is suspended, as everywhere.
    firm.sim.edit(|ad| {
        ad.remove_member(adsim::names::PRO, "intern");
        ad.move_to("intern", "Sales");
    });
    firm.sync().await;
    firm.later(GRACE_PERIOD);
    firm.sync().await;
    let causes = again(&firm, &intern).await.causes;
    assert_eq!(causes.weightiest().map(|c| c.reason), Some(Reason::NoGroup));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_gives_a_tier_and_a_return_where_no_group_is_configured() {
    let firm = Firm::running(40, |c| {
        c.settings.groups = Vec::new();
        (c.tiers.grouped, c.tiers.default_tier) = (false, Tier::Pro);
    })
    .await;
    let ou = engineering(&firm);
    let people = users_below(&firm, &ou).await;
    let (away, here) = (&people[0], &people[1]);
    firm.sim.edit(|ad| ad.disable(dn_of(away).as_str()));
    firm.sync().await;
    firm.reconfigure(|c| c.settings.rules = rule(&ou, Some(Tier::Basic), &[]));
    firm.sync().await;
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!(again(&firm, here).await.tier, Tier::Basic);
    firm.sim.edit(|ad| ad.enable(dn_of(away).as_str()));
    let run = firm.sync().await;
    let back = again(&firm, away).await;
    assert_eq!((back.status(), back.tier), (Status::Active, Tier::Basic), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_moved_while_an_excluded_ou_was_unknown_is_read_again() {
    let firm = Firm::running(40, |c| c.limits.grace_period = std::time::Duration::ZERO).await;
    let leavers = firm.sim.edit(|ad| ad.add_ou("Staff", "Former"));
    let ou = Dn::new(firm.sim.look(|ad| ad.dn("Former")));
    firm.reconfigure(|c| c.settings.exclude_ou = vec![ou.clone()]);
    assert_eq!(firm.sync().await.error, None);
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.move_to(dn_of(&user).as_str(), "Former"));
    let busy =
        Fault::new(When::search().based_at(&format!("<GUID={leavers}>")), What::result(51, "busy"));
    firm.sim.faults().push(busy);
    let who = user.id.to_string();
    let run = firm.engine.sync_user(&who, &alice()).await.unwrap();
    assert!(run.warnings.iter().any(|w| w.contains("could not be looked up")), "{run:?}");
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
    let name = firm.engine.directory("corp").unwrap().config.name.clone();
    let pending = firm.engine.store.pending(&name, firm.clock.now()).await.unwrap();
    assert!(
        pending.contains(&user.link.as_ref().unwrap().guid),
        "AD reports no other change: {pending:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_an_ou_is_kept_over_runs_and_restarts_of_the_store() {
    let firm = Firm::running(60, |c| {
        let ou = Dn::new(format!("OU=Engineering,OU=Staff,{}", c.settings.bases[0]));
        c.settings.rules = rule(&ou, None, &[(ChangeClass::Create, at_most(2))]);
    })
    .await;
    hire(&firm, "one", "Engineering");
    hire(&firm, "two", "Engineering");
    assert_eq!(firm.sync().await.counts.create, 2);
    hire(&firm, "three", "Engineering");
    hire(&firm, "four", "Sales");
    let run = firm.sync().await;
    assert_eq!((run.counts.create, run.held), (1, 1), "{run:?}");
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    let held = firm.engine.store.plan_summary(plan.id).await.unwrap();
    assert_eq!(held[0].hold, Some(HoldReason::OuLimit));
    assert!(firm.engine.find_user("three@example.com").await.is_err());
    firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!(firm.user("three@example.com").await.status(), Status::Active);
}

/// Returns a rule that limits each class in the whole domain.
pub(crate) fn limits_everywhere(n: u64) -> OuRules {
    rule(&Dn::new(BASE), None, &ChangeClass::ALL.map(|class| (class, at_most(n))))
}

/// Returns a company of 60 people, with a limit of this class for Sales, which has 20 of them.
fn limited(class: ChangeClass, limit: Limit) -> Company {
    let mut company = Company::running(60);
    company.limits.grace_period = std::time::Duration::ZERO;
    company.rules = rule(&Dn::new(format!("OU=Sales,{BASE}")), None, &[(class, limit)]);
    company
}

/// Numbers of people of Sales in the company of the world.
const SALES: [u32; 4] = [1, 4, 7, 10];

#[test]
fn a_change_has_to_pass_the_limits_of_its_ou_and_of_the_directory() {
    let elsewhere = |company: &mut Company, n| company.person(n).ou = "Elsewhere".to_owned();
    // People of Sales who leave the scope, the limit of the OU, that of the directory, suspensions.
    let table = [(2, 2, 5, 2), (3, 2, 5, 0), (3, 4, 2, 0), (3, 3, 3, 3)];
    for (leaving, of_ou, of_directory, suspended) in table {
        let mut company = limited(ChangeClass::Gone, at_most(of_ou));
        company.limits.classes.insert(ChangeClass::Gone, at_most(of_directory));
        for n in &SALES[..leaving] {
            elsewhere(&mut company, *n);
        }
        let before = company.active();
        company.run(&Loss::default());
        let told = format!("{:?}", company.waiting());
        assert_eq!(before - company.active(), suspended, "{leaving} {of_ou} {told}");
    }
    // People of other OUs pass, and a limit that is used up stays used up.
    let mut company = limited(ChangeClass::Gone, at_most(2));
    for n in [0, SALES[0], SALES[1]] {
        elsewhere(&mut company, n);
    }
    company.run(&Loss::default());
    elsewhere(&mut company, SALES[2]);
    elsewhere(&mut company, 3);
    company.run(&Loss::default());
    assert_eq!(company.waiting(), ["p7@example.com suspend ou-limit"]);
    assert_eq!((company.status(0), company.status(3)), (Status::Suspended, Status::Suspended));
}

#[test]
fn the_limit_of_an_ou_delays_no_leaver() {
    let mut company = Company::running(60);
    company.rules = rule(
        &Dn::new(format!("OU=Sales,{BASE}")),
        None,
        &ChangeClass::ALL.map(|class| (class, at_most(0))),
    );
    for n in SALES {
        company.person(n).disabled = true;
    }
    company.run(&Loss::default());
    assert_eq!(SALES.map(|n| company.status(n)), [Status::Suspended; 4]);
}
