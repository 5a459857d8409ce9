use adsim::{Ad, NewPerson};

use crate::client::{Ask, Client, at, below, control, text};
use crate::company;

const ROOT: &str = "DC=corp,DC=example,DC=com";
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

#[tokio::test]
async fn a_deleted_person_leaves_a_tombstone_for_those_who_may_see_it() {
    let sim = company(20).await;
    let mut client = Client::service(&sim).await;
    let bob = sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("bob")
                .mail("bob@example.com")
                .ou("Sales")
                .member_of("Roster Basic")
                .disabled(),
        )
    });
    let sid = sim.look(|ad| ad.values(bob, "objectSid"));
    sim.edit(|ad| ad.delete("bob"));
    let base = format!("<GUID={bob}>");
    let deleted = || Ask { controls: vec![control(SHOW_DELETED)], ..at(&base, &["*", "memberOf"]) };
    assert_eq!(client.ask(deleted()).await.code, 32, "no rights on Deleted Objects");
    sim.edit(|ad| ad.show_tombstones(true));
    assert_eq!(client.ask(at(&base, &[])).await.code, 32, "the control is needed");
    let found = client.ask(deleted()).await;
    assert_eq!(found.dns(), [format!("CN=bob\\0ADEL:{bob},CN=Deleted Objects,{ROOT}")]);
    let tombstone = found.only();
    assert_eq!(text(tombstone, "isDeleted"), ["TRUE"]);
    assert_eq!(text(tombstone, "lastKnownParent"), [format!("OU=Sales,OU=Staff,{ROOT}")]);
    assert_eq!(text(tombstone, "userAccountControl"), ["514"]);
    assert_eq!(text(tombstone, "sAMAccountName"), ["bob"]);
    assert_eq!(tombstone["objectSid"], sid);
    for gone in [
        "mail",
        "objectCategory",
        "memberOf",
        "sAMAccountType",
        "accountExpires",
        "userPrincipalName",
    ] {
        assert!(!tombstone.contains_key(gone), "{gone}");
    }
    for (filter, count) in
        [("(objectClass=user)", 1), ("(objectCategory=person)", 0), ("(mail=*)", 0)]
    {
        let filter = format!("(&(isDeleted=TRUE){filter})");
        let ask = below(ROOT, &filter, &["1.1"]);
        let found = client.ask(Ask { controls: vec![control(SHOW_DELETED)], ..ask }).await;
        assert_eq!(found.entries.len(), count, "{filter}");
    }
    assert!(!sim.look(|ad| ad.members("Roster Basic")).contains(&bob));
}

#[tokio::test]
async fn reanimated_people_are_disabled_and_bare_and_from_the_recycle_bin_whole() {
    let sim = company(20).await;
    let mut client = Client::service(&sim).await;
    let new =
        || NewPerson::new("bob").mail("bob@example.com").ou("Sales").member_of("Roster Basic");
    let bob = sim.edit(|ad| {
        let bob = ad.add_person(new());
        ad.delete(bob);
        ad.restore(bob);
        bob
    });
    let found = client.ask(at(&format!("<GUID={bob}>"), &[])).await;
    assert_eq!(found.dns(), [format!("CN=bob,OU=Sales,OU=Staff,{ROOT}")]);
    assert_eq!(text(found.only(), "userAccountControl"), ["514"]);
    assert!(!found.only().contains_key("mail") && !found.only().contains_key("memberOf"));

    let eve = sim.edit(|ad| {
        ad.set_recycle_bin(true);
        let eve = ad.add_person(
            NewPerson::new("eve").mail("eve@example.com").ou("Sales").member_of("Roster Basic"),
        );
        ad.delete("eve");
        ad.add_person(NewPerson::new("eve2").mail("eve@example.com"));
        ad.restore(eve);
        eve
    });
    let found = client.ask(at(&format!("<GUID={eve}>"), &[])).await;
    assert_eq!(text(found.only(), "userAccountControl"), ["512"]);
    assert_eq!(text(found.only(), "mail"), ["eve@example.com"]);
    assert_eq!(text(found.only(), "memberOf"), [format!("CN=Roster Basic,OU=Groups,{ROOT}")]);
}

#[tokio::test]
async fn purged_people_leave_nothing() {
    let sim = company(20).await;
    let mut client = Client::service(&sim).await;
    sim.edit(|ad| {
        ad.show_tombstones(true);
        let bob = ad.add_person(NewPerson::new("bob").member_of("Roster Basic"));
        ad.purge(bob);
        ad.add_person(NewPerson::new("bob"));
    });
    let ask = below(ROOT, "(sAMAccountName=bob)", &["1.1"]);
    let found = client.ask(Ask { controls: vec![control(SHOW_DELETED)], ..ask }).await;
    assert_eq!(found.entries.len(), 1);
}

#[tokio::test]
async fn deleting_an_ou_turns_its_entries_into_tombstones() {
    let sim = company(60).await;
    let mut client = Client::service(&sim).await;
    let before = sim.look(Ad::people).len();
    sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.delete("Engineering");
    });
    assert_eq!(sim.look(Ad::people).len(), before - 20);
    let ask = below(ROOT, "(&(isDeleted=TRUE)(objectClass=user))", &["lastKnownParent"]);
    let found = client.ask(Ask { controls: vec![control(SHOW_DELETED)], ..ask }).await;
    assert_eq!(found.entries.len(), 20);
}
