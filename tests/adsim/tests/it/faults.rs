use std::time::{Duration, Instant};

use adsim::{Fault, Sim, What, When, frames};
use ldap3_proto::proto::{LdapOp, LdapResultCode as Code};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::client::{Client, at, below, paged, text};
use crate::company;

const ROOT: &str = "DC=corp,DC=example,DC=com";
const PEOPLE: &str = "(&(objectCategory=person)(objectClass=user)(mail=*))";

#[tokio::test]
async fn a_cut_comes_after_the_configured_number_of_entries() {
    let sim = company(50).await;
    sim.faults().push(Fault::new(When::search().containing("MAIL").after_entries(25), What::Cut));
    let mut client = Client::service(&sim).await;
    let mut ask = below(ROOT, PEOPLE, &["mail"]);
    ask.controls.push(paged(20, &[]));
    let first = client.ask(ask).await;
    assert_eq!(first.entries.len(), 20);
    let mut ask = below(ROOT, PEOPLE, &["mail"]);
    ask.controls.push(paged(20, &first.cookie.expect("a cookie")));
    let (second, end) = client.try_ask(ask).await.expect_err("a cut");
    assert_eq!(second.entries.len(), 5);
    assert!(end.starts_with("closed"), "{end}");
    assert_eq!((sim.faults().pending(), sim.faults().fired()), (0, 1));

    sim.faults().push(Fault::new(When::nth_search(2).after_entries(20), What::CutInsideFrame));
    let mut client = Client::service(&sim).await;
    client.ask(at("", &[])).await;
    let (found, end) = client.try_ask(below(ROOT, PEOPLE, &["mail"])).await.expect_err("a cut");
    assert_eq!(found.entries.len(), 20);
    assert!(end.starts_with("closed"), "{end}");
}

#[tokio::test]
async fn results_can_lie_about_what_was_read() {
    let sim = company(50).await;
    let mut client = Client::service(&sim).await;
    let ask = |cookie: &[u8]| {
        let mut ask = below(ROOT, PEOPLE, &["mail"]);
        ask.controls.push(paged(20, cookie));
        ask
    };
    sim.faults().push(Fault::new(When::page(1), What::OmitPagingControl));
    let found = client.ask(ask(&[])).await;
    assert_eq!((found.code, found.entries.len(), found.cookie), (0, 20, None));

    sim.faults().push(Fault::new(When::page(1), What::EmptySuccess));
    let found = client.ask(ask(&[])).await;
    assert_eq!((found.code, found.entries.len(), found.cookie), (0, 0, Some(Vec::new())));

    sim.faults().push(Fault::new(When::page(1).after_entries(7), What::EmptySuccess));
    let found = client.ask(ask(&[])).await;
    assert_eq!((found.code, found.entries.len(), found.cookie), (0, 7, Some(Vec::new())));

    sim.faults().push(Fault::new(When::page(1).after_entries(3), What::result(3, "time")));
    let found = client.ask(ask(&[])).await;
    assert_eq!((found.code, found.entries.len(), found.text.as_str()), (3, 3, "time"));

    sim.faults().push(Fault::new(When::search(), What::RepeatCookie).always());
    let mut cookie = client.ask(ask(&[])).await.cookie.expect("a cookie");
    for _ in 0..5 {
        let page = client.ask(ask(&cookie)).await;
        assert_eq!((page.entries.len(), page.cookie.as_ref()), (20, Some(&cookie)));
        cookie = page.cookie.expect("a cookie");
    }
}

#[tokio::test]
async fn entries_can_come_twice_or_not_at_all_and_references_between_them() {
    let sim = company(10).await;
    let mut client = Client::service(&sim).await;
    let all = client.ask(below(ROOT, PEOPLE, &["mail"])).await;
    for (after, what, expected) in [
        (3, What::RepeatEntry, [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9].as_slice()),
        (0, What::SkipEntry, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (9, What::SkipEntry, &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (
            4,
            What::Referral("ldap://child.example.com/".to_owned()),
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        ),
    ] {
        sim.faults().push(Fault::new(When::search().after_entries(after), what.clone()));
        let found = client.ask(below(ROOT, PEOPLE, &["mail"])).await;
        let expected: Vec<&str> = expected.iter().map(|place| all.dns()[*place]).collect();
        assert_eq!(found.dns(), expected, "{what:?}");
        assert_eq!(found.references.len(), usize::from(matches!(what, What::Referral(_))));
    }
}

#[tokio::test]
async fn an_edit_happens_between_two_ranges() {
    let sim = Sim::builder().people(40).max_val_range(20).start().await.expect("starts");
    let mut client = Client::service(&sim).await;
    let group = format!("CN=Roster Basic,OU=Groups,{ROOT}");
    let first = sim.look(|ad| ad.members("Roster Basic"))[0];
    sim.faults().push(Fault::new(
        When::nth_search(2),
        What::edit(move |ad| ad.remove_member("Roster Basic", first)),
    ));
    let one = client.ask(at(&group, &["member", "uSNChanged"])).await;
    let two = client.ask(at(&group, &["member;range=20-*", "uSNChanged"])).await;
    assert_eq!(one.only()["member;range=0-19"].len() + two.only()["member;range=20-*"].len(), 29);
    assert_ne!(text(one.only(), "uSNChanged"), text(two.only(), "uSNChanged"));
}

#[tokio::test]
async fn binds_and_connections_misbehave() {
    let sim = company(5).await;
    sim.faults().push(Fault::new(When::Bind, What::BindRefused("532")));
    let mut client = Client::connect(&sim).await;
    let refused = client.bind(&sim.service_upn(), &sim.service_password()).await;
    assert_eq!(refused.code, Code::InvalidCredentials);
    assert!(refused.message.contains("data 532"));
    assert_eq!(client.bind(&sim.service_upn(), &sim.service_password()).await.code, Code::Success);

    sim.faults().push(Fault::new(When::Connect, What::Anonymous));
    let mut client = Client::connect(&sim).await;
    assert_eq!(client.bind(&sim.service_upn(), &sim.service_password()).await.code, Code::Success);
    let found = client.ask(below(ROOT, PEOPLE, &[])).await;
    assert_eq!((found.code, found.entries.len()), (0, 0));
    assert_eq!(client.ask(at("", &["tokenGroups"])).await.only()["tokenGroups"][0].len(), 12);

    sim.faults().push(Fault::new(When::search(), What::Stall));
    let mut client = Client::service(&sim).await;
    client.send(LdapOp::UnbindRequest).await;
    assert_eq!(client.receive().await.expect_err("an end"), "closed");
    let mut client = Client::service(&sim).await;
    let asking = client.try_ask(at("", &[]));
    assert!(tokio::time::timeout(Duration::from_millis(200), asking).await.is_err());

    sim.faults().push(Fault::new(When::search(), What::NoticeOfDisconnection));
    let mut client = Client::service(&sim).await;
    client.send(LdapOp::AbandonRequest(1)).await;
    assert!(client.try_ask(at("", &[])).await.is_err());

    sim.faults().push(Fault::new(
        When::search(),
        What::frames_instead(|id| {
            [
                frames::entry(id, b"CN=\xff\xfe,DC=x", &[("mail", vec![vec![], vec![0xc3]])]),
                frames::done(id, 0, ""),
            ]
            .concat()
        }),
    ));
    let mut client = Client::service(&sim).await;
    assert!(client.try_ask(at("", &[])).await.is_err(), "the other codec has no such DN");
}

#[tokio::test]
async fn start_tls_can_be_refused_and_spoilt() {
    let sim = company(5).await;
    sim.faults().push(Fault::new(When::StartTls, What::RefuseStartTls));
    let mut client = Client::plain(sim.ldap_addr()).await;
    let (refused, _) = client.extended("1.3.6.1.4.1.1466.20037").await;
    assert_eq!(refused.code, Code::Unavailable);

    sim.faults().push(Fault::new(
        When::StartTls,
        What::PlaintextAfterStartTls(frames::done(2, 0, "injected")),
    ));
    let mut client = Client::plain(sim.ldap_addr()).await;
    let (accepted, _) = client.extended("1.3.6.1.4.1.1466.20037").await;
    assert_eq!(accepted.code, Code::Success);
    assert!(matches!(client.receive().await.expect("plain text").op, LdapOp::SearchResultDone(_)));
}

#[tokio::test]
async fn dripping_is_slow_and_complete() {
    let sim = company(5).await;
    let mut client = Client::service(&sim).await;
    let began = Instant::now();
    sim.faults().push(Fault::new(When::search(), What::Drip(Duration::from_millis(1))));
    let found = client.ask(below(ROOT, PEOPLE, &["cn"])).await;
    assert_eq!(found.entries.len(), 5);
    assert!(began.elapsed() > Duration::from_millis(200));
}

#[tokio::test]
async fn a_crashed_server_refuses_until_it_is_back_on_the_same_ports() {
    let sim = company(5).await;
    let mut client = Client::service(&sim).await;
    sim.crash().await.expect("crashes");
    assert!(client.receive().await.expect_err("an end").starts_with("closed"));
    let refused = TcpStream::connect(sim.ldaps_addr()).await.expect_err("refused");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    sim.restart().await.expect("restarts");
    let mut client = Client::service(&sim).await;
    assert_eq!(client.ask(below(ROOT, PEOPLE, &["cn"])).await.entries.len(), 5);

    let address = sim.ldap_addr();
    let mut idle = TcpStream::connect(address).await.expect("connects");
    drop(sim);
    // The connection was closed, or reset if it had not been accepted yet.
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_second_controller_shares_the_directory_and_nothing_else() {
    let sim = company(5).await;
    let other = sim.replica("DC2").expect("starts");
    sim.edit(|ad| ad.set("anna.smith", "title", "Boss"));
    let mut client = Client::service(&other).await;
    let found = client.ask(below(ROOT, "(sAMAccountName=anna.smith)", &["title"])).await;
    assert_eq!(text(found.only(), "title"), ["Boss"]);
    assert_ne!(sim.invocation_id(), other.invocation_id());
    assert_ne!(sim.ds_service_name(), other.ds_service_name());
    assert!(sim.log().events.is_empty());
    assert_eq!(other.log().searches_for("anna").len(), 1);
    assert_eq!(other.log().binds(), [("svc-rosterd@corp.example.com", 0)]);
    sim.stop().await;
    assert_eq!(client.ask(at("", &[])).await.code, 0);
}
