//! Users that are invited, relinked, created again or found by address.

use super::*;

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
async fn a_downgrade_after_a_relink_counts_for_the_group_of_the_former_entry() {
    let firm = followed(40, |_| {}).await;
    let pro = firm.users().await.into_iter().find(|u| u.tier == Tier::Pro).expect("a Pro user");
    let mail = pro.addresses.primary.clone().expect("an address");
    firm.sim.edit(|ad| ad.delete(guid_of(&pro)));
    tick(&firm).await;
    let new = firm.sim.edit(|ad| {
        let again = NewPerson::new("again").mail(mail.as_str()).ou("Finance");
        ad.add_person(again.member_of(names::BASIC))
    });
    tick(&firm).await;
    let run = firm.engine.relink(&pro.id.to_string(), &new.to_string(), &alice()).await.unwrap();
    let changes = firm.engine.store.run_changes(run.id).await.unwrap();
    let lost =
        changes.iter().find(|c| c.class == Some(ChangeClass::Downgrade)).expect("a downgrade");
    let group = firm.sim.look(|ad| ad.guid(names::PRO));
    assert_eq!(lost.cluster, Some(format!("group:{group}")), "{changes:?}");
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
async fn an_outdated_person_takes_along_who_needs_its_address_and_nobody_else() {
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
    let taker = again(&firm, &users[1]).await.addresses.primary;
    assert_ne!(taker, Some(address.clone()), "the taker waits with the giver: {run:?}");
    assert_eq!((run.counts.total(), run.quarantined), (1, 0), "{run:?}");
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
        // The link left out that the person has no group, or is out of scope. So a run reads it once more.
        let has_more = !groups || filter.is_some();
        assert_eq!(tick(&firm).await.entries, u64::from(has_more), "{filter:?} {groups}");
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
    firm.sync().await;
    let causes = firm.user("bob@example.com").await.causes;
    assert!(
        causes.has(Reason::NoGroup),
        "the next run adds the reason that the link left: {causes:?}"
    );
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
async fn a_creation_that_was_undone_stays_undone_while_a_group_cannot_be_found() {
    let firm = Firm::running(40, |_| {}).await;
    firm.sim.edit(|ad| {
        let new = NewPerson::new("eve").mail("eve@example.com").ou("Finance");
        ad.add_person(new.member_of(names::BASIC));
    });
    let created = firm.sync().await;
    assert_eq!(created.counts.create, 1, "{created:?}");
    let eve = firm.user("eve@example.com").await.id.to_string();
    firm.engine.undo(created.id, &alice()).await.expect("an undo");
    let troubles: [fn(&Firm, bool); 2] = [
        |firm, on| {
            firm.sim.edit(|ad| {
                if on { ad.hide_entry(names::BASIC) } else { ad.show_entry(names::BASIC) }
            });
        },
        |firm, on| {
            firm.sim.edit(|ad| {
                if on { ad.hide_attribute("mail", None) } else { ad.show_attribute("mail") }
            });
        },
    ];
    for trouble in troubles {
        for on in [true, false] {
            trouble(&firm, on);
            firm.engine.sync_user(&eve, &alice()).await.expect("a run");
            firm.sync().await;
            let eve = firm.user(&eve).await;
            assert_eq!(eve.status(), Status::Released, "{on}");
            assert!(eve.overrides.contains(&Override::Return), "{on}");
        }
    }
}
