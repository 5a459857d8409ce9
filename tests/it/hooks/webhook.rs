//! Webhooks: requests, the meaning of responses, and the limits of redirects and proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use rosterd::hooks::{self, Hook, Webhook};
use standardwebhooks::Webhook as Standard;
use tokio::net::TcpSocket;

use super::proxy::Proxy;
use super::receiver::{Receiver, status, with};
use super::{Desk, by_server, until};

const KEYS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];

/// Reserves a port that refuses connections until it listens.
fn closed() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

fn changed(hook: Hook, change: impl FnOnce(&mut Webhook)) -> Hook {
    let hooks::Receiver::Webhook(mut webhook) = hook.receiver else { panic!("it is no webhook") };
    change(&mut webhook);
    Hook { receiver: hooks::Receiver::Webhook(webhook), ..hook }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_a_cloudevent_that_the_library_of_the_standard_accepts() {
    let receiver = Receiver::start(|_, _| status(204)).await;
    let desk = Desk::open().await;
    let secret = desk.folder.path().join("siem.secret");
    std::fs::write(&secret, format!("{}\n\n{}\n", KEYS[0], KEYS[1])).unwrap();
    desk.hook_up(vec![changed(by_server("siem", &receiver.url()), |w| {
        w.secret_file = Some(secret.clone())
    })]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("siem").await;
    // Keys are read again for each delivery.
    std::fs::write(&secret, KEYS[1]).unwrap();
    desk.happens("user.reactivated", &["anna"]).await;
    desk.idle("siem").await;

    let told = receiver.told();
    let stored = desk.events("user.*").await;
    assert_eq!(told.len(), 2);
    for ((one, event), signers) in told.iter().zip(&stored).zip([2, 1]) {
        assert_eq!((one.method.as_str(), one.uri.path()), ("POST", "/hook"));
        assert_eq!(one.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert_eq!(
            (one.header("webhook-id"), &one.document()),
            (event["id"].as_str().unwrap(), event)
        );
        assert_eq!(one.header("webhook-signature").split(' ').count(), signers);
        for key in &KEYS[2 - signers..] {
            Standard::new(key)
                .unwrap()
                .verify(&one.body, &one.headers)
                .expect("a signature of the standard");
        }
        assert!(
            Standard::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
                .unwrap()
                .verify(&one.body, &one.headers)
                .is_err()
        );
        let mut forged = one.body.to_vec();
        forged.push(b' ');
        assert!(Standard::new(KEYS[1]).unwrap().verify(&forged, &one.headers).is_err());
    }
    let sequence = |n: usize| told[n].header("rosterd-sequence").parse::<u64>().unwrap();
    assert!(sequence(0) < sequence(1), "a receiver can tell what came last");
    let head = desk.engine.store.log_head().await.unwrap();
    assert_eq!(
        told[1].header("rosterd-log-head"),
        head.to_string(),
        "a receiver can tell later whether the log was changed"
    );
    assert!(told[0].header("rosterd-log-head").starts_with(&format!("{}:", sequence(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_has_the_meaning_that_the_standard_gives_it() {
    let elsewhere = Receiver::start(|_, _| status(200)).await;
    let there = elsewhere.url();
    let redirect = there.clone();
    let receiver =
        Receiver::start(move |told, _| match (told.uri.path(), told.subject().as_str()) {
            ("/moved", _) => status(200),
            (_, "moved-here") => with(307, &[("location", "/moved")]),
            (_, "moved-away") => with(307, &[("location", &redirect)]),
            (_, "found") => with(302, &[("location", "/moved")]),
            (_, "round") => with(308, &[("location", "/hook")]),
            (_, code) => status(code.parse().unwrap()),
        })
        .await;
    let desk = Desk::open().await;
    desk.hook_up(vec![Hook { concurrency: 20, ..by_server("siem", &receiver.url()) }]);
    // After an outage the server gets one delivery at a time, so those come last.
    let subjects = [
        "200",
        "202",
        "400",
        "401",
        "404",
        "422",
        "moved-here",
        "moved-away",
        "found",
        "round",
        "408",
        "500",
    ];
    desk.happens("user.suspended", &subjects).await;
    let attempts = until("all have been tried", async || {
        let all = desk.deliveries("siem").await;
        all.iter().all(|d| d.attempts > 0).then_some(all)
    });
    let outcomes: Vec<_> = attempts
        .await
        .into_iter()
        .map(|d| {
            (
                d.subject.0,
                d.state.to_string(),
                d.error.unwrap_or_default(),
                d.output.unwrap_or_default(),
            )
        })
        .collect();
    let not_there = |why: &str| {
        format!("{why}; events are sent to the configured host only: write the final URL into url")
    };
    let away = not_there("it answered 307 Temporary Redirect, to 127.0.0.1");
    let found = not_there("it answered 302 Found, to 127.0.0.1");
    let expected = [
        ("200", "delivered", "", "this is 200"),
        ("202", "delivered", "", "this is 202"),
        ("400", "failed", "it answered 400 Bad Request", "this is 400"),
        ("401", "failed", "it answered 401 Unauthorized", "this is 401"),
        ("404", "failed", "it answered 404 Not Found", "this is 404"),
        ("422", "failed", "it answered 422 Unprocessable Entity", "this is 422"),
        ("moved-here", "delivered", "", "this is 200"),
        ("moved-away", "failed", away.as_str(), "this is 307"),
        ("found", "failed", found.as_str(), "this is 302"),
        ("round", "failed", "127.0.0.1 redirects in a loop", ""),
        ("408", "pending", "it answered 408 Request Timeout", "this is 408"),
        ("500", "pending", "it answered 500 Internal Server Error", "this is 500"),
    ];
    assert_eq!(
        outcomes,
        expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()))
    );
    assert!(elsewhere.told().is_empty(), "nothing is sent to another host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_rejects_all_events_costs_few_and_gets_the_rest_after_its_repair() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let receiver =
        Receiver::start(move |_, _| status(if mended.load(Ordering::SeqCst) { 200 } else { 404 }))
            .await;
    let desk = Desk::open().await;
    desk.hook_up(vec![by_server("siem", &receiver.url())]);
    let subjects: Vec<String> = (0..500).map(|n| format!("person-{n}")).collect();
    desk.happens("user.suspended", &subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until("it is clear that it refuses everything", async || {
        (desk.status("siem").await.deliveries.failed >= 10).then_some(())
    })
    .await;
    is_mended.store(true, Ordering::SeqCst);
    desk.idle("siem").await;
    let deliveries = desk.status("siem").await.deliveries;
    assert!(
        deliveries.failed < 30 && deliveries.failed + deliveries.delivered == 500,
        "{deliveries:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_one_delivery_applies_to_the_whole_server() {
    let receiver =
        Receiver::start(
            |_, count| if count == 1 { with(429, &[("retry-after", "2")]) } else { status(200) },
        )
        .await;
    let desk = Desk::open().await;
    desk.hook_up(vec![Hook { concurrency: 1, ..by_server("siem", &receiver.url()) }]);
    desk.happens("user.suspended", &["anna", "bert"]).await;
    desk.idle("siem").await;
    let told = receiver.told();
    assert_eq!(
        told.iter().map(super::receiver::Told::subject).collect::<Vec<_>>(),
        ["anna", "bert", "anna"]
    );
    assert!(told[1].at - told[0].at >= Duration::from_secs(2), "{:?}", told[1].at - told[0].at);
    assert_eq!(
        told[0].header("webhook-id"),
        told[2].header("webhook-id"),
        "the same event, the same id"
    );
    assert!(
        told[0].header("webhook-timestamp") < told[2].header("webhook-timestamp"),
        "another time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_410_gets_no_event_until_an_operator_redelivers() {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let receiver =
        Receiver::start(move |_, _| status(if back.load(Ordering::SeqCst) { 200 } else { 410 }))
            .await;
    let desk = Desk::open().await;
    desk.hook_up(vec![Hook { concurrency: 1, ..by_server("siem", &receiver.url()) }]);
    desk.happens("user.suspended", &["anna", "bert"]).await;
    until("it is disabled", async || {
        (desk.status("siem").await.state.as_str() == "disabled").then_some(())
    })
    .await;
    desk.happens("user.suspended", &["carl"]).await;
    desk.hook_up(vec![Hook { concurrency: 2, ..by_server("siem", &receiver.url()) }]);
    assert_eq!(receiver.told().len(), 1, "not by a reload either");
    assert_eq!(desk.status("siem").await.deliveries.pending, 3, "nothing is lost");
    is_back.store(true, Ordering::SeqCst);
    let actor = rosterd::model::Actor("alice".to_owned());
    let failed = rosterd::store::DeliveryFilter {
        state: Some(rosterd::store::DeliveryState::Failed),
        ..rosterd::store::DeliveryFilter::default()
    };
    desk.engine.redeliver("siem", &failed, &actor).await.unwrap();
    desk.idle("siem").await;
    assert_eq!((receiver.told().len(), desk.status("siem").await.state.as_str()), (4, "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_silent_or_sends_an_endless_body_delays_no_other_hook() {
    let receiver = Receiver::start(|told, _| {
        let endless = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from("y\n".repeat(4096)))
        });
        match told.subject().as_str() {
            "endless" => Response::new(Body::from_stream(endless)),
            _ => Response::new(Body::from_stream(futures_util::stream::pending::<
                Result<Bytes, std::io::Error>,
            >())),
        }
    })
    .await;
    // The server accepts connections and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ok = Receiver::start(|_, _| status(200)).await;
    let desk = Desk::open().await;
    let url = format!("http://{}/", silent.local_addr().unwrap());
    desk.hook_up(vec![
        Hook { timeout: Duration::from_millis(500), ..by_server("silent", &url) },
        by_server("slow", &receiver.url()),
        by_server("ok", &ok.url()),
    ]);
    desk.happens("user.suspended", &["endless", "unfinished"]).await;
    desk.idle("ok").await;
    desk.idle("slow").await;
    let slow = desk.deliveries("slow").await;
    assert!(
        slow.iter().all(|d| d.state.as_str() == "delivered" && d.attempts == 1),
        "they said 200: {slow:?}"
    );
    assert!(
        slow[0].output.as_ref().is_some_and(|output| output.len() < 5_000)
            && slow[1].output.is_none()
    );
    let error =
        until("it was given its time", async || desk.status("silent").await.deliveries.error).await;
    assert_eq!(error, "127.0.0.1 did not answer within 500ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_with_a_trusted_ca_gets_events() {
    let (receiver, ca) = Receiver::start_tls(|_, _| status(200)).await;
    let desk = Desk::open().await;
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let file = desk.folder.path().join("ca.pem");
    std::fs::write(
        &file,
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem(),
    )
    .unwrap();
    desk.hook_up(vec![changed(by_server("siem", &url), |w| {
        w.transport.ca_file = Some(file.clone())
    })]);
    desk.happens("user.suspended", &["anna"]).await;
    let error = until("it was tried", async || desk.status("siem").await.deliveries.error).await;
    assert!(error.starts_with("localhost: ") && error.contains("certificate"), "{error}");
    assert!(receiver.told().is_empty());
    // A replaced CA file is read again.
    std::fs::write(&file, ca).unwrap();
    desk.idle("siem").await;
    assert_eq!(receiver.told().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_uses_the_configured_proxy() {
    let proxy = Receiver::start(|_, _| status(200)).await;
    let desk = Desk::open().await;
    let through = format!("http://{}", proxy.address);
    desk.hook_up(vec![changed(by_server("siem", "http://siem.invalid/hook"), |w| {
        w.transport.proxy = Some(through.parse().unwrap())
    })]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("siem").await;
    assert_eq!(proxy.told()[0].uri.to_string(), "http://siem.invalid/hook");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_cannot_read_a_delivery() {
    let (receiver, ca) = Receiver::start_tls(|_, _| status(200)).await;
    let proxy = Proxy::start(200).await;
    let desk = Desk::open().await;
    let server = format!("localhost:{}", receiver.address.port());
    let file = desk.folder.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    desk.hook_up(vec![changed(by_server("siem", &format!("https://{server}/secret-path")), |w| {
        (w.transport.ca_file, w.transport.proxy) = (Some(file), Some(proxy.url().parse().unwrap()));
    })]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("siem").await;
    assert_eq!(
        (receiver.told()[0].subject().as_str(), receiver.told()[0].uri.path()),
        ("anna", "/secret-path")
    );
    let (head, rest) = proxy.seen();
    assert_eq!(head, format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n"));
    assert!(rest.starts_with(&[0x16, 3]), "the rest is TLS: {rest:?}");
    let shows = |word: &str| rest.windows(word.len()).any(|piece| piece == word.as_bytes());
    assert!(!["anna", "secret-path", "user.suspended", "POST"].into_iter().any(shows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_proxy_is_named_in_the_error_and_costs_no_event() {
    let desk = Desk::open().await;
    let (asks, fails) = (Proxy::start(407).await, Proxy::start(502).await);
    let plain = Receiver::start(|_, _| status(407)).await;
    let closed = closed();
    let through = |name: &str, url: &str, proxy: String| {
        changed(by_server(name, url), |w| w.transport.proxy = Some(proxy.parse().unwrap()))
    };
    desk.hook_up(vec![
        through("asks", "https://siem.invalid/", asks.url()),
        through("fails", "https://siem.invalid/", fails.url()),
        through(
            "closed",
            "https://siem.invalid/",
            format!("http://NAME:PASSWORD@{}", closed.local_addr().unwrap()),
        ),
        through("plain", "http://siem.invalid/", format!("http://{}", plain.address)),
    ]);
    desk.happens("user.suspended", &["anna"]).await;
    let name = "the proxy 127.0.0.1 requires authentication (407), which rosterd does not support: let the proxy admit this machine by its address";
    for (hook, told) in [
        ("asks", name),
        ("fails", "the proxy 127.0.0.1 does not connect to siem.invalid: unsuccessful"),
        (
            "closed",
            "the proxy 127.0.0.1 cannot be reached: tcp connect error: Connection refused (os error 111)",
        ),
        ("plain", name),
    ] {
        let error = until("it was tried", async || desk.status(hook).await.deliveries.error).await;
        assert_eq!(error, told, "{hook}");
        assert_eq!(
            desk.status(hook).await.deliveries.pending,
            1,
            "{hook}: nothing is given up for that"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_to_an_unreachable_server_arrive_when_it_is_reachable() {
    let desk = Desk::open().await;
    let port = closed();
    desk.hook_up(vec![by_server("siem", &format!("http://{}/", port.local_addr().unwrap()))]);
    desk.happens("user.suspended", &["anna", "bert", "carl", "dora", "emil"]).await;
    until("it was tried", async || {
        (desk.status("siem").await.state.as_str() == "failing").then_some(())
    })
    .await;
    let deliveries = desk.status("siem").await.deliveries;
    assert!(
        deliveries.error.as_ref().is_some_and(|e| e.contains("refused")) && deliveries.pending == 5,
        "{deliveries:?}"
    );
    let listener = port.listen(16).unwrap();
    let app = axum::Router::new().fallback(async || "thanks");
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    desk.idle("siem").await;
    assert!(
        desk.deliveries("siem")
            .await
            .iter()
            .all(|d| d.state.as_str() == "delivered" && d.output.as_deref() == Some("thanks"))
    );
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_200_counts_as_delivered_even_if_its_body_is_slow() {
    let receiver = Receiver::start(|told, _| {
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        // An endless body sends its first byte at once, a silent one never.
        let body = if told.subject() == "trickles" {
            Body::from_stream(trickle)
        } else {
            Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>())
        };
        Response::builder().status(200).body(body).unwrap()
    })
    .await;
    let desk = Desk::open().await;
    let timeout = Duration::from_secs(2);
    desk.hook_up(vec![Hook { timeout, concurrency: 1, ..by_server("siem", &receiver.url()) }]);
    let begun = std::time::Instant::now();
    desk.happens("user.suspended", &["trickles", "is silent"]).await;
    desk.idle("siem").await;
    assert!(
        begun.elapsed() < 2 * timeout,
        "a body costs no whole time limit: {:?}",
        begun.elapsed()
    );
    let delivered = desk.deliveries("siem").await;
    assert!(
        delivered.iter().all(|d| (d.state.as_str(), d.attempts) == ("delivered", 1)),
        "{delivered:?}"
    );
}
