//! The servers of a directory: dead addresses, dead servers, and the order in which they are used.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rosterd::directory::{Servers, Settings};
use rosterd::model::ServerUrl;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::firm::Firm;

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
    let opened = Servers::default().open(settings, None, Duration::ZERO).await;
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
