//! Starts runs for changes as they happen.
//!
//! AD notifies that something has changed, and [`changes`](super::changes) finds the people. A run
//! of its own reads them and waits for no full read. Nothing depends on a notification. Changes are
//! also queried when the server's highest USN has moved, and by scheduled runs.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::directory::{DirectoryError, Session, Settings, Use, Watch};
use crate::engine::sync::stages::{Request, Source};
use crate::engine::triggers::changes::{ChangedPeople, DIRSYNC_TIMEOUT, FollowError};
use crate::engine::triggers::following::Following;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Guid, RunState, Timestamp, Trigger};
use crate::reconcile::{FullReadReason, OLDEST_STAMP};
use crate::store::{DirectoryState, Run};

/// Interval at which the highest USN is read despite notifications, because the server may lose
/// one. With the time limit of a sign of life, a dead server is left after eight seconds.
const USN_CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// Interval at which the highest USN is read without notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Longest time for which changes are gathered after a run.
const LONGEST_GATHERING: Duration = Duration::from_millis(250);
/// Minimum interval between full reads that changes cause.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(10);
/// The backoff after the first failure; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(2);
/// After this time without a failure the backoff starts anew.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// The connections on which changes are followed.
#[derive(Debug)]
struct Follower {
    /// The session of the queries.
    session: Session,
    settings: Settings,
    /// The session of the notifications; `None` where the server sends none.
    watch: Option<Watch>,
    /// Whether this session has made no query yet.
    is_fresh: bool,
}

impl Engine {
    /// Follows the changes of the server in use until the configuration is replaced.
    pub(in crate::engine) async fn follow_changes(&self, directory: &Directory) {
        if directory.config.live && directory.config.incremental {
            self.keep_following(directory, &Source::InUse).await;
        } else {
            directory.work.following.send_replace(Following::Disabled);
        }
    }

    /// Follows the changes of a server until the configuration is replaced, or another server is chosen in
    /// its place.
    pub(in crate::engine) async fn keep_following(&self, directory: &Directory, source: &Source) {
        let name = &directory.config.name;
        let note = |following| directory.note_following(source, following, self.clock.now());
        note(Following::Inactive(None));
        let mut failures: u32 = 0;
        // The last full read that a change has caused.
        let mut full_at = None;
        while self.is_chosen(directory, source) {
            let begun = Instant::now();
            let span = tracing::error_span!("live", directory = %name);
            let mut following =
                std::pin::pin!(self.follow(directory, source, &mut full_at).instrument(span));
            let Err(error) = tokio::select! {
                biased;
                () = directory.cancel.cancelled() => {
                    // A run ends by the same token, and has to record its end.
                    let mut runs = directory.work.followed_runs.subscribe();
                    tokio::select! {
                        _ = runs.wait_for(|under_way| *under_way == 0) => {}
                        _ = following => {}
                    }
                    return;
                }
                ended = &mut following => ended,
            };
            if matches!(error, EngineError::Follow(FollowError::NotChosen)) {
                break;
            }
            if begun.elapsed() > STABLE_AFTER || is_replaced(directory, source, &error) {
                failures = 0;
            }
            if note(Following::Inactive(Some(error.to_string()))) {
                match source {
                    Source::InUse => {
                        tracing::warn!(directory = %name, "{name}: changes are followed by scheduled runs only: {error}");
                    }
                    Source::Other(url) => {
                        tracing::warn!(directory = %name, "{name}: changes of {url} are not followed: {error}");
                    }
                }
            }
            if !self.is_chosen(directory, source) {
                break;
            }
            tokio::select! {
                () = directory.cancel.cancelled() => return,
                () = sleep(backoff(failures)) => {}
            }
            failures += 1;
        }
    }

    /// Follows changes until an error.
    async fn follow(
        &self,
        directory: &Directory,
        source: &Source,
        full_at: &mut Option<Timestamp>,
    ) -> Result<Infallible, EngineError> {
        // Waits for the first full read, because there is no cookie before it.
        while !self.is_followed(directory).await? {
            sleep(POLL_INTERVAL).await;
        }
        let mut follower = self.follower(directory, source).await?;
        let ended = self.follow_with(directory, source, &mut follower, full_at).await;
        if let Err(EngineError::Directory(error)) = &ended
            && error.is_lost_connection()
        {
            let now = self.clock.passed();
            directory.work.servers.note_lost(&follower.session, error.finding(), now);
        }
        ended
    }

    async fn follow_with(
        &self,
        directory: &Directory,
        source: &Source,
        follower: &mut Follower,
        full_at: &mut Option<Timestamp>,
    ) -> Result<Infallible, EngineError> {
        let name = &directory.config.name;
        let note = |following| directory.note_following(source, following, self.clock.now());
        let mut usn = 0;
        loop {
            // A paused directory, or one without a checkpoint, is not followed.
            while !self.is_followed(directory).await? {
                note(Following::Inactive(None));
                sleep(POLL_INTERVAL).await;
            }
            if !self.is_chosen(directory, source) {
                return Err(FollowError::NotChosen.into());
            }
            if follower.session.renewal_due_in().is_some_and(|left| left.is_zero()) {
                self.renew(directory, follower).await?;
            }
            if let Some(watch) = &mut follower.watch {
                watch.drain();
            }
            let now = follower.session.sign_of_life().await?;
            if note(Following::Live) {
                let how = if follower.watch.is_some() {
                    "by notifications"
                } else {
                    "by polling, because AD sends no notifications"
                };
                let server = &follower.session.server;
                tracing::info!(directory = %name, "{name}: changes of {server} are followed {how}");
            }
            if now != usn {
                let begun = Instant::now();
                match source {
                    Source::InUse => self.run_changes(directory, follower, full_at).await?,
                    Source::Other(url) => {
                        self.run_suspensions(directory, url, &mut follower.session).await?;
                    }
                }
                usn = now;
                sleep(gathering(begun.elapsed())).await;
            }
            follower.changes_or_poll().await?;
        }
    }

    /// Returns whether changes start runs at present.
    async fn is_followed(&self, directory: &Directory) -> Result<bool, EngineError> {
        self.check_clock().await?;
        let state = self.store.directory(&directory.config.name).await?;
        Ok(state.checkpoint.is_some()
            && state.paused_until.is_none_or(|until| until <= self.clock.now()))
    }

    /// Connects and subscribes to notifications.
    async fn follower(
        &self,
        directory: &Directory,
        source: &Source,
    ) -> Result<Follower, EngineError> {
        let (session, settings) = match source {
            Source::InUse => self.open(directory, Use::Follow).await?,
            Source::Other(url) => {
                let settings = directory.config.settings.clone();
                let mut session = self.open_at(directory, url, &settings).await?;
                session.limit_wait(DIRSYNC_TIMEOUT);
                (session, settings)
            }
        };
        let watch = self.watch_beside(directory, &session, &settings).await?;
        Ok(Follower { session, settings, watch, is_fresh: true })
    }

    /// Replaces both connections before their tickets end, with the same server.
    async fn renew(
        &self,
        directory: &Directory,
        follower: &mut Follower,
    ) -> Result<(), EngineError> {
        let Follower { session, settings, watch, .. } = follower;
        *session = self.open_beside(directory, session, settings).await?;
        *watch = self.watch_beside(directory, session, settings).await?;
        let name = &directory.config.name;
        tracing::info!(directory = %name, "{name}: bound again, because the ticket was about to end");
        Ok(())
    }

    /// Subscribes to the notifications of a session's server; `None` where it sends none.
    async fn watch_beside(
        &self,
        directory: &Directory,
        session: &Session,
        settings: &Settings,
    ) -> Result<Option<Watch>, EngineError> {
        // On the same address, because a name may stand for several servers.
        let subscriber = self.open_beside(directory, session, settings).await?;
        match subscriber.watch().await {
            Ok(watch) => Ok(Some(watch)),
            Err(DirectoryError::Search { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the changes since the checkpoint.
    async fn run_changes(
        &self,
        directory: &Directory,
        follower: &mut Follower,
        full_at: &mut Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let is_fresh = std::mem::take(&mut follower.is_fresh);
        let request = match self
            .changed_people(directory, &mut follower.session, &follower.settings)
            .await?
        {
            ChangedPeople::People(people, checkpoint) if people.is_empty() => {
                let advance =
                    |state: &mut DirectoryState| checkpoint.succeed(&mut state.checkpoint);
                return Ok(self.store.change_directory(&directory.config.name, advance).await?);
            }
            ChangedPeople::People(people, checkpoint) => Request {
                checkpoint: Some(checkpoint),
                ..Request::people(Trigger::Live, people, None)
            },
            ChangedPeople::FullRead(FullReadReason::NoCheckpoint) => return Ok(()),
            // The runs may use another server by now.
            ChangedPeople::FullRead(reason @ FullReadReason::OtherServer) if !is_fresh => {
                return Err(FollowError::Checkpoint(reason).into());
            }
            ChangedPeople::FullRead(reason) => {
                self.run_recent_leavers(directory, &mut follower.session).await?;
                let since = full_at.map(|at| self.clock.now().since(at));
                sleep(FULL_READ_INTERVAL.saturating_sub(since.unwrap_or(FULL_READ_INTERVAL))).await;
                *full_at = Some(self.clock.now());
                Request { full_read_reason: Some(reason), ..Request::full(Trigger::Live, None) }
            }
        };
        let run = self.run_to_the_end(directory, request).await?;
        match run.state {
            RunState::Failed | RunState::Cancelled => {
                Err(FollowError::RunFailed(run.error.unwrap_or_default()).into())
            }
            RunState::Running | RunState::Succeeded | RunState::Held => Ok(()),
        }
    }

    /// Runs over the people with an active user who have left lately, because the full read of a large
    /// directory takes minutes. The full read finds all others.
    async fn run_recent_leavers(
        &self,
        directory: &Directory,
        session: &mut Session,
    ) -> Result<(), EngineError> {
        let now = self.clock.now();
        let leavers = match session.recent_leavers(now.minus(OLDEST_STAMP), now).await {
            Err(DirectoryError::Search { .. }) => return Ok(()),
            leavers => leavers?,
        };
        let active = self.store.active_people(&directory.config.name).await?;
        let active = active.into_iter().map(|row| row.guid);
        let people: BTreeSet<Guid> = active.filter(|guid| leavers.contains_key(guid)).collect();
        if !people.is_empty() {
            self.run_to_the_end(directory, Request::people(Trigger::Live, people, None)).await?;
        }
        Ok(())
    }

    /// Runs over followed changes. The task that follows them does not end before the run.
    pub(in crate::engine) async fn run_to_the_end(
        &self,
        directory: &Directory,
        request: Request,
    ) -> Result<Run, EngineError> {
        let _under_way = FollowedRun::begin(&directory.work.followed_runs);
        self.run(directory, request).await
    }
}

/// A run of a followed change, until it is dropped.
struct FollowedRun<'a>(&'a watch::Sender<u32>);

impl<'a> FollowedRun<'a> {
    fn begin(runs: &'a watch::Sender<u32>) -> Self {
        runs.send_modify(|under_way| *under_way += 1);
        Self(runs)
    }
}

impl Drop for FollowedRun<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// Returns whether a lost server has a successor that was well at its last attempt. Nothing waits for
/// the lost one then.
fn is_replaced(directory: &Directory, source: &Source, error: &EngineError) -> bool {
    let servers = &directory.work.servers;
    *source == Source::InUse
        && matches!(error, EngineError::Directory(error) if error.is_lost_connection())
        && directory.known_servers().iter().any(|url| servers.server(url).is_well())
}

/// Returns how long changes are gathered after a run that took this time.
///
/// A change in a quiet time waits for nothing. Those that follow it share the next run, so that runs
/// of one directory take at most half of the time.
fn gathering(run: Duration) -> Duration {
    run.min(LONGEST_GATHERING)
}

/// Returns the time until the next attempt. After the first failure it is none, because another
/// server may serve.
fn backoff(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => FIRST_BACKOFF.saturating_mul(1 << n.min(10)).min(MAX_BACKOFF),
    }
}

impl Follower {
    /// Waits for a notification or the next poll.
    async fn changes_or_poll(&mut self) -> Result<(), EngineError> {
        let Some(watch) = &mut self.watch else {
            sleep(POLL_INTERVAL).await;
            return Ok(());
        };
        let renewal = self.session.renewal_due_in();
        tokio::select! {
            changed = watch.changed() => Ok(changed?),
            () = sleep(USN_CHECK_INTERVAL) => Ok(watch.ping().await?),
            () = sleep(renewal.unwrap_or_default()), if renewal.is_some() => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of each change until it is dealt with, and the number of runs. A run takes 15 ms, and
    /// 1 ms for each change.
    fn followed(changes: &[Duration]) -> (Vec<Duration>, u32) {
        let (mut waits, mut runs) = (Vec::new(), 0);
        let mut now = Duration::ZERO;
        while let Some(next) = changes.get(waits.len()) {
            now = now.max(*next);
            let due = changes[waits.len()..].iter().take_while(|at| **at <= now).count();
            let run = Duration::from_millis(15 + due as u64);
            now += run;
            let dealt_with = waits.len()..waits.len() + due;
            waits.extend(changes[dealt_with].iter().map(|at| now.saturating_sub(*at)));
            runs += 1;
            now += gathering(run);
        }
        (waits, runs)
    }

    #[test]
    fn a_change_in_a_quiet_time_waits_for_nothing() {
        let quiet: Vec<_> = (0..10).map(Duration::from_secs).collect();
        let (waits, runs) = followed(&quiet);
        assert!(waits.iter().all(|wait| *wait == Duration::from_millis(16)), "{waits:?}");
        assert_eq!(runs, 10);
    }

    #[test]
    fn the_first_change_of_a_burst_waits_for_nothing_and_the_others_share_runs() {
        let burst: Vec<_> = (0..1_000).map(Duration::from_millis).collect();
        let (waits, runs) = followed(&burst);
        assert_eq!(waits[0], Duration::from_millis(16));
        assert!(runs < 20, "{runs} runs");
        // A change waits for the run before it, its gathering, and its own run.
        assert!(waits.iter().all(|wait| *wait < Duration::from_millis(1_500)), "{waits:?}");
    }

    #[test]
    fn a_long_run_is_followed_by_a_short_gathering() {
        assert_eq!(gathering(Duration::from_mins(5)), LONGEST_GATHERING);
    }
}
