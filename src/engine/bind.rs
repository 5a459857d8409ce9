//! Binding, without ever locking the account that binds. The one way from a directory's configuration to a session.
//!
//! AD counts wrong passwords, whoever sends them, and a schedule sends them all day. So a refusal is
//! remembered with the secret it was for, and the same secret is not tried again, by nobody and on no server:
//! until it changes, or an operator says so.

use std::sync::Arc;

use crate::directory::{
    BindRefusal, CheckOutcome, CheckReport, CheckStep, DirectoryError, Retry, Session, Settings,
    check,
};
use crate::engine::servers::{Located, left_out, locate, remedy};
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{Actor, Resolver, Timestamp};
use crate::store::{BindRefused, LONGEST_BIND_PAUSE};
use crate::telemetry::chain;

impl Engine {
    /// A session with the first server that serves, that of the last successful run before the others; and the
    /// settings it goes by.
    pub(super) async fn open(
        &self,
        directory: &Directory,
    ) -> Result<(Session, Settings), EngineError> {
        let settings = self.locate(directory).await?;
        let preferred = self.store.directory(&directory.config.name).await?.server;
        let session = self.open_with(directory, &settings, preferred.as_deref()).await?;
        Ok((session, settings))
    }

    /// Another session with the server of that URL, and with no other.
    pub(super) async fn open_at(
        &self,
        directory: &Directory,
        settings: &Settings,
        server: &str,
    ) -> Result<Session, EngineError> {
        let servers =
            settings.servers.iter().filter(|url| url.to_string() == server).cloned().collect();
        self.open_with(directory, &Settings { servers, ..settings.clone() }, None).await
    }

    async fn open_with(
        &self,
        directory: &Directory,
        settings: &Settings,
        preferred: Option<&str>,
    ) -> Result<Session, EngineError> {
        // Two attempts at the same moment would count twice.
        let _guard = directory.work.bind_lock.lock().await;
        if let Some(why) = self.no_bind(directory).await? {
            return Err(EngineError::Refused(why));
        }
        let secret = secret(settings);
        let opened = Session::open_any(settings, preferred).await;
        let refusal = opened.as_ref().err().and_then(DirectoryError::refusal);
        self.note_bind(directory, secret, refusal, opened.is_ok()).await?;
        Ok(opened?)
    }

    /// Looks a directory over: what a run would need, step by step.
    pub async fn check_directory(&self, name: &str) -> Result<CheckReport, EngineError> {
        let directory = self.directory(name)?;
        let _guard = directory.work.bind_lock.lock().await;
        let no_bind = self.no_bind(&directory).await?;
        let secret = secret(&directory.config.settings);
        let found = check_directory(
            &directory.config,
            self.configured().rules.resolver,
            self.clock.now(),
            no_bind.as_deref(),
        )
        .await;
        self.note_bind(&directory, secret, found.refusal.as_ref(), found.is_bound).await?;
        Ok(found)
    }

    /// Forgets that AD refused the service account, and tries the bind.
    pub async fn unlock(
        self: &Arc<Self>,
        name: &str,
        actor: &Actor,
    ) -> Result<crate::engine::DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        self.store
            .change_directory(&directory.config.name, |state| state.bind_refused = None)
            .await?;
        tracing::info!(directory = name, "{name}: the bind is tried again, asked by {actor}");
        self.open(&directory).await?;
        // What was missed meanwhile is caught up with at once.
        let (engine, actor) = (Arc::clone(self), actor.clone());
        let again = Arc::clone(&directory);
        tokio::spawn(async move {
            if let Err(error) = engine.sync(&again, actor).await {
                let name = &again.config.name;
                tracing::warn!(directory = %name, "{name}: the run after the bind did not take place: {}", chain(&error));
            }
        });
        self.directory_status(&directory).await
    }

    /// Why the present secret is not to be tried, if it is not.
    async fn no_bind(&self, directory: &Directory) -> Result<Option<String>, EngineError> {
        let name = &directory.config.name;
        let Some(BindRefused { secret: refused, told, retry_at }) =
            self.store.directory(name).await?.bind_refused
        else {
            return Ok(None);
        };
        if refused != secret(&directory.config.settings)
            || retry_at.is_some_and(|at| at <= self.clock.now())
        {
            return Ok(None);
        }
        let until = match retry_at {
            Some(at) => {
                format!("at {}, when the password file changes,", at.to_utc().format("%H:%M UTC"))
            }
            None => "when the password file changes,".to_owned(),
        };
        Ok(Some(format!(
            "{told}; so that the account is not locked, the bind is tried again only {until} or by rosterctl directory unlock {name}"
        )))
    }

    async fn note_bind(
        &self,
        directory: &Directory,
        secret: String,
        refusal: Option<&BindRefusal>,
        is_bound: bool,
    ) -> Result<(), EngineError> {
        if let Some(refusal) = refusal {
            self.store.counters.bind_refused(directory.config.name.as_str(), refusal.data);
        }
        let refused = refusal.and_then(|refusal| {
            let retry_at = match refusal.retry() {
                Retry::Anytime => return None,
                Retry::Occasionally => Some(self.clock.now().plus(LONGEST_BIND_PAUSE)),
                Retry::Never => None,
            };
            Some(BindRefused { secret, told: refusal.to_string(), retry_at })
        });
        let note = |state: &mut crate::store::DirectoryState| match refused {
            Some(refused) => state.bind_refused = Some(refused),
            None if is_bound => state.bind_refused = None,
            None => {}
        };
        Ok(self.store.change_directory(&directory.config.name, note).await?)
    }
}

/// Looks a directory over, as it is configured; for those who have no store, too.
pub async fn check_directory(
    config: &DirectoryConfig,
    resolver: Resolver,
    now: Timestamp,
    no_bind: Option<&str>,
) -> CheckReport {
    let Located { settings, outside } = match locate(config, resolver).await {
        Ok(located) => located,
        Err(error) => {
            let remedy = "check discover, discover-suffixes and site, or list servers".to_owned();
            return CheckReport {
                steps: vec![CheckStep::new(
                    "dns",
                    CheckOutcome::Failed,
                    error.to_string(),
                    Some(remedy),
                )],
                ..CheckReport::default()
            };
        }
    };
    let mut found = check(&settings, now, no_bind, config.incremental).await;
    if let Some(discovery) = &config.discover {
        let domain = &discovery.domain;
        if !outside.is_empty() {
            found.steps.insert(
                0,
                CheckStep::new(
                    "dns",
                    CheckOutcome::Warning,
                    left_out(discovery, &outside),
                    Some(remedy().to_owned()),
                ),
            );
        }
        let servers =
            settings.servers.iter().map(|s| s.host.as_str()).collect::<Vec<_>>().join(", ");
        found.steps.insert(
            0,
            CheckStep::new(
                "dns",
                CheckOutcome::Ok,
                format!("the domain controllers of {domain} are {servers}"),
                None,
            ),
        );
    }
    found
}

/// Which secret it is, without telling it: whose, when the file was written, and how long it is.
fn secret(settings: &Settings) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let who = xxhash_rust::xxh3::xxh3_64(settings.bind_dn.as_bytes());
    std::fs::metadata(&settings.password_file).map_or_else(
        |_| "none".to_owned(),
        |m| format!("{who:016x}.{}.{}.{}", m.mtime(), m.mtime_nsec(), m.size()),
    )
}
