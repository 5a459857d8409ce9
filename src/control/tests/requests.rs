//! Requests that are malformed, too long or of old clients, and the problem documents of their
//! answers.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Daemon, refused};
use crate::control::api;
use crate::control::client::Route;

#[tokio::test]
async fn an_unknown_resource_or_parameter_is_a_problem_document() {
    let daemon = Daemon::start().await;
    let unknown = refused(daemon.client.get_raw(&Route::to(["nowhere"])).await.unwrap_err());
    assert_eq!((unknown.status, unknown.kind.as_str()), (404, api::UNKNOWN_ROUTE));
    assert!(unknown.detail.contains("/v1/nowhere"), "{}", unknown.detail);

    let missing =
        refused(daemon.client.get_raw(&Route::to(["accounts", "acme"])).await.unwrap_err());
    assert_eq!((missing.status, missing.detail.as_str()), (404, "there is no account \"acme\""));
    let missing = refused(daemon.client.get_raw(&Route::to(["runs", "x"])).await.unwrap_err());
    assert_eq!((missing.status, missing.detail.as_str()), (404, "there is no run \"x\""));
    let missing = refused(
        daemon
            .client
            .post_raw(&Route::to(["directories", "corp", "sync"]).with("wait", false), &())
            .await
            .unwrap_err(),
    );
    assert_eq!(missing.status, 404);

    let method = refused(daemon.client.post_raw(&Route::to(["status"]), &()).await.unwrap_err());
    assert_eq!(method.status, 405);
    assert!(method.detail.contains("GET"), "{}", method.detail);

    let query = refused(
        daemon.client.get_raw(&Route::to(["users"]).with("colour", "red")).await.unwrap_err(),
    );
    assert_eq!(query.status, 400);
    assert!(query.detail.contains("colour"), "{}", query.detail);
    let status = refused(
        daemon.client.get_raw(&Route::to(["users"]).with("status", "gone")).await.unwrap_err(),
    );
    assert_eq!(status.status, 400);

    let answer = daemon.say("POST /v1/accounts HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("application/problem+json"),
        "{answer}"
    );
    let field = refused(
        daemon
            .client
            .post_raw(&Route::to(["accounts"]), &json!({ "handle": "a", "name": "A", "x": 1 }))
            .await
            .unwrap_err(),
    );
    assert_eq!(field.status, 400);
    assert!(field.detail.contains("unknown field"), "{}", field.detail);
}

/// Malformed requests: request, status, and part of the detail.
const WRONG: &[(&str, u16, &str)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 404, "below /v1"),
    ("GET /status HTTP/1.1\r\n\r\n", 404, "/v1/openapi.json"),
    ("GET /v1/nowhere HTTP/1.1\r\n\r\n", 404, "/v1/nowhere"),
    ("GET /v1/%ff HTTP/1.1\r\n\r\n", 404, "%ff"),
    ("GET /v1/users/%ff HTTP/1.1\r\n\r\n", 400, "UTF-8"),
    ("DELETE /v1/status HTTP/1.1\r\n\r\n", 405, "/v1/status does not support DELETE: use GET"),
    ("BREW /v1/accounts HTTP/1.1\r\n\r\n", 405, "GET,HEAD,POST"),
    ("GET /v1/status?x=1 HTTP/1.1\r\n\r\n", 400, "/v1/status takes no query"),
    ("GET /v1/users?colour=red HTTP/1.1\r\n\r\n", 400, "unknown field `colour`"),
    ("GET /v1/users?limit=many HTTP/1.1\r\n\r\n", 400, "invalid digit"),
    ("GET /v1/users?limit=1&limit=2 HTTP/1.1\r\n\r\n", 400, "duplicate field `limit`"),
    ("GET /v1/users?after=x HTTP/1.1\r\n\r\n", 400, "not where a page of this order ended"),
    (
        "GET /v1/users?status=gone HTTP/1.1\r\n\r\n",
        400,
        "\"gone\" is not a known status: use invited",
    ),
    ("GET /v1/users/search HTTP/1.1\r\n\r\n", 400, "missing field `q`"),
    ("GET /v1/events?since=yesterday HTTP/1.1\r\n\r\n", 400, "since"),
    ("GET /v1/runs/x HTTP/1.1\r\n\r\n", 404, "there is no run \"x\""),
    ("GET /v1/held/x HTTP/1.1\r\n\r\n", 404, "there is no held plan \"x\""),
    ("GET /v1/accounts/nobody HTTP/1.1\r\n\r\n", 404, "there is no account \"nobody\""),
    ("POST /v1/accounts HTTP/1.1\r\n\r\n", 400, "the body is not the expected JSON: EOF"),
    (
        "POST /v1/accounts HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        400,
        "the body is not the expected JSON",
    ),
    (
        "POST /v1/accounts HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]",
        400,
        "the body is not the expected JSON",
    ),
    (
        "POST /v1/directories/corp/pause HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]",
        400,
        "write an object",
    ),
    (
        "POST /v1/hooks/vpn/redeliver HTTP/1.1\r\ncontent-length: 4\r\n\r\n [] ",
        400,
        "write an object",
    ),
    ("POST /v1/held/x/approve HTTP/1.1\r\ncontent-length: 4\r\n\r\nnull", 400, "write an object"),
    (
        "POST /v1/sign-ins HTTP/1.1\r\ncontent-length: 14\r\n\r\n[\"a@b.c\", \"x\"]",
        400,
        "the body is not the expected JSON",
    ),
    ("POST /v1/accounts HTTP/1.1\r\ncontent-length: 8\r\n\r\n{\"x\": 1}", 400, "unknown field `x`"),
    ("POST /v1/accounts HTTP/1.1\r\ncontent-length: 16\r\n\r\n{\"handle\": null}", 400, "JSON"),
    (
        "POST /v1/sync HTTP/1.1\r\ncontent-length: 18\r\n\r\n{\"only\": [\"corp\"]}",
        400,
        "/v1/sync takes no document",
    ),
    ("POST /v1/reload?dry=true HTTP/1.1\r\n\r\n", 400, "/v1/reload takes no query"),
    ("POST /v1/sync?wait=maybe HTTP/1.1\r\n\r\n", 400, "wait"),
];

#[tokio::test]
async fn every_malformed_request_is_answered_with_a_problem_document() {
    let daemon = Daemon::start().await;
    for (request, status, says) in WRONG {
        let (line, rest) = request.split_once("\r\n").unwrap();
        let answer = daemon.say(&format!("{line}\r\nhost: x\r\nconnection: close\r\n{rest}")).await;
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}: {answer}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(head.contains("content-type: application/problem+json"), "{line}: {answer}");
        assert_eq!(head.contains("allow: "), *status == 405, "{line}: {answer}");
        let problem: api::Problem =
            serde_json::from_str(body).unwrap_or_else(|e| panic!("{line}: {e}: {answer}"));
        assert_eq!(problem.status, *status, "{line}");
        assert_eq!(
            problem.title,
            StatusCode::from_u16(*status).unwrap().canonical_reason().unwrap(),
            "{line}"
        );
        assert!(problem.detail.contains(says), "{line}: {}", problem.detail);
        let is_unknown =
            *status == 405 || *status == 404 && !problem.detail.starts_with("there is no ");
        assert_eq!(
            problem.kind,
            if is_unknown { api::UNKNOWN_ROUTE } else { "about:blank" },
            "{line}"
        );
    }
}

#[tokio::test]
async fn json_nested_without_end_and_headers_without_end_are_refused() {
    let daemon = Daemon::start().await;
    let deep = "[".repeat(500_000);
    let answer = daemon
        .say(&format!("POST /v1/accounts HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{deep}", deep.len()))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("application/problem+json"),
        "{answer}"
    );

    let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nx: ").await.unwrap();
    // Written until the daemon takes no more of it.
    let more = vec![b'x'; 64 * 1024];
    while stream.write_all(&more).await.is_ok() {}
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let _: api::Status = daemon.client.get(&Route::to(["status"])).await.unwrap();
}

#[tokio::test]
async fn old_clients_are_served_whatever_they_say_they_take_or_send() {
    let daemon = Daemon::start().await;
    let old = daemon.say("GET /v1/status HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.ends_with('}'), "{old}");
    let picky = daemon
        .say("GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: text/html\r\n\r\n")
        .await;
    assert!(picky.contains("content-type: application/json"), "{picky}");
    // The content type of `curl -d`.
    let form = "content-type: application/x-www-form-urlencoded\r\nconnection: close";
    let body = r#"{"handle":"acme","name":"Acme"}"#;
    let curl = daemon
        .say(&format!(
            "POST /v1/accounts HTTP/1.1\r\nhost: x\r\n{form}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert!(curl.starts_with("HTTP/1.1 200"), "{curl}");
    let no_http = daemon.say("hello\r\n\r\n").await;
    assert!(
        no_http.starts_with("HTTP/1.1 400") && no_http.contains("content-length: 0"),
        "{no_http}"
    );
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_side_is_still_answered() {
    let daemon = Daemon::start().await;
    for (request, is_answer) in [
        ("GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n", "\"version\""),
        (
            "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/users HTTP/1.1\r\nhost: x\r\n\r\n",
            "\"users\"",
        ),
        ("POST /v1/backup HTTP/1.1\r\nhost: x\r\n\r\n", "SQLite format 3"),
    ] {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .expect("it ends")
            .unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains(is_answer),
            "{request}: {}",
            &text[..text.len().min(400)]
        );
        // The last answer is there to its last byte.
        let last = answer.windows(9).rposition(|w| w == b"HTTP/1.1 ").unwrap();
        let head = last + answer[last..].windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let length = String::from_utf8_lossy(&answer[last..head])
            .split_once("content-length: ")
            .unwrap()
            .1
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(length.parse(), Ok(answer.len() - head), "{request} was cut off");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let daemon = Daemon::start().await;
    let long = json!({ "handle": "acme", "name": "x".repeat(1024 * 1024) });
    let problem =
        refused(daemon.client.post_raw(&Route::to(["accounts"]), &long).await.unwrap_err());
    assert_eq!(problem.status, 413);
}
