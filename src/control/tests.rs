//! The control socket over a real socket, on an engine that has no directories.

mod connections;
mod requests;
mod roles;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Client, ClientError, Route};
use super::transport::socket::ServeError;
use super::{Callers, Reloader, Settings, api, bind, serve};
use crate::clock::Clock;
use crate::engine::{Engine, Rules};
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
