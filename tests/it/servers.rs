//! The servers of a directory: dead addresses, dead servers, and the order in which they are used.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adsim::{Certificate, Fault, Sim, What, When};
use hickory_proto::op::ResponseCode;
use rosterd::directory::{Servers, Settings, Use};
use rosterd::engine::{Decision, DirectoryConfig, Rules};
use rosterd::model::{Discovery, Domain, FollowedServers, Resolver, ServerUrl, Status};
use rosterd::reconcile::{AttributeId, HighWaterMarks};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::firm::{Firm, followed, guid_of, heard_of, written};
use crate::hooks::until;
use crate::names::{Names, Reply};

/// An address that never answers.
enum BlackHole {
    /// It accepts TCP connections, and stays silent.
    Silent(#[expect(dead_code, reason = "kept open")] TcpListener),
    /// Its backlog is full, so that it drops each SYN.
    Full(
        #[expect(dead_code, reason = "kept open")] TcpListener,
        #[expect(dead_code, reason = "kept open")] Vec<TcpStream>,
    ),
}

impl BlackHole {
    fn silent(at: SocketAddr) -> Self {
        Self::Silent(listener(at, 64))
    }

    async fn full(at: SocketAddr) -> Self {
        let listener = listener(at, 1);
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(at)).await
        {
            waiting.push(stream);
        }
        Self::Full(listener, waiting)
    }
}

fn listener(at: SocketAddr, backlog: u32) -> TcpListener {
    let socket = if at.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
    socket.bind(at).unwrap();
    socket.listen(backlog).unwrap()
}

fn loopback(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

/// Returns the settings of a firm whose server has these addresses.
fn settings(firm: &Firm, addresses: Vec<IpAddr>) -> Settings {
    let mut settings = firm.engine.directory("corp").unwrap().config.settings.clone();
    let port = firm.sim.ldaps_addr().port();
    let mut url = ServerUrl::parse(&format!("ldaps://{}:{port}", firm.sim.host())).unwrap();
    url.addresses = addresses;
    settings.servers = vec![url];
    settings
}

async fn open(settings: &Settings) -> (Duration, Result<(), String>) {
    let begun = Instant::now();
    let opened = Servers::default()
        .open(settings, Use::Follow, &HighWaterMarks::default(), &|| Duration::ZERO)
        .await;
    (begun.elapsed(), opened.map(drop).map_err(|error| error.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_dead_address_is_reached_by_another_one_at_once() {
    let firm = Firm::of(1, |_| {}).await;
    let port = firm.sim.ldaps_addr().port();
    let _holes = [
        BlackHole::full(SocketAddr::new(loopback(7), port)).await,
        BlackHole::silent(SocketAddr::new(loopback(8), port)),
    ];
    let well = loopback(1);
    for dead in [loopback(7), loopback(8), loopback(9)] {
        for addresses in [vec![dead, well], vec![well, dead]] {
            let (took, opened) = open(&settings(&firm, addresses.clone())).await;
            assert_eq!(opened, Ok(()), "{addresses:?}");
            assert!(took < Duration::from_millis(1_500), "{addresses:?}: {took:?}");
        }
    }
    // A dead IPv6 address of a server that answers on IPv4, the everyday case.
    if TcpListener::bind(("::1", 0)).await.is_ok() {
        let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        let _hole = BlackHole::full(SocketAddr::new(v6, port)).await;
        let (took, opened) = open(&settings(&firm, vec![v6, well])).await;
        assert_eq!(opened, Ok(()));
        assert!(took < Duration::from_millis(1_500), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_addresses_are_named_and_share_their_time_limit() {
    let firm = Firm::of(1, |_| {}).await;
    let port = firm.sim.ldaps_addr().port();
    let _holes = [
        BlackHole::full(SocketAddr::new(loopback(7), port)).await,
        BlackHole::full(SocketAddr::new(loopback(17), port)).await,
        BlackHole::silent(SocketAddr::new(loopback(8), port)),
    ];
    let mut settings = settings(&firm, [7, 17, 8].map(loopback).to_vec());
    settings.timeouts.connect = Duration::from_secs(1);
    let (took, opened) = open(&settings).await;
    let error = opened.unwrap_err();
    for part in [
        "no answer to a TCP connection within 1s (127.0.0.7, 127.0.0.17)",
        "no answer to the TLS handshake within 1s (127.0.0.8)",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(took < Duration::from_millis(2_500), "the limits ran one after the other: {took:?}");
}

/// Returns a firm on two servers of one directory, with the further server.
async fn two_servers(adapt: impl FnOnce(&mut DirectoryConfig)) -> (Firm, Sim) {
    let firm = followed(10, adapt).await;
    let second = firm.sim.replica("dc2").unwrap();
    firm.reconfigure(|c| c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).unwrap()));
    assert_eq!(firm.sync().await.error, None);
    (firm, second)
}

/// Disables a person with an active user, and returns the address.
async fn disable_one(firm: &Firm) -> String {
    let leaver = firm.users().await[0].addresses.primary.clone().unwrap().to_string();
    firm.sim.edit(|ad| {
        let is_leaver = |guid: &uuid::Uuid| {
            ad.value(*guid, "mail").is_some_and(|mail| mail.eq_ignore_ascii_case(&leaver))
        };
        let guid = ad.people().into_iter().find(is_leaver).unwrap();
        ad.disable(guid);
    });
    leaver
}

fn connections(sim: &Sim) -> usize {
    sim.log().events.iter().filter(|logged| matches!(logged.event, adsim::Event::Connect)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_does_not_wait_for_a_dead_server() {
    let (firm, second) = two_servers(|_| {}).await;
    let right = firm.sim.default_password();
    let ann = firm.users().await[0].addresses.primary.clone().unwrap().to_string();
    assert!(matches!(firm.sign_in(&ann, Some(&right)).await, Decision::Allow { .. }));
    firm.sim.freeze();
    for limit in [Duration::from_millis(1_500), Duration::from_millis(500)] {
        let begun = Instant::now();
        let decision = firm.sign_in(&ann, Some(&right)).await;
        let took = begun.elapsed();
        assert!(matches!(decision, Decision::Allow { .. }), "{decision:?}");
        assert!(took < limit, "{took:?}");
    }
    // The look-up of the name and the password.
    assert_eq!(second.log().binds().len(), 3, "{:?}", second.log().binds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_left_alone_while_another_one_serves() {
    let (firm, second) = two_servers(|_| {}).await;
    firm.sim.freeze();
    firm.sim.clear_log();
    let run = firm.sync().await;
    assert_eq!((run.error, run.server), (None, Some(second.ldaps_url())));
    let dialled = connections(&firm.sim);
    assert!(dialled > 0, "the first caller tries it");
    firm.sim.thaw();
    for _ in 0..3 {
        assert_eq!(
            firm.sync().await.server,
            Some(second.ldaps_url()),
            "no change without a reason"
        );
    }
    assert_eq!(connections(&firm.sim), dialled);
    second.crash().await.unwrap();
    let run = firm.sync().await;
    assert_eq!((run.error, run.server), (None, Some(firm.sim.ldaps_url())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_left_within_fifteen_seconds_and_the_next_suspension_follows() {
    let (firm, second) = two_servers(|config| config.live = true).await;
    firm.keep().await;
    firm.sim.freeze();
    let begun = Instant::now();
    let leaver = disable_one(&firm).await;
    firm.is_suspended(&leaver).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(15_500), "{took:?}");
    assert!(!second.log().binds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_and_the_queries_use_one_address_of_a_server() {
    let firm = followed(10, |config| config.live = true).await;
    let port = firm.sim.ldaps_addr().port();
    let _hole = BlackHole::silent(SocketAddr::new(loopback(8), port));
    let settings = settings(&firm, vec![loopback(8), loopback(1)]);
    let servers = Servers::default();
    let session = servers
        .open(&settings, Use::Follow, &HighWaterMarks::default(), &|| Duration::ZERO)
        .await
        .unwrap();
    let begun = Instant::now();
    let now = || Duration::ZERO;
    let beside = servers.connect_to(session.url(), &settings, &now).await.unwrap();
    let beside = servers.log_in(beside, &settings, &now).await.unwrap();
    assert_eq!(beside.root.identity, session.root.identity);
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(250), "the dead address was tried again: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_of_dns_is_used_when_dns_is_silent() {
    let names = Names::serve().await;
    let srv = "_ldap._tcp.dc._msdcs.corp.example.com";
    names.reply(srv, Reply::Servers(vec!["dc1.corp.example.com."]));
    // Connections are refused there, which shows that the server was found.
    names.reply("dc1.corp.example.com", Reply::At(Ipv4Addr::new(127, 66, 0, 1)));
    let firm = Firm::of(1, |config| {
        config.settings.servers.clear();
        config.settings.starttls = true;
        config.discover = Some(Discovery {
            domain: Domain::parse("corp.example.com").unwrap(),
            site: None,
            suffixes: Vec::new(),
        });
    })
    .await;
    let was = firm.engine.configured();
    let rules = Rules { resolver: Resolver::At(names.at), ..was.rules.clone() };
    firm.engine.reconfigure(was.directories.values().map(|d| d.config.clone()).collect(), rules);
    let found = "ldap://dc1.corp.example.com: cannot connect";
    let error = firm.sync().await.error.unwrap();
    assert!(error.contains(found), "StartTLS uses the plain port: {error}");
    names.reply(srv, Reply::Error(ResponseCode::ServFail));
    for is_restarted in [false, true] {
        firm.later(Duration::from_mins(3));
        let engine = if is_restarted { firm.restarted() } else { Arc::clone(&firm.engine) };
        let error = crate::acme::sync(&engine, "corp").await.error.unwrap();
        assert!(error.contains(found), "restarted: {is_restarted}: {error}");
    }
    firm.later(Duration::from_mins(61));
    let directory = firm.engine.directory("corp").unwrap();
    let status = firm.engine.directory_status(&directory).await.unwrap();
    let told = status.attention.join("\n");
    assert!(told.contains("DNS has not answered about the domain controllers for 1h"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_loses_its_server_begins_again_with_the_next_one() {
    for what in [What::Cut, What::Stall, What::NoticeOfDisconnection] {
        let (firm, second) = two_servers(|config| {
            config.settings.timeouts.operation = Duration::from_secs(2);
        })
        .await;
        let people = When::search().containing("objectCategory=person").after_entries(3);
        firm.sim.faults().push(Fault::new(people, what.clone()));
        let leaver = disable_one(&firm).await;
        let run = firm.sync().await;
        assert_eq!((&run.error, run.server), (&None, Some(second.ldaps_url())), "{what:?}");
        let told = run.warnings.join("\n");
        assert!(told.contains("the run began again with another server"), "{what:?}: {told}");
        assert_eq!(firm.user(&leaver).await.status(), Status::Suspended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_seen_before_the_server_was_lost_is_suspended_by_the_run() {
    let firm = followed(10, |_| {}).await;
    let second = firm.sim.lagging_replica("dc2").unwrap();
    firm.reconfigure(|c| c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).unwrap()));
    assert_eq!(firm.sync().await.error, None);
    let leaver = disable_one(&firm).await;
    let people = When::search().containing("objectCategory=person").after_entries(8);
    firm.sim.faults().push(Fault::new(people, What::Cut));
    let run = firm.sync().await;
    assert_eq!((&run.error, &run.server), (&None, &Some(second.ldaps_url())));
    assert_eq!(run.counts.suspend, 1, "{run:?}");
    assert_eq!(firm.user(&leaver).await.status(), Status::Suspended);
    assert_eq!(firm.sync().await.error, None);
    assert_eq!(firm.user(&leaver).await.status(), Status::Suspended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_loses_its_only_server_counts_what_it_saw() {
    let (firm, second) = two_servers(|_| {}).await;
    second.crash().await.unwrap();
    firm.sim.faults().push(
        Fault::new(When::search().containing("objectCategory=person").after_entries(3), What::Cut)
            .always(),
    );
    let run = firm.sync().await;
    assert!(run.error.is_some_and(|error| error.contains("not read completely")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_returns_to_a_preferred_server_that_was_well_for_five_minutes() {
    let (firm, second) = two_servers(|_| {}).await;
    let (first, second_url) = (Some(firm.sim.ldaps_url()), Some(second.ldaps_url()));
    firm.sim.crash().await.unwrap();
    assert_eq!(firm.sync().await.server, second_url);
    firm.sim.restart().await.unwrap();
    firm.clock.advance(Duration::from_mins(3));
    firm.engine.look_at_servers().await;
    assert_eq!(firm.sync().await.server, second_url, "it was well for no time yet");
    firm.clock.advance(Duration::from_mins(4));
    firm.sim.crash().await.unwrap();
    firm.engine.look_at_servers().await;
    firm.sim.restart().await.unwrap();
    firm.clock.advance(Duration::from_mins(4));
    firm.engine.look_at_servers().await;
    assert_eq!(firm.sync().await.server, second_url, "it was away in between");
    firm.clock.advance(Duration::from_mins(6));
    firm.engine.look_at_servers().await;
    assert_eq!(firm.sync().await.server, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_returns_to_no_server_that_lacks_what_another_one_showed() {
    let firm = followed(10, |_| {}).await;
    let (preferred, known) = (firm.sim.lagging_replica("preferred").unwrap(), &firm.sim);
    let urls = [&preferred, known].map(|sim| ServerUrl::parse(&sim.ldaps_url()).unwrap());
    firm.reconfigure(|c| c.settings.servers = urls.to_vec());
    preferred.crash().await.unwrap();
    assert_eq!(firm.sync().await.server, Some(known.ldaps_url()));
    let leaver = firm.users().await.remove(0);
    let (database, now) = (known.invocation_id(), firm.clock.now());
    known.edit(|ad| {
        let write = written(AttributeId::USER_ACCOUNT_CONTROL, database, 5_000_000, now);
        ad.set_values(guid_of(&leaver), "replPropertyMetaData", [write]);
        ad.disable(guid_of(&leaver));
    });
    assert_eq!(firm.sync().await.counts.suspend, 1);
    let hears = |usn| {
        preferred.edit(|ad| {
            let root = ad.root_dn().to_owned();
            ad.set_values(root.as_str(), "replUpToDateVector", [heard_of(database, usn)]);
        });
    };
    let later = async |minutes| {
        firm.engine.look_at_servers().await;
        firm.later(Duration::from_mins(minutes));
        preferred.set_clock_skew((firm.clock.now().0 - now.0) / 1_000_000);
        firm.engine.look_at_servers().await;
    };
    hears(4_999_999);
    preferred.restart().await.unwrap();
    later(6).await;
    for _ in 0..2 {
        assert_eq!(firm.sync().await.server, Some(known.ldaps_url()), "it has not heard of it");
    }
    hears(5_000_000);
    assert_eq!(firm.sync().await.server, Some(preferred.ldaps_url()), "it has heard of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_in_the_bind_costs_no_more_than_a_connection() {
    let (firm, second) = two_servers(|config| {
        config.settings.timeouts.connect = Duration::from_secs(1);
        config.settings.timeouts.operation = Duration::from_mins(1);
    })
    .await;
    firm.sim.faults().push(Fault::new(When::Bind, What::Stall).always());
    let begun = Instant::now();
    let run = firm.sync().await;
    assert_eq!((run.error, run.server), (None, Some(second.ldaps_url())));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_lost_one_after_the_other_delay_no_suspension() {
    let (firm, second) = two_servers(|config| config.live = true).await;
    firm.keep().await;
    for lost in [&firm.sim, &second, &firm.sim] {
        firm.engine.look_at_servers().await;
        lost.crash().await.unwrap();
        let begun = Instant::now();
        let leaver = disable_one(&firm).await;
        firm.is_suspended(&leaver).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{} lost: {took:?}", lost.ldaps_url());
        lost.restart().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_does_not_wait_for_the_full_read_of_the_next_server() {
    let (firm, second) = two_servers(|config| config.live = true).await;
    firm.keep().await;
    let leaver = firm.users().await.remove(0);
    let full_read = "objectcategory=person)(objectclass=user";
    let when = When::search().containing(full_read).after_entries(3);
    second.faults().push(Fault::new(when, What::Stall).always());
    firm.sim.edit(|ad| {
        let (control, id) = (AttributeId::USER_ACCOUNT_CONTROL, uuid::Uuid::from_u128(7));
        ad.set_values(
            guid_of(&leaver),
            "replPropertyMetaData",
            [written(control, id, 500, firm.clock.now())],
        );
    });
    firm.sim.crash().await.unwrap();
    firm.sim.edit(|ad| ad.disable(guid_of(&leaver)));
    let leaver = leaver.addresses.primary.unwrap().to_string();
    firm.is_suspended(&leaver).await;
    let cause = firm.user(&leaver).await.causes.weightiest().cloned();
    assert_eq!(cause.unwrap().evidence.server, second.ldaps_url());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_each_server_although_no_run_uses_it() {
    let (firm, second) = two_servers(|_| {}).await;
    firm.sim.set_sites("Berlin", "Berlin");
    second.set_sites("Munich", "Berlin");
    second.set_certificate(Certificate::Expired).unwrap();
    firm.clock.advance(Duration::from_hours(2));
    firm.sim.clear_log();
    firm.engine.look_at_servers().await;
    assert_eq!((firm.sim.log().binds(), second.log().binds()), (vec![], vec![]));
    firm.clock.advance(Duration::from_mins(6));
    let directory = firm.engine.directory("corp").unwrap();
    let status = firm.engine.directory_status(&directory).await.unwrap();
    let [used, failing] = &status.servers[..] else { panic!("{:?}", status.servers) };
    assert_eq!((used.in_use, used.reachable, used.writable), (true, Some(true), Some(true)));
    assert_eq!(used.site.as_deref(), Some("Berlin"));
    assert!(used.certificate_until.is_some());
    assert_eq!((failing.in_use, failing.reachable), (false, Some(false)));
    assert!(failing.failing_since.is_some());
    let told = status.attention.join("\n");
    assert!(told.contains(&second.ldaps_url()) && told.contains("expired on"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_site_is_followed_beside_the_one_in_use_and_delays_nothing() {
    let (firm, second) = two_servers(|config| config.live = true).await;
    firm.sim.set_sites("Berlin", "Berlin");
    second.set_sites("Munich", "Berlin");
    firm.clock.advance(Duration::from_hours(2));
    firm.engine.look_at_servers().await;
    firm.keep().await;
    let followed = async || {
        let directory = firm.engine.directory("corp").unwrap();
        let status = firm.engine.directory_status(&directory).await.unwrap();
        let followed = status.servers.into_iter().filter(|s| s.followed_since.is_some());
        followed.map(|s| s.url).collect::<Vec<_>>()
    };
    let is_followed = async |expected: Vec<String>| {
        until("the choice is made", async || {
            firm.engine.look_at_servers().await;
            (followed().await == expected).then_some(())
        })
        .await;
    };
    is_followed(vec![second.ldaps_url()]).await;
    second.freeze();
    let begun = Instant::now();
    let leaver = disable_one(&firm).await;
    firm.is_suspended(&leaver).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    is_followed(vec![]).await;
    let directory = firm.engine.directory("corp").unwrap();
    let status = firm.engine.directory_status(&directory).await.unwrap();
    assert_eq!((status.live, status.server), (true, Some(firm.sim.ldaps_url())));
    second.thaw();
    is_followed(vec![second.ldaps_url()]).await;
    firm.reconfigure(|config| config.watch = FollowedServers::One);
    is_followed(vec![]).await;
}
