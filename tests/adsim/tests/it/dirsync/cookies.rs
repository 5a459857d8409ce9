use std::time::Duration;

use adsim::{Control, Fault, NewPerson, Sim, What, When};
use ldap3_proto::proto::LdapSearchScope;
use uuid::Uuid;

use super::{ALL, DIR_SYNC, INCREMENTAL, PEOPLE, ROOT, Reader, SECURE, dirsync, few};
use crate::client::{Ask, Client, at, below, paged, text};

#[tokio::test]
async fn the_base_is_a_naming_context_and_the_scope_does_not_matter() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let staff = format!("OU=Staff,{ROOT}");
    let configuration = format!("CN=Configuration,{ROOT}");
    for (base, flags, granted, critical, code) in [
        (ROOT, SECURE, false, true, 0),
        (ROOT, SECURE, false, false, 0),
        (ROOT, 0, false, true, 50),
        (ROOT, INCREMENTAL, false, true, 50),
        (ROOT, 0, true, true, 0),
        (&configuration, SECURE, false, true, 0),
        (&staff, 0, false, true, 50),
        (&staff, 0, true, true, 50),
        (&staff, SECURE, false, true, 53),
        ("OU=Nowhere,DC=corp,DC=example,DC=com", SECURE, false, true, 32),
        (ROOT, 0x8000_0000, true, true, 2),
    ] {
        sim.edit(|ad| ad.grant_replication(granted));
        let controls = vec![Control { critical, ..dirsync(flags, &[]) }];
        let found = client
            .ask(Ask { controls, scope: LdapSearchScope::Base, ..below(base, ALL, &["name"]) })
            .await;
        assert_eq!(found.code, code, "{base} {flags} {granted}");
        assert_eq!(found.dirsync.is_some(), code == 0);
        if base == ROOT && code == 0 {
            assert!(found.entries.len() > 10, "everything below");
        }
        let head = found.entries.iter().find(|(dn, _)| dn == base);
        assert!(
            head.is_none_or(
                |(_, head)| head.contains_key("name") && !head.contains_key("parentGUID")
            ),
            "{base}"
        );
    }
    sim.edit(|ad| ad.grant_replication(true));
    let both = |critical| vec![dirsync(0, &[]), Control { critical, ..paged(2, &[]) }];
    let found = client.ask(Ask { controls: both(true), ..below(ROOT, PEOPLE, &["name"]) }).await;
    assert_eq!((found.code, found.entries.len()), (1, 0));
    let found = client.ask(Ask { controls: both(false), ..below(ROOT, PEOPLE, &["name"]) }).await;
    assert_eq!((found.code, found.entries.len(), found.cookie), (0, 4, None));
    let root = client.ask(at("", &["supportedControl"])).await;
    assert!(text(root.only(), "supportedControl").contains(&DIR_SYNC));
}

#[tokio::test]
async fn a_cookie_that_does_not_match_is_refused_or_returns_everything_or_nothing() {
    let sim = few().await;
    let other = Sim::builder().domain("other.example.com").start().await.expect("starts");
    let replica = sim.replica("DC2").expect("starts");
    other.edit(|ad| {
        for number in 0..100 {
            ad.add_person(NewPerson::new(format!("p{number}")));
        }
    });
    let own = Reader::caught_up(&sim, PEOPLE, &["name"], SECURE).await.cookie;
    let elsewhere = {
        let mut client = Client::service(&other).await;
        let ask = below("DC=other,DC=example,DC=com", PEOPLE, &["name"]);
        client
            .ask(Ask { controls: vec![dirsync(SECURE, &[])], ..ask })
            .await
            .dirsync
            .expect("a cookie")
            .1
    };
    let another_filter =
        Reader::caught_up(&sim, "(objectClass=group)", &["name"], SECURE).await.cookie;
    let of_replica = Reader::caught_up(&replica, PEOPLE, &["name"], SECURE).await.cookie;
    sim.edit(|ad| ad.rename("bob", "Robert"));
    let later = Reader::caught_up(&sim, PEOPLE, &["name"], SECURE).await.cookie;
    for (what, cookie, entries, restored) in [
        ("its own", &own[..], Ok(1), 0),
        ("garbage", b"garbage", Err(12), 0),
        ("too short", &own[..own.len() - 1], Err(12), 0),
        ("of another domain", &elsewhere, Ok(4), 0),
        ("of another filter", &another_filter, Ok(0), 0),
        ("of a replica", &of_replica, Ok(4), 0),
        ("of a future that was restored away", &later, Ok(0), -1),
    ] {
        sim.set_usn_offset(restored);
        let mut client = Client::service(&sim).await;
        let ask = Ask { controls: vec![dirsync(SECURE, cookie)], ..below(ROOT, PEOPLE, &["name"]) };
        let found = client.ask(ask).await;
        match entries {
            Ok(count) => {
                assert_eq!((found.code, found.entries.len()), (0, count), "{what}");
                let (more, next) = found.dirsync.expect("a new cookie");
                assert!(!more);
                let mut reader =
                    Reader { cookie: next, ..Reader::new(&sim, PEOPLE, &["name", "title"]).await };
                assert!(reader.read().await.is_empty(), "{what}");
                sim.edit(|ad| ad.set("cat", "title", what));
                assert_eq!(reader.read().await, [format!("cat: title={what}")]);
            }
            Err(code) => {
                assert_eq!((found.code, found.dirsync), (code, None), "{what}");
                assert!(found.text.starts_with("0000202C"), "{}", found.text);
            }
        }
    }
}

#[tokio::test]
async fn a_restored_server_returns_no_changes_from_before_the_cookie() {
    let sim = few().await;
    let mut reader = Reader::caught_up(&sim, PEOPLE, &["title"], SECURE).await;
    sim.set_usn_offset(-2);
    for title in ["Cook", "Chef"] {
        sim.edit(|ad| ad.set("ann", "title", title));
    }
    sim.edit(|ad| ad.set("bob", "title", "Boss"));
    assert_eq!(reader.read().await, ["bob: title=Boss"]);
}

#[tokio::test]
async fn a_cookie_survives_a_crash_and_a_new_invocation_id_returns_everything() {
    let sim = few().await;
    let mut reader = Reader::caught_up(&sim, PEOPLE, &["title"], SECURE).await;
    sim.restart().await.expect("restarts");
    sim.edit(|ad| ad.set("bob", "title", "Boss"));
    reader.client = Client::service(&sim).await;
    assert_eq!(reader.read().await, ["bob: title=Boss"]);
    sim.set_invocation_id(Uuid::from_u128(7));
    assert_eq!(reader.read().await.len(), 3);
    assert!(reader.read().await.is_empty());
}

#[tokio::test]
async fn faults_apply_to_dirsync_searches() {
    let sim = few().await;
    let find = || When::search().containing("objectclass=user");
    let mut reader = Reader::new(&sim, PEOPLE, &["sAMAccountName"]).await;

    sim.faults().push(Fault::new(find().after_entries(2), What::Cut));
    let (found, end) = reader.client.try_ask(reader.ask()).await.expect_err("a cut");
    assert_eq!(found.entries.len(), 2);
    assert!(end.starts_with("closed"), "{end}");
    reader.client = Client::service(&sim).await;

    sim.faults().push(Fault::new(find().after_entries(1), What::result(51, "busy")));
    let found = reader.client.ask(reader.ask()).await;
    assert_eq!((found.code, found.entries.len(), found.dirsync), (51, 1, None));

    sim.faults().push(Fault::new(find(), What::OmitDirSyncControl));
    let found = reader.client.ask(reader.ask()).await;
    assert_eq!((found.code, found.entries.len(), found.dirsync), (0, 4, None));

    sim.faults().push(Fault::new(find(), What::EmptySuccess));
    let found = reader.client.ask(reader.ask()).await;
    assert_eq!((found.code, found.entries.len()), (0, 0));
    assert!(!found.dirsync.expect("a cookie").0);

    sim.faults().push(Fault::new(find(), What::edit(|ad| ad.rename("bob", "Robert"))));
    assert_eq!(reader.read().await.len(), 4);

    reader.cookie.clear();
    sim.faults().push(Fault::new(
        find().after_entries(3),
        What::edit(|ad| ad.set("bob", "sAMAccountName", "rob")),
    ));
    assert_eq!(reader.read().await.len(), 4);
    assert_eq!(
        reader.read().await,
        ["Robert: sAMAccountName=rob"],
        "a change during an answer is in the next one"
    );

    sim.faults().push(Fault::new(find(), What::RepeatCookie).always());
    let asked = reader.cookie.clone();
    for _ in 0..5 {
        reader.read().await;
        assert_eq!((reader.more, &reader.cookie), (true, &asked));
    }
    sim.faults().clear();

    sim.faults().push(Fault::new(When::Connect, What::Anonymous));
    reader = Reader::new(&sim, PEOPLE, &["sAMAccountName"]).await;
    assert!(
        reader.read().await.is_empty() && !reader.more,
        "an anonymous client gets nothing, and no more is announced"
    );
    reader.client = Client::service(&sim).await;
    assert!(reader.read().await.is_empty());

    sim.faults().push(Fault::new(find(), What::Stall));
    let ask = reader.ask();
    let asking = reader.client.try_ask(ask);
    assert!(tokio::time::timeout(Duration::from_millis(200), asking).await.is_err());
    let log = sim.log();
    assert!(log.searches_for("objectClass=user").iter().all(|search| search.has_control(DIR_SYNC)));
}
