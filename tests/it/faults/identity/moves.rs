//! Entries that move between the directories of an account.

use super::*;

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
