//! Opens sessions, and never locks the account that binds.
//!
//! AD counts wrong passwords of all clients, and a schedule would send one all day. So a refusal is
//! stored with a mark of the secret. The same secret is sent to no server again until the file
//! changes or an operator unlocks the directory.

use crate::directory::{
    BindRefusal, CheckReport, DirectoryError, Retry, Session, Settings, Use, check, secret_mark,
};
use crate::engine::servers::{Located, left_out, locate, remedy};
use crate::engine::triggers::changes::FollowError;
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{CheckOutcome, CheckStep, DirectoryName, Resolver, ServerUrl, Timestamp};
use crate::store::{BindRefused, LONGEST_BIND_PAUSE};

/// AD refused the present secret before, and it is not sent again, so that AD does not lock the
/// account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{refusal}; so that the account is not locked, the bind is tried again only {}when the {file_kind} changes, or by rosterctl directory unlock {directory}",
    at(*retry_at)
)]
pub struct BindSuspended {
    pub directory: DirectoryName,
    /// The answer of AD.
    pub refusal: String,
    /// The kind of the file whose change ends the suspension.
    pub file_kind: &'static str,
    /// The time of the next attempt with the same secret; `None` where there is none.
    pub retry_at: Option<Timestamp>,
}

fn at(retry_at: Option<Timestamp>) -> String {
    retry_at.map_or_else(String::new, |at| format!("at {}, ", at.to_utc().format("%H:%M UTC")))
}

impl Engine {
    /// Opens a session with the first server that serves, and returns the settings with its
    /// servers.
    pub(super) async fn open(
        &self,
        directory: &Directory,
        purpose: Use,
    ) -> Result<(Session, Settings), EngineError> {
        let settings = self.locate(directory).await?;
        let servers = &directory.work.servers;
        let state = self.store.directory(&directory.config.name).await?;
        servers.begin_with(state.server);
        let now = || self.clock.passed();
        let opened = Box::pin(servers.open(&settings, purpose, &state.high_water_marks, &now));
        Ok((self.bound(directory, &settings, opened).await?, settings))
    }

    /// Opens another session with the same copy of the database, at the same address.
    pub(super) async fn open_beside(
        &self,
        directory: &Directory,
        session: &Session,
        settings: &Settings,
    ) -> Result<Session, EngineError> {
        let opened = self.open_at(directory, session.url(), settings).await?;
        if opened.root.identity == session.root.identity {
            Ok(opened)
        } else {
            Err(FollowError::OtherServer.into())
        }
    }

    /// Opens a session with one server. The bind lock is not held while it is connected to, so that a
    /// silent server delays no other session.
    pub(super) async fn open_at(
        &self,
        directory: &Directory,
        url: &ServerUrl,
        settings: &Settings,
    ) -> Result<Session, EngineError> {
        let now = || self.clock.passed();
        let servers = &directory.work.servers;
        let session = Box::pin(servers.connect_to(url, settings, &now)).await?;
        let opened = Box::pin(servers.log_in(session, settings, &now));
        self.bound(directory, settings, opened).await
    }

    /// Awaits a bind of the service account, unless AD has refused the present secret.
    async fn bound(
        &self,
        directory: &Directory,
        settings: &Settings,
        opening: impl Future<Output = Result<Session, DirectoryError>>,
    ) -> Result<Session, EngineError> {
        // Two binds at the same moment would count twice in AD.
        let _guard = directory.work.bind_lock.lock().await;
        if let Some(refused) = self.no_bind(directory).await? {
            return Err(refused.into());
        }
        let secret = secret_mark(settings);
        let opened = opening.await;
        let refusal = opened.as_ref().err().and_then(DirectoryError::refusal);
        self.note_bind(directory, secret, refusal, opened.is_ok()).await?;
        Ok(opened?)
    }

    /// Checks everything that a run of a directory needs, step by step.
    pub async fn check_directory(&self, name: &str) -> Result<CheckReport, EngineError> {
        let directory = self.directory(name)?;
        let _guard = directory.work.bind_lock.lock().await;
        let no_bind = self.no_bind(&directory).await?;
        let secret = secret_mark(&directory.config.settings);
        let mut found = check_directory(
            &directory.config,
            self.configured().rules.resolver,
            self.clock.now(),
            no_bind.map(|refused| refused.to_string()).as_deref(),
        )
        .await;
        self.note_bind(&directory, secret, found.refusal.as_ref(), found.is_bound).await?;
        let failed = found.steps.iter().find(|step| step.outcome == CheckOutcome::Failed);
        self.note_reach(&directory.config.name, failed.map(|step| step.finding.clone()));
        if let Some(error) = self.store.write_error() {
            let remedy = "make space for the database, and let rosterd write to it".to_owned();
            let outcome = CheckOutcome::Failed;
            found.steps.push(CheckStep::new("store", outcome, error, Some(remedy)));
        }
        Ok(found)
    }

    /// Returns the earlier refusal because of which the present secret is not sent.
    async fn no_bind(&self, directory: &Directory) -> Result<Option<BindSuspended>, EngineError> {
        let name = &directory.config.name;
        let Some(refused) = self.store.directory(name).await?.bind_refused else {
            return Ok(None);
        };
        let is_due = refused.retry_at.is_some_and(|at| at <= self.clock.now());
        let secret = secret_mark(&directory.config.settings);
        let is_tried = is_due
            || !refused.has(&secret) && {
                let is_accepted = directory.work.servers.have_accepted(&secret);
                refused.is_over || is_accepted || self.is_newer(directory, &refused)
            };
        let BindRefused { told, retry_at, .. } = refused;
        let file_kind = directory.config.settings.credential.file_kind();
        let directory = name.clone();
        Ok((!is_tried).then_some(BindSuspended { directory, refusal: told, file_kind, retry_at }))
    }

    /// Returns whether the file of the secret was changed after a refusal. The nodes of a shared store would
    /// otherwise try their old secrets in turn.
    fn is_newer(&self, directory: &Directory, refused: &BindRefused) -> bool {
        if !self.shares_store() {
            return true;
        }
        let file = directory.config.settings.credential.file();
        let changed = std::fs::metadata(file).and_then(|metadata| metadata.modified());
        changed.is_ok_and(|changed| {
            refused.at.is_none_or(|at| self.clock.of_system(changed.into()) > at)
        })
    }

    async fn note_bind(
        &self,
        directory: &Directory,
        secret: String,
        refusal: Option<&BindRefusal>,
        is_bound: bool,
    ) -> Result<(), EngineError> {
        if let Some(refusal) = refusal {
            self.store.counters.bind_refused(directory.config.name.as_str(), &refusal.label());
        }
        let own = secret.clone();
        let refused = refusal.and_then(|refusal| {
            // Another server has accepted this secret, and this one may not have heard of it.
            let settings = &directory.config.settings;
            let has_others = settings.servers.len() != 1;
            let was_accepted = has_others && directory.work.servers.have_accepted(&secret);
            let retry_at = match refusal.retry() {
                Retry::Anytime => return None,
                Retry::Never if !was_accepted => None,
                Retry::Occasionally | Retry::Never => {
                    Some(self.clock.now().plus(LONGEST_BIND_PAUSE))
                }
            };
            let at = Some(self.clock.now());
            let told = refusal.to_string();
            Some(BindRefused { secret, told, retry_at, at, earlier: Vec::new(), is_over: false })
        });
        let note = |state: &mut crate::store::DirectoryState| match refused {
            Some(refused) => state.bind_refused = Some(refused.after(state.bind_refused.take())),
            None if is_bound => {
                let is_known = |was: &mut BindRefused| was.has(&own) || !self.shares_store();
                let _ = state.bind_refused.take_if(is_known);
                // Another node may still have the refused secret.
                if let Some(was) = &mut state.bind_refused {
                    was.is_over |= self.is_newer(directory, was);
                }
            }
            None => {}
        };
        Ok(self.store.note_directory(&directory.config.name, note).await?)
    }
}

/// Checks everything that a run needs, without a store.
pub async fn check_directory(
    config: &DirectoryConfig,
    resolver: Resolver,
    now: Timestamp,
    no_bind: Option<&str>,
) -> CheckReport {
    let Located { settings, outside } = match locate(config, None, resolver).await {
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
