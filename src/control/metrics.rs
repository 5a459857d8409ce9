//! The metrics, on the control socket and on a TCP port of their own when one is configured.
//!
//! The port serves this one page, which names no person. Its clients delay neither runs nor other
//! requests, because one page is made at a time. A connection has one request and a time limit.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::transport::socket::ServeError;
use crate::engine::{
    DirectoryCondition, DirectoryStatus, Engine, EngineError, HookState, HookStatus, ServerStatus,
    TargetCondition, TargetStatus,
};
use crate::model::{AccountId, Status, Timestamp};
use crate::store::DeliveryStatus;
use crate::telemetry::{
    AccountSeries, DirectorySeries, Format, HookSeries, ServerSeries, Snapshot, States,
    StoreSnapshot, TargetSeries, page,
};

/// Concurrent connections. A Prometheus uses one; further connections wait in the kernel's backlog.
const CONNECTIONS: usize = 8;

/// Time limit of a connection, equal to the default scrape timeout of Prometheus.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of the queries. After it, the page reports the store as down and has the other
/// metrics.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept. Without it, accepting would spin while the process has no
/// descriptors left.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The maker of the page. It makes one page at a time.
#[derive(Debug)]
pub(super) struct Metrics {
    engine: Arc<Engine>,
    lock: Mutex<()>,
}

impl Metrics {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, lock: Mutex::default() }
    }

    /// Returns the page, in the format of the Accept header.
    pub(super) async fn answer(&self, headers: &HeaderMap) -> Response {
        let _guard = self.lock.lock().await;
        let store =
            timeout(STORE_TIMEOUT, store_snapshot(&self.engine)).await.ok().and_then(Result::ok);
        let writable = self.engine.store.write_error().is_none();
        let engine = &self.engine;
        let leads = engine.shares_store().then(|| engine.leads());
        let snapshot = Snapshot { started_at: engine.started_at, writable, leads, store };
        let accept =
            headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let format = Format::accepted_by(accept);
        let text = page(
            &self.engine.store.counters,
            &snapshot,
            &States {
                directories: &DirectoryCondition::ALL.map(DirectoryCondition::as_str),
                targets: &TargetCondition::ALL.map(TargetCondition::as_str),
            },
            format,
        );
        ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
    }
}

async fn store_snapshot(engine: &Engine) -> Result<StoreSnapshot, EngineError> {
    let mut directories = Vec::new();
    for directory in engine.configured().directories.values() {
        let status = engine.directory_status(directory).await?;
        directories.push(directory_series(status, directory.config.stale_after));
    }
    let mut claims: BTreeMap<AccountId, BTreeMap<&'static str, u64>> = BTreeMap::new();
    for claim in engine.store.claims(None).await? {
        *claims.entry(claim.account).or_default().entry(claim.state.as_str()).or_default() += 1;
    }
    let accounts = engine.store.accounts().await?.into_iter().map(|account| AccountSeries {
        users: account.users.iter().map(|(status, count)| (status.as_str(), *count)).collect(),
        claims: claims.remove(&account.id).unwrap_or_default().into_iter().collect(),
        handle: account.handle.to_string(),
    });
    let accounts = accounts.collect();
    // Omits removed hooks, because their backlog must not raise an alert.
    let hooks = engine
        .hook_statuses()
        .await?
        .into_iter()
        .filter(|hook| hook.kept_until.is_none())
        .map(hook_series)
        .collect();
    let targets = engine.target_statuses().await?.into_iter();
    let targets = targets.map(|target| target_series(target, engine.started_at)).collect();
    let cluster = engine.cluster_status().await?;
    Ok(StoreSnapshot {
        attention: engine.store_attention().await?.len() as u64,
        cluster_attention: cluster.map(|cluster| cluster.attention.len() as u64),
        bytes: engine.store.size(),
        events: engine.store.event_count().await?,
        directories,
        accounts,
        hooks,
        targets,
    })
}

fn server_series(server: ServerStatus) -> ServerSeries {
    let ServerStatus {
        url, in_use, reachable, certificate_until, writable, followed_since, ..
    } = server;
    let followed = followed_since.is_some();
    ServerSeries { url, in_use, followed, reachable, certificate_until, writable }
}

fn directory_series(status: DirectoryStatus, stale_after: Duration) -> DirectorySeries {
    let DirectoryStatus {
        name,
        account,
        state,
        server: _,
        servers,
        live,
        running: _,
        last_attempt,
        last_success,
        last_complete_read,
        next_run,
        paused_until,
        stale,
        bind_refused,
        active,
        suspended,
        held,
        held_since,
        approval_expires,
        overdue_expiries,
        quarantined,
        quiet: _,
        attention,
    } = status;
    DirectorySeries {
        name,
        account,
        state: state.as_str(),
        servers: servers.into_iter().map(server_series).collect(),
        live,
        paused: paused_until.is_some(),
        stale,
        bind_refused,
        stale_after: stale_after.as_secs_f64(),
        last_attempt,
        last_success,
        last_complete_read,
        next_run,
        users: vec![(Status::Active.as_str(), active), (Status::Suspended.as_str(), suspended)],
        held,
        held_since,
        approval_expires,
        overdue_expiries,
        quarantined,
        attention: attention.len() as u64,
    }
}

/// Returns the series of a target. One that was never read whole counts from the start of the daemon.
fn target_series(status: TargetStatus, started_at: Timestamp) -> TargetSeries {
    let TargetStatus {
        name,
        condition,
        host: _,
        state,
        counts,
        unmanaged,
        left,
        held,
        token_expires,
        next_run: _,
        attention: _,
    } = status;
    TargetSeries {
        name: name.to_string(),
        state: condition.as_str(),
        accounts: vec![
            ("active", counts.active),
            ("inactive", counts.inactive),
            ("unmanaged", unmanaged),
            ("left", left),
        ],
        pending: counts.pending,
        quarantined: counts.quarantined,
        held,
        oldest_deactivation: counts.oldest_deactivation,
        last_complete_run: (condition != TargetCondition::Removed)
            .then(|| state.last_complete_run.unwrap_or(started_at)),
        token_expires,
    }
}

fn hook_series(status: HookStatus) -> HookSeries {
    let HookStatus { name, events: _, target: _, state, deliveries, lag: _, kept_until: _ } =
        status;
    let DeliveryStatus { pending, failed, oldest, delivered_at, .. } = deliveries;
    HookSeries {
        name,
        pending,
        failed,
        oldest,
        delivered_at,
        disabled: state == HookState::Disabled,
    }
}

/// A bound port. Connections are answered once it is [served](export).
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
}

impl Port {
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Binds the port.
pub async fn bind_port(address: SocketAddr) -> Result<Port, ServeError> {
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServeError::Port { address, source })?;
    Ok(Port { listener })
}

/// Serves `/metrics` until `stop`.
pub async fn export(port: Port, engine: Arc<Engine>, stop: CancellationToken) {
    let metrics = Arc::new(Metrics::new(engine));
    let answer = |State(metrics): State<Arc<Metrics>>, headers: HeaderMap| async move {
        metrics.answer(&headers).await
    };
    let not_found = || async { (StatusCode::NOT_FOUND, "the metrics are at /metrics\n") };
    let pages =
        Router::new().route("/metrics", get(answer)).fallback(not_found).with_state(metrics);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut has_warned = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&port.listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                has_warned = false;
                connections.spawn(serve(stream, pages.clone(), permit));
            }
            Err(error) => {
                if !std::mem::replace(&mut has_warned, true) {
                    tracing::warn!("metrics port accept failed: {error}");
                }
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    // Aborts scrapes, because one is only a gap in a graph.
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Serves one request within the time limit. Errors of the connection are ignored.
async fn serve(stream: TcpStream, pages: Router, permit: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    drop(timeout(CONNECTION_TIMEOUT, connection).await);
    drop(permit);
}

#[cfg(test)]
mod tests {

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::clock::Clock;
    use crate::engine::Rules;
    use crate::store::Store;

    struct Exporter {
        address: SocketAddr,
        engine: Arc<Engine>,
        stop: CancellationToken,
        serving: JoinHandle<()>,
        _home: tempfile::TempDir,
    }

    impl Exporter {
        async fn start() -> Self {
            let home = tempfile::tempdir().unwrap();
            let store =
                Store::open(&format!("sqlite://{}", home.path().join("rosterd.db").display()))
                    .await
                    .unwrap();
            let stop = CancellationToken::new();
            let engine = Engine::new(
                Arc::new(store),
                Clock::system(),
                Vec::new(),
                Rules::default(),
                stop.clone(),
            );
            let engine = Arc::new(engine);
            let port = bind_port("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = port.address().unwrap();
            let serving = tokio::spawn(export(port, Arc::clone(&engine), stop.clone()));
            Self { address, engine, stop, serving, _home: home }
        }

        async fn say(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream
                .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn the_port_serves_one_page_and_nothing_else() {
        let exporter = Exporter::start().await;
        let page = exporter.say("GET /metrics").await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"),
            "{page}"
        );
        assert!(page.contains("\nrosterd_store_up 1\n"), "{page}");
        let head = exporter.say("HEAD /metrics").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        for (request, status) in [
            ("GET /", 404),
            ("GET /v1/metrics", 404),
            ("GET /v1/status", 404),
            ("POST /v1/sync", 404),
            ("POST /metrics", 405),
        ] {
            let answer = exporter.say(request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn slow_clients_delay_neither_others_nor_the_stop() {
        let exporter = Exporter::start().await;
        let mut slow = Vec::new();
        for _ in 1..CONNECTIONS {
            let mut client = TcpStream::connect(exporter.address).await.unwrap();
            client.write_all(b"GET /metrics HTTP/1.1\r\nhost:").await.unwrap();
            slow.push(client);
        }
        for _ in 0..20 {
            assert!(exporter.say("GET /metrics").await.starts_with("HTTP/1.1 200"));
        }
        exporter.stop.cancel();
        timeout(Duration::from_secs(2), exporter.serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_reported_on_the_page() {
        let exporter = Exporter::start().await;
        exporter.engine.store.close().await;
        let page = exporter.say("GET /metrics").await;
        assert!(
            page.contains("\nrosterd_store_up 0\n") && page.contains("\nprocess_open_fds "),
            "{page}"
        );
    }
}
