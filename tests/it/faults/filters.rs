//! Filters: accepted in any form that AD takes, refused with a reason, and believed only on
//! evidence.

use std::path::Path;
use std::time::Duration;

use adsim::{Fault, What, When, names};
use rosterd::config::Config;
use rosterd::engine::DirectoryConfig;
use rosterd::model::{Filter, GroupName, HoldReason, Reason, RunState, Status, Tier, User};
use rosterd::sources::Source;

use super::{again, dn_of, followed, guid_of, held_plan, tick};
use crate::firm::Firm;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_by_the_filter_returns_by_approval_alone_while_its_attribute_is_hidden() {
    let firm = followed(40, |c| filtered(c, "(!(employeeType=left))")).await;
    let users = firm.users().await;
    let left = users[0].clone();
    firm.sim.edit(|ad| ad.set(dn_of(&left).as_str(), "employeeType", "left"));
    firm.later(Duration::from_secs(3));
    tick(&firm).await;
    let expected = Some((Reason::OutOfScope, "employeeType".to_owned()));
    assert_eq!(cause(&firm, &left).await, expected);
    // AD matches everybody to the negation of what cannot be read.
    firm.sim.edit(|ad| ad.hide_attribute("employeeType", None));
    for run in [firm.sync().await, firm.sync().await] {
        assert_eq!((run.held, run.counts.total()), (1, 0), "{run:?}");
    }
    let held = firm.engine.store.plan_summary(held_plan(&firm).await.id).await.expect("a plan");
    assert_eq!(held[0].hold, Some(HoldReason::NoWitness), "{held:?}");
    firm.sim.edit(|ad| ad.show_attribute("employeeType"));
    assert_eq!((firm.sync().await.held, cause(&firm, &left).await), (0, expected));
    // Another entry of the OU shows the attribute, so that its absence is seen.
    let parent = |user: &User| user.link.as_ref().and_then(|link| link.dn.parent());
    let other = users[1..].iter().find(|user| parent(user) == parent(&left)).expect("a neighbour");
    firm.sim.edit(|ad| {
        ad.clear(dn_of(&left).as_str(), "employeeType");
        ad.set(dn_of(other).as_str(), "employeeType", "staff");
    });
    let run = tick(&firm).await;
    assert_eq!((run.held, again(&firm, &left).await.status()), (0, Status::Active), "{run:?}");
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
