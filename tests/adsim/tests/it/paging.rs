use std::collections::BTreeSet;

use adsim::{Ad, NewPerson};

use crate::client::{Ask, Client, at, below, paged, text};
use crate::company;

const ROOT: &str = "DC=corp,DC=example,DC=com";
const PEOPLE: &str = "(&(objectCategory=person)(objectClass=user)(mail=*))";

#[tokio::test]
async fn every_person_is_returned_exactly_once_with_any_page_size() {
    let sim = company(300).await;
    let mut client = Client::service(&sim).await;
    for size in [1, 7, 100, 150, 299, 300, 301, 5000] {
        let found = client.all_pages(ROOT, PEOPLE, &["mail"], size).await;
        let distinct: BTreeSet<&str> = found.dns().into_iter().collect();
        assert_eq!((found.entries.len(), distinct.len()), (300, 300), "{size}");
    }
}

#[tokio::test]
async fn unpaged_searches_end_at_the_servers_limit_with_an_error() {
    let sim = company(1200).await;
    let mut client = Client::service(&sim).await;
    let found = client.ask(below(ROOT, PEOPLE, &["mail"])).await;
    assert_eq!((found.code, found.entries.len()), (4, 1000));
    let found = client.ask(Ask { size_limit: 10, ..below(ROOT, PEOPLE, &["mail"]) }).await;
    assert_eq!((found.code, found.entries.len()), (4, 10));
    let mut ask = below(ROOT, PEOPLE, &["mail"]);
    ask.controls.push(paged(5000, &[]));
    let found = client.ask(ask).await;
    assert_eq!((found.code, found.entries.len()), (0, 1000));
    assert!(found.cookie.is_some_and(|cookie| !cookie.is_empty()));
}

#[tokio::test]
async fn a_cookie_belongs_to_its_connection_and_its_search() {
    let sim = company(50).await;
    let mut client = Client::service(&sim).await;
    let ask = |filter, cookie: &[u8]| {
        let mut ask = below(ROOT, filter, &["mail"]);
        ask.controls.push(paged(10, cookie));
        ask
    };
    let cookie = client.ask(ask(PEOPLE, &[])).await.cookie.expect("a cookie");
    let mut other = Client::service(&sim).await;
    assert_eq!(other.ask(ask(PEOPLE, &cookie)).await.code, 53);
    assert_eq!(client.ask(ask("(objectClass=*)", &cookie)).await.code, 12);
    assert_eq!(client.ask(ask(PEOPLE, b"garbage")).await.code, 53);
    let next = client.ask(ask(PEOPLE, &cookie)).await;
    assert_eq!((next.code, next.entries.len()), (0, 10));
}

#[tokio::test]
async fn a_change_between_pages_shows_on_the_later_pages() {
    let sim = company(40).await;
    let mut client = Client::service(&sim).await;
    let mut ask = below(ROOT, PEOPLE, &["displayName"]);
    ask.controls.push(paged(20, &[]));
    let first = client.ask(ask).await;
    let last = sim.look(Ad::people).pop().expect("a person");
    sim.edit(|ad| {
        ad.set(last, "displayName", "Changed");
        ad.add_person(NewPerson::new("late").mail("late@example.com"));
    });
    let mut ask = below(ROOT, PEOPLE, &["displayName"]);
    ask.controls.push(paged(1000, &first.cookie.expect("a cookie")));
    let second = client.ask(ask).await;
    assert_eq!(first.entries.len() + second.entries.len(), 41);
    assert_eq!(text(&second.entries[19].1, "displayName"), ["Changed"]);
}

#[tokio::test]
async fn attributes_of_many_values_come_in_ranges() {
    let sim = company(2100).await;
    let mut client = Client::service(&sim).await;
    let group = format!("CN=Roster Basic,OU=Groups,{ROOT}");
    let members = sim.look(|ad| ad.members("Roster Basic")).len();
    assert_eq!(members, 1575);
    let found = client.ask(at(&group, &["member"])).await;
    let first = found.only();
    assert!(first["member"].is_empty());
    assert_eq!(first["member;range=0-1499"].len(), 1500);
    let found = client.ask(at(&group, &["member;range=1500-*"])).await;
    assert_eq!(found.only()["member;range=1500-*"].len(), 75);
    let found = client.ask(at(&group, &["member;Range=10-19"])).await;
    assert_eq!(found.only()["member;range=10-19"], first["member;range=0-1499"][10..20]);
    assert_eq!(client.ask(at(&group, &["member;range=1575-*"])).await.code, 1);
}
