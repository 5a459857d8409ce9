//! Entries of people: renamed, moved, recreated, restored, in two directories; and entries that
//! only look like people.

use std::time::Duration;

use adsim::{Fault, Kind, NewPerson, What, When, names};
use rosterd::model::*;
use uuid::Uuid;

use crate::firm::{Firm, again, dn_of, guid_of, hide_completely};

/// An edit by an administrator.
type Edit = fn(&mut adsim::Ad, Uuid);

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_entry_keeps_its_user_and_the_heir_of_its_names_gets_another() {
    let firm = Firm::running(60, |_| {}).await;
    let before = firm.users().await.remove(0);
    let (id, guid) = (before.id.to_string(), guid_of(&before));
    let count = firm.users().await.len();
    let edits: [(&str, Edit); 7] = [
        ("another name", |ad, who| ad.rename(who, "Somebody Else")),
        ("another place", |ad, who| ad.move_to(who, "Finance")),
        ("another sAMAccountName", |ad, who| ad.set(who, "sAMAccountName", "somebody")),
        ("another userPrincipalName", |ad, who| {
            ad.set(who, "userPrincipalName", "somebody@example.com")
        }),
        ("another mailbox", |ad, who| ad.set(who, "mail", "some.body@example.com")),
        ("the name of a replication conflict", |ad, who| {
            let name = format!("Somebody Else\nCNF:{who}");
            ad.rename(who, &name);
        }),
        ("all at once", |ad, who| {
            ad.rename(who, "Married");
            ad.move_to(who, "Support");
            for (attribute, value) in [
                ("sAMAccountName", "married"),
                ("userPrincipalName", "m@example.com"),
                ("mail", "m@example.com"),
                ("sn", "Married"),
            ] {
                ad.set(who, attribute, value);
            }
        }),
    ];
    for (name, edit) in edits {
        firm.sim.edit(|ad| edit(ad, guid));
        let run = firm.sync().await;
        let counts = (run.state, run.counts.create, run.counts.suspend, run.held, run.quarantined);
        assert_eq!(counts, (RunState::Succeeded, 0, 0, 0, 0), "{name}: {run:?}");
        let now = firm.user(&id).await;
        assert_eq!(
            (now.status(), now.tier, firm.users().await.len()),
            (Status::Active, before.tier, count),
            "{name}"
        );
        assert_eq!(dn_of(&now), firm.sim.look(|ad| ad.dn(guid)), "{name}");
    }
    assert_eq!(firm.user("m@example.com").await.id, before.id);

    // A newcomer gets every name of a deleted person, but for the address.
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.delete(guid);
        let heir = NewPerson::new("married")
            .cn("Married")
            .upn("m@example.com")
            .mail("heir@example.com")
            .ou("Support");
        let heir = ad.add_person(heir);
        ad.add_member(names::BASIC, heir);
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.create, run.counts.suspend, run.quarantined), (1, 1, 0), "{run:?}");
    let heir = firm.user("heir@example.com").await;
    assert!(heir.id != before.id && heir.status() == Status::Active);
    assert_eq!(firm.user(&id).await.causes.weightiest().map(|c| c.reason), Some(Reason::Deleted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_computer_or_service_account_gets_no_user_and_is_no_leaver() {
    let firm = Firm::running(60, |_| {}).await;
    let users = firm.users().await;
    firm.sim.edit(|ad| {
        let contact = ad.add_contact("Sales", "Some Supplier", "supplier@example.com");
        let computer = ad.add_computer("Sales", "WS01");
        ad.set(computer, "mail", "ws01@example.com");
        let service = NewPerson::new("svc-backup$")
            .kind(Kind::ManagedServiceAccount)
            .mail("svc-backup@example.com")
            .control(4096);
        let service = ad.add_person(service.ou("Sales"));
        let trust = ad
            .add_person(NewPerson::new("EMEA$").mail("emea@example.com").control(2080).ou("Sales"));
        let krbtgt = ad.add_person(NewPerson::new("krbtgt").mail("krbtgt@example.com").disabled());
        let other_class = NewPerson::new("inet")
            .name("Inet", "Person")
            .mail("inet@example.com")
            .kind(Kind::InetOrgPerson);
        let other_class = ad.add_person(other_class.ou("Sales"));
        for member in [contact, computer, service, trust, krbtgt, other_class] {
            ad.add_member(names::BASIC, member);
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.create, run.counts.total(), run.held), (1, 1, 0), "{run:?}");
    let person = firm.user("inet@example.com").await;
    assert_eq!(person.status(), Status::Active, "an inetOrgPerson is a person");
    firm.sim.edit(|ad| ad.disable("inet"));
    firm.sync().await;
    assert_eq!(
        firm.user("inet@example.com").await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Disabled),
        "a disabled inetOrgPerson is suspended"
    );

    // An account that becomes a trust account has not left, because no readable attribute says so.
    firm.sim.edit(|ad| ad.set(dn_of(&users[0]), "userAccountControl", "2080"));
    for _ in 0..2 {
        let run = firm.sync().await;
        let it = again(&firm, &users[0]).await;
        assert_eq!((it.status(), run.held), (Status::Active, 0), "{run:?}");
        let quarantine = firm.engine.store.quarantine_of(it.id).await.unwrap();
        assert_eq!(quarantine, [QuarantineReason::UnknownScope]);
        firm.later(Duration::from_mins(11));
    }
    firm.sim.edit(|ad| ad.set(dn_of(&users[0]), "userAccountControl", "2082"));
    firm.sync().await;
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Suspended,
        "the disabled bit suspends any account type"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_entry_reactivates_the_same_user_once_it_is_enabled_and_whole() {
    for has_recycle_bin in [true, false] {
        let firm = Firm::running(60, |_| {}).await;
        let user = firm.users().await.remove(0);
        let (id, guid) = (user.id.to_string(), guid_of(&user));
        firm.sim.edit(|ad| {
            ad.show_tombstones(true);
            ad.set_recycle_bin(has_recycle_bin);
            ad.delete(guid);
        });
        firm.sync().await;
        assert_eq!(
            firm.user(&id).await.causes.weightiest().map(|c| c.reason),
            Some(Reason::Deleted)
        );
        firm.sim.edit(|ad| ad.restore(guid));
        firm.sync().await;
        if !has_recycle_bin {
            // A tombstone is restored disabled, with neither address nor groups.
            assert_eq!(firm.user(&id).await.status(), Status::Suspended);
            firm.sim.edit(|ad| ad.enable(guid));
            firm.sync().await;
            assert_eq!(
                firm.user(&id).await.status(),
                Status::Suspended,
                "the entry is enabled, but has no address and no group"
            );
            let address = user.addresses.primary.as_ref().unwrap().as_str().to_owned();
            firm.sim.edit(|ad| {
                ad.set(guid, "mail", &address);
                ad.add_member(if user.tier == Tier::Pro { names::PRO } else { names::BASIC }, guid);
            });
            firm.sync().await;
        }
        let back = firm.user(&id).await;
        assert_eq!(
            (back.status(), back.tier, guid_of(&back)),
            (Status::Active, user.tier, guid),
            "recycle bin: {has_recycle_bin}"
        );
    }
}

/// Returns a company with two directories. The first no longer shows a person whom the second
/// shows.
async fn moved_to_another_domain() -> (Firm, adsim::Sim, User) {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let other = firm.sim.replica("DC2").expect("another controller");
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let mut emea = corp.clone();
    emea.name = DirectoryName::parse("emea").expect("a name");
    emea.settings.servers = vec![ServerUrl::parse(&other.ldaps_url()).expect("a URL")];
    let rules = firm.engine.configured().rules.clone();
    firm.engine.reconfigure(vec![corp, emea], rules);
    let user = firm.users().await.remove(0);
    hide_completely(&firm, guid_of(&user));
    (firm, other, user)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_moved_to_another_domain_of_the_account_has_not_left() {
    let (firm, other, user) = moved_to_another_domain().await;
    let id = user.id.to_string();
    for _ in 0..2 {
        let run = firm.sync().await;
        assert_eq!(
            (run.counts.suspend, run.held, firm.user(&id).await.status()),
            (0, 0, Status::Active),
            "{run:?}"
        );
    }
    // The other directory does not answer. It might hold any person, and keeps no leaver active.
    let leaver = firm.users().await.remove(1);
    firm.sim.edit(|ad| ad.disable(guid_of(&leaver)));
    other.faults().push(
        Fault::new(
            When::search().based_at(&format!("<guid={}>", guid_of(&user))),
            What::result(52, "unavailable"),
        )
        .always(),
    );
    let run = firm.sync().await;
    assert_eq!(firm.user(&id).await.status(), Status::Active, "{run:?}");
    assert_eq!(again(&firm, &leaver).await.status(), Status::Suspended, "{run:?}");
    // Without the other directory, an absence here is an absence everywhere.
    let corp = firm.engine.directory("corp").unwrap().config.clone();
    firm.engine.reconfigure(vec![corp], firm.engine.configured().rules.clone());
    let run = firm.sync().await;
    assert_eq!(
        firm.user(&id).await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Vanished),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recheck_that_fails_keeps_no_leaver_active() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    let gone = guid_of(&users[0]);
    firm.sim.edit(|ad| {
        ad.purge(gone);
        ad.disable(guid_of(&users[1]));
    });
    // The first search finds no entry; the second is refused.
    firm.sim.faults().push(Fault::new(
        When::search().containing("objectguid=").nth(2),
        What::result(51, "busy"),
    ));
    let run = firm.sync().await;
    assert_eq!((run.state, firm.sim.faults().fired()), (RunState::Failed, 1), "{run:?}");
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Active,
        "one observation is no evidence: {run:?}"
    );
    assert_eq!(again(&firm, &users[1]).await.status(), Status::Suspended, "{run:?}");
    firm.sync().await;
    assert_eq!(
        again(&firm, &users[0]).await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Vanished)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_swap_with_one_unreadable_half_waits_and_delays_no_leaver() {
    let firm = Firm::running(60, |_| {}).await;
    let users = firm.users().await;
    let mail = |n: usize| users[n].addresses.primary.as_ref().unwrap().as_str().to_owned();
    firm.sim.edit(|ad| {
        for (n, other) in [(0, 1), (1, 0)] {
            ad.set(dn_of(&users[n]), "mail", &mail(other));
            ad.clear(dn_of(&users[n]), "proxyAddresses");
        }
        for attribute in ["userAccountControl", "accountExpires"] {
            ad.hide_attribute(attribute, Some(dn_of(&users[0]).into()));
        }
        ad.disable(dn_of(&users[2]));
    });
    let run = firm.sync().await;
    assert_eq!((run.state, run.error.as_deref()), (RunState::Succeeded, None), "{run:?}");
    assert_eq!(again(&firm, &users[2]).await.status(), Status::Suspended);
    for (n, user) in users[..2].iter().enumerate() {
        assert_eq!(again(&firm, user).await.addresses.primary.unwrap().as_str(), mail(n));
    }
    firm.sim.edit(|ad| {
        ad.show_attribute("userAccountControl");
        ad.show_attribute("accountExpires");
    });
    firm.sync().await;
    for (n, user) in users[..2].iter().enumerate() {
        assert_eq!(again(&firm, user).await.addresses.primary.unwrap().as_str(), mail(1 - n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_suspends_although_another_directory_of_the_account_is_down() {
    let (firm, other, _) = moved_to_another_domain().await;
    firm.sim.faults().clear();
    let leaver = firm.users().await.remove(1);
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.delete(guid_of(&leaver));
    });
    other.crash().await.expect("a crash");
    let run = firm.sync().await;
    assert_eq!(
        again(&firm, &leaver).await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Deleted),
        "{run:?}"
    );
}
