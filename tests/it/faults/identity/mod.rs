//! Identity is the account and the objectGUID: moves, renames, relinks, and names of several users.

use std::collections::BTreeSet;
use std::time::Duration;

use adsim::{Fault, NewPerson, Sim, What, When, names};
use rosterd::engine::{DirectoryConfig, Invitation, Request, Selection};
use rosterd::model::*;
use rosterd::store::Run;

use super::{
    again, checkpoint, dn_of, followed, guid_of, held_plan, hide_completely, no_full_runs,
    see_tombstones, sync, tick,
};
use crate::firm::{Firm, alice, config};

fn name(text: &str) -> DirectoryName {
    DirectoryName::parse(text).expect("a name")
}

/// Returns the directory over one OU of the company.
fn over(corp: &DirectoryConfig, called: &str, ous: &[&str], root: &str) -> DirectoryConfig {
    let mut config = corp.clone();
    config.name = name(called);
    config.settings.bases = ous.iter().map(|ou| format!("OU={ou},OU=Staff,{root}")).collect();
    config
}

/// Replaces the directories.
fn configure(firm: &Firm, directories: Vec<DirectoryConfig>) {
    firm.engine.reconfigure(directories, firm.engine.configured().rules.clone());
}

/// Approves held plans, so that a directory is in normal operation.
async fn approve_held(firm: &Firm, of: &str) {
    for _ in 0..2 {
        let run = sync(firm, of).await;
        assert_eq!(run.error, None, "{run:?}");
        for plan in firm.engine.store.plans(false).await.expect("plans") {
            firm.engine.approve(plan.id, alice()).await.expect("an approval");
        }
    }
}

/// Returns a company read by `corp` (Engineering) and `emea` (Sales), with visible deleted objects.
async fn two_offices() -> Firm {
    let firm = Firm::of(60, |c| {
        c.full = no_full_runs();
        c.limits.grace_period = Duration::ZERO;
    })
    .await;
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let corp = over(&corp, "corp", &["Engineering"], &root);
    let emea = over(&corp, "emea", &["Sales"], &root);
    configure(&firm, vec![corp, emea]);
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
        ad.delete("nobody");
    });
    approve_held(&firm, "corp").await;
    approve_held(&firm, "emea").await;
    firm
}

async fn tick_of(firm: &Firm, of: &str) -> Run {
    let directory = firm.engine.directory(of).expect("a directory");
    let request = firm.engine.scheduled(&directory).await;
    firm.engine.run(&directory, request).await.expect("a run")
}

async fn of_directory(firm: &Firm, of: &str) -> Vec<User> {
    let is_of = |u: &User| {
        u.status() == Status::Active && u.link.as_ref().is_some_and(|l| l.directory.as_str() == of)
    };
    firm.users().await.into_iter().filter(is_of).collect()
}

fn directory_of(user: &User) -> &str {
    user.link.as_ref().expect("a link").directory.as_str()
}

async fn quarantine(firm: &Firm, of: &str) -> Vec<QuarantineReason> {
    firm.engine
        .store
        .quarantined(&name(of))
        .await
        .expect("the quarantine")
        .into_iter()
        .map(|(_, _, reason, _)| reason)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_entry_moves_to_another_directory_of_the_account_moves_with_it() {
    for first in ["corp", "emea"] {
        let firm = two_offices().await;
        let user = of_directory(&firm, "corp").await.remove(0);
        firm.sim.edit(|ad| ad.move_to(guid_of(&user), "Sales"));
        let second = if first == "corp" { "emea" } else { "corp" };
        for of in [first, second] {
            let run = tick_of(&firm, of).await;
            assert_eq!(
                (run.error.as_deref(), run.counts.suspend, run.held, run.mode.as_str()),
                (None, 0, 0, "incremental"),
                "{run:?}"
            );
        }
        let now = again(&firm, &user).await;
        assert_eq!(
            (now.status(), directory_of(&now), now.id),
            (Status::Active, "emea", user.id),
            "{first} first"
        );
        assert_eq!(now.addresses, user.addresses);
        let events = firm.events("user.moved").await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(
            (&events[0]["data"]["before"]["directory"], &events[0]["data"]["after"]["directory"]),
            (&"corp".into(), &"emea".into())
        );
        // Neither directory reports it any more.
        for of in ["corp", "emea", "corp"] {
            assert_eq!(tick_of(&firm, of).await.counts.total(), 0);
        }
        let explained = firm.engine.explain(&user.id.to_string()).await.expect("an explanation");
        assert!(
            explained.entries.iter().any(|entry| entry.directory.as_str() == "emea"),
            "{explained:?}"
        );
        // The person is disabled in the new place.
        firm.sim.edit(|ad| ad.disable(guid_of(&user)));
        tick_of(&firm, "emea").await;
        assert_eq!(again(&firm, &user).await.status(), Status::Suspended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_moved_and_disabled_at_once_is_moved_and_suspended() {
    for full in [false, true] {
        let firm = two_offices().await;
        let user = of_directory(&firm, "corp").await.remove(0);
        firm.sim.edit(|ad| {
            ad.move_to(guid_of(&user), "Sales");
            ad.disable(guid_of(&user));
        });
        let run = if full { sync(&firm, "emea").await } else { tick_of(&firm, "emea").await };
        let now = again(&firm, &user).await;
        assert_eq!(
            (now.status(), directory_of(&now)),
            (Status::Suspended, "emea"),
            "full: {full}: {run:?}"
        );
        // Enabled again, the user is active in the new place.
        firm.sim.edit(|ad| ad.enable(guid_of(&user)));
        tick_of(&firm, "emea").await;
        assert_eq!(again(&firm, &user).await.status(), Status::Active);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_moves_out_of_all_directories_is_suspended() {
    let firm = two_offices().await;
    let user = of_directory(&firm, "corp").await.remove(0);
    firm.sim.edit(|ad| ad.move_to(guid_of(&user), "Finance"));
    tick_of(&firm, "emea").await;
    tick_of(&firm, "corp").await;
    let now = again(&firm, &user).await;
    assert_eq!(now.causes.weightiest().map(|c| c.reason), Some(Reason::OutOfScope));
    // The other directory reactivates the user.
    firm.sim.edit(|ad| ad.move_to(guid_of(&user), "Sales"));
    tick_of(&firm, "emea").await;
    let now = again(&firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_stays_with_its_directory_while_that_cannot_be_asked_and_moves_afterwards() {
    let firm = two_offices().await;
    let other = firm.sim.replica("DC2").expect("another controller");
    let mut directories: Vec<DirectoryConfig> =
        firm.engine.configured().directories.values().map(|d| d.config.clone()).collect();
    directories[1].settings.servers = vec![ServerUrl::parse(&other.ldaps_url()).expect("a URL")];
    configure(&firm, directories);
    sync(&firm, "emea").await;
    let user = of_directory(&firm, "corp").await.remove(0);
    firm.sim.edit(|ad| ad.move_to(guid_of(&user), "Sales"));
    firm.sim.faults().push(Fault::new(When::Bind, What::result(52, "unavailable")).always());
    let run = tick_of(&firm, "emea").await;
    let now = again(&firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "corp"), "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("could not be asked")), "{:?}", run.warnings);
    assert_eq!(quarantine(&firm, "emea").await, [QuarantineReason::OtherDirectoryUnknown]);
    firm.sim.faults().clear();
    tick_of(&firm, "emea").await;
    assert_eq!(
        directory_of(&again(&firm, &user).await),
        "emea",
        "asked again without another change in the directory"
    );
    assert_eq!(quarantine(&firm, "emea").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_two_directories_stays_with_the_first_and_is_reported() {
    let firm = two_offices().await;
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let users = of_directory(&firm, "corp").await;
    configure(&firm, vec![corp.clone(), over(&corp, "emea", &["Sales", "Engineering"], &root)]);
    approve_held(&firm, "emea").await;
    for user in &users {
        let now = again(&firm, user).await;
        assert_eq!((now.status(), directory_of(&now)), (Status::Active, "corp"));
    }
    let run = sync(&firm, "emea").await;
    assert!(run.warnings.iter().any(|w| w.contains("both corp and emea")), "{:?}", run.warnings);
    assert!(quarantine(&firm, "emea").await.contains(&QuarantineReason::TwoDirectories));
    // A leaver is suspended by the directory that it stays with.
    firm.sim.edit(|ad| ad.disable(guid_of(&users[0])));
    tick_of(&firm, "emea").await;
    tick_of(&firm, "corp").await;
    assert_eq!(again(&firm, &users[0]).await.status(), Status::Suspended);
    // Once only one directory shows the person, no report is left.
    configure(&firm, vec![corp.clone(), over(&corp, "emea", &["Sales"], &root)]);
    approve_held(&firm, "emea").await;
    assert_eq!(quarantine(&firm, "emea").await, []);
    assert_eq!(directory_of(&again(&firm, &users[1]).await), "corp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whose_entry_only_another_domain_shows_leaves() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let other = firm.sim.replica("DC2").expect("another controller");
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let mut emea = corp.clone();
    emea.name = name("emea");
    emea.settings.servers = vec![ServerUrl::parse(&other.ldaps_url()).expect("a URL")];
    configure(&firm, vec![corp, emea]);
    let user = firm.users().await.remove(0);
    let who = guid_of(&user);
    hide_completely(&firm, who);
    for of in ["corp", "emea", "corp", "emea"] {
        sync(&firm, of).await;
    }
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
    firm.sim.edit(|ad| ad.disable(who));
    for of in ["corp", "emea", "corp", "emea"] {
        sync(&firm, of).await;
    }
    assert_eq!(
        again(&firm, &user).await.status(),
        Status::Suspended,
        "disabled in the only directory that shows the entry"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_under_another_name_takes_its_people_over_and_leavers_leave() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    see_tombstones(&firm).await;
    let users = firm.users().await;
    let active = firm.active().await;
    let mut renamed = firm.engine.directory("corp").unwrap().config.clone();
    renamed.name = name("corp2");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| {
        ad.disable(guid_of(&users[0]));
        ad.delete(guid_of(&users[1]));
        ad.set(guid_of(&users[2]), "title", "Chief");
    });
    let run = sync(&firm, "corp2").await;
    assert_eq!((run.error.as_deref(), run.held, run.dropped), (None, 0, 0), "{run:?}");
    let reasons = [again(&firm, &users[0]).await, again(&firm, &users[1]).await]
        .map(|u| u.causes.weightiest().map(|c| c.reason));
    assert_eq!(reasons, [Some(Reason::Disabled), Some(Reason::Deleted)]);
    assert_eq!(again(&firm, &users[2]).await.profile.title.as_deref(), Some("Chief"));
    assert_eq!(firm.active().await, active - 2, "no other user is suspended");
    assert!(firm.users().await.iter().all(|u| directory_of(u) == "corp2"));
    assert_eq!(sync(&firm, "corp2").await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directory_reactivates_its_people_when_their_domain_is_claimed_again() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    let mut renamed = firm.engine.directory("corp").unwrap().config.clone();
    renamed.name = name("corp2");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| ad.disable(dn_of(&users[0]).as_str()));
    sync(&firm, "corp2").await;
    assert_eq!(again(&firm, &users[0]).await.status(), Status::Suspended);
    firm.engine.release("example.com", Some("acme"), &alice()).await.expect("a release");
    firm.engine.claim("acme", "example.com", &alice()).await.expect("a claim");
    approve_held(&firm, "corp2").await;
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Suspended,
        "a leaver does not come back with the domain"
    );
    assert!(firm.active().await > 40, "the others do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_split_into_three_and_merged_again_loses_no_leaver() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    see_tombstones(&firm).await;
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").unwrap().config.clone();
    let active = firm.active().await;
    let in_ou = |users: &[User], ou: &str| {
        users
            .iter()
            .filter(|u| dn_of(u).contains(ou) && u.status() == Status::Active)
            .cloned()
            .collect::<Vec<_>>()
    };
    let ous = ["Engineering", "Sales", "Operations", "Finance", "Support"];
    let present: Vec<&str> = ous
        .into_iter()
        .filter(|ou| {
            firm.sim.look(|ad| ad.people().iter().any(|p| ad.dn(*p).contains(&format!("OU={ou},"))))
        })
        .collect();
    assert!(present.len() >= 3, "{present:?}");
    // The split: a leaver of each part, one of whom has also moved.
    let users = firm.users().await;
    let leavers: Vec<User> =
        present.iter().map(|ou| in_ou(&users, &format!("OU={ou},")).remove(0)).collect();
    firm.sim.edit(|ad| {
        for (n, leaver) in leavers.iter().enumerate() {
            if n % 2 == 0 { ad.disable(guid_of(leaver)) } else { ad.delete(guid_of(leaver)) }
        }
    });
    configure(
        &firm,
        vec![
            over(&corp, "one", &present[..1], &root),
            over(&corp, "two", &present[1..2], &root),
            over(&corp, "three", &present[2..], &root),
        ],
    );
    for of in ["one", "two", "three"] {
        approve_held(&firm, of).await;
    }
    for leaver in &leavers {
        assert_eq!(again(&firm, leaver).await.status(), Status::Suspended, "{}", dn_of(leaver));
    }
    let outside = users
        .iter()
        .filter(|u| !present.iter().any(|ou| dn_of(u).contains(&format!("OU={ou},"))))
        .count();
    assert_eq!(firm.active().await, active - leavers.len(), "no other user ({outside} elsewhere)");
    // The merge: a leaver of each former directory.
    let users = firm.users().await;
    let leavers: Vec<User> =
        present.iter().map(|ou| in_ou(&users, &format!("OU={ou},")).remove(0)).collect();
    firm.sim.edit(|ad| leavers.iter().for_each(|leaver| ad.disable(guid_of(leaver))));
    let before = firm.active().await;
    configure(&firm, vec![over(&corp, "one", &present, &root)]);
    approve_held(&firm, "one").await;
    for leaver in &leavers {
        assert_eq!(again(&firm, leaver).await.status(), Status::Suspended, "{}", dn_of(leaver));
    }
    assert_eq!(firm.active().await, before - leavers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_person_stays_protected_in_the_directory_that_takes_the_user_over() {
    let firm = two_offices().await;
    let user = of_directory(&firm, "corp").await.remove(0);
    let mail = user.addresses.primary.clone().expect("an address");
    let configured = firm.engine.configured();
    let directories = configured.directories.values().map(|d| d.config.clone());
    let directories = directories.map(|mut c| {
        if c.name.as_str() == "corp" {
            c.protect = vec![mail.clone()];
        }
        c
    });
    configure(&firm, directories.collect());
    firm.sim.edit(|ad| {
        ad.move_to(guid_of(&user), "Sales");
        ad.disable(guid_of(&user));
    });
    let run = tick_of(&firm, "emea").await;
    assert_eq!((run.held, again(&firm, &user).await.status()), (1, Status::Active), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_restored_after_its_user_was_relinked_is_quarantined_alone() {
    let firm = followed(40, |_| {}).await;
    let users = firm.users().await;
    let user = users[0].clone();
    let (old, address) = (guid_of(&user), user.addresses.primary.clone().unwrap());
    firm.sim.edit(|ad| {
        ad.set_recycle_bin(true);
        ad.delete(old);
    });
    tick(&firm).await;
    let new = firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("again").mail(address.as_str()).ou("Finance").member_of(names::BASIC),
        )
    });
    tick(&firm).await;
    firm.engine.relink(&user.id.to_string(), &new.to_string(), &alice()).await.unwrap();
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
    firm.sim.edit(|ad| {
        ad.restore(old);
        ad.set(old, "mail", "old.one@example.com");
        ad.clear(old, "proxyAddresses");
    });
    for _ in 0..3 {
        let run = tick(&firm).await;
        assert_eq!((run.dropped, run.quarantined), (0, 1), "{run:?}");
    }
    assert_eq!(quarantine(&firm, "corp").await, [QuarantineReason::IdTaken]);
    assert_eq!(
        firm.events("user.quarantined")
            .await
            .iter()
            .filter(|e| e["data"]["after"]["reason"] == "id-taken")
            .count(),
        1,
        "one report"
    );
    let before = checkpoint(&firm).await;
    firm.sim.edit(|ad| ad.set(dn_of(&users[1]).as_str(), "title", "Chief"));
    let run = tick(&firm).await;
    let sync = firm.sync().await;
    assert_eq!(
        (run.mode.as_str(), run.dropped, sync.dropped, checkpoint(&firm).await != before),
        ("incremental", 0, 0, true)
    );
    // The remedy works: the other entry is deleted, and the user returns to this one.
    firm.sim.edit(|ad| ad.delete(new));
    tick(&firm).await;
    firm.engine.relink(&user.id.to_string(), &old.to_string(), &alice()).await.unwrap();
    let now = again(&firm, &user).await;
    assert_eq!((now.status(), guid_of(&now)), (Status::Active, old));
    assert_eq!(quarantine(&firm, "corp").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_person_stays_protected_after_a_relink() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    see_tombstones(&firm).await;
    let user = firm.users().await.remove(0);
    let mail = user.addresses.primary.clone().unwrap();
    firm.reconfigure(|c| c.protect = vec![mail.clone()]);
    firm.sync().await;
    firm.sim.edit(|ad| ad.delete(guid_of(&user)));
    firm.sync().await;
    firm.engine.approve(held_plan(&firm).await.id, alice()).await.unwrap();
    let new = firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("ceo").mail(mail.as_str()).ou("Finance").member_of(names::BASIC),
        )
    });
    firm.sync().await;
    firm.engine.relink(&user.id.to_string(), &new.to_string(), &alice()).await.unwrap();
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
    firm.sim.edit(|ad| ad.disable(new));
    let run = firm.sync().await;
    assert_eq!((run.held, again(&firm, &user).await.status()), (1, Status::Active), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guid_that_means_users_of_several_accounts_is_refused_with_all_of_them() {
    let firm = Firm::of(10, |_| {}).await;
    let corp = firm.engine.directory("corp").unwrap().config.clone();
    let mut club = corp.clone();
    club.name = name("club");
    club.account = Handle::parse("club").unwrap();
    club.settings.attributes.email = "userPrincipalName".to_owned();
    firm.engine.create_account("club", "Club", &alice()).await.unwrap();
    let mut rules = firm.engine.configured().rules.clone();
    rules.trusted.insert(Domain::parse("example.net").unwrap());
    firm.engine.reconfigure(vec![corp, club], rules);
    firm.engine.claim("club", "example.net", &alice()).await.unwrap();
    firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("both")
                .mail("both@example.com")
                .upn("both@example.net")
                .ou("Finance")
                .member_of(names::BASIC),
        );
    });
    sync(&firm, "corp").await;
    sync(&firm, "club").await;
    let users = [firm.user("both@example.com").await, firm.user("both@example.net").await];
    let guid = users[0].link.as_ref().unwrap().guid.to_string();
    let refused =
        firm.engine.suspend(&guid, "stolen laptop", &alice()).await.unwrap_err().to_string();
    for user in &users {
        assert!(refused.contains(&user.id.to_string()), "{refused}");
        assert_eq!(again(&firm, user).await.status(), Status::Active, "no other change is delayed");
        firm.engine.suspend(&user.id.to_string(), "stolen laptop", &alice()).await.expect("by id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_address_of_users_of_several_accounts_is_refused_with_all_of_them() {
    let firm = Firm::of(5, |_| {}).await;
    firm.engine.create_account("club", "Club", &alice()).await.unwrap();
    firm.trust(&["example.net"]);
    let mut ids = BTreeSet::new();
    for account in ["acme", "club"] {
        firm.engine.claim(account, "example.net", &alice()).await.unwrap();
        let invited =
            firm.engine.invite(account, &["ann@example.net".to_owned()], &alice()).await.unwrap();
        let Invitation::Invited(id) = invited[0].1 else { panic!("{invited:?}") };
        ids.insert(id);
        firm.sign_in("ann@example.net", None).await;
        firm.engine.release("example.net", Some(account), &alice()).await.unwrap();
    }
    let refused = firm.engine.find_user("ann@example.net").await.unwrap_err().to_string();
    assert!(ids.len() == 2 && ids.iter().all(|id| refused.contains(&id.to_string())), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_change_takes_along_what_needs_its_address_and_nothing_else() {
    let firm = Firm::running(60, |_| {}).await;
    let users = firm.users().await;
    let address = users[0].addresses.primary.clone().unwrap();
    let reading = When::search().containing("objectcategory=person)(objectclass=user");
    firm.sim.faults().push(Fault::new(reading, What::Delay(Duration::from_secs(2))));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        firm.sim.edit(|ad| ad.set(guid_of(&users[0]), "title", "Somebody else"));
        firm.engine.sync_user(&users[0].id.to_string(), &alice()).await.unwrap();
        firm.sim.edit(|ad| {
            ad.set(guid_of(&users[0]), "mail", "new.name@example.com");
            ad.clear(guid_of(&users[0]), "proxyAddresses");
            ad.set(guid_of(&users[1]), "mail", address.as_str());
            ad.clear(guid_of(&users[1]), "proxyAddresses");
            ad.disable(guid_of(&users[2]));
        });
    };
    let (run, ()) = tokio::join!(firm.sync(), meanwhile);
    assert_eq!(
        (run.error.as_deref(), again(&firm, &users[2]).await.status()),
        (None, Status::Suspended),
        "{run:?}"
    );
    assert!(run.dropped >= 2, "the taker waits with the giver: {run:?}");
    firm.sync().await;
    assert_eq!(
        again(&firm, &users[1]).await.addresses.primary,
        Some(address),
        "the next run does the rest"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_taken_meanwhile_costs_its_own_change_only() {
    let firm = Firm::running(30, |_| {}).await;
    let users = firm.users().await;
    let reading = When::search().containing("objectcategory=person)(objectclass=user");
    firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("new").mail("new.one@example.com").ou("Finance").member_of(names::BASIC),
        );
        ad.disable(guid_of(&users[2]));
    });
    firm.sim.faults().push(Fault::new(reading, What::Delay(Duration::from_secs(2))));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        firm.engine.invite("acme", &["new.one@example.com".to_owned()], &alice()).await.unwrap();
    };
    let (run, ()) = tokio::join!(firm.sync(), meanwhile);
    assert_eq!(
        (run.error.as_deref(), again(&firm, &users[2]).await.status()),
        (None, Status::Suspended),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_person_who_is_invited_is_suspended_by_the_next_tick() {
    // The second lost the groups. The third is excluded by the filter, because it is disabled.
    for (filter, groups) in [
        (None, true),
        (None, false),
        (Some("(!(userAccountControl:1.2.840.113556.1.4.803:=2))"), true),
    ] {
        let firm = followed(20, |c| {
            c.settings.filter =
                filter.map(|text| (text.to_owned(), Filter::parse(text).expect("a filter")));
        })
        .await;
        firm.sim.edit(|ad| {
            let gone = NewPerson::new("gone").mail("gone@example.com").ou("Finance").disabled();
            ad.add_person(if groups { gone.member_of(names::BASIC) } else { gone });
        });
        tick(&firm).await;
        firm.engine.invite("acme", &["gone@example.com".to_owned()], &alice()).await.unwrap();
        assert_eq!(firm.sign_in("gone@example.com", None).await.as_str(), "allow");
        let run = tick(&firm).await;
        assert_eq!((run.mode.as_str(), run.error.as_deref()), ("incremental", None));
        let now = firm.user("gone@example.com").await;
        assert_eq!(
            now.causes.weightiest().map(|c| c.reason),
            Some(Reason::Disabled),
            "{filter:?} {groups}"
        );
        // The change is asked for once.
        assert_eq!(tick(&firm).await.entries, 0, "nothing is pending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_signs_in_by_the_external_provider_is_read_by_the_next_tick() {
    let firm = followed(20, |_| {}).await;
    // The directory suspends its user, and the person gets another way.
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("gone").mail("gone@example.com").ou("Finance").disabled());
    });
    tick(&firm).await;
    firm.engine.invite("acme", &["gone@example.com".to_owned()], &alice()).await.unwrap();
    let user = firm.user("gone@example.com").await;
    firm.engine.remove(&user.id.to_string(), &alice()).await.unwrap();
    let name = firm.engine.directory("corp").unwrap().config.name.clone();
    assert_eq!(
        firm.engine.store.pending_addresses(&name).await.unwrap().len(),
        1,
        "a removal is a reason to look, too"
    );
    assert_eq!(tick(&firm).await.error, None);
    assert_eq!(firm.engine.store.pending_addresses(&name).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmanaged_user_with_a_disabled_entry_is_linked_and_suspended() {
    let firm = Firm::of(10, |_| {}).await;
    for who in ["ann@example.com", "bob@example.com"] {
        firm.engine.invite("acme", &[who.to_owned()], &alice()).await.unwrap();
        assert_eq!(firm.sign_in(who, None).await.as_str(), "allow");
    }
    firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("ann")
                .mail("ann@example.com")
                .ou("Finance")
                .member_of(names::BASIC)
                .disabled(),
        );
        ad.add_person(NewPerson::new("bob").mail("bob@example.com").ou("Finance").disabled());
    });
    firm.sync().await;
    let now =
        [firm.user("ann@example.com").await.status(), firm.user("bob@example.com").await.status()];
    assert_eq!(now, [Status::Suspended, Status::Suspended], "both are disabled in the directory");
    // Enabled again without a group, the person stays suspended as without group.
    firm.sim.edit(|ad| ad.enable("bob"));
    firm.sync().await;
    assert_ne!(firm.user("bob@example.com").await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_run_of_another_directory_does_not_touch_a_user_of_this_one() {
    let firm = two_offices().await;
    let user = of_directory(&firm, "corp").await.remove(0);
    let emea = firm.engine.directory("emea").expect("emea");
    let guid = user.link.as_ref().expect("a link").guid;
    let run = firm
        .engine
        .run(&emea, Request::people(Trigger::Manual, [guid], Some(alice())))
        .await
        .expect("a run");
    assert_eq!((run.counts.total(), run.held, run.quarantined), (0, 0, 0), "{run:?}");
    assert_eq!(again(&firm, &user).await, user);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_with_rename_from_continues_where_the_old_one_ended() {
    for configured in [true, false] {
        let firm = followed(40, |_| {}).await;
        let users = firm.users().await;
        let mail = users[1].addresses.primary.clone().expect("an address");
        firm.reconfigure(|c| c.protect = vec![mail.clone()]);
        firm.sync().await;
        let corp = firm.engine.directory("corp").expect("corp").config.clone();
        let mut renamed = corp.clone();
        renamed.name = name("berlin");
        renamed.rename_from = configured.then(|| name("corp"));
        let refused =
            firm.engine.rename_directory("corp", "berlin", &alice()).await.unwrap_err().to_string();
        assert!(refused.contains("still configured"), "{refused}");
        configure(&firm, vec![renamed]);
        if !configured {
            let unknown = firm
                .engine
                .rename_directory("corp", "paris", &alice())
                .await
                .unwrap_err()
                .to_string();
            assert!(unknown.contains("no directory paris is configured"), "{unknown}");
            firm.engine.rename_directory("corp", "berlin", &alice()).await.expect("a rename");
        }
        firm.sim.edit(|ad| {
            ad.disable(guid_of(&users[0]));
            ad.disable(guid_of(&users[1]));
        });
        let run = tick_of(&firm, "berlin").await;
        // With `rename-from` the first request precedes the run that renames. The next one finds
        // the checkpoint.
        let run = if configured {
            tick_of(&firm, "berlin").await.error.map_or(run, |error| panic!("{error}"))
        } else {
            run
        };
        assert_eq!(
            (run.error.as_deref(), run.counts.suspend, run.counts.link, run.held),
            (None, 1, 0, 1),
            "{run:?}"
        );
        assert_eq!(again(&firm, &users[0]).await.status(), Status::Suspended);
        assert_eq!(again(&firm, &users[1]).await.status(), Status::Active, "still protected");
        let events = firm.events("directory.renamed").await;
        assert_eq!(events.len(), 1, "{events:?}");
        let twice =
            firm.engine.rename_directory("corp", "berlin", &alice()).await.unwrap_err().to_string();
        assert_eq!(twice, "there is no directory \"corp\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_people_of_its_own_does_not_become_another() {
    let firm = two_offices().await;
    let emea = firm.engine.directory("emea").expect("emea").config.clone();
    configure(&firm, vec![emea]);
    let refused =
        firm.engine.rename_directory("corp", "emea", &alice()).await.unwrap_err().to_string();
    assert!(refused.contains("has people of its own already"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_removed_directory_fail_no_run_of_another_domain() {
    let firm = Firm::of(40, |c| c.limits.grace_period = Duration::ZERO).await;
    let london = Sim::builder()
        .seed(77)
        .people(20)
        .domain("emea.example.com")
        .mail_domain("example.net")
        .start()
        .await
        .expect("another domain");
    let folder = tempfile::tempdir().expect("a folder");
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let mut emea = config(&london, folder.path());
    emea.name = name("emea");
    emea.limits.grace_period = Duration::ZERO;
    let mut rules = firm.engine.configured().rules.clone();
    rules.trusted.insert(Domain::parse("example.net").expect("a domain"));
    firm.engine.reconfigure(vec![corp.clone(), emea], rules);
    firm.engine.claim("acme", "example.net", &alice()).await.expect("a claim");
    approve_held(&firm, "corp").await;
    approve_held(&firm, "emea").await;
    let left = of_directory(&firm, "emea").await.len();
    assert!(left > 5, "{left}");
    configure(&firm, vec![corp]);
    let users = of_directory(&firm, "corp").await;
    firm.sim.edit(|ad| ad.set(guid_of(&users[0]), "title", "Chief"));
    let run = sync(&firm, "corp").await;
    // No server of the previous domain answers, which suspends no user.
    assert_eq!(
        (run.error.as_deref(), run.complete, run.counts.suspend, run.held),
        (None, true, 0, 0),
        "{run:?}"
    );
    assert_eq!(again(&firm, &users[0]).await.profile.title.as_deref(), Some("Chief"));
    assert_eq!(of_directory(&firm, "emea").await.len(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_follows_its_users_to_a_directory_of_another_name() {
    for named in [false, true] {
        let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
        see_tombstones(&firm).await;
        let leavers: Vec<User> = firm
            .users()
            .await
            .into_iter()
            .filter(|u| u.status() == Status::Active)
            .step_by(3)
            .collect();
        firm.sim.edit(|ad| leavers.iter().for_each(|leaver| ad.delete(guid_of(leaver))));
        let held = sync(&firm, "corp").await.held;
        assert!(held > 5, "{held}");
        let plan = firm.engine.store.plans(false).await.expect("plans").remove(0);
        firm.engine.reject(plan.id, "a mistake of HR", &alice()).await.expect("a rejection");
        let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
        renamed.name = name("berlin");
        configure(&firm, vec![renamed]);
        assert_eq!(sync(&firm, "berlin").await.counts.suspend, 0, "rejected by an operator");
        let berlin = firm.engine.directory("berlin").expect("berlin");
        let attention = firm.engine.directory_status(&berlin).await.expect("the status").attention;
        assert!(attention.iter().any(|a| a.contains("were rejected")), "{attention:?}");
        if named {
            let which = Selection { causes: Vec::new(), people: vec![leavers[0].id.to_string()] };
            let approval =
                firm.engine.approve_part(plan.id, &which, "", alice()).await.expect("an approval");
            assert_eq!(
                (
                    approval.run.directory.as_ref().map_or("", |name| name.as_str()),
                    approval.run.counts.suspend
                ),
                ("berlin", 1),
                "{:?}",
                approval.run
            );
        } else {
            let open = firm
                .engine
                .reopen(plan.id, "they did leave", &alice())
                .await
                .expect("a plan that is held again");
            assert_eq!(
                (open.directory.as_str(), open.state, open.count),
                ("berlin", PlanState::Open, held)
            );
            let run = firm.engine.approve(open.id, alice()).await.expect("an approval").run;
            assert_eq!((run.error.as_deref(), run.counts.suspend), (None, held), "{run:?}");
            assert!(firm.engine.store.plans(false).await.expect("plans").is_empty());
        }
        assert_eq!(again(&firm, &leavers[0]).await.status(), Status::Suspended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_user_whose_entry_moves_gets_no_cause_that_is_not_true() {
    let firm = two_offices().await;
    let user = of_directory(&firm, "corp").await.remove(0);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    tick_of(&firm, "corp").await;
    firm.sim.edit(|ad| ad.move_to(guid_of(&user), "Sales"));
    for of in ["corp", "corp", "emea"] {
        sync(&firm, of).await;
        let reasons: Vec<Reason> =
            again(&firm, &user).await.causes.iter().map(|cause| cause.reason).collect();
        assert_eq!(
            reasons,
            [Reason::Disabled],
            "after a run of {of}: emea shows the entry in its scope"
        );
    }
    assert_eq!(directory_of(&again(&firm, &user).await), "emea");
    firm.sim.edit(|ad| ad.enable(guid_of(&user)));
    tick_of(&firm, "emea").await;
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_person_with_a_new_address_stays_protected_in_a_renamed_section() {
    let firm = followed(40, |_| {}).await;
    let user = firm.users().await.remove(1);
    let mail = user.addresses.primary.clone().expect("an address");
    firm.reconfigure(|c| c.protect = vec![mail]);
    firm.sync().await;
    firm.sim.edit(|ad| ad.set(guid_of(&user), "mail", "chair@example.com"));
    firm.sync().await;
    let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
    renamed.name = name("berlin");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    let run = sync(&firm, "berlin").await;
    assert_eq!((run.error.as_deref(), run.counts.suspend, run.held), (None, 0, 1), "{run:?}");
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_loses_members_of_two_directories_is_one_event() {
    let firm = Firm::of(40, |c| {
        c.full = no_full_runs();
        c.limits.grace_period = Duration::ZERO;
        c.settings.groups = vec![
            (Tier::Pro, GroupName::parse("Pilots")),
            (Tier::Basic, GroupName::parse(names::BASIC)),
        ];
    })
    .await;
    let pilots = firm.sim.edit(|ad| {
        ad.add_group(names::GROUPS, "Pilots");
        let mut pilots = Vec::new();
        for ou in ["Engineering", "Sales"] {
            for n in 0..28 {
                let (login, mail) = (format!("{ou}{n}"), format!("{ou}{n}@example.com"));
                let group = if n < 4 { "Pilots" } else { names::BASIC };
                let person = ad.add_person(
                    NewPerson::new(&login).cn(&login).mail(&mail).ou(ou).member_of(group),
                );
                pilots.extend((n < 4).then_some(person));
            }
        }
        pilots
    });
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    configure(
        &firm,
        vec![over(&corp, "corp", &["Engineering"], &root), over(&corp, "emea", &["Sales"], &root)],
    );
    approve_held(&firm, "corp").await;
    approve_held(&firm, "emea").await;
    firm.sim.edit(|ad| {
        pilots
            .iter()
            .filter(|p| **p != pilots[0] && **p != pilots[7])
            .for_each(|p| ad.remove_member("Pilots", *p))
    });
    let first = sync(&firm, "corp").await;
    assert_eq!(
        (first.error.as_deref(), first.counts.suspend, first.held),
        (None, 3, 0),
        "{first:?}"
    );
    let second = sync(&firm, "emea").await;
    assert_eq!(
        (second.error.as_deref(), second.counts.suspend, second.held),
        (None, 0, 3),
        "six of eight: {second:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_was_undone_stays_undone_when_another_directory_shows_the_person() {
    for first in ["corp", "emea"] {
        let firm = Firm::of(60, |c| c.limits.grace_period = Duration::ZERO).await;
        let root = firm.sim.root_dn();
        let corp = firm.engine.directory("corp").expect("corp").config.clone();
        configure(&firm, vec![over(&corp, "corp", &["Engineering", "Sales"], &root)]);
        let created = sync(&firm, "corp").await;
        let user = firm
            .users()
            .await
            .into_iter()
            .find(|u| dn_of(u).contains("OU=Sales,"))
            .expect("a person in Sales");
        firm.engine.undo(created.id, &alice()).await.expect("an undo");
        configure(
            &firm,
            vec![
                over(&corp, "corp", &["Engineering"], &root),
                over(&corp, "emea", &["Sales"], &root),
            ],
        );
        let second = if first == "corp" { "emea" } else { "corp" };
        for of in [first, second, first, second] {
            approve_held(&firm, of).await;
        }
        let now = again(&firm, &user).await;
        assert_eq!((now.status(), directory_of(&now)), (Status::Released, "emea"), "{first} first");
        assert!(now.overrides.contains(&Override::Return), "{first} first: {:?}", now.overrides);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_event_that_is_held_stays_one_event_in_a_section_of_another_name() {
    for leaves_groups in [true, false] {
        let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
        let root = firm.sim.root_dn();
        let corp = firm.engine.directory("corp").expect("corp").config.clone();
        let ous = ["Engineering", "Sales", "Operations", "Finance", "Support"];
        configure(&firm, vec![over(&corp, "corp", &ous, &root)]);
        approve_held(&firm, "corp").await;
        let chosen: Vec<User> = of_directory(&firm, "corp").await.into_iter().take(12).collect();
        firm.sim.edit(|ad| {
            ad.add_ou("", "Elsewhere");
            for user in &chosen {
                if leaves_groups {
                    for group in [names::PRO, names::PRO_NESTED, names::BASIC] {
                        ad.remove_member(group, guid_of(user));
                    }
                } else {
                    ad.move_to(guid_of(user), "Elsewhere");
                }
            }
        });
        let held = sync(&firm, "corp").await;
        assert_eq!((held.counts.suspend, held.held), (0, 12), "{held:?}");
        configure(&firm, vec![over(&corp, "berlin", &ous, &root)]);
        for _ in 0..3 {
            let run = sync(&firm, "berlin").await;
            assert_eq!(
                (run.error.as_deref(), run.counts.suspend, run.held),
                (None, 0, 12),
                "{run:?}"
            );
        }
        let plan = firm.engine.store.plans(false).await.expect("plans").remove(0);
        let summary = firm.engine.store.plan_summary(plan.id).await.expect("its summary");
        assert!(summary.iter().all(|line| line.cluster.is_some()), "{summary:?}");
        approve_held(&firm, "berlin").await;
        assert_eq!(again(&firm, &chosen[0]).await.status(), Status::Suspended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_that_waits_for_approval_waits_in_a_section_of_another_name() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let user = of_directory(&firm, "corp").await.remove(0);
    firm.engine.rebaseline("corp", &alice()).await.expect("a baseline");
    let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
    renamed.name = name("berlin");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| ad.set(guid_of(&user), "title", "Chief"));
    let run = sync(&firm, "berlin").await;
    assert_eq!((run.error.as_deref(), run.counts.total()), (None, 0), "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("this run only plans")), "{run:?}");
    approve_held(&firm, "berlin").await;
    assert_eq!(again(&firm, &user).await.profile.title.as_deref(), Some("Chief"));
}
