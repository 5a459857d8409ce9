//! Pauses: no runs of a directory for a while.
//!
//! Nobody who leaves is suspended during a pause, so every pause ends by itself, is announced daily, and its begin and
//! end are events with their actor.

use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::{Directory, DirectoryStatus, Engine, EngineError};
use crate::model::{Actor, Event, EventCause, Timestamp};
use crate::store::{EventFilter, StoreError};

/// How long a pause lasts when nothing is said: a change to the directory in the morning is done by noon.
pub const USUAL_PAUSE: Duration = Duration::from_hours(4);

/// The longest pause: a week of holidays. Whoever wants no runs at all says `mode = "plan-only"`.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(7 * 24);

/// A pause that lasts is announced again this much later.
const ANNOUNCED_EVERY: Duration = Duration::from_hours(24);

const PAUSED: &str = "directory.paused";
const RESUMED: &str = "directory.resumed";

impl Engine {
    /// Starts no runs of a directory for this long, or for the usual time.
    pub async fn pause(
        &self,
        name: &str,
        duration: Option<Duration>,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        let duration = duration.unwrap_or(USUAL_PAUSE);
        if duration > LONGEST_PAUSE {
            return Err(EngineError::Invalid(format!(
                "a pause of {} is too long: at most {}, since nobody who leaves is suspended meanwhile; pause again before it ends, \
                 or set mode = \"plan-only\" for {name}",
                humantime::format_duration(duration),
                humantime::format_duration(LONGEST_PAUSE)
            )));
        }
        let until = self.clock.now().plus(duration);
        self.set_pause(&directory, Some(until), actor).await?;
        self.directory_status(&directory).await
    }

    /// Ends a pause.
    pub async fn resume(&self, name: &str, actor: &Actor) -> Result<DirectoryStatus, EngineError> {
        let directory = self.directory(name)?;
        self.set_pause(&directory, None, actor).await?;
        self.directory_status(&directory).await
    }

    /// Writes a pause or its end. Of an end where there is no pause nothing is written.
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

    /// Ends a pause whose time is over, and announces one that lasts, once a day.
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
        let told = EventFilter {
            kind: Some(PAUSED.to_owned()),
            subjects: vec![name.to_string()],
            since: Some(now.minus(ANNOUNCED_EVERY)),
            limit: 1,
            ..EventFilter::default()
        };
        if !self.store.events(&told).await?.is_empty() {
            return Ok(());
        }
        tracing::warn!(directory = %name, "{name}: paused until {until}, nobody who leaves is suspended: rosterctl directory resume {name}");
        let event =
            self.pause_event(directory, PAUSED, Some(until), Some(until), &Actor::rosterd());
        self.store.record(&[event], &self.clock).await
    }
}
