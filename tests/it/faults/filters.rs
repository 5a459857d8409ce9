//! Filters: accepted in any form that AD takes, refused with a reason, and believed only on
//! evidence.

use std::path::Path;
use std::time::Duration;

use adsim::{Fault, NewPerson, What, When, names};
use rosterd::config::Config;
use rosterd::engine::DirectoryConfig;
use rosterd::model::{Filter, GroupName, HoldReason, Mode, Reason, RunState, Status, Tier, User};
use rosterd::sources::Source;

use super::{again, dn_of, followed, guid_of, held_plan, tick};
use crate::firm::{Firm, alice};

fn filtered(config: &mut DirectoryConfig, text: &str) {
    config.settings.filter = Some((text.to_owned(), Filter::parse(text).expect("a filter")));
}

/// Returns a company without tier groups. All people are in the group VPN, which the filter asks
/// for.
async fn on_vpn(filter: impl Fn(&str) -> String) -> Firm {
    let firm = followed(40, |c| {
        c.settings.groups = Vec::new();
        c.tiers.grouped = false;
    })
    .await;
    let dn = firm.sim.edit(|ad| {
        ad.add_group(names::GROUPS, "VPN");
        for person in ad.people() {
            ad.add_member("VPN", person);
        }
        ad.dn("VPN")
    });
    firm.reconfigure(|c| filtered(c, &filter(&dn)));
    let run = firm.sync().await;
    assert_eq!((run.error.as_deref(), run.held), (None, 0), "{run:?}");
    let run = firm.sync().await;
    assert_eq!((run.error.as_deref(), run.held), (None, 0), "the scope is accepted: {run:?}");
    firm
}

/// Removes a user from each group, so that the entry shows no `memberOf` at all.
fn leave_all(firm: &Firm, user: &User) {
    firm.sim.edit(|ad| {
        for group in ["VPN", names::PRO, names::PRO_NESTED, names::BASIC] {
            ad.remove_member(group, guid_of(user));
        }
    });
}

async fn cause(firm: &Firm, user: &User) -> Option<(Reason, String)> {
    again(firm, user).await.causes.weightiest().map(|c| (c.reason, c.evidence.attribute.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_leaves_the_filters_group_and_is_in_no_other_is_out_of_scope() {
    let forms: [fn(&str) -> String; 4] = [
        |dn| format!("(memberOf={dn})"),
        |dn| format!("(memberOf:1.2.840.113556.1.4.1941:={dn})"),
        |dn| format!("(&(objectClass=user)(|(memberOf={dn})(employeeType=robot)))"),
        |dn| format!("(!(!(memberOf={dn})))"),
    ];
    for form in forms {
        let firm = on_vpn(form).await;
        let user = firm.users().await.remove(0);
        leave_all(&firm, &user);
        let run = tick(&firm).await;
        assert_eq!(run.mode.as_str(), "incremental", "{run:?}");
        if form("x").contains("employeeType") {
            // The other half of the filter uses an attribute that no entry shows, so its result is
            // unknown.
            assert_eq!(again(&firm, &user).await.status(), Status::Active, "{}", form("x"));
            continue;
        }
        assert_eq!(
            cause(&firm, &user).await,
            Some((Reason::OutOfScope, "memberOf".to_owned())),
            "{}: {run:?}",
            form("x")
        );
        assert_eq!(run.counts.suspend, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_or_deleted_group_of_the_filter_suspends_no_user() {
    type Trouble = fn(&Firm);
    let troubles: [(&str, Trouble); 3] = [
        ("shows no member", |firm| firm.sim.edit(|ad| ad.hide_members("VPN"))),
        ("was not found", |firm| firm.sim.edit(|ad| ad.hide_entry("VPN"))),
        ("was not found", |firm| firm.sim.edit(|ad| ad.delete("VPN"))),
    ];
    for (told, trouble) in troubles {
        let firm = on_vpn(|dn| format!("(memberOf={dn})")).await;
        let user = firm.users().await.remove(0);
        let before = firm.active().await;
        leave_all(&firm, &user);
        trouble(&firm);
        let runs = [tick(&firm).await, firm.sync().await];
        assert_eq!(firm.active().await, before, "{told}: {runs:?}");
        assert!(
            runs.iter().any(|run| run
                .warnings
                .iter()
                .any(|w| w.contains("the filter names the group") && w.contains(told))),
            "{runs:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_works_in_every_form_that_ads_own_tools_take() {
    for text in [
        "employeeType=staff",
        " ( & ( employeeType=staff ) (! (employeeType=robot) ) ) ",
        "&(employeeType=staff)(!employeeType=robot)",
    ] {
        let firm = Firm::running(20, |_| {}).await;
        firm.sim.edit(|ad| {
            for person in ad.people() {
                ad.set(person, "employeeType", "staff");
            }
        });
        firm.reconfigure(|c| filtered(c, text));
        let before = firm.active().await;
        let run = firm.sync().await;
        assert_eq!(
            (run.error.as_deref(), run.held, firm.active().await),
            (None, 0, before),
            "{text}: {run:?}"
        );
    }
}

/// Returns a company whose filter excludes people by employeeType, and three of its users.
async fn excluding_leavers() -> (Firm, Vec<User>) {
    let firm = followed(40, |c| filtered(c, "(!(employeeType=left))")).await;
    let users = firm.users().await.into_iter().take(3).collect();
    (firm, users)
}

fn leave(firm: &Firm, user: &User) {
    firm.sim.edit(|ad| ad.set(dn_of(user).as_str(), "employeeType", "left"));
}

/// AD matches everybody to the negation of what cannot be read.
fn hide(firm: &Firm) {
    firm.sim.edit(|ad| ad.hide_attribute("employeeType", None));
}

async fn hold(firm: &Firm) -> Option<HoldReason> {
    firm.engine.store.plan_summary(held_plan(firm).await.id).await.expect("a plan")[0].hold
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_by_the_filter_return_by_approval_alone_while_its_attribute_is_hidden() {
    let (firm, users) = excluding_leavers().await;
    for user in &users {
        leave(&firm, user);
    }
    // The second is disabled as well.
    firm.sim.edit(|ad| ad.disable(dn_of(&users[1]).as_str()));
    tick(&firm).await;
    let expected = Some((Reason::OutOfScope, "employeeType".to_owned()));
    assert_eq!(cause(&firm, &users[0]).await, expected);
    hide(&firm);
    // Another write on an entry says nothing about the hidden attribute.
    firm.sim.edit(|ad| {
        ad.enable(dn_of(&users[1]).as_str());
        ad.set(dn_of(&users[2]).as_str(), "title", "Former chief");
    });
    for run in [tick(&firm).await, firm.sync().await, firm.sync().await] {
        let counts = (run.counts.reactivate, run.counts.create);
        assert_eq!(counts, (0, 0), "{run:?}");
    }
    for user in &users {
        assert_eq!(again(&firm, user).await.status(), Status::Suspended, "{}", dn_of(user));
    }
    assert_eq!(hold(&firm).await, Some(HoldReason::NoWitness));
    firm.sim.edit(|ad| ad.show_attribute("employeeType"));
    assert_eq!((firm.sync().await.held, cause(&firm, &users[0]).await), (0, expected));
    // The entry itself shows another value, so that the old one is seen to be gone.
    firm.sim.edit(|ad| ad.set(dn_of(&users[0]).as_str(), "employeeType", "staff"));
    let run = tick(&firm).await;
    assert_eq!((run.held, again(&firm, &users[0]).await.status()), (0, Status::Active), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_whose_attribute_is_hidden_lets_nobody_join() {
    let (firm, _) = excluding_leavers().await;
    firm.sim.edit(|ad| {
        for who in ["ex1", "ex2"] {
            let mail = format!("{who}@example.com");
            ad.add_person(NewPerson::new(who).mail(&mail).ou("Finance").member_of(names::BASIC));
            ad.set(who, "employeeType", "left");
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.create, run.held, run.error.as_deref()), (0, 0, None), "{run:?}");
    hide(&firm);
    firm.sim.edit(|ad| ad.set("ex1", "title", "Former chief"));
    let incremental = tick(&firm).await;
    let full = firm.sync().await;
    assert_eq!((incremental.counts.create, full.counts.create), (0, 0), "{incremental:?} {full:?}");
    assert_eq!((full.held, hold(&firm).await), (2, Some(HoldReason::NoWitness)), "{full:?}");
    let told = full.warnings.iter().any(|w| w.contains("employeeType, which no entry shows"));
    assert!(told, "{full:?}");
    firm.sim.edit(|ad| ad.show_attribute("employeeType"));
    assert_eq!(firm.sync().await.held, 0);
    // A person of today joins, although nobody but leavers shows the attribute.
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("eve").mail("eve@example.com").member_of(names::BASIC))
    });
    let run = tick(&firm).await;
    assert_eq!((run.counts.create, run.held), (1, 0), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_outlives_a_hidden_attribute_of_the_filter() {
    let (firm, users) = excluding_leavers().await;
    leave(&firm, &users[0]);
    tick(&firm).await;
    let who = users[0].id.to_string();
    firm.engine.activate(&who, &alice()).await.expect("an activation");
    // The other one was refused.
    firm.reconfigure(|c| c.mode = Mode::PlanOnly);
    leave(&firm, &users[1]);
    firm.sync().await;
    firm.engine.reject(held_plan(&firm).await.id, "an error of HR", &alice()).await.unwrap();
    firm.reconfigure(|c| c.mode = Mode::Apply);
    firm.sync().await;
    hide(&firm);
    firm.sync().await;
    firm.sync().await;
    firm.sim.edit(|ad| ad.show_attribute("employeeType"));
    for _ in 0..2 {
        firm.sync().await;
        firm.later(Duration::from_hours(1));
    }
    for user in &users[..2] {
        assert_eq!(again(&firm, user).await.status(), Status::Active, "{}", dn_of(user));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_name_contains_an_equals_sign_is_found() {
    let firm = Firm::of(20, |_| {}).await;
    firm.sim.edit(|ad| {
        ad.add_group(names::GROUPS, "Plan=Pro");
        for person in ad.people() {
            ad.add_member("Plan=Pro", person);
        }
    });
    firm.reconfigure(|c| c.settings.groups = vec![(Tier::Pro, GroupName::parse("Plan=Pro"))]);
    let run = firm.sync().await;
    assert_eq!(run.error, None, "{run:?}");
    assert!(run.held + run.counts.create > 10, "all people are found by the group: {run:?}");
    let dn = firm.sim.look(|ad| ad.dn("Plan=Pro"));
    firm.reconfigure(|c| c.settings.groups = vec![(Tier::Pro, GroupName::parse(&dn))]);
    assert_eq!(firm.sync().await.error, None, "by its distinguished name");
    firm.reconfigure(|c| c.settings.groups = vec![(Tier::Pro, GroupName::parse("Plan=Gone"))]);
    let run = firm.sync().await;
    assert!(
        run.error.as_deref().is_some_and(|e| e.contains("there is no group \"Plan=Gone\"")),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_matching_rule_is_reported_by_run_and_check() {
    for text in ["(employeeType:2.5.13.2:=Staff)", "(!(employeeType:caseIgnoreMatch:=Staff))"] {
        let firm = Firm::of(20, |c| filtered(c, text)).await;
        let run = firm.sync().await;
        assert_eq!(run.state, RunState::Failed, "{text}: {run:?}");
        assert!(
            run.error
                .as_deref()
                .is_some_and(|e| e.contains("no matching rule") && e.contains("filter")),
            "{run:?}"
        );
        let found = firm.engine.check_directory("corp").await.expect("a check");
        assert!(
            found
                .steps
                .iter()
                .any(|s| s.name == "filter" && s.finding.contains("no matching rule")),
            "{found:?}"
        );
        let section = format!("[[directory]]\nfilter = \"{text}\"\n");
        let problems =
            Config::parse(&[Source::main(Path::new("rosterd.toml"), &section)], None).unwrap_err();
        assert!(problems.to_string().contains("no matching rule"), "{problems}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_ad_refuses_is_reported_with_ads_own_text() {
    let firm = Firm::running(20, |_| {}).await;
    let before = firm.active().await;
    firm.reconfigure(|c| filtered(c, "(employeeType~=x)"));
    let refusal =
        What::result(1, "00000057: LdapErr: DSID-0C090D8A, comment: Error in attribute conversion");
    firm.sim.faults().push(Fault::new(When::search().containing("employeetype"), refusal).always());
    let run = firm.sync().await;
    let error = run.error.clone().unwrap_or_default();
    assert!(
        error.contains("AD refuses the filter (employeeType~=x)")
            && error.contains("DSID-0C090D8A"),
        "{run:?}"
    );
    assert_eq!(firm.active().await, before);
    let found = firm.engine.check_directory("corp").await.expect("a check");
    assert!(
        found.steps.iter().any(|s| s.name == "filter" && s.finding.contains("DSID-0C090D8A")),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_matches_no_person_is_always_reported() {
    let firm = Firm::of(20, |c| filtered(c, "(employeeType=nobody-has-this)")).await;
    let run = firm.sync().await;
    let is_told = run
        .warnings
        .iter()
        .chain(run.error.as_ref())
        .any(|w| w.contains("finds none of them") && w.contains("filter"));
    assert!(is_told, "{run:?}");
}
