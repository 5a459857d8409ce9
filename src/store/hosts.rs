//! The servers of a store: the first one that takes writes is used until it fails.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Url;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::error::StoreError;
use super::limits::{self, CONNECT, within};
use crate::model::{DatabaseHost, DatabaseServer, secret_line};
use crate::telemetry::chain;

/// The certificates that Debian trusts. Where they are missing, public authorities are trusted.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug)]
pub(super) struct Hosts {
    server: DatabaseServer,
    /// The index of the host in use.
    current: AtomicUsize,
}

impl Hosts {
    pub(super) fn of(server: &DatabaseServer) -> Self {
        Self { server: server.clone(), current: AtomicUsize::new(0) }
    }

    /// Returns the options of the host in use. The password is read each time, so that it can be
    /// changed while rosterd runs.
    pub(super) fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        self.options_of(&self.server.hosts[self.current.load(Ordering::Relaxed)])
    }

    /// Returns whether the configuration says that a failover loses no commit.
    pub(super) fn is_durable(&self) -> bool {
        self.server.durable_failover
    }

    /// Connects to the first host that takes writes, beginning with the one in use.
    pub(super) async fn connect(
        &self,
        lease: Duration,
    ) -> Result<(AnyConnection, AnyConnectOptions), StoreError> {
        let count = self.server.hosts.len();
        let first = self.current.load(Ordering::Relaxed);
        let mut told = Vec::new();
        for index in (0..count).map(|turn| (first + turn) % count) {
            let host = &self.server.hosts[index];
            let options = self.options_of(host)?;
            match connect(&options, lease).await {
                Ok(Some(conn)) => {
                    if self.current.swap(index, Ordering::Relaxed) != index {
                        tracing::info!("store is on {} now, which takes writes", host.name);
                    }
                    return Ok((conn, options));
                }
                Ok(None) => told.push(format!("{} takes no writes", host.name)),
                Err(error) => told.push(format!("{}: {}", host.name, chain(&error))),
            }
        }
        Err(StoreError::Unreachable(told.join("; ")))
    }

    fn options_of(&self, host: &DatabaseHost) -> Result<AnyConnectOptions, StoreError> {
        let DatabaseServer { user, database, password_file, ca_file, .. } = &self.server;
        // Names have plain characters alone (`StoreAt::parse`).
        let mut url = Url::parse(&format!("postgres://{user}@localhost/{database}"))
            .map_err(|_| StoreError::Url)?;
        let _ = url.set_port(Some(host.port));
        if let Some(file) = password_file {
            let _ = url.set_password(Some(&password(file)?));
        }
        let mut query = url.query_pairs_mut();
        query.append_pair("host", &host.name).append_pair("application_name", "rosterd");
        if host.is_here() {
            query.append_pair("sslmode", "disable");
        } else {
            query.append_pair("sslmode", "verify-full");
            let system = Some(Path::new(SYSTEM_CA)).filter(|file| file.exists());
            if let Some(ca) = ca_file.as_deref().or(system) {
                query.append_pair("sslrootcert", &ca.to_string_lossy());
            }
        }
        drop(query);
        url.as_str().parse().map_err(|_| StoreError::Url)
    }
}

fn password(file: &Path) -> Result<String, StoreError> {
    let content = std::fs::read(file)
        .map_err(|source| StoreError::Password { path: file.to_owned(), source })?;
    secret_line(&content).map(str::to_owned).map_err(|fault| StoreError::Password {
        path: file.to_owned(),
        source: std::io::Error::other(fault.to_string()),
    })
}

/// Connects to a server; `None` if it takes no writes.
async fn connect(
    options: &AnyConnectOptions,
    lease: Duration,
) -> Result<Option<AnyConnection>, sqlx::Error> {
    let mut conn = within(CONNECT, AnyConnection::connect_with(options)).await?;
    limits::set(&mut conn, lease).await?;
    Ok(limits::takes_writes(&mut conn).await?.then_some(conn))
}

/// Refuses a pool of connections that gives each transaction another one. Statements are prepared
/// and limits are set for a connection.
pub(super) async fn refuse_pooled(
    first: &mut AnyConnection,
    options: &AnyConnectOptions,
) -> Result<(), sqlx::Error> {
    let mut second = within(CONNECT, AnyConnection::connect_with(options)).await?;
    let before = process(first).await?;
    // The pool gives the process of the idle connection away.
    within(CONNECT, second.execute(sqlx::raw_sql("BEGIN"))).await?;
    let other = process(&mut second).await?;
    let after = process(first).await?;
    within(CONNECT, second.execute(sqlx::raw_sql("ROLLBACK"))).await?;
    if before == other || before != after {
        return Err(sqlx::Error::Configuration(POOLED.into()));
    }
    second.close().await
}

const POOLED: &str = "a pooler gives each transaction another connection";

/// Returns whether an error is that of a pool by transaction.
pub(super) fn is_pooled(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(told) => told.to_string() == POOLED,
        // A statement was prepared on another connection, or is missing on this one.
        error => {
            super::error::sqlstate(error).is_some_and(|code| ["42P05", "26000"].contains(&&*code))
        }
    }
}

async fn process(conn: &mut AnyConnection) -> Result<i32, sqlx::Error> {
    let asked = sqlx::raw_sql("SELECT pg_backend_pid()");
    within(CONNECT, conn.fetch_one(asked)).await?.try_get(0)
}
