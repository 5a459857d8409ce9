//! The limits against mass lockout: their measure, their window, and the lifting of causes.

use std::time::Duration;

use adsim::{Fault, What, When, names};
use rosterd::model::{Expiry, GroupName, Reason, ServerUrl, Status, Tier, User};

use super::{DAY, HOUR, again, dn_of, followed, guid_of, see_tombstones, sync, tick};
use crate::firm::{Firm, alice};
use crate::world::{Company, Loss, guid};

const GRACE_PERIOD: Duration = Duration::from_mins(11);

#[test]
fn no_user_is_reactivated_while_the_accounts_expiry_is_unknown() {
    let mut company = Company::running(40);
    (company.person(7).pro, company.person(7).basic) = (false, false);
    company.run(&Loss::default());
    company.later(company.limits.grace_period);
    company.run(&Loss::default());
    assert_eq!(company.status(7), Status::Suspended);
    // The contract has ended, and the clocks disagree.
    let apart = Loss { clocks_apart: true, ..Loss::default() };
    company.person(7).expires = Expiry::At(company.now.minus(DAY));
    company.person(7).basic = true;
    company.run(&apart);
    assert_eq!(company.status(7), Status::Suspended, "unknown: whatever is stored stays");
    // The contract is prolonged.
    company.person(7).expires = Expiry::Never;
    company.run(&apart);
    assert_eq!(company.status(7), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_is_reactivated_while_the_accounts_state_is_unreadable() {
    let firm = Firm::running(60, |_| {}).await;
    see_tombstones(&firm).await;
    let user = firm.users().await.remove(0);
    let who = guid_of(&user);
    firm.sim.edit(|ad| ad.set_recycle_bin(true));
    firm.sim.edit(|ad| ad.delete(who));
    firm.sync().await;
    assert_eq!(
        again(&firm, &user).await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Deleted)
    );
    firm.sim.edit(|ad| {
        ad.restore(who);
        ad.disable(who);
        ad.hide_attribute("userAccountControl", Some(dn_of(&user).into()));
    });
    firm.sync().await;
    assert_eq!(
        again(&firm, &user).await.status(),
        Status::Suspended,
        "it is disabled, and the attribute was unreadable"
    );
}

#[test]
fn two_observations_of_an_absence_have_to_show_the_same_cause() {
    let mut company = Company::running(40);
    (company.person(7).pro, company.person(7).basic) = (false, false);
    company.run(&Loss::default());
    company.later(company.limits.grace_period.saturating_sub(Duration::from_secs(30)));
    // In a group again, and invisible at the moment.
    company.person(7).basic = true;
    let loss = Loss { hidden: [guid(7)].into(), ..Loss::default() };
    company.run(&loss);
    company.later(Duration::from_secs(31));
    company.run(&loss);
    assert_eq!(
        company.status(7),
        Status::Active,
        "missed for half a minute: {:?}",
        company.user(7).causes.weightiest()
    );
    company.later(company.limits.grace_period);
    company.run(&loss);
    assert_eq!(company.status(7), Status::Suspended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_loses_half_of_its_people_waits_for_an_operator_at_every_run() {
    let firm = Firm::running(200, |_| {}).await;
    // All people are also basic; the pro ones by the group itself.
    let users = firm.users().await;
    firm.sim.edit(|ad| users.iter().for_each(|u| ad.add_member(names::BASIC, guid_of(u))));
    firm.sync().await;
    let members = firm.sim.look(|ad| ad.members(names::PRO));
    let direct: Vec<User> = firm
        .users()
        .await
        .into_iter()
        .filter(|u| u.tier == Tier::Pro && members.contains(&guid_of(u)))
        .collect();
    firm.sim.edit(|ad| {
        direct.iter().take(direct.len() / 2).for_each(|u| ad.remove_member(names::PRO, guid_of(u)))
    });
    let held = firm.sync().await.held;
    assert!(held >= 5, "{held} wait");
    for _ in 0..2 {
        firm.later(GRACE_PERIOD);
        assert_eq!(firm.sync().await.held, held, "no change was approved");
    }
    for user in &direct {
        assert_eq!(again(&firm, user).await.tier, Tier::Pro);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_leaves_the_pro_group_is_basic_where_basic_is_the_primary_group() {
    let firm = Firm::running(60, |c| {
        c.settings.groups = vec![
            (Tier::Pro, GroupName::parse(names::PRO)),
            (Tier::Basic, GroupName::parse("Domain Users")),
        ];
    })
    .await;
    let user = firm.users().await.into_iter().find(|u| u.tier == Tier::Pro).expect("a pro user");
    firm.sim.edit(|ad| {
        ad.remove_member(names::PRO, guid_of(&user));
        ad.remove_member(names::PRO_NESTED, guid_of(&user));
    });
    firm.sync().await;
    firm.later(GRACE_PERIOD);
    let run = firm.sync().await;
    assert_eq!(again(&firm, &user).await.tier, Tier::Basic, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_leaves_a_group_that_lists_primary_members_only_is_without_group() {
    let firm = Firm::running(60, |c| {
        c.settings.groups = vec![(Tier::Basic, GroupName::parse("Domain Users"))];
    })
    .await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.set(guid_of(&user), "primaryGroupID", "514"));
    firm.sync().await;
    firm.later(GRACE_PERIOD);
    let run = firm.sync().await;
    let user = again(&firm, &user).await;
    assert_eq!(user.causes.weightiest().map(|c| c.reason), Some(Reason::NoGroup), "{run:?}");
    let name = firm.engine.directory("corp").unwrap().config.name.clone();
    let guid = user.link.as_ref().expect("a link").guid;
    assert_eq!(
        firm.engine.store.people(&name, vec![guid]).await.unwrap()[&guid].entitled_by,
        None,
        "no group gives a tier any more"
    );
}

/// Returns the number of people that one run may suspend of so many without an operator.
fn bound(belonged: usize) -> usize {
    (1..=belonged).find(|n| *n >= 5 && n * 100 >= belonged * 30).map_or(belonged, |event| event - 1)
}

/// Returns the active people of the OU.
async fn of_ou(firm: &Firm, ou: &str) -> Vec<uuid::Uuid> {
    firm.users()
        .await
        .iter()
        .filter(|u| u.status() == Status::Active && dn_of(u).contains(ou))
        .map(guid_of)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ou_that_is_deleted_in_slices_is_held_where_one_run_would_hold_it() {
    for slice in [1, 4, 100] {
        let firm = followed(200, |_| {}).await;
        let before = firm.active().await;
        let people = of_ou(&firm, "OU=Sales").await;
        for piece in people.chunks(slice) {
            firm.sim.edit(|ad| piece.iter().for_each(|p| ad.delete(*p)));
            tick(&firm).await;
            firm.later(Duration::from_mins(1));
        }
        let gone = before - firm.active().await;
        let held = firm.engine.store.plans(false).await.unwrap().first().map_or(0, |p| p.count);
        // The first few look like ordinary leavers, who must be suspended.
        assert!(
            gone <= bound(people.len()) / slice * slice,
            "{gone} of {} gone, {slice} at a time",
            people.len()
        );
        assert_eq!(gone + held as usize, people.len(), "the others wait in sight");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ou_half_moved_and_half_deleted_one_by_one_is_one_event() {
    let firm = followed(200, |_| {}).await;
    let before = firm.active().await;
    let people = of_ou(&firm, "OU=Sales").await;
    firm.reconfigure(|c| {
        let root = c.settings.bases[0].clone();
        c.settings.bases = vec![format!("OU=Staff,{root}")];
    });
    firm.sync().await;
    for (n, person) in people.iter().enumerate() {
        firm.sim.edit(|ad| if n % 2 == 0 { ad.delete(*person) } else { ad.move_to(*person, "") });
        tick(&firm).await;
    }
    let gone = before - firm.active().await;
    assert!(gone <= bound(people.len()), "{gone} of {}", people.len());
}

#[test]
fn a_group_that_is_emptied_one_by_one_is_held_where_one_run_would_hold_it() {
    let mut company = Company::running(90);
    company.limits.grace_period = Duration::ZERO;
    // The basic group alone holds 60 of them; the class allows five in a window, so the limit is lifted.
    for limit in company.limits.classes.values_mut() {
        *limit = rosterd::reconcile::Limit { percent: 100, at_least: 1_000, at_most: None };
    }
    let basic: Vec<u32> = (0..90).filter(|n| n % 3 > 0).take(20).collect();
    for n in (0..90).filter(|n| n % 3 > 0 && !basic.contains(n)) {
        company.person(n).pro = true;
    }
    company.run(&Loss::default());
    for n in &basic {
        company.person(*n).basic = false;
        company.run(&Loss::default());
        company.later(Duration::from_mins(10));
    }
    let gone = basic.iter().filter(|n| company.status(**n) == Status::Suspended).count();
    assert_eq!(gone, bound(basic.len()), "{:?}", company.waiting());
}

#[test]
fn leavers_of_an_ordinary_week_leave_although_clusters_roll() {
    let mut company = Company::running(60);
    for n in [0, 3, 6, 9, 12, 15, 18] {
        company.person(n).life = crate::world::Life::Tombstone;
        company.run(&Loss { tombstones_visible: true, ..Loss::default() });
        assert_eq!(
            company.status(n),
            Status::Suspended,
            "one leaver of a day: {:?}",
            company.waiting()
        );
        company.later(DAY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_full_read_reactivates_no_user_that_was_seen_disabled_since() {
    let firm = Firm::running(60, |c| c.settings.page_size = 10).await;
    let users = firm.users().await;
    let first = firm.sim.look(|ad| ad.people().into_iter().nth(1)).unwrap();
    let user = users.iter().find(|u| guid_of(u) == first).unwrap_or(&users[0]).clone();
    // The entry is read as enabled, with another title; then the read is delayed.
    firm.sim.edit(|ad| ad.set(guid_of(&user), "title", "Chief"));
    firm.sim.faults().push(Fault::new(
        When::page(6).containing("objectcategory=person"),
        What::Delay(Duration::from_secs(2)),
    ));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        // In spite of any clock.
        firm.clock.set_back(HOUR);
        firm.sim.edit(|ad| ad.disable(guid_of(&user)));
        firm.engine.sync_user(&user.id.to_string(), &alice()).await.unwrap();
        assert_eq!(firm.user(&user.id.to_string()).await.status(), Status::Suspended);
    };
    let (run, ()) = tokio::join!(firm.sync(), meanwhile);
    let now = firm.user(&user.id.to_string()).await.status();
    assert_eq!((run.counts.total(), now), (0, Status::Suspended));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_be_behind_reactivates_no_user_at_once() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let other = firm.sim.replica("DC2").unwrap();
    let url = ServerUrl::parse(&other.ldaps_url()).unwrap();
    firm.reconfigure(|c| c.settings.servers.push(url));
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    sync(&firm, "corp").await;
    firm.sim.crash().await.unwrap();
    // The edit is not replicated to the other server yet.
    firm.sim.edit(|ad| ad.enable(guid_of(&user)));
    sync(&firm, "corp").await;
    assert_eq!(
        firm.user(&user.id.to_string()).await.status(),
        Status::Suspended,
        "for ten minutes at least"
    );
}
