//! Odd and unreadable groups: tiers follow the groups, and an unreadable group changes no user.

use std::time::Duration;

use adsim::{Fault, NewPerson, What, When, frames, names};
use rosterd::model::*;
use rosterd::reconcile::Limit;

use crate::firm::{Firm, again, dn_of};
use crate::world::*;

const GRACE_PERIOD: Duration = Duration::from_mins(11);

#[test]
fn a_disabled_member_of_any_group_is_suspended_and_has_its_tier_when_it_comes_back() {
    let mut company = Company::running(20);
    company.person(1).disabled = true;
    company.run(&Loss::default());
    company.person(1).pro = true;
    company.run(&Loss::default());
    assert_eq!((company.status(1), company.user(1).tier), (Status::Suspended, Tier::Pro));
    company.person(1).disabled = false;
    company.run(&Loss::default());
    assert_eq!((company.status(1), company.user(1).tier), (Status::Active, Tier::Pro));
}

#[test]
fn losing_one_of_two_groups_lowers_the_tier_and_losing_both_is_one_change() {
    let mut company = Company::running(60);
    company.person(0).pro = false;
    let both = company.person(3);
    (both.pro, both.basic) = (false, false);
    company.run(&Loss::default());
    assert_eq!(
        company.waiting(),
        ["p0@example.com tier grace-period", "p3@example.com suspend grace-period"]
    );
    company.later(GRACE_PERIOD);
    company.run(&Loss::default());
    assert_eq!((company.user(0).tier, company.status(0)), (Tier::Basic, Status::Active));
    assert_eq!(company.status(3), Status::Suspended);
}

/// Settings without limits or rechecks, so that only the completeness of reads protects people.
fn without_limits(c: &mut rosterd::engine::DirectoryConfig) {
    c.limits.grace_period = Duration::ZERO;
    for limit in c.limits.classes.values_mut() {
        *limit = Limit { percent: 100, at_least: 10_000, at_most: None };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn group_cycles_foreign_members_and_empty_groups_change_no_user() {
    let firm = Firm::running(60, without_limits).await;
    let before = firm.users().await;
    firm.sim.edit(|ad| {
        // A cycle of three through Roster Pro, a group in itself, and members that are no people.
        let night = ad.add_group(names::GROUPS, "Night Shift");
        let empty = ad.add_group(names::GROUPS, "Nobody");
        ad.add_member(names::PRO_NESTED, night);
        ad.add_member(night, names::PRO);
        ad.add_member(night, night);
        ad.add_member(names::BASIC, empty);
        let stranger = ad.add_foreign_principal("S-1-5-21-1-2-3-1105");
        let contact = ad.add_contact("Sales", "Some Supplier", "supplier@example.com");
        let computer = ad.add_computer("Sales", "WS01");
        for member in [stranger, contact, computer] {
            ad.add_member(names::BASIC, member);
            ad.add_member(night, member);
        }
    });
    let run = firm.sync().await;
    assert_eq!(
        (run.state, run.counts.total(), run.error.as_deref()),
        (RunState::Succeeded, 0, None),
        "{run:?}"
    );
    let who = before.iter().find(|u| u.tier == Tier::Basic).unwrap();
    firm.sim.edit(|ad| ad.add_member("Night Shift", dn_of(who)));
    firm.sync().await;
    assert_eq!(again(&firm, who).await.tier, Tier::Pro, "by a group in a circle below Roster Pro");
    firm.sim.edit(|ad| ad.remove_member("Night Shift", dn_of(who)));
    firm.sync().await;
    assert_eq!(
        firm.users().await.iter().map(|u| (u.id, u.tier)).collect::<Vec<_>>(),
        before.iter().map(|u| (u.id, u.tier)).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_group_changes_no_member_of_the_groups_below_it() {
    let firm = Firm::running(60, without_limits).await;
    let deep = firm.sim.edit(|ad| {
        let deep = ad.add_group(names::GROUPS, "Platform Team");
        ad.add_member(names::PRO_NESTED, deep);
        let who = ad.add_person(NewPerson::new("deep").mail("deep@example.com"));
        ad.add_member(deep, who);
        deep
    });
    firm.sync().await;
    let before = firm.users().await;
    assert!(before.iter().any(|user| user.profile.sam_account_name.as_deref() == Some("deep")));
    let members = firm.sim.look(|ad| ad.members(names::PRO));
    assert!(!members.contains(&deep));
    firm.sim.edit(|ad| members.iter().for_each(|who| ad.remove_member(names::PRO, *who)));
    for _ in 0..3 {
        let run = firm.sync().await;
        assert_eq!((run.counts.total(), run.held), (0, 0), "{run:?}");
        let told: Vec<_> = run.warnings.iter().filter(|w| w.contains("looks empty")).collect();
        assert!(told.len() == 1 && told[0].contains("CN=Roster Pro,"), "{told:?}");
        firm.later(GRACE_PERIOD);
    }
    let states =
        |users: Vec<User>| users.iter().map(|u| (u.id, u.tier, u.status())).collect::<Vec<_>>();
    assert_eq!(states(firm.users().await), states(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_ends_without_a_write_is_seen_by_the_next_full_read() {
    // A time-limited membership ends like this: without a write.
    let firm = Firm::running(60, |_| {}).await;
    let users = firm.users().await;
    let who = users.iter().find(|u| u.tier == Tier::Basic).unwrap();
    firm.sim.edit(|ad| ad.remove_member(names::BASIC, dn_of(who)));
    firm.sync().await;
    firm.later(GRACE_PERIOD);
    firm.sync().await;
    let cause = again(&firm, who).await.causes.weightiest().map(|c| c.reason);
    assert_eq!(cause, Some(Reason::NoGroup));
}

/// A query about a group, and its moment.
type Query = (&'static str, fn(&Firm) -> When);

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_group_changes_no_member_but_leavers() {
    let questions: [Query; 5] = [
        ("its location", |f| {
            When::search().based_at(&format!("<guid={}>", f.sim.look(|ad| ad.guid(names::BASIC))))
        }),
        ("the groups nested in it", |_| When::search().containing("memberof=cn=roster pro")),
        ("the groups nested in a nested one", |_| {
            When::search().containing("memberof=cn=roster pro nested")
        }),
        ("whether it shows any member", |_| When::search().containing("(member=*)")),
        ("whether its people are still members", |_| When::search().containing("(member=cn=")),
    ];
    for (name, when) in questions {
        for code in [50, 52] {
            let firm = Firm::running(60, without_limits).await;
            let users = firm.users().await;
            let [leaver, lost, nested] =
                [0, 1, 2].map(|n| users.iter().filter(|u| u.tier == Tier::Pro).nth(n).unwrap());
            firm.sim.edit(|ad| {
                ad.disable(dn_of(leaver));
                for group in [names::BASIC, names::PRO, names::PRO_NESTED] {
                    ad.remove_member(group, dn_of(lost));
                }
                // A person in a nested group alone is Pro by this query, or not at all.
                ad.remove_member(names::BASIC, dn_of(nested));
            });
            firm.sim.faults().push(Fault::new(when(&firm), What::result(code, "no")).always());
            let run = firm.sync().await;
            assert!(firm.sim.faults().fired() > 0, "the query was never sent: {name}");
            assert_eq!(
                again(&firm, leaver).await.status(),
                Status::Suspended,
                "{name}, {code}: {run:?}"
            );
            assert_eq!(
                (again(&firm, lost).await.status(), again(&firm, lost).await.tier),
                (Status::Active, Tier::Pro),
                "{name}, {code}: {run:?}"
            );
            assert_eq!(
                (again(&firm, nested).await.status(), again(&firm, nested).await.tier),
                (Status::Active, Tier::Pro),
                "{name}, {code}: {run:?}"
            );
            firm.sim.faults().clear();
            let run = firm.sync().await;
            assert_eq!(
                again(&firm, lost).await.status(),
                Status::Suspended,
                "{name}, {code}: after a readable answer, {run:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn group_names_in_member_of_match_in_any_case() {
    let firm = Firm::running(40, |c| c.settings.page_size = 1000).await;
    let newcomer = firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("newbie").name("New", "Bie").mail("new.bie@example.com").ou("Sales"),
        )
    });
    let (dn, group) = firm.sim.look(|ad| (ad.dn(newcomer), ad.dn(names::PRO).to_uppercase()));
    let text = |value: &str| vec![value.as_bytes().to_vec()];
    let attributes = vec![
        ("objectGUID", vec![newcomer.to_bytes_le().to_vec()]),
        ("userAccountControl", text("512")),
        ("accountExpires", text("0")),
        ("primaryGroupID", text("513")),
        ("mail", text("new.bie@example.com")),
        ("memberOf", text(&group)),
    ];
    let entry = move |id| frames::entry(id, dn.as_bytes(), &attributes);
    firm.sim.faults().push(Fault::new(
        When::page(1).containing("objectcategory=person").after_entries(0),
        What::frames(entry),
    ));
    let run = firm.sync().await;
    assert_eq!(run.counts.create, 1, "{run:?}");
    assert_eq!(firm.user("new.bie@example.com").await.tier, Tier::Pro);
}
