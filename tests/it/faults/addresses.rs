//! Contested addresses: the holder does not depend on the order of runs.

use std::sync::Arc;

use adsim::{Fault, NewPerson, What, When, names};
use rosterd::engine::{DirectoryConfig, Request};
use rosterd::model::*;
use rosterd::store::Run;

use super::{again, dn_of, followed, guid_of, sync, tick};
use crate::firm::{Firm, alice};

fn newcomer(name: &str, mail: &str) -> NewPerson {
    NewPerson::new(name).mail(mail).ou("Finance").member_of(names::BASIC)
}

async fn look_at(firm: &Firm, guid: uuid::Uuid) -> Run {
    look_at_in(firm, "corp", guid).await
}

async fn look_at_in(firm: &Firm, directory: &str, guid: uuid::Uuid) -> Run {
    let directory = firm.engine.directory(directory).expect("a directory");
    let guid: Guid = guid.to_string().parse().expect("a GUID");
    firm.engine
        .run(&directory, Request::people(Trigger::Manual, [guid], Some(alice())))
        .await
        .expect("a run")
}

async fn reasons(firm: &Firm) -> Vec<QuarantineReason> {
    let name = firm.engine.directory("corp").expect("corp").config.name.clone();
    firm.engine
        .store
        .quarantined(&name)
        .await
        .expect("the quarantine")
        .into_iter()
        .map(|(_, _, reason, _)| reason)
        .collect()
}

async fn holder(firm: &Firm, address: &str) -> Option<User> {
    firm.engine
        .store
        .user_by_address(&Address::parse(address).expect("an address").key())
        .await
        .expect("a user")
}

/// Returns the warning about the alias.
fn alias_warning<'a>(run: &'a Run, alias: &str) -> &'a str {
    let is_about = |w: &&String| w.contains(&format!("the alias {alias}"));
    run.warnings.iter().find(is_about).unwrap_or_else(|| panic!("{run:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_newcomers_with_one_address_wait_both_whichever_is_edited() {
    for slices in [false, true] {
        let firm = followed(20, |_| {}).await;
        let (one, two) = firm.sim.edit(|ad| {
            (
                ad.add_person(newcomer("one", "ann@example.com")),
                ad.add_person(newcomer("two", "ann@example.com")),
            )
        });
        if slices {
            look_at(&firm, one).await;
            look_at(&firm, two).await;
        } else {
            tick(&firm).await;
        }
        assert_eq!(
            reasons(&firm).await,
            [QuarantineReason::ContestedAddress; 2],
            "slices: {slices}"
        );
        for edited in [one, two, one] {
            firm.sim.edit(|ad| ad.set(edited, "title", "Edited"));
            look_at(&firm, edited).await;
            tick(&firm).await;
            assert_eq!(
                holder(&firm, "ann@example.com").await,
                None,
                "an unrelated edit wins nothing"
            );
        }
        firm.sim.edit(|ad| ad.set(two, "mail", "bob@example.com"));
        tick(&firm).await;
        let [ann, bob] =
            [holder(&firm, "ann@example.com").await, holder(&firm, "bob@example.com").await]
                .map(|u| guid_of(&u.expect("a user")));
        assert_eq!((ann, bob), (one, two));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_two_people_goes_to_neither_and_is_reported_once() {
    let firm = followed(20, |_| {}).await;
    let users = firm.users().await;
    let [one, two] = [guid_of(&users[0]), guid_of(&users[1])];
    firm.sim.edit(|ad| {
        for who in [one, two] {
            ad.set_values(who, "proxyAddresses", ["smtp:sales@example.com"]);
        }
    });
    let run = look_at(&firm, one).await;
    let told: Vec<&String> =
        run.warnings.iter().filter(|w| w.contains("sales@example.com")).collect();
    assert_eq!(told.len(), 2, "both are reported: {:?}", run.warnings);
    for edited in [one, two, one] {
        firm.sim.edit(|ad| ad.set(edited, "title", "Edited"));
        let run = look_at(&firm, edited).await;
        assert_eq!(holder(&firm, "sales@example.com").await, None);
        assert!(
            !run.warnings.iter().any(|w| w.contains("sales@example.com")),
            "once: {:?}",
            run.warnings
        );
    }
    let explained = firm.engine.explain(&users[0].id.to_string()).await.expect("an explanation");
    assert!(
        explained.entries[0].warnings.iter().any(|w| w.contains("sales@example.com")),
        "{explained:?}"
    );
    firm.sim.edit(|ad| ad.clear(two, "proxyAddresses"));
    tick(&firm).await;
    assert_eq!(holder(&firm, "sales@example.com").await.map(|u| u.id), Some(users[0].id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_another_user_holds_is_reported_with_the_holder() {
    let firm = followed(20, |_| {}).await;
    let users = firm.users().await;
    let held = users[1].addresses.primary.clone().expect("an address");
    firm.sim.edit(|ad| {
        ad.set_values(guid_of(&users[0]), "proxyAddresses", [format!("smtp:{}", held.as_str())])
    });
    let run = tick(&firm).await;
    assert!(
        run.warnings.iter().any(|w| w.contains(&format!("which {} holds", held.as_str()))),
        "{:?}",
        run.warnings
    );
    assert_eq!(holder(&firm, held.as_str()).await.map(|u| u.id), Some(users[1].id));
    assert!(tick(&firm).await.warnings.iter().all(|w| !w.contains("alias")), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_user_is_linked_to_neither_of_two_people_with_its_address() {
    let firm = followed(20, |_| {}).await;
    firm.engine.invite("acme", &["ann@example.com".to_owned()], &alice()).await.unwrap();
    let invited = firm.user("ann@example.com").await;
    let (one, two) = firm.sim.edit(|ad| {
        (
            ad.add_person(newcomer("one", "ann@example.com")),
            ad.add_person(newcomer("two", "ann@example.com")),
        )
    });
    for who in [one, two] {
        look_at(&firm, who).await;
        assert_eq!(again(&firm, &invited).await.link, None);
    }
    firm.sim.edit(|ad| ad.delete(two));
    tick(&firm).await;
    assert_eq!(
        again(&firm, &invited).await.link.map(|l| l.guid.to_string()),
        Some(one.to_string())
    );
}

async fn approve_all(firm: &Firm) {
    for plan in firm.engine.store.plans(false).await.expect("plans") {
        firm.engine.approve(plan.id, alice()).await.expect("an approval");
    }
}

/// Makes two directories of one domain: corp over Finance, and emea over Sales.
fn sections(firm: &Firm) -> [DirectoryConfig; 2] {
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let sections = [("corp", "Finance"), ("emea", "Sales")].map(|(called, ou)| {
        let mut config = corp.clone();
        config.name = DirectoryName::parse(called).expect("a name");
        config.settings.bases = vec![format!("OU={ou},OU=Staff,{root}")];
        config
    });
    firm.engine.reconfigure(sections.to_vec(), firm.engine.configured().rules.clone());
    sections
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_user_of_another_directory_wants_no_address() {
    for is_cleared in [false, true] {
        let firm = Firm::running(20, |_| {}).await;
        sections(&firm);
        for of in ["corp", "emea"] {
            sync(&firm, of).await;
            approve_all(&firm).await;
        }
        let alias = "smtp:sales@example.com";
        let released = firm.sim.edit(|ad| {
            let who = ad.add_person(newcomer("one", "ann@example.com"));
            ad.set_values(who, "proxyAddresses", [alias]);
            who
        });
        let run = sync(&firm, "corp").await;
        firm.engine.undo(run.id, &alice()).await.expect("an undo");
        if is_cleared {
            firm.sim.edit(|ad| ad.remove_member(names::BASIC, released));
            let user = firm.user("ann@example.com").await.id.to_string();
            firm.engine.clear_override(&user, &alice()).await.expect("a return to the directory");
            sync(&firm, "corp").await;
        }
        let other = firm.sim.edit(|ad| {
            let who = ad.add_person(newcomer("two", "bob@example.com").ou("Sales"));
            ad.set_values(who, "proxyAddresses", [alias]);
            who
        });
        let run = sync(&firm, "emea").await;
        let holder = holder(&firm, "sales@example.com").await.map(|user| guid_of(&user));
        assert_eq!(holder, Some(other), "cleared: {is_cleared}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_directories_with_newcomers_of_one_address_make_both_wait_in_either_order() {
    for order in [["corp", "emea"], ["emea", "corp"]] {
        let firm = Firm::of(20, |_| {}).await;
        let [finance, sales] = sections(&firm);
        let (one, two) = firm.sim.edit(|ad| {
            let one = ad.add_person(newcomer("one", "ann@example.com"));
            (
                one,
                ad.add_person(
                    NewPerson::new("two")
                        .mail("ann@example.com")
                        .ou("Sales")
                        .member_of(names::BASIC),
                ),
            )
        });
        for of in order {
            sync(&firm, of).await;
            approve_all(&firm).await;
        }
        assert_eq!(holder(&firm, "ann@example.com").await, None, "{order:?}");
        for (directory, edited) in [("corp", one), ("emea", two)] {
            firm.sim.edit(|ad| ad.set(edited, "title", "Edited"));
            look_at_in(&firm, directory, edited).await;
            assert_eq!(
                holder(&firm, "ann@example.com").await,
                None,
                "an unrelated edit in {directory} wins nothing"
            );
        }
        let mut cut_off = sales.clone();
        cut_off.settings.servers =
            vec![ServerUrl::parse("ldaps://127.0.0.1:1").expect("an address")];
        let rules = firm.engine.configured().rules.clone();
        firm.engine.reconfigure(vec![finance.clone(), cut_off], rules.clone());
        sync(&firm, "corp").await;
        assert_eq!(
            holder(&firm, "ann@example.com").await,
            None,
            "a rival who cannot be asked has not given the address up"
        );
        firm.engine.reconfigure(vec![finance, sales], rules);
        firm.sim.edit(|ad| ad.set(two, "mail", "bob@example.com"));
        sync(&firm, "corp").await;
        assert!(holder(&firm, "ann@example.com").await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_address_stays_while_it_is_among_several_values() {
    let firm = followed(20, |c| c.settings.attributes.email = "uid".to_owned()).await;
    let who = firm.sim.edit(|ad| {
        let who = ad.add_person(NewPerson::new("one").ou("Finance").member_of(names::BASIC));
        ad.set_values(who, "uid", ["b@example.com", "a@example.com"]);
        who
    });
    let run = tick(&firm).await;
    let user = holder(&firm, "a@example.com").await.expect("the smallest, whatever their order");
    assert!(run.warnings.iter().any(|w| w.contains("2 values")), "{:?}", run.warnings);
    let orders: [&[&str]; 4] = [
        &["a@example.com", "b@example.com"],
        &["0@example.com", "b@example.com", "a@example.com"],
        &["b@example.com", "c@example.com"],
        &["a@example.com", "b@example.com", "c@example.com"],
    ];
    let expected = ["a@example.com", "a@example.com", "b@example.com", "b@example.com"];
    for (values, expected) in orders.into_iter().zip(expected) {
        firm.sim.edit(|ad| ad.set_values(who, "uid", values.iter().copied()));
        tick(&firm).await;
        let primary = again(&firm, &user).await.addresses.primary.expect("an address");
        assert_eq!(primary.as_str(), expected, "{values:?}");
        let run = firm.sync().await;
        assert_eq!(run.counts.total(), 0, "and nothing more is to be done: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_created_anew_has_one_reason_from_the_first_run_on() {
    let firm = followed(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    let mail = user.addresses.primary.clone().expect("an address");
    let new = firm.sim.edit(|ad| {
        ad.delete(guid_of(&user));
        ad.add_person(newcomer("again", mail.as_str()))
    });
    // Read alone, with its predecessor, and in full.
    look_at(&firm, new).await;
    assert_eq!(reasons(&firm).await, [QuarantineReason::AddressHeld]);
    tick(&firm).await;
    assert_eq!(reasons(&firm).await, [QuarantineReason::AddressHeld]);
    firm.sync().await;
    assert_eq!(reasons(&firm).await, [QuarantineReason::AddressHeld]);
    let told = firm.events("user.quarantined").await;
    assert_eq!(
        told.iter().filter(|e| e["data"]["after"]["object_guid"] == new.to_string()).count(),
        1,
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_who_is_not_decided_yet_keeps_its_address_from_others() {
    type Undecide = fn(&Firm, uuid::Uuid);
    fn hide(firm: &Firm, who: uuid::Uuid, attribute: &str) {
        firm.sim.edit(|ad| ad.hide_attribute(attribute, Some(who.into())));
    }
    let causes: [(&str, Undecide); 5] = [
        ("its state is unreadable", |firm, who| hide(firm, who, "userAccountControl")),
        ("its expiry is unreadable", |firm, who| hide(firm, who, "accountExpires")),
        ("its primary group is unknown", |firm, who| {
            firm.sim.edit(|ad| ad.remove_member(names::BASIC, who));
            hide(firm, who, "primaryGroupID");
        }),
        ("a group is missing", |firm, _| firm.sim.edit(|ad| ad.hide_entry(names::BASIC))),
        ("it expires and the clocks differ", |firm, who| {
            let end = firm.clock.now().plus(std::time::Duration::from_hours(24 * 9));
            firm.sim.edit(|ad| ad.set(who, "accountExpires", &end.to_filetime().to_string()));
            firm.sim.set_clock_skew(-3600);
        }),
    ];
    for (cause, undecide) in causes {
        let firm = followed(20, |_| {}).await;
        let one = guid_of(&firm.users().await[0]);
        let two = firm.sim.edit(|ad| ad.add_person(newcomer("two", "ann@example.com")));
        undecide(&firm, two);
        firm.sim.edit(|ad| ad.set(one, "mail", "ann@example.com"));
        let run = sync(&firm, "corp").await;
        assert_eq!(holder(&firm, "ann@example.com").await, None, "{cause}: {run:?}");
        assert!(
            reasons(&firm).await.contains(&QuarantineReason::ContestedAddress),
            "{cause}: {:?}",
            reasons(&firm).await
        );
        firm.sim.edit(|ad| ad.set(two, "mail", "bob@example.com"));
        sync(&firm, "corp").await;
        assert_eq!(
            holder(&firm, "ann@example.com").await.map(|u| guid_of(&u)),
            Some(one),
            "{cause}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_full_run_decides_no_address_that_an_unread_person_wants() {
    let firm = followed(40, |c| {
        let base = c.settings.bases[0].clone();
        let root = &base[base.find("DC=").expect("a suffix")..];
        c.settings.bases =
            ["Engineering", "Finance"].map(|ou| format!("OU={ou},OU=Staff,{root}")).to_vec();
    })
    .await;
    let users = firm.users().await;
    let in_engineering = |user: &&User| dn_of(user).contains("OU=Engineering");
    let one = guid_of(users.iter().find(in_engineering).expect("an engineer"));
    firm.sim.edit(|ad| {
        ad.add_person(newcomer("two", "ann@example.com"));
        ad.set(one, "mail", "ann@example.com");
    });
    firm.sim
        .faults()
        .push(Fault::new(When::page(1).based_at("OU=Finance"), What::result(53, "no")));
    let run = sync(&firm, "corp").await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    assert_eq!(holder(&firm, "ann@example.com").await, None, "{run:?}");
    firm.sim.faults().clear();
    sync(&firm, "corp").await;
    assert_eq!(reasons(&firm).await, [QuarantineReason::ContestedAddress; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_renamed_during_the_read_decides_no_contested_address() {
    let firm = followed(20, |c| c.settings.page_size = 1).await;
    let entries = firm.sync().await.entries;
    let (one, two) = firm.sim.edit(|ad| {
        (
            ad.add_person(newcomer("one", "ann@example.com")),
            ad.add_person(newcomer("two", "ann@example.com")),
        )
    });
    // The last newcomer of the read is a member of a group whose new name is not known.
    let last = usize::try_from(entries).expect("a page") + 2;
    firm.sim.faults().push(Fault::new(
        When::page(last),
        What::Edit(Arc::new(|ad| ad.rename(names::BASIC, "Roster Simple"))),
    ));
    let run = sync(&firm, "corp").await;
    assert_eq!(holder(&firm, "ann@example.com").await, None, "{run:?}");
    firm.sim.edit(|ad| ad.set(two, "mail", "bob@example.com"));
    firm.sync().await;
    assert_eq!(holder(&firm, "ann@example.com").await.map(|u| guid_of(&u)), Some(one));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_an_undecided_newcomer_wants_is_reported_with_both_entries() {
    let firm = followed(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| {
        let two = ad.add_person(newcomer("two", "ann@example.com"));
        ad.hide_attribute("accountExpires", Some(two.into()));
        ad.set_values(guid_of(&user), "proxyAddresses", ["smtp:ann@example.com"]);
    });
    let run = sync(&firm, "corp").await;
    assert_eq!(holder(&firm, "ann@example.com").await, None, "{run:?}");
    let warning = alias_warning(&run, "ann@example.com");
    assert!(warning.contains("which CN=two,") && warning.contains("names, too"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_two_people_want_is_no_alias_of_a_third() {
    let firm = followed(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| {
        ad.add_person(newcomer("one", "ann@example.com"));
        ad.add_person(newcomer("two", "ann@example.com"));
        ad.set_values(guid_of(&user), "proxyAddresses", ["smtp:ann@example.com"]);
    });
    let run = sync(&firm, "corp").await;
    assert_eq!(holder(&firm, "ann@example.com").await, None, "{run:?}");
    let warning = alias_warning(&run, "ann@example.com");
    assert!(warning.contains("CN=one,") && warning.contains("CN=two,"), "{warning}");
}
