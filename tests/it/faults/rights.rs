//! Rights: an absent value and a lost right look the same, so only evidence for the former changes
//! a user.

use std::time::Duration;

use adsim::{NewPerson, names};
use rosterd::engine::Request;
use rosterd::model::{QuarantineReason, RunState, Status, Trigger, User};

use super::{again, dn_of, followed, guid_of, tick};
use crate::firm::{Firm, alice};

fn with_aliases(users: Vec<User>) -> Vec<User> {
    users
        .into_iter()
        .filter(|u| !u.addresses.secondary.is_empty() && u.profile.display_name.is_some())
        .collect()
}

async fn lost(firm: &Firm, users: &[User]) -> usize {
    let mut lost = 0;
    for user in users {
        let now = again(firm, user).await;
        lost += usize::from(
            now.addresses.secondary != user.addresses.secondary
                || now.profile.display_name != user.profile.display_name,
        );
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_lost_everywhere_changes_no_user_in_an_incremental_run() {
    let firm = followed(60, |_| {}).await;
    let users: Vec<User> = with_aliases(firm.users().await).into_iter().take(4).collect();
    firm.sim.edit(|ad| {
        ad.hide_attribute("proxyAddresses", None);
        ad.hide_attribute("displayName", None);
        for user in &users {
            ad.set(guid_of(user), "title", "Chief");
        }
    });
    let run = tick(&firm).await;
    assert_eq!((run.mode.as_str(), lost(&firm, &users).await), ("incremental", 0), "{run:?}");
    assert!(
        run.warnings.iter().any(|w| w.starts_with("proxyAddresses is no longer shown")),
        "{run:?}"
    );
    let mut titles = 0;
    for user in &users {
        titles += usize::from(again(&firm, user).await.profile.title.as_deref() == Some("Chief"));
    }
    assert_eq!(titles, users.len(), "what can be read goes on");
    let full = firm.sync().await;
    assert_eq!((full.state, lost(&firm, &users).await), (RunState::Failed, 0), "{full:?}");
    firm.sim.edit(|ad| {
        ad.show_attribute("proxyAddresses");
        ad.show_attribute("displayName");
    });
    assert_eq!((firm.sync().await.error, lost(&firm, &users).await), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_lost_in_one_ou_takes_nothing_from_its_people_in_any_run() {
    let firm = followed(60, |_| {}).await;
    let all = firm.users().await;
    let parent =
        |user: &User| user.link.as_ref().and_then(|link| link.dn.parent()).expect("a parent");
    let place = with_aliases(all.clone()).first().map(parent).expect("a user with an alias");
    let users: Vec<User> = all.into_iter().filter(|u| parent(u) == place).collect();
    assert!(users.len() > 2, "{users:?}");
    firm.sim.edit(|ad| {
        for attribute in ["proxyAddresses", "displayName"] {
            ad.hide_attribute(attribute, Some(place.as_str().into()));
        }
        users.iter().take(2).for_each(|u| ad.set(guid_of(u), "title", "Chief"));
    });
    let run = tick(&firm).await;
    assert_eq!(lost(&firm, &users).await, 0, "{run:?}");
    let run = firm.sync().await;
    assert_eq!(lost(&firm, &users).await, 0, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_is_taken_off_an_entry_comes_off_the_user() {
    let firm = followed(60, |_| {}).await;
    let user = with_aliases(firm.users().await).remove(0);
    firm.sim.edit(|ad| {
        ad.clear(guid_of(&user), "proxyAddresses");
        ad.clear(guid_of(&user), "displayName");
    });
    let run = tick(&firm).await;
    let now = again(&firm, &user).await;
    assert!(now.addresses.secondary.is_empty() && now.profile.display_name.is_none(), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_run_concludes_nothing_while_rights_are_lost() {
    let firm = followed(60, |_| {}).await;
    let users = firm.users().await;
    firm.sim.edit(|ad| ad.hide_attribute("displayName", None));
    assert_eq!(firm.sync().await.state, RunState::Failed);
    firm.sim.edit(|ad| {
        ad.set(guid_of(&users[0]), "title", "Chief");
        ad.disable(guid_of(&users[1]));
    });
    let directory = firm.engine.directory("corp").expect("corp");
    let people = users[..2].iter().map(|u| u.link.as_ref().expect("a link").guid);
    let run = firm
        .engine
        .run(&directory, Request::people(Trigger::Live, people, None))
        .await
        .expect("a run");
    assert!(
        run.error.as_deref().is_some_and(|e| e.contains("rights lost: displayName")),
        "{run:?}"
    );
    assert_eq!(
        (run.counts.update, run.counts.suspend),
        (0, 1),
        "only what was seen positively: {run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_run_reads_the_canaries() {
    let firm = followed(60, |_| {}).await;
    let users = firm.users().await;
    let service = firm.sim.service_dn();
    // No administrator can clear this attribute: only a lost right hides it.
    firm.sim.edit(|ad| {
        ad.hide_attribute("sAMAccountName", Some(service.as_str().into()));
        ad.set(guid_of(&users[0]), "title", "Chief");
        ad.disable(guid_of(&users[1]));
    });
    let run = tick(&firm).await;
    assert!(
        run.error.as_deref().is_some_and(|e| e.contains("no longer shows samaccountname")),
        "{run:?}"
    );
    assert_eq!((run.counts.update, run.counts.suspend), (0, 1), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_accounts_entry_may_be_tidied_up() {
    let firm = Firm::of(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let service = firm.sim.service_dn();
    firm.sim.edit(|ad| {
        for attribute in ["description", "displayName", "mail", "title"] {
            ad.set(service.as_str(), attribute, "reads people for rosterd; ask Ann");
        }
        ad.show_tombstones(true);
    });
    firm.sync().await;
    if let Some(plan) = firm.engine.store.plans(false).await.unwrap().into_iter().next() {
        firm.engine.approve(plan.id, alice()).await.unwrap();
    }
    let users = firm.users().await;
    firm.sim.edit(|ad| {
        for attribute in ["description", "displayName", "mail", "title"] {
            ad.clear(service.as_str(), attribute);
        }
        ad.delete(guid_of(&users[11]));
        ad.add_person(
            NewPerson::new("joiner")
                .mail("joiner@example.com")
                .ou("Finance")
                .member_of(names::BASIC),
        );
    });
    for _ in 0..2 {
        let run = firm.sync().await;
        assert_eq!(run.error, None, "{run:?}");
    }
    let joined = firm.engine.find_user("joiner@example.com").await.is_ok();
    assert_eq!((again(&firm, &users[11]).await.status(), joined), (Status::Suspended, true));
}

/// Deletes a person that other entries refer to. Run and suspension must not fail by it.
async fn delete_referenced(firm: &Firm, boss: &User) {
    assert_eq!(firm.sync().await.error, None);
    firm.sim.edit(|ad| ad.delete(guid_of(boss)));
    let run = firm.sync().await;
    assert_eq!(
        (run.error.as_deref(), again(firm, boss).await.status()),
        (None, Status::Suspended),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_who_is_deleted_is_no_loss_of_rights() {
    let firm = followed(60, |_| {}).await;
    let users = firm.users().await;
    let boss = users[0].clone();
    firm.sim.edit(|ad| {
        let dn = ad.dn(guid_of(&boss));
        for person in ad.people() {
            if person != guid_of(&boss) {
                ad.set(person, "manager", &dn);
            }
        }
    });
    delete_referenced(&firm, &boss).await;
    firm.sim.edit(|ad| ad.delete(guid_of(&users[1])));
    firm.later(Duration::from_mins(15));
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), again(&firm, &users[1]).await.status()),
        ("incremental", Status::Suspended),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_attribute_of_any_name_says_nothing_about_rights() {
    // An assistant's display name, mapped to an attribute that refers to other entries.
    let firm = followed(60, |c| c.settings.attributes.phone = "managedBy".to_owned()).await;
    let users = firm.users().await;
    let boss = users[0].clone();
    firm.sim.edit(|ad| {
        let dn = ad.dn(guid_of(&boss));
        ad.people()
            .into_iter()
            .filter(|p| *p != guid_of(&boss))
            .for_each(|p| ad.set(p, "managedBy", &dn));
    });
    delete_referenced(&firm, &boss).await;
}

/// Returns the reason for the quarantine of the user's entry, in the store and by `explain`.
async fn quarantined(
    firm: &Firm,
    address: &str,
) -> (Option<QuarantineReason>, Option<QuarantineReason>) {
    let name = firm.engine.directory("corp").expect("corp").config.name.clone();
    let guid = firm.engine.explain(address).await.expect("an explanation").entries.remove(0);
    let rows = firm.engine.store.quarantined(&name).await.expect("rows");
    let row = rows.into_iter().find(|(who, ..)| *who == guid.guid).map(|(_, _, reason, _)| reason);
    (row, guid.quarantine)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_aspect_of_a_user_is_a_quarantine_that_is_announced_once() {
    for (attribute, reason) in [
        ("userAccountControl", QuarantineReason::UnknownAccountControl),
        ("accountExpires", QuarantineReason::UnknownExpiry),
    ] {
        let firm = followed(40, |_| {}).await;
        let user = firm.users().await.remove(0);
        let address = user.addresses.primary.clone().expect("an address").to_string();
        firm.sim.edit(|ad| {
            ad.hide_attribute(attribute, Some(dn_of(&user).into()));
            ad.disable(guid_of(&user));
        });
        for _ in 0..3 {
            let run = firm.sync().await;
            assert_eq!((run.error.as_deref(), run.quarantined), (None, 1), "{attribute}: {run:?}");
        }
        if attribute == "userAccountControl" {
            assert_eq!(
                again(&firm, &user).await.status(),
                Status::Active,
                "the attribute is unreadable"
            );
        }
        assert_eq!(quarantined(&firm, &address).await, (Some(reason), Some(reason)), "{attribute}");
        let told = firm.events("user.quarantined").await;
        assert_eq!(told.len(), 1, "{attribute}: {told:?}");
        let directory = firm.engine.directory("corp").expect("corp");
        assert_eq!(
            firm.engine.directory_status(&directory).await.expect("a status").quarantined,
            1
        );
        firm.sim.edit(|ad| ad.show_attribute(attribute));
        firm.sync().await;
        assert_eq!(
            (again(&firm, &user).await.status(), quarantined(&firm, &address).await),
            (Status::Suspended, (None, None)),
            "{attribute}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_with_an_unusable_account_state_is_quarantined_with_the_reason() {
    let firm = followed(200, |_| {}).await;
    let control = QuarantineReason::UnknownAccountControl;
    let expiry = QuarantineReason::UnknownExpiry;
    // Too few to be taken for lost rights.
    let table = [
        ("userAccountControl", "4294967810", control),
        ("userAccountControl", "normal", control),
        ("accountExpires", "never", expiry),
        ("accountExpires", "-5", expiry),
        ("accountExpires", "99999999999999999999", expiry),
    ];
    firm.sim.edit(|ad| {
        for (n, (attribute, value, _)) in table.iter().enumerate() {
            let person = NewPerson::new(format!("new{n}"))
                .mail(&format!("new{n}@example.com"))
                .ou("Finance")
                .member_of(names::BASIC);
            let guid = ad.add_person(person);
            ad.set(guid, attribute, value);
        }
    });
    for run in [tick(&firm).await, firm.sync().await] {
        assert_eq!(
            (run.error.as_deref(), run.quarantined, run.counts.create),
            (None, table.len() as u64, 0),
            "{run:?}"
        );
    }
    for (n, (attribute, value, reason)) in table.iter().enumerate() {
        let address = format!("new{n}@example.com");
        assert_eq!(
            quarantined(&firm, &address).await,
            (Some(*reason), Some(*reason)),
            "{attribute} = {value}"
        );
    }
    assert_eq!(firm.events("user.quarantined").await.len(), table.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_over_32_bits_disables_no_user_and_many_of_them_are_lost_rights() {
    let firm = followed(60, |_| {}).await;
    let users = firm.users().await;
    firm.sim.edit(|ad| ad.set(guid_of(&users[0]), "userAccountControl", "4294967810"));
    for run in [tick(&firm).await, firm.sync().await] {
        assert_eq!(
            (run.error.as_deref(), run.counts.suspend, run.quarantined),
            (None, 0, 1),
            "{run:?}"
        );
    }
    firm.sim.edit(|ad| {
        users.iter().take(10).for_each(|u| ad.set(guid_of(u), "userAccountControl", "4294967810"))
    });
    let run = firm.sync().await;
    assert!(run.error.as_deref().is_some_and(|e| e.contains("userAccountControl")), "{run:?}");
    assert_eq!(again(&firm, &users[0]).await.status(), Status::Active);
}
