//! Acting on changes as they happen.
//!
//! AD tells that something has changed; what, is asked for ([`changes`](crate::engine::changes)), and whoever that concerns is looked
//! at by a run of its own, which waits for no full read. Nothing depends on being told: the same question is asked whenever
//! the server's highest USN has moved, and by scheduled runs.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::directory::{DirectoryError, Session, Settings, Watch};
use crate::engine::sync::stages::Request;
use crate::engine::triggers::changes::Since;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{RunState, Timestamp, Trigger};
use crate::reconcile::FullReadReason;
use crate::store::DirectoryState;

/// How often the server's highest USN is looked at where it tells of changes: it may have forgotten to.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// How often where it does not.
const POLL: Duration = Duration::from_secs(2);
/// Changes that come thick and fast are looked at together: so long after the last look.
const APART: Duration = Duration::from_millis(250);
/// Full reads that changes give cause for are at least this far apart.
const FULL_APART: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// What has been followed for so long was worth it: the next failure is a first one.
const LONG: Duration = Duration::from_mins(1);

/// Whether the changes of a directory are followed as they happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Following {
    /// They are.
    Live,
    /// They are not, or not yet; with what prevents it.
    Not(Option<String>),
    /// Nobody asked for it.
    #[default]
    Off,
}

/// The connections of one who follows changes.
#[derive(Debug)]
struct Follower {
    /// What asks which they are.
    session: Session,
    settings: Settings,
    /// What is told that there are any; none where the server does not tell.
    watch: Option<Watch>,
    /// Whether nothing has been asked yet.
    is_fresh: bool,
}

impl Engine {
    /// Follows the changes of a directory for as long as its configuration stands.
    pub(in crate::engine) async fn follow_changes(&self, directory: &Directory) {
        let name = &directory.config.name;
        let following = &directory.work.following;
        if !(directory.config.live && directory.config.incremental) {
            following.send_replace(Following::Off);
            return;
        }
        following.send_replace(Following::Not(None));
        let mut failures = 0;
        // When everybody was last read for want of another way.
        let mut full_at = None;
        loop {
            let begun = Instant::now();
            let span = tracing::error_span!("live", directory = %name);
            let Err(error) = tokio::select! {
                biased;
                () = directory.cancel.cancelled() => return,
                ended = self.follow(directory, &mut full_at).instrument(span) => ended,
            };
            failures = if begun.elapsed() > LONG { 1 } else { failures + 1 };
            let why = Following::Not(Some(error.to_string()));
            if following.send_replace(why.clone()) != why {
                tracing::warn!(directory = %name, "{name}: changes are not followed as they happen, but seen by scheduled runs: {error}");
            }
            tokio::select! {
                () = directory.cancel.cancelled() => return,
                () = sleep(FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT)) => {}
            }
        }
    }

    /// Follows changes until something goes wrong.
    async fn follow(
        &self,
        directory: &Directory,
        full_at: &mut Option<Timestamp>,
    ) -> Result<Infallible, EngineError> {
        let name = &directory.config.name;
        // Before everybody has been read, nobody has changed.
        while !self.is_followed(directory).await? {
            sleep(POLL).await;
        }
        let mut follower = self.follower(directory).await?;
        let mut usn = 0;
        loop {
            // Paused, or to be read anew: as if nobody had asked.
            while !self.is_followed(directory).await? {
                directory.work.following.send_if_modified(|following| {
                    std::mem::replace(following, Following::Not(None)) == Following::Live
                });
                sleep(POLL).await;
            }
            if let Some(watch) = &mut follower.watch {
                watch.drain();
            }
            let now = follower.session.highest_usn().await?;
            if directory.work.following.send_replace(Following::Live) != Following::Live {
                let how = if follower.watch.is_some() {
                    "as AD tells of them"
                } else {
                    "by looking, since AD does not tell of them"
                };
                tracing::info!(directory = %name, "{name}: changes are followed {how}");
            }
            if now != usn {
                self.act(directory, &mut follower, full_at).await?;
                usn = now;
            }
            sleep(APART).await;
            follower.news().await?;
        }
    }

    /// Whether changes are to be acted on.
    async fn is_followed(&self, directory: &Directory) -> Result<bool, EngineError> {
        self.check_clock().await?;
        let state = self.store.directory(&directory.config.name).await?;
        Ok(state.checkpoint.is_some()
            && state.paused_until.is_none_or(|until| until <= self.clock.now()))
    }

    /// Connects, and has the server tell of changes from here on.
    async fn follower(&self, directory: &Directory) -> Result<Follower, EngineError> {
        let (told, _) = self.open(directory).await?;
        let watch = match told.watch().await {
            Ok(watch) => Some(watch),
            Err(DirectoryError::Search { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let (session, settings) = self.open(directory).await?;
        Ok(Follower { session, settings, watch, is_fresh: true })
    }

    /// Has a run deal with what has changed.
    async fn act(
        &self,
        directory: &Directory,
        follower: &mut Follower,
        full_at: &mut Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let is_fresh = std::mem::take(&mut follower.is_fresh);
        let request = match self.since(directory, &mut follower.session, &follower.settings).await?
        {
            Since::People(people, position) if people.is_empty() => {
                let move_on = |state: &mut DirectoryState| position.succeed(&mut state.checkpoint);
                return Ok(self.store.change_directory(&directory.config.name, move_on).await?);
            }
            Since::People(people, position) => Request {
                checkpoint: Some(position),
                ..Request::people(Trigger::Live, people, None)
            },
            Since::Everybody(FullReadReason::NoCheckpoint) => return Ok(()),
            // The runs have turned to another one, perhaps.
            Since::Everybody(doubt @ FullReadReason::OtherServer) if !is_fresh => {
                return Err(EngineError::Refused(doubt.to_string()));
            }
            Since::Everybody(doubt) => {
                let since = full_at.map(|at| self.clock.now().since(at));
                sleep(FULL_APART.saturating_sub(since.unwrap_or(FULL_APART))).await;
                *full_at = Some(self.clock.now());
                Request { full_read_reason: Some(doubt), ..Request::full(Trigger::Live, None) }
            }
        };
        let run = self.run(directory, request).await?;
        match run.state {
            RunState::Failed | RunState::Cancelled => {
                Err(EngineError::Refused(run.error.unwrap_or_default()))
            }
            RunState::Running | RunState::Succeeded | RunState::Held => Ok(()),
        }
    }
}

impl Follower {
    /// Waits until it is worth looking again.
    async fn news(&mut self) -> Result<(), EngineError> {
        let Some(watch) = &mut self.watch else {
            sleep(POLL).await;
            return Ok(());
        };
        tokio::select! {
            changed = watch.changed() => Ok(changed?),
            () = sleep(LOOK_AROUND) => Ok(watch.ping().await?),
        }
    }
}
