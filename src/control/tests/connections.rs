//! The file of the socket, and connections that are slow, idle or too many.

use std::fs;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::Daemon;
use crate::control::client::{ClientError, Route};
use crate::control::transport::socket::ServeError;
use crate::control::{Reloader, api, bind};

#[tokio::test]
async fn an_abandoned_socket_is_replaced_and_one_in_use_is_not() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listening = bind(&path).await.unwrap();
    assert!(matches!(bind(&path).await, Err(ServeError::InUse { .. })));
    drop(listening);
    assert!(!path.exists(), "the daemon removes it");
}

#[tokio::test]
async fn symbolic_links_and_files_are_never_replaced() {
    let home = tempfile::tempdir().unwrap();
    let (link, target, file) =
        (home.path().join("link"), home.path().join("target"), home.path().join("file"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&link).await, Err(ServeError::Symlink { .. })));
    assert!(matches!(bind(&file).await, Err(ServeError::NotASocket { .. })));
    assert!(!target.exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(matches!(
        bind(&home.path().join("absent/control.sock")).await,
        Err(ServeError::Bind { .. })
    ));
}

#[tokio::test]
async fn the_daemon_stops_within_its_grace_period_despite_a_slow_caller() {
    let daemon = Daemon::start().await;
    let mut slow = UnixStream::connect(&daemon.socket).await.unwrap();
    slow.write_all(b"POST /v1/accounts HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    // Others are answered meanwhile.
    let _: api::Status = daemon.client.get(&Route::to(["status"])).await.unwrap();
    daemon.stop.cancel();
    tokio::time::timeout(Duration::from_secs(4), daemon.serving).await.unwrap().unwrap().unwrap();
    assert!(!daemon.socket.exists());
    let mut rest = Vec::new();
    drop(
        tokio::time::timeout(Duration::from_secs(1), slow.read_to_end(&mut rest))
            .await
            .expect("it is cut off"),
    );
    assert!(matches!(
        daemon.client.get_raw(&Route::to(["status"])).await,
        Err(ClientError::NoDaemon { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_do_not_lock_other_callers_out() {
    let daemon = Daemon::start().await;
    let asked = || async {
        let begun = std::time::Instant::now();
        let _: api::Status = daemon.client.get(&Route::to(["status"])).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    };
    let mut idle = Vec::new();
    for n in 0..1_000 {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        // Two of three stop within the head or the body of a request.
        let said = [
            &b""[..],
            b"GET /v1/sta",
            b"POST /v1/accounts HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
        ][n % 3];
        drop(stream.write_all(said).await);
        idle.push(stream);
        if n % 250 == 249 {
            asked().await;
        }
    }
    for stream in &mut idle[..800] {
        let mut rest = Vec::new();
        drop(
            tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
                .await
                .expect("the connection is evicted"),
        );
    }
    asked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_never_reads_its_answers_delays_no_other() {
    let daemon = Daemon::start().await;
    let mut reads_nothing = UnixStream::connect(&daemon.socket).await.unwrap();
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    // Sends requests until the daemon stops reading them, because its answers are not read.
    while tokio::time::timeout(Duration::from_millis(300), reads_nothing.write_all(request))
        .await
        .is_ok()
    {}
    let begun = std::time::Instant::now();
    let _: api::Status = daemon.client.get(&Route::to(["status"])).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overflow_connection_gets_503_until_a_request_is_finished() {
    const STATUS: &str = "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    // A reload is never answered, because no task receives the request.
    let (reloader, unanswered) = Reloader::new();
    let daemon = Daemon::with(reloader).await;
    let mut waiting = Vec::new();
    let refusal = loop {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        stream.write_all(b"POST /v1/reload HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        waiting.push(stream);
        let answer = daemon.say(STATUS).await;
        if answer.starts_with("HTTP/1.1 503") {
            break answer;
        }
        assert!(answer.starts_with("HTTP/1.1 200") && waiting.len() < 1_000, "{answer}");
    };
    assert!(waiting.len() >= 32, "{}", waiting.len());
    assert!(
        refusal.contains("retry-after: 1")
            && refusal.contains("connection: close")
            && refusal.contains("application/problem+json"),
        "{refusal}"
    );
    assert!(refusal.contains("too many connections") && refusal.contains("try again"), "{refusal}");
    drop(unanswered);
    let served = async { while !daemon.say(STATUS).await.starts_with("HTTP/1.1 200") {} };
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .expect("the connection is served once a slot is free");
}
