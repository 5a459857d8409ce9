//! Operations on directories: pause and resume, rename, unlock, rebaseline.
//!
//! No leaver is suspended during a pause. So every pause ends by itself, is reported daily, and its
//! begin and end are events with their actor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use serde_json::{Value, json};

use crate::directory::Use;
use crate::engine::sync::stages::Request;
use crate::engine::{Directory, DirectoryStatus, Engine, EngineError};
use crate::model::{Actor, DirectoryName, Event, EventCause, Guid, Timestamp, Trigger};
use crate::reconcile::AttributeCounts;
use crate::store::{DirectoryState, EventFilter, Run, ScopeState, StoreError};
use crate::telemetry::chain;

/// The reason why a change of a directory is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryChangeError {
    #[error(
        "a pause of {} is too long: at most {}, since no leaver is suspended meanwhile; pause again before it ends, or set mode = \"plan-only\" for {directory}",
        format_duration(*duration),
        format_duration(MAX_PAUSE)
    )]
    PauseTooLong { directory: DirectoryName, duration: Duration },
    #[error(
        "the directory {from} is still configured: give its section the name {to}, then rosterctl reload, and try again"
    )]
    StillConfigured { from: DirectoryName, to: String },
    #[error(
        "no directory {to} is configured: give the section of {from} that name, then rosterctl reload, and try again"
    )]
    NotConfigured { from: DirectoryName, to: String },
    #[error(
        "{entries} entries of {directory} have a sIDHistory, and none of them names a user of another directory of the account ({unclear} are unclear, because several entries or users share a SID): people without a stored SID get one at the next full run of their directory"
    )]
    NoSuccessor { directory: DirectoryName, entries: usize, unclear: usize },
    #[error(
        "the directory {directory} has people of its own already, so {former} cannot become it: its users move to {directory} one by one, at the next full run that shows them; remove rename-from"
    )]
    HasPeople { directory: DirectoryName, former: DirectoryName },
}

/// The default: a change to the directory in the morning is done by noon.
pub const DEFAULT_PAUSE: Duration = Duration::from_hours(4);

/// The maximum: a week of holidays. `mode = "plan-only"` stops changes for longer.
pub const MAX_PAUSE: Duration = Duration::from_hours(7 * 24);

/// A lasting pause is reported again after this time.
const REMINDER_INTERVAL: Duration = Duration::from_hours(24);

const PAUSED: &str = "directory.paused";
const RESUMED: &str = "directory.resumed";

impl Engine {
    /// Proposes to link users of other directories to the entries of this one whose sIDHistory has
    /// the SID of their present entry. The plan is held for approval.
    pub async fn relink_by_sid_history(
        &self,
        name: &str,
        actor: &Actor,
    ) -> Result<Run, EngineError> {
        let directory = self.directory(name)?;
        let (account, _) = self.claims_of(&directory).await?;
        let history = {
            let (mut session, _) = self.open(&directory, Use::Follow).await?;
            let bases = self.bases(&directory, &mut session, &mut Vec::new()).await?;
            session.sid_history(&bases.dns, None).await?
        };
        let entries = history.len();
        let found = self.successors(&directory, account, history).await?;
        let unclear = found.unclear;
        if found.users.is_empty() {
            let directory = directory.config.name.clone();
            return Err(DirectoryChangeError::NoSuccessor { directory, entries, unclear }.into());
        }
        let relinks: BTreeSet<Guid> = found.users.into_keys().collect();
        let remark = format!(
            "{unclear} entries are left out, because several entries or users share a SID: rosterctl user relink"
        );
        let request = Request {
            relinks: relinks.clone(),
            remarks: if unclear > 0 { vec![remark] } else { Vec::new() },
            ..Request::people(Trigger::Manual, relinks, Some(actor.clone()))
        };
        self.run(&directory, request).await
    }

    /// Pauses a directory: no runs for this time, or for the default.
    pub async fn pause(
        &self,
        name: &str,
        duration: Option<Duration>,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        let duration = duration.unwrap_or(DEFAULT_PAUSE);
        if duration > MAX_PAUSE {
            let directory = directory.config.name.clone();
            return Err(DirectoryChangeError::PauseTooLong { directory, duration }.into());
        }
        let until = self.clock.now().plus(duration);
        self.set_pause(&directory, Some(until), actor).await?;
        self.directory_status(&directory).await
    }

    /// Pauses a directory until a time.
    pub(in crate::engine) async fn pause_until(
        &self,
        name: &str,
        until: Timestamp,
        actor: &Actor,
    ) -> Result<(), EngineError> {
        let directory = self.directory(name)?;
        Ok(self.set_pause(&directory, Some(until), actor).await?)
    }

    /// Ends a pause.
    pub async fn resume(&self, name: &str, actor: &Actor) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        self.set_pause(&directory, None, actor).await?;
        self.directory_status(&directory).await
    }

    /// Stores a pause or its end. Without a pause, its end is no change and no event.
    async fn set_pause(
        &self,
        directory: &Directory,
        until: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let name = &directory.config.name;
        loop {
            let was = self.store.directory(name).await?.paused_until;
            if was.is_none() && until.is_none() {
                return Ok(());
            }
            let kind = if until.is_some() { PAUSED } else { RESUMED };
            let event = self.pause_event(directory, kind, was, until, actor);
            if self.store.pause_directory(name, was, until, event, &self.clock).await? {
                break;
            }
        }
        // The schedule computes the same, but a caller shows the status before it has.
        let next = directory.config.schedule.next(self.clock.now());
        let next = next.map(|at| until.map_or(at, |until| at.max(until)));
        directory.work.next_run.send_replace(next);
        match until {
            Some(until) => {
                tracing::info!(directory = %name, "{name}: paused by {actor} until {until}")
            }
            None => tracing::info!(directory = %name, "{name}: pause ended by {actor}"),
        }
        directory.work.wake.notify_one();
        Ok(())
    }

    fn pause_event(
        &self,
        directory: &Directory,
        kind: &'static str,
        was: Option<Timestamp>,
        until: Option<Timestamp>,
        actor: &Actor,
    ) -> Event {
        let account = Some(directory.config.account.clone());
        let cause = EventCause { actor: actor.clone(), run: None, account, at: self.clock.now() };
        let document = |until: Option<Timestamp>| {
            until.map_or(Value::Null, |until| json!({ "paused_until": until }))
        };
        Event::about(kind, directory.config.name.as_str(), &cause, document(was), document(until))
    }

    /// Ends a pause that is over, and reports a lasting one daily.
    pub(in crate::engine) async fn watch_pause(
        &self,
        directory: &Directory,
    ) -> Result<(), StoreError> {
        let name = &directory.config.name;
        let Some(until) = self.store.directory(name).await?.paused_until else { return Ok(()) };
        let now = self.clock.now();
        if until <= now {
            let event = self.pause_event(directory, RESUMED, Some(until), None, &Actor::rosterd());
            if self.store.pause_directory(name, Some(until), None, event, &self.clock).await? {
                tracing::info!(directory = %name, "{name}: the pause has ended");
            }
            return Ok(());
        }
        let last_reminder = EventFilter {
            kinds: vec![PAUSED.to_owned()],
            subjects: vec![name.to_string()],
            since: Some(now.minus(REMINDER_INTERVAL)),
            limit: 1,
            ..EventFilter::default()
        };
        if !self.store.events(&last_reminder).await?.is_empty() {
            return Ok(());
        }
        tracing::warn!(directory = %name, "{name}: paused until {until}, no leaver is suspended: end the pause with rosterctl directory resume {name}");
        let event =
            self.pause_event(directory, PAUSED, Some(until), Some(until), &Actor::rosterd());
        self.store.record(&[event], &self.clock).await
    }

    /// Renames a directory that is no longer configured. Its successor gets all data that is stored
    /// under its name.
    pub async fn rename_directory(
        &self,
        from: &str,
        to: &str,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let missing = |name: &str| EngineError::NotFound {
            what: "directory",
            name: name.to_owned(),
            near: None,
        };
        let former = DirectoryName::parse(from).ok_or_else(|| missing(from))?;
        if self.directory(from).is_ok() {
            let (from, to) = (former, to.to_owned());
            return Err(DirectoryChangeError::StillConfigured { from, to }.into());
        }
        let Ok(directory) = self.directory(to) else {
            let (from, to) = (former, to.to_owned());
            return Err(DirectoryChangeError::NotConfigured { from, to }.into());
        };
        if !self.store.knows_directory(&former).await? {
            return Err(missing(from));
        }
        self.rename(&former, &directory, actor).await?;
        self.directory_status(&directory).await
    }

    /// Renames a directory as its `rename-from` says. Afterwards nothing is stored under the old
    /// name. Returns the reason when it is refused.
    pub(in crate::engine) async fn rename_as_configured(
        &self,
        directory: &Directory,
    ) -> Result<Option<String>, EngineError> {
        let Some(former) = &directory.config.rename_from else { return Ok(None) };
        if self.directory(former.as_str()).is_ok() || !self.store.knows_directory(former).await? {
            return Ok(None);
        }
        match self.rename(former, directory, &Actor::rosterd()).await {
            Ok(()) => Ok(None),
            Err(EngineError::DirectoryChange(refused)) => Ok(Some(refused.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn rename(
        &self,
        former: &DirectoryName,
        directory: &Directory,
        actor: &Actor,
    ) -> Result<(), EngineError> {
        let name = &directory.config.name;
        let _applying = self.apply_lock.lock().await;
        if !self.store.knows_directory(former).await? {
            return Ok(());
        }
        let people = self.store.people_of_directory(name).await?;
        if people > 0 {
            let (directory, former) = (name.clone(), former.clone());
            return Err(DirectoryChangeError::HasPeople { directory, former }.into());
        }
        self.store
            .rename_directory(former, name, &directory.config.account, actor, &self.clock)
            .await?;
        tracing::info!(directory = %name, "{name}: renamed from {former} by {actor}");
        directory.work.wake.notify_one();
        Ok(())
    }

    /// Forgets that AD refused the service account, binds, and starts a full run.
    pub async fn unlock(
        self: &Arc<Self>,
        name: &str,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        self.store
            .change_directory(&directory.config.name, |state| state.bind_refused = None)
            .await?;
        directory.work.servers.forget_refusals();
        tracing::info!(directory = name, "{name}: unlocked by {actor}");
        self.open(&directory, Use::Follow).await?;
        // The changes of the meantime are applied at once.
        let (engine, actor) = (Arc::clone(self), actor.clone());
        let again = Arc::clone(&directory);
        tokio::spawn(async move {
            if let Err(error) = engine.sync(&again, actor).await {
                let name = &again.config.name;
                tracing::warn!(directory = %name, "{name}: sync after unlock failed: {}", chain(&error));
            }
        });
        self.directory_status(&directory).await
    }

    /// Believes the present server from now on, whatever other servers showed.
    pub async fn trust_server(
        &self,
        name: &str,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        let _applying = self.apply_lock.lock().await;
        self.store.trust_server(&directory.config.name).await?;
        tracing::info!(directory = name, "{name}: the present server is trusted by {actor}");
        directory.work.wake.notify_one();
        self.directory_status(&directory).await
    }

    /// Accepts bases, groups, canaries and attributes as the new baseline. The next run only plans.
    pub async fn rebaseline(
        &self,
        name: &str,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        let _applying = self.apply_lock.lock().await;
        let forget = |state: &mut DirectoryState| {
            state.counts = AttributeCounts::default();
            state.rights_lost = None;
            state.checkpoint = None;
            state.scope = Some(ScopeState::Rebaselined);
        };
        self.store.rebaseline(&directory.config.name, forget).await?;
        tracing::info!(
            directory = name,
            "{name}: baseline replaced by {actor}; the next run only plans"
        );
        self.directory_status(&directory).await
    }
}
