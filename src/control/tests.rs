//! The control socket over a real socket, on an engine that has no directories.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::auth::peer::Caller;
use super::auth::roles::{OwnUser, Role, RoleGroups, Roles};
use super::client::{Client, ClientError, Route};
use super::gate::permit;
use super::operation::Effect;
use super::routes::operations;
use super::transport::socket::ServeError;
use super::{Callers, Reloader, Settings, api, bind, serve};
use crate::clock::Clock;
use crate::engine::{Engine, Rules};
use crate::model::Actor;
use crate::store::Store;

const NO_GROUP: &str = "no-such-group-of-rosterd";

struct Daemon {
    home: TempDir,
    socket: PathBuf,
    client: Client,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Daemon {
    async fn start() -> Self {
        Self::with(Reloader::new().0).await
    }

    async fn with(reloader: Reloader) -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("control.sock");
        let listening = bind(&socket).await.unwrap();
        let store = Store::open(&format!("sqlite://{}", home.path().join("rosterd.db").display()))
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let engine = Arc::new(Engine::new(
            Arc::new(store),
            Clock::system(),
            Vec::new(),
            Rules::default(),
            stop.clone(),
        ));
        let settings = Settings {
            socket: socket.clone(),
            operators: NO_GROUP.into(),
            viewers: NO_GROUP.into(),
            authenticators: String::new(),
            own_user_operates: true,
        };
        let serving = tokio::spawn({
            let stop = stop.clone();
            let callers = Arc::new(Callers::new(&settings));
            async move { serve(listening, engine, callers, reloader, stop).await }
        });
        Self { client: Client::new(&socket).unwrap(), home, socket, stop, serving }
    }

    /// Sends these bytes, and returns the answers until the daemon closes the connection.
    async fn say(&self, bytes: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn refused(error: ClientError) -> api::Problem {
    match error {
        ClientError::Problem(problem) => *problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_user_can_connect_and_read_the_status() {
    let daemon = Daemon::start().await;
    let status: api::Status = daemon.client.get(&Route::to(["status"])).await.unwrap();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(status.directories.is_empty());
    assert!(status.started_at.ends_with('Z'));
    assert_eq!(fs::metadata(&daemon.socket).unwrap().permissions().mode() & 0o777, 0o666);
    let left: Vec<_> = fs::read_dir(daemon.home.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .filter(|n| n.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

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

#[test]
fn every_operation_documents_its_roles_and_its_event() {
    let document = super::openapi::document(&operations());
    assert_eq!(document["paths"]["/v1/openapi.json"]["get"]["x-rosterd-roles"], json!(["anybody"]));
    for operation in operations().iter().filter(|o| o.path != "/openapi.json") {
        let at = format!("{} {}", operation.method, operation.path);
        let described = &document["paths"][format!("/v1{}", operation.path)]
            [operation.method.as_str().to_lowercase()];
        let id = described["operationId"].as_str().unwrap();
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{id}");
        assert!(described["tags"][0].as_str().is_some_and(|tag| !tag.is_empty()), "{at}");
        let roles = match (operation.method.as_str(), operation.path) {
            (_, "/sign-ins") => json!(["authenticator"]),
            ("GET", _) => json!(["viewer", "operator"]),
            _ => json!(["operator"]),
        };
        assert_eq!(described["x-rosterd-roles"], roles, "{at}");
        match operation.effect {
            Effect::Records(kind) => {
                assert_eq!(described["x-rosterd-event"], kind, "{at}");
                assert!(
                    crate::model::EVENT_TYPES.contains(&kind),
                    "no hook can ask for {kind}, which {at} leaves"
                );
            }
            Effect::Reads => assert_eq!(operation.method, "GET", "{at} may change something"),
            Effect::Decides => assert_eq!(operation.path, "/sign-ins", "{at} may change something"),
        }
    }
}

#[test]
fn no_operation_lets_a_caller_without_the_operator_role_change_anything() {
    let all: Vec<Roles> = (0_u8..8)
        .map(|bits| {
            Role::ALL
                .into_iter()
                .enumerate()
                .filter(|(n, _)| bits & 1 << n != 0)
                .fold(Roles::NONE, |r, (_, x)| r.with(x))
        })
        .collect();
    for operation in operations() {
        let Some(needed) = operation.roles else {
            assert_eq!((operation.method.as_str(), operation.path), ("GET", "/openapi.json"));
            continue;
        };
        for roles in &all {
            let caller = Caller { actor: Actor("anna".to_owned()), uid: 1000, roles: *roles };
            let may = permit(&caller, 1000, needed, "").is_ok();
            let at = format!("{roles:?}: {} {}", operation.method, operation.path);
            match operation.effect {
                Effect::Reads => {
                    assert_eq!(may, roles.has(Role::Viewer) || roles.has(Role::Operator), "{at}")
                }
                Effect::Records(_) => assert_eq!(may, roles.has(Role::Operator), "{at}"),
                Effect::Decides => assert_eq!(may, roles.has(Role::Authenticator), "{at}"),
            }
        }
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

#[tokio::test]
async fn a_created_account_is_listed_and_its_event_names_the_actor() {
    let daemon = Daemon::start().await;
    let new = api::NewAccount { handle: "acme".to_owned(), name: "Acme".to_owned() };
    let account: api::Account = daemon.client.post(&Route::to(["accounts"]), &new).await.unwrap();
    assert_eq!((account.kind, account.domains.len()), (api::AccountKind::Team, 0));
    let again = refused(daemon.client.post_raw(&Route::to(["accounts"]), &new).await.unwrap_err());
    assert_eq!(
        (again.status, again.detail.as_str()),
        (409, "there is an account \"acme\" already")
    );
    let bad = api::NewAccount { handle: "Acme!".to_owned(), name: "Acme".to_owned() };
    assert_eq!(
        refused(daemon.client.post_raw(&Route::to(["accounts"]), &bad).await.unwrap_err()).status,
        400
    );

    let claim: api::Domain = daemon
        .client
        .post(&Route::to(["accounts", "acme", "domains"]), &json!({ "domain": "Example.com" }))
        .await
        .unwrap();
    assert_eq!(
        (claim.account.as_str(), claim.domain.as_str(), claim.state),
        ("acme", "example.com", api::ClaimState::Pending)
    );
    let domains: api::Domains = daemon.client.get(&Route::to(["domains"])).await.unwrap();
    assert_eq!(domains.domains.len(), 1);

    let me = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .map_or_else(|| format!("uid:{}", nix::unistd::geteuid()), |u| u.name);
    let events: api::Events =
        daemon.client.get(&Route::to(["events"]).with("type", "account.*")).await.unwrap();
    assert_eq!(events.events.len(), 1);
    assert_eq!(events.events[0].document["type"], "account.created");
    assert_eq!(events.events[0].document["data"]["actor"], json!(me));
    let users: api::Users = daemon
        .client
        .get(&Route::to(["users"]).with("account", "acme").with("quarantined", true))
        .await
        .unwrap();
    assert!(users.users.is_empty() && users.next.is_none());
}

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

#[test]
fn roles_come_from_the_groups_of_a_user_and_none_includes_another() {
    let groups = RoleGroups { operators: Some(10), viewers: Some(20), authenticators: Some(30) };
    let own = OwnUser { uid: 999, operates: false };
    let of = |uid, in_groups: &[u32]| groups.roles(uid, &in_groups.iter().copied().collect(), own);
    assert_eq!(of(0, &[]), Roles::ALL);
    assert_eq!(of(1000, &[10]), Roles::of(&[Role::Operator]));
    assert_eq!(of(1000, &[20]), Roles::of(&[Role::Viewer]));
    assert_eq!(of(1000, &[30]), Roles::of(&[Role::Authenticator]));
    assert_eq!(of(1000, &[30, 20]), Roles::of(&[Role::Viewer, Role::Authenticator]));
    assert_eq!(of(1000, &[1, 2, 3]), Roles::NONE);
    assert_eq!(
        RoleGroups::default().roles(1000, &[0, 10].into(), own),
        Roles::NONE,
        "a group that does not exist is empty"
    );
}

#[test]
fn the_daemons_own_user_has_no_role_unless_a_trial_gives_it_all() {
    let groups = RoleGroups { operators: Some(10), viewers: Some(20), authenticators: Some(30) };
    let roles =
        |uid, operates| groups.roles(uid, &BTreeSet::from([10, 20, 30]), OwnUser { uid, operates });
    assert_eq!(roles(999, false), Roles::NONE, "a hook must not operate the daemon");
    assert_eq!(roles(999, true), Roles::ALL);
    assert_eq!(roles(0, false), Roles::ALL);
    assert_eq!(
        roles(65_534, true),
        Roles::NONE,
        "the overflow user stands for every user without a mapping"
    );
}

#[tokio::test]
async fn the_refusal_of_a_caller_names_the_group_it_needs() {
    let caller = |roles| Caller { actor: Actor("anna".to_owned()), uid: 1000, roles };
    let one = |role| Roles::of(&[role]);
    assert!(
        permit(
            &caller(one(Role::Operator)),
            1000,
            Roles::of(&[Role::Viewer, Role::Operator]),
            "adm"
        )
        .is_ok()
    );
    for (roles, needed) in [
        (Roles::NONE, Role::Viewer),
        (one(Role::Viewer), Role::Operator),
        (one(Role::Authenticator), Role::Viewer),
        (one(Role::Viewer), Role::Authenticator),
        (one(Role::Operator), Role::Authenticator),
    ] {
        let refusal =
            permit(&caller(roles), 1000, one(needed), "rosterd").unwrap_err().into_response();
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
        let body = axum::body::to_bytes(refusal.into_body(), 10_000).await.unwrap();
        let problem: api::Problem = serde_json::from_slice(&body).unwrap();
        assert!(
            problem.detail.contains("anna (uid 1000)") && problem.detail.contains("group rosterd"),
            "{}",
            problem.detail
        );
    }
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
