use adsim::{Ad, Control, Fault, NewPerson, Sim, What, When};
use ldap3_proto::proto::{LdapOp, LdapSearchScope as Scope};

use crate::client::{Ask, Client, at, below, control, text};

const ROOT: &str = "DC=corp,DC=example,DC=com";
const STAFF: &str = "OU=Staff,DC=corp,DC=example,DC=com";
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

/// A domain with two OUs, a group and two people.
async fn few() -> Sim {
    let sim = Sim::builder().start().await.expect("starts");
    sim.edit(|ad| {
        ad.add_ou("", "Staff");
        ad.add_ou("", "Leavers");
        ad.add_ou("Staff", "Sales");
        ad.add_group("Staff", "Basic");
        ad.add_person(NewPerson::new("ann").mail("ann@example.com").ou("Staff"));
        ad.add_person(NewPerson::new("bob").mail("bob@example.com").ou("Sales").member_of("Basic"));
    });
    sim
}

fn changes_at<'a>(base: &'a str, scope: Scope, attributes: &'a [&'a str]) -> Ask<'a> {
    Ask {
        scope,
        controls: vec![control(NOTIFICATION)],
        ..below(base, "(objectClass=*)", attributes)
    }
}

fn changes(base: &str) -> Ask<'_> {
    changes_at(base, Scope::Subtree, &["name"])
}

/// Waits for the next change. Returns the first part of its DN.
async fn next(client: &mut Client) -> String {
    let (dn, _) = client.told().await.1.expect("an entry");
    dn.split(',').next().expect("a part").split("\\0A").next().expect("a part").to_owned()
}

/// Returns all changes up to one that is made as an end mark.
async fn all(client: &mut Client, sim: &Sim, end: &str) -> Vec<String> {
    let mut told = Vec::new();
    sim.edit(|ad| ad.set(end, "description", "the end"));
    let last = sim.look(|ad| ad.dn(end));
    loop {
        let (dn, _) = client.told().await.1.expect("an entry");
        if dn == last {
            return told;
        }
        told.push(
            dn.split(',').next().expect("a part").split("\\0A").next().expect("a part").to_owned(),
        );
    }
}

#[tokio::test]
async fn additions_changes_moves_and_renames_within_the_scope_are_reported() {
    type Edit = fn(&mut Ad);
    let table: &[(&str, Edit, &[&str], &[&str])] = &[
        ("changed", |ad| ad.set("bob", "title", "Boss"), &["CN=bob"], &["CN=bob"]),
        ("not changed", |ad| ad.enable("bob"), &[], &[]),
        (
            "changed elsewhere",
            |ad| ad.set("svc-rosterd", "title", "Robot"),
            &["CN=svc-rosterd"],
            &[],
        ),
        (
            "added",
            |ad| _ = ad.add_person(NewPerson::new("dan").ou("Sales")),
            &["CN=dan"],
            &["CN=dan"],
        ),
        ("renamed", |ad| ad.rename("bob", "Robert"), &["CN=Robert"], &["CN=Robert"]),
        ("moved within", |ad| ad.move_to("bob", "Staff"), &["CN=bob"], &["CN=bob"]),
        ("moved out", |ad| ad.move_to("bob", "Leavers"), &["CN=bob"], &[]),
        ("a container renamed", |ad| ad.rename("Sales", "Trade"), &["OU=Trade"], &["OU=Trade"]),
        ("a member", |ad| ad.add_member("Basic", "ann"), &["CN=Basic"], &["CN=Basic"]),
        ("deleted", |ad| ad.delete("bob"), &[], &[]),
        (
            "several at once, one of them twice",
            |ad| {
                ad.set("ann", "title", "Boss");
                ad.disable("bob");
                ad.clear("ann", "mail");
            },
            &["CN=bob", "CN=ann"],
            &["CN=bob", "CN=ann"],
        ),
    ];
    for (what, edit, in_domain, in_staff) in table {
        for (base, expected) in [(ROOT, in_domain), (STAFF, in_staff)] {
            let sim = few().await;
            sim.edit(|ad| ad.show_tombstones(true));
            let mut client = Client::service(&sim).await;
            client.watch(changes(base)).await;
            sim.edit(edit);
            assert_eq!(all(&mut client, &sim, "Staff").await, *expected, "{what} in {base}");
        }
    }
}

#[tokio::test]
async fn deletions_are_reported_when_tombstones_are_requested_and_visible() {
    for (base, asked, shown, expected) in [
        (ROOT, true, true, &["CN=bob"][..]),
        (ROOT, false, true, &[]),
        (ROOT, true, false, &[]),
        (STAFF, true, true, &[]),
    ] {
        let sim = few().await;
        sim.edit(|ad| ad.show_tombstones(shown));
        let mut client = Client::service(&sim).await;
        let mut ask = changes_at(base, Scope::Subtree, &["isDeleted"]);
        if asked {
            ask.controls.push(control(SHOW_DELETED));
        }
        client.watch(ask).await;
        sim.edit(|ad| ad.delete("bob"));
        assert_eq!(all(&mut client, &sim, "Staff").await, expected, "{base} {asked} {shown}");
    }
}

#[tokio::test]
async fn the_scope_is_that_of_the_search() {
    for (base, scope, expected) in [
        (STAFF, Scope::Base, &["OU=Staff"][..]),
        (STAFF, Scope::OneLevel, &["CN=ann"]),
        (STAFF, Scope::Subtree, &["CN=ann", "CN=bob", "OU=Staff"]),
        ("CN=bob,OU=Sales,OU=Staff,DC=corp,DC=example,DC=com", Scope::Subtree, &["CN=bob"]),
    ] {
        let sim = few().await;
        let mut client = Client::service(&sim).await;
        client.watch(changes_at(base, scope, &["name"])).await;
        sim.edit(|ad| {
            for who in ["ann", "bob", "Staff"] {
                ad.set(who, "description", "new");
            }
        });
        for name in expected {
            assert_eq!(next(&mut client).await, *name, "{base}");
        }
    }
}

#[tokio::test]
async fn an_entry_is_reported_with_the_requested_attributes_or_all_readable_ones() {
    let sim = few().await;
    sim.edit(|ad| ad.hide_attribute("mail", None));
    let mut client = Client::service(&sim).await;
    let some = client.watch(changes_at(ROOT, Scope::Subtree, &["title", "mail"])).await;
    let all = client.watch(changes_at(ROOT, Scope::Subtree, &[])).await;
    sim.edit(|ad| ad.set("bob", "title", "Boss"));
    for id in [some, all] {
        let (told, entry) = client.told().await;
        let (dn, attributes) = entry.expect("an entry");
        assert_eq!((told, dn.as_str()), (id, "CN=bob,OU=Sales,OU=Staff,DC=corp,DC=example,DC=com"));
        assert_eq!(text(&attributes, "title"), ["Boss"]);
        assert!(!attributes.contains_key("mail"));
        assert_eq!(attributes.contains_key("memberOf"), id == all);
    }
}

#[tokio::test]
async fn invisible_entries_are_not_reported() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    client.watch(changes(ROOT)).await;
    sim.edit(|ad| {
        ad.hide_subtree("Sales");
        ad.hide_entry("ann");
        ad.disable("bob");
        ad.disable("ann");
    });
    assert!(all(&mut client, &sim, "Basic").await.is_empty());
    let hidden =
        Client::service(&sim).await.ask(changes("CN=ann,OU=Staff,DC=corp,DC=example,DC=com")).await;
    assert_eq!(hidden.code, 32);
}

#[tokio::test]
async fn changes_are_reported_while_other_searches_share_the_connection() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    client.watch(changes(ROOT)).await;
    for round in 0..50 {
        sim.edit(|ad| ad.set("bob", "title", &format!("Title {round}")));
        let found = client.ask(below(ROOT, "(sAMAccountName=bob)", &["title"])).await;
        assert_eq!(text(found.only(), "title"), [format!("Title {round}")]);
        assert_eq!(next(&mut client).await, "CN=bob");
    }
    drop(client);
    let mut client = Client::service(&sim).await;
    sim.edit(|ad| ad.set("bob", "title", "Nobody was there"));
    client.watch(changes(ROOT)).await;
    assert!(all(&mut client, &sim, "Basic").await.is_empty());
}

#[tokio::test]
async fn a_replica_reports_changes_made_at_the_other_server() {
    let sim = few().await;
    let other = sim.replica("DC2").expect("starts");
    let mut client = Client::service(&other).await;
    client.watch(changes(ROOT)).await;
    sim.edit(|ad| ad.disable("bob"));
    assert_eq!(next(&mut client).await, "CN=bob");
    other
        .faults()
        .push(Fault::new(When::search().containing("ann"), What::edit(|ad| ad.disable("ann"))));
    Client::service(&other).await.ask(below(ROOT, "(sAMAccountName=ann)", &[])).await;
    assert_eq!(next(&mut client).await, "CN=ann");
}

#[tokio::test]
async fn five_notification_searches_may_be_open_at_a_time() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(client.watch(changes(ROOT)).await);
    }
    assert_eq!(client.ask(changes(ROOT)).await.code, 11);
    let mut other = Client::service(&sim).await;
    other.watch(changes(ROOT)).await;
    client.send(LdapOp::AbandonRequest(ids[2])).await;
    client.watch(changes_at(STAFF, Scope::Base, &[])).await;
    sim.edit(|ad| ad.disable("bob"));
    for id in [ids[0], ids[1], ids[3], ids[4]] {
        assert_eq!(client.told().await.0, id);
    }
    assert_eq!(client.ask(changes(ROOT)).await.code, 11);
    client.bind(&sim.service_upn(), &sim.service_password()).await;
    let id = client.watch(changes(ROOT)).await;
    sim.edit(|ad| ad.enable("bob"));
    let (told, entry) = client.told().await;
    assert!(told == id && entry.is_ok(), "{entry:?}");
}

#[tokio::test]
async fn a_search_that_cannot_be_notified_is_refused() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    for (base, filter, code) in [
        (ROOT, "(objectClass=user)", 53),
        (ROOT, "(&(objectClass=*))", 53),
        (ROOT, "(cn=*)", 53),
        ("OU=Nowhere,DC=corp,DC=example,DC=com", "(objectClass=*)", 32),
    ] {
        let found = client.ask(Ask { filter, ..changes(base) }).await;
        assert_eq!((found.code, found.entries.len()), (code, 0), "{filter}");
    }
    client.watch(Ask { filter: "(OBJECTCLASS=*)", ..changes(ROOT) }).await;
    sim.edit(|ad| ad.disable("bob"));
    assert_eq!(next(&mut client).await, "CN=bob");
}

#[tokio::test]
async fn a_search_ends_when_its_base_is_deleted() {
    for purged in [false, true] {
        let sim = few().await;
        let mut client = Client::service(&sim).await;
        let id = client.watch(changes(STAFF)).await;
        let root = client.watch(changes(ROOT)).await;
        sim.edit(|ad| {
            ad.set("Leavers", "description", "new");
            if purged { ad.purge("Staff") } else { ad.delete("Staff") }
        });
        assert_eq!(client.told().await, (id, Err(32)));
        assert_eq!(client.told().await.0, root);
        sim.edit(|ad| ad.set("Leavers", "description", "newer"));
        assert_eq!(client.told().await.0, root, "the other search has ended");
    }
}

#[tokio::test]
async fn a_server_without_notifications_refuses_the_critical_control() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    for (known, code) in [(false, 12), (true, 0)] {
        sim.set_notifications(known);
        let root = client.ask(at("", &["supportedControl"])).await;
        assert_eq!(text(root.only(), "supportedControl").contains(&NOTIFICATION), known);
        if known {
            client.watch(changes(ROOT)).await;
        } else {
            assert_eq!(client.ask(changes(ROOT)).await.code, code);
            let ignored = vec![Control { critical: false, ..control(NOTIFICATION) }];
            let found = client
                .ask(Ask { controls: ignored, ..changes_at(STAFF, Scope::Base, &["name"]) })
                .await;
            assert_eq!(text(found.only(), "name"), ["Staff"], "a search like any other");
        }
    }
}

#[tokio::test]
async fn a_mute_server_accepts_the_search_and_reports_nothing() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    sim.mute_notifications(true);
    client.watch(changes(ROOT)).await;
    for _ in 0..20 {
        sim.edit(|ad| ad.disable("bob"));
        sim.edit(|ad| ad.enable("bob"));
        client.ask(at("", &["dnsHostName"])).await;
    }
    sim.mute_notifications(false);
    assert!(all(&mut client, &sim, "Basic").await.is_empty());
}

#[tokio::test]
async fn faults_and_the_log_cover_notification_searches() {
    let sim = few().await;
    let mut client = Client::service(&sim).await;
    sim.faults().push(Fault::new(
        When::search().containing("objectclass=*").based_at("staff"),
        What::result(51, "busy"),
    ));
    assert_eq!(client.ask(changes(STAFF)).await.code, 51);
    let id = client.watch(changes(ROOT)).await;
    sim.edit(|ad| ad.disable("bob"));
    assert_eq!(client.told().await.0, id, "a refused search gets no notification");
    sim.faults().push(Fault::new(When::search().based_at("staff"), What::Cut));
    let (_, end) = client.try_ask(changes(STAFF)).await.expect_err("a cut");
    assert!(end.starts_with("closed"), "{end}");
    let log = sim.log();
    let logged: Vec<_> =
        log.searches().into_iter().filter(|search| search.has_control(NOTIFICATION)).collect();
    assert_eq!(
        logged
            .iter()
            .map(|search| (search.base.as_str(), search.code, search.entries))
            .collect::<Vec<_>>(),
        [(STAFF, 0, 0), (ROOT, 0, 0)]
    );
}
