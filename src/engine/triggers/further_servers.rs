//! Follows further servers beside the one in use, because replication between sites takes hours.
//!
//! A change on such a server starts a run that may only suspend people (`sync::observe::other_server`).
//! Each server has a checkpoint of its own, which no other run uses. A failure concerns its follower alone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::sleep;

use crate::directory::{DirectoryError, Session, WATCHED_OBJECTS};
use crate::engine::sync::stages::{Request, Source};
use crate::engine::triggers::changes::FollowError;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Guid, RunState, ServerUrl, Status, Trigger};
use crate::reconcile::{Checkpoint, FullReadReason, OLDEST_STAMP};
use crate::store::DirectoryState;

/// Interval at which the servers to follow are chosen. The choice is made in memory.
const CHOICE_INTERVAL: Duration = Duration::from_secs(2);
/// The attributes whose changes may suspend a person. A deletion is always reported.
const WATCHED: [&str; 2] = ["userAccountControl", "accountExpires"];

impl Engine {
    /// Follows further servers until the configuration is replaced.
    pub(in crate::engine) async fn follow_further_servers(&self, directory: &Directory) {
        let mut followed = BTreeSet::new();
        let mut followers = FuturesUnordered::new();
        loop {
            for url in self.further_servers(directory) {
                if followed.insert(url.to_string()) {
                    followers.push(Box::pin(async move {
                        self.keep_following(directory, &Source::Other(url.clone())).await;
                        url.to_string()
                    }));
                }
            }
            tokio::select! {
                biased;
                () = directory.cancel.cancelled() => return,
                Some(url) = followers.next() => drop(followed.remove(&url)),
                () = sleep(CHOICE_INTERVAL) => {}
            }
        }
    }

    /// Returns whether the changes of a server are to be followed.
    pub(in crate::engine) fn is_chosen(&self, directory: &Directory, source: &Source) -> bool {
        match source {
            Source::InUse => true,
            Source::Other(url) => self.further_servers(directory).contains(url),
        }
    }

    /// Returns the servers whose changes are to be followed beside those of the one in use.
    pub(in crate::engine) fn further_servers(&self, directory: &Directory) -> Vec<ServerUrl> {
        if !(directory.config.live && directory.config.incremental) {
            return Vec::new();
        }
        let (servers, which) = (&directory.work.servers, directory.config.watch);
        servers.followed(&directory.known_servers(), which, self.clock.passed())
    }

    /// Suspends the people who have left since the checkpoint of this server.
    pub(in crate::engine) async fn run_suspensions(
        &self,
        directory: &Directory,
        url: &ServerUrl,
        session: &mut Session,
    ) -> Result<(), EngineError> {
        let name = &directory.config.name;
        // Read before DirSync, so that changes committed in between are reported again.
        let root = session.read_root().await?;
        let Some(invocation_id) = root.identity.invocation_id else {
            return Err(FollowError::Nameless.into());
        };
        let now = self.clock.now();
        let mut known = self.store.directory(name).await?.followed;
        let cookie = match known.remove(&invocation_id) {
            Some(known) => {
                let reason = known.full_read_reason(&root.identity, root.usn, WATCHED_OBJECTS, now);
                match reason {
                    None => self.suspend_leavers(directory, url, session, &known.cookie).await?,
                    Some(reason) => Err(reason),
                }
            }
            None => Err(FullReadReason::NoCheckpoint),
        };
        let cookie = match cookie {
            Ok(cookie) => cookie,
            Err(reason) => {
                tracing::info!(directory = %name, "{name}: the changes of {url} are followed from now on: {reason}");
                // Read before the leavers, so that those who leave in between are reported again.
                let cookie = session.dirsync_cookie(&[]).await?;
                let leavers = session.recent_leavers(now.minus(OLDEST_STAMP), now).await?;
                self.suspend_among(directory, url, leavers.into_keys().collect()).await?;
                cookie
            }
        };
        let measure = WATCHED_OBJECTS.to_owned();
        let server = root.identity;
        let checkpoint =
            Checkpoint { server, usn: root.usn, cookie, at: now, full_at: now, measure };
        let note = |state: &mut DirectoryState| {
            state.followed.insert(invocation_id, checkpoint);
            state.followed.retain(|_, checkpoint| !checkpoint.is_too_old(now));
        };
        Ok(self.store.change_directory(name, note).await?)
    }

    /// Runs over the people who have changed since a cookie. Returns the next cookie, or the reason
    /// why these changes cannot be followed.
    async fn suspend_leavers(
        &self,
        directory: &Directory,
        url: &ServerUrl,
        session: &mut Session,
        since: &[u8],
    ) -> Result<Result<Vec<u8>, FullReadReason>, EngineError> {
        let changes = match session.changes(since, &WATCHED.map(str::to_owned).into()).await {
            Ok(changes) => changes,
            Err(error @ DirectoryError::Search { .. }) => {
                return Ok(Err(FullReadReason::Refused(error.finding())));
            }
            Err(error) => return Err(error.into()),
        };
        let (objects, cookie) = match changes.all() {
            Ok(all) => all,
            Err(count) => return Ok(Err(FullReadReason::Many(count))),
        };
        self.suspend_among(directory, url, objects.into_iter().map(|object| object.guid).collect())
            .await?;
        Ok(Ok(cookie))
    }

    /// Runs over those of these people whom the directory concerns.
    async fn suspend_among(
        &self,
        directory: &Directory,
        url: &ServerUrl,
        people: BTreeSet<Guid>,
    ) -> Result<(), EngineError> {
        let people = self.concerned_among(directory, people).await?;
        if people.is_empty() {
            return Ok(());
        }
        let source = Source::Other(url.clone());
        let request = Request { source, ..Request::people(Trigger::Live, people, None) };
        let run = self.run_to_the_end(directory, request).await?;
        if matches!(run.state, RunState::Failed | RunState::Cancelled) {
            return Err(FollowError::RunFailed(run.error.unwrap_or_default()).into());
        }
        if run.dropped > 0 {
            return Err(FollowError::RunFailed("users changed meanwhile".to_owned()).into());
        }
        Ok(())
    }

    /// Returns the people with a user of this directory, and those without any user. A suspended user gets
    /// the reason, too, so that it stays suspended when the present one ends.
    async fn concerned_among(
        &self,
        directory: &Directory,
        mut people: BTreeSet<Guid>,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let account = self.claims_of(directory).await?.0;
        let known = self.store.load(name, account, &people, &BTreeSet::new()).await?;
        people.retain(|guid| {
            known.of_person(*guid).is_none_or(|user| {
                user.status() != Status::Released
                    && user.link.as_ref().is_some_and(|link| link.directory == *name)
            })
        });
        Ok(people)
    }
}
