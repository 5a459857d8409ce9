//! Entries that move to another domain of the account, while each domain may be down.

use std::time::Instant;

use super::estate::{Estate, Leaving, causes};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_moves_with_its_entry_to_another_domain() {
    for how in [Leaving::Nowhere, Leaving::Tombstone] {
        for order in [["corp", "emea"], ["emea", "corp"]] {
            let estate = Estate::open().await;
            let user = estate.mover().await;
            estate.moves(&user, how, |_, _| {});
            for of in order {
                let run = tick_of(&estate.firm, of).await;
                assert_eq!(
                    (run.error.as_deref(), run.counts.suspend, run.counts.create, run.held),
                    (None, 0, 0, 0),
                    "{how:?}, {order:?}: {run:?}"
                );
            }
            let now = again(&estate.firm, &user).await;
            assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{how:?}");
            assert_eq!(now.addresses.primary, user.addresses.primary);
            estate.emea.edit(|ad| ad.disable(guid_of(&user)));
            tick_of(&estate.firm, "emea").await;
            assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_moves_and_gets_another_address_keeps_its_id() {
    for order in [["corp", "emea"], ["emea", "corp"]] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        estate.moves(&user, Leaving::Nowhere, |ad, who| {
            ad.set(who, "mail", "new.name@example.net");
            ad.clear(who, "proxyAddresses");
        });
        for of in order {
            let run = tick_of(&estate.firm, of).await;
            assert_eq!((run.counts.create, run.dropped, run.held), (0, 0, 0), "{run:?}");
        }
        let now = estate.firm.user("new.name@example.net").await;
        assert_eq!((now.id, now.status(), directory_of(&now)), (user.id, Status::Active, "emea"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_has_moved_is_no_attention_of_its_former_directory() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    let people = [user.link.as_ref().expect("a link").guid].into();
    let long_ago = estate.firm.clock.now().minus(Duration::from_hours(24));
    let (store, corp) = (&estate.firm.engine.store, name("corp"));
    store.mark_people(&corp, Mark::Behind, &people, |_| false, long_ago).await.expect("a mark");
    let is_told =
        async || estate.attention("corp").await.iter().any(|a| a.contains("has not heard"));
    assert!(is_told().await);
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    tick_of(&estate.firm, "emea").await;
    assert_eq!(directory_of(&again(&estate.firm, &user).await), "emea");
    assert!(!is_told().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_has_the_tier_of_the_groups_of_the_new_domain() {
    let estate = Estate::open().await;
    let pro = of_directory(&estate.firm, "corp").await.into_iter().find(|u| u.tier == Tier::Pro);
    let user = pro.expect("a user with the tier Pro");
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    let run = tick_of(&estate.firm, "emea").await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Basic, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_moves_and_is_disabled_at_once_is_suspended_in_any_order() {
    for order in [["corp", "emea"], ["emea", "corp"]] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        estate.moves(&user, Leaving::Tombstone, |ad, who| ad.disable(who));
        for of in order {
            tick_of(&estate.firm, of).await;
        }
        let now = again(&estate.firm, &user).await;
        assert_eq!((causes(&now), directory_of(&now)), (vec![Reason::Disabled], "emea"));
    }
}

/// Deletes an entry, as the domain controller `emea` writes it at this time.
fn delete_at(ad: &mut adsim::Ad, who: uuid::Uuid, at: Timestamp) {
    ad.delete(who);
    let write = written(AttributeId::IS_DELETED, uuid::Uuid::from_u128(7), 500, at);
    ad.set_values(who, "replPropertyMetaData", [write]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_who_is_deleted_before_a_run_of_the_new_domain_is_suspended() {
    for order in [&["corp"][..], &["emea", "corp"]] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        estate.later(Duration::from_mins(10));
        let now = estate.firm.clock.now();
        estate.moves(&user, Leaving::Nowhere, |ad, who| delete_at(ad, who, now));
        for of in order {
            let run = tick_of(&estate.firm, of).await;
            assert_eq!((run.error, run.held), (None, 0), "{order:?}");
        }
        assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Deleted], "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_of_an_earlier_move_suspends_nobody_who_is_hidden_now() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    let before = estate.firm.clock.now().minus(Duration::from_hours(1));
    let copy = estate.firm.sim.edit(|ad| ad.copy_of(guid_of(&user)));
    estate.emea.edit(|ad| {
        ad.immigrate(copy, "Sales");
        delete_at(ad, guid_of(&user), before);
    });
    hide_completely(&estate.firm, guid_of(&user));
    tick_of(&estate.firm, "corp").await;
    assert_eq!(causes(&again(&estate.firm, &user).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_to_a_section_that_was_never_read_moves_with_its_first_run() {
    for how in [Leaving::Nowhere, Leaving::Tombstone] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        // The same domain in a section that no run has read.
        let was = estate.firm.engine.configured();
        let mut sections: Vec<DirectoryConfig> =
            was.directories.values().map(|d| d.config.clone()).collect();
        for section in sections.iter_mut().filter(|s| s.name.as_str() == "emea") {
            section.name = name("apac");
        }
        configure(&estate.firm, sections);
        estate.moves(&user, how, |_, _| {});
        let run = tick_of(&estate.firm, "corp").await;
        assert_eq!((run.error, run.counts.suspend, run.held), (None, 0, 0), "{how:?}");
        approve_held(&estate.firm, "apac").await;
        let now = again(&estate.firm, &user).await;
        assert_eq!((now.status(), directory_of(&now)), (Status::Active, "apac"), "{how:?}");
        estate.emea.edit(|ad| ad.disable(guid_of(&user)));
        tick_of(&estate.firm, "apac").await;
        assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled], "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_stays_as_it_is_while_the_server_in_use_of_the_new_domain_lacks_its_entry() {
    let estate = Estate::open().await;
    let behind = estate.server_behind(&estate.emea, "emea").await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Tombstone, |_, _| {});
    for of in ["corp", "emea", "corp"] {
        let run = sync(&estate.firm, of).await;
        assert_eq!((run.counts.suspend, run.held, run.error.as_deref()), (0, 0, None), "{run:?}");
        assert_eq!(again(&estate.firm, &user).await.status(), Status::Active, "{of}");
    }
    behind.stop().await;
    sync(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_stays_as_it_is_while_the_new_domain_is_down() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    estate.emea.freeze();
    let run = tick_of(&estate.firm, "corp").await;
    assert_eq!(again(&estate.firm, &user).await.status(), Status::Active);
    assert!(run.warnings.iter().any(|w| w.contains("emea could not be asked")), "{run:?}");
    estate.emea.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_entry_suspends_while_the_new_domain_is_down_and_returns_with_it() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Tombstone, |_, _| {});
    estate.emea.freeze();
    tick_of(&estate.firm, "corp").await;
    assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Deleted], "a tombstone is seen");
    estate.emea.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_positive_evidence_counts_while_the_former_domain_is_down() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |ad, who| {
        ad.set(who, "mail", "new.name@example.net");
    });
    estate.firm.sim.freeze();
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "corp"), "{run:?}");
    assert_eq!(now.addresses, user.addresses);
    assert!(run.warnings.iter().any(|w| w.contains("only leavers among them")), "{run:?}");
    // Disabled in the only domain that shows the entry.
    estate.emea.edit(|ad| ad.disable(guid_of(&user)));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((causes(&now), directory_of(&now)), (vec![Reason::Disabled], "corp"), "{run:?}");
    // No lift before the former domain answers.
    estate.emea.edit(|ad| ad.enable(guid_of(&user)));
    tick_of(&estate.firm, "emea").await;
    assert_eq!(again(&estate.firm, &user).await.status(), Status::Suspended);
    estate.firm.sim.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
    assert_eq!(
        now.addresses.primary.map(|a| a.to_string()).as_deref(),
        Some("new.name@example.net")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whom_the_filter_of_the_new_directory_excludes_is_suspended() {
    let estate = Estate::open().await;
    let configured = estate.firm.engine.configured();
    let mut directories: Vec<DirectoryConfig> =
        configured.directories.values().map(|d| d.config.clone()).collect();
    let text = "(!(userAccountControl:1.2.840.113556.1.4.803:=2))";
    directories[1].settings.filter =
        Some((text.to_owned(), Filter::parse(text).expect("a filter")));
    configure(&estate.firm, directories);
    approve_held(&estate.firm, "emea").await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |ad, who| ad.disable(who));
    estate.firm.sim.freeze();
    let run = tick_of(&estate.firm, "emea").await;
    assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled], "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whom_no_directory_shows_is_told_in_run_and_status() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    assert_eq!(estate.unseen().await, 0);
    for _ in 0..2 {
        tick_of(&estate.firm, "corp").await;
        let attention = estate.attention("corp").await;
        let is_told = |a: &String| {
            a.starts_with("1 active user of corp has not been shown by it")
                && a.contains("rosterctl user list --unseen")
        };
        assert!(attention.iter().any(is_told), "{attention:?}");
        assert_eq!(estate.unseen().await, 1);
    }
    let run = tick_of(&estate.firm, "corp").await;
    let is_told = |w: &String| w.starts_with("1 person is not shown any more");
    assert!(run.warnings.iter().any(is_told), "{run:?}");
    tick_of(&estate.firm, "emea").await;
    tick_of(&estate.firm, "corp").await;
    assert_eq!(estate.unseen().await, 0);
    let attention = estate.attention("corp").await;
    assert!(!attention.iter().any(|a| a.contains("not been shown")), "{attention:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_directory_that_is_not_configured_is_listed_as_unseen() {
    let estate = Estate::open().await;
    let emea = estate.firm.engine.directory("emea").expect("emea").config.clone();
    let left = of_directory(&estate.firm, "corp").await.len();
    configure(&estate.firm, vec![emea]);
    assert_eq!(estate.unseen().await, left.min(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_neighbour_costs_its_time_limit_once() {
    let estate = Estate::open().await;
    let users = of_directory(&estate.firm, "corp").await;
    for user in &users[..2] {
        estate.firm.sim.edit(|ad| ad.purge(guid_of(user)));
    }
    estate.emea.freeze();
    tick_of(&estate.firm, "corp").await;
    for _ in 0..2 {
        let began = Instant::now();
        let run = tick_of(&estate.firm, "corp").await;
        let taken = began.elapsed();
        assert!(taken < Duration::from_millis(1_500), "{taken:?}: {run:?}");
        let is_told = |w: &String| w.contains("did not answer a short time ago");
        assert!(run.warnings.iter().any(is_told), "{run:?}");
    }
    assert_eq!(
        again(&estate.firm, &users[0]).await.status(),
        Status::Active,
        "not asked is no answer"
    );
    estate.emea.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "corp").await;
    assert!(!run.warnings.iter().any(|w| w.contains("could not be asked")), "{run:?}");
    assert_eq!(run.held, 2, "they vanished without a witness: {run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_an_entry_in_two_domains_gets_a_user_when_one_section_excludes_it() {
    let estate = Estate::open().await;
    let address = "twin@example.com";
    for domain in [&estate.firm.sim, &estate.emea] {
        domain.edit(|ad| {
            ad.add_person(NewPerson::new("twin").cn("twin").mail(address).member_of(names::BASIC))
        });
    }
    for of in ["corp", "emea", "corp"] {
        sync(&estate.firm, of).await;
    }
    assert!(estate.firm.engine.find_user(address).await.is_err());
    let entries = estate.firm.engine.store.quarantined(&name("corp")).await.expect("entries");
    let [(_, _, reason, None)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(reason, QuarantineReason::ContestedAddress);
    assert!(reason.remedy().contains("put the address into exclude of one of them"));
    let mut directories: Vec<DirectoryConfig> =
        estate.firm.engine.configured().directories.values().map(|d| d.config.clone()).collect();
    directories[1].exclude = vec![address.to_owned()];
    configure(&estate.firm, directories);
    for of in ["emea", "corp"] {
        approve_held(&estate.firm, of).await;
    }
    let user = estate.firm.user(address).await;
    assert_eq!((user.status(), directory_of(&user)), (Status::Active, "corp"));
}
