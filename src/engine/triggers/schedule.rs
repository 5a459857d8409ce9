//! When runs are due: the schedule, an expiry that nothing announces, a recheck.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::sync::stages::Request;
use crate::engine::triggers::changes::{PATIENCE, Since};
use crate::engine::triggers::due::Due;
use crate::engine::{Directory, Engine, EngineError, Health};
use crate::model::{Timestamp, Trigger};
use crate::reconcile::FullReadReason;
use crate::store::StoreError;
use crate::telemetry::chain;

/// What is due is looked up again this often at the latest: the clock may be set, and tests move it.
const LOOK_AROUND: Duration = Duration::from_mins(1);

/// What wakes a directory next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Startup,
    Scheduled,
    Expiry,
    Recheck,
}

/// What a directory's schedule has seen to.
#[derive(Debug)]
struct Done {
    /// The run at the start.
    startup: bool,
    /// Ticks until then.
    scheduled: Timestamp,
    /// The attempts at what is due until it is done.
    due: Due,
}

impl Done {
    /// A clock that was set back must not silence the schedule until it has caught up.
    fn not_after(&mut self, now: Timestamp) {
        self.scheduled = self.scheduled.min(now);
    }
}

impl Engine {
    /// Runs a directory for as long as its configuration stands: whenever something is due, and whenever something changes.
    pub async fn run_triggers(self: Arc<Self>, directory: Arc<Directory>) {
        tokio::join!(
            Box::pin(self.run_schedule(&directory)),
            Box::pin(self.follow_changes(&directory))
        );
    }

    /// Runs once at the start, then whenever something is due.
    async fn run_schedule(&self, directory: &Directory) {
        // Before the first run, which may be long to come: people of the old name are to sign in meanwhile.
        if let Err(error) = self.rename_as_configured(directory).await {
            let name = &directory.config.name;
            tracing::error!(directory = %name, "{name}: the directory could not be renamed: {}", chain(&error));
        }
        let begun = self.clock.now();
        let mut done = Done { startup: false, scheduled: begun, due: Due::default() };
        loop {
            self.check_clock_or_log().await;
            let now = self.clock.now();
            done.not_after(now);
            let wait = match self.next_due(directory, &mut done, now).await {
                Ok((Some(due), what)) if due <= now && !directory.cancel.is_cancelled() => {
                    let request = self.request(directory, what, &mut done, now).await;
                    self.run_unasked(directory, request).await;
                    continue;
                }
                Ok((due, _)) => due.map_or(LOOK_AROUND, |at| at.since(now)),
                Err(error) => {
                    let name = &directory.config.name;
                    tracing::error!(directory = %name, "{name}: what is due cannot be read: {}", chain(&error));
                    LOOK_AROUND
                }
            };
            tokio::select! {
                () = directory.cancel.cancelled() => return,
                () = directory.work.wake.notified() => {}
                () = tokio::time::sleep(wait.min(LOOK_AROUND)) => {}
            }
        }
    }

    /// The run that is due; takes note that it is.
    async fn request(
        &self,
        directory: &Directory,
        what: Next,
        done: &mut Done,
        now: Timestamp,
    ) -> Request {
        match what {
            // The run at the start makes up for ticks that were missed before it.
            Next::Startup => {
                done.startup = true;
                done.scheduled = now;
                Request::full(Trigger::Startup, None)
            }
            // Ticks that were missed, while a run took long or the directory was paused, are one tick.
            Next::Scheduled => {
                done.startup = true;
                done.scheduled = now;
                self.scheduled(directory).await
            }
            Next::Expiry => {
                let things = self.due_expiries(directory, now).await.unwrap_or_default();
                let people =
                    done.due.expiries.begin(&things, Due::first_wait(Trigger::Expiry), now);
                Request::people(Trigger::Expiry, people, None)
            }
            Next::Recheck => {
                let things = self.due_rechecks(directory).await.unwrap_or_default();
                let people =
                    done.due.rechecks.begin(&things, Due::first_wait(Trigger::Recheck), now);
                Request::people(Trigger::Recheck, people, None)
            }
        }
    }

    /// A scheduled run: over what has changed, where that can be followed and a full one is not due.
    pub async fn scheduled(&self, directory: &Directory) -> Request {
        self.check_clock_or_log().await;
        let now = self.clock.now();
        let full = |full_read_reason| Request {
            full_read_reason,
            ..Request::full(Trigger::Schedule, None)
        };
        if !directory.config.incremental {
            return full(Some(FullReadReason::NotConfigured));
        }
        let limit = directory.config.settings.timeouts.run;
        let since = async {
            let checkpoint = self.store.directory(&directory.config.name).await?.checkpoint;
            let is_due = checkpoint
                .is_none_or(|p| directory.config.full.next(p.full_at).is_none_or(|due| due <= now));
            if is_due || matches!(*directory.work.health.borrow(), Health::Incomplete(_)) {
                return Ok(None);
            }
            let (mut session, settings) = self.open(directory).await?;
            session.limit_wait(PATIENCE);
            Ok::<_, EngineError>(Some(
                self.since_and_pending(directory, &mut session, &settings).await?,
            ))
        };
        match tokio::time::timeout(limit, since).await {
            Ok(Ok(Some((Since::People(people, checkpoint), remarks)))) => Request {
                checkpoint: Some(checkpoint),
                remarks,
                ..Request::people(Trigger::Schedule, people, None)
            },
            Ok(Ok(Some((Since::Everybody(doubt), _)))) => full(Some(doubt)),
            // A question for changes that fails does not keep everybody from being read.
            Ok(Err(EngineError::Directory(error))) => {
                full(Some(FullReadReason::Refused(error.to_string())))
            }
            Err(_) => full(Some(FullReadReason::Refused(EngineError::TooLong(limit).to_string()))),
            // What went wrong goes wrong again, and is told of that run.
            Ok(Ok(None) | Err(_)) => full(None),
        }
    }

    /// Looks pending claims up, for as long as the daemon runs.
    pub async fn keep_claims(self: Arc<Self>) {
        if let Err(error) = self.gather_all().await {
            tracing::error!(
                "the people of claimed domains cannot be brought together: {}",
                chain(&error)
            );
        }
        loop {
            let pause = match self.check_claims().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!("claims cannot be read: {}", chain(&error));
                    Duration::from_mins(1)
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// What is due next, and when. Of a paused directory nothing is, before the pause ends.
    async fn next_due(
        &self,
        directory: &Directory,
        done: &mut Done,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, Next), StoreError> {
        let name = &directory.config.name;
        let startup = (!done.startup).then_some((now, Next::Startup));
        let scheduled =
            directory.config.schedule.next(done.scheduled).map(|at| (at, Next::Scheduled));
        let expiry = done
            .due
            .expiries
            .next(&self.due_expiries(directory, now).await?, now)
            .map(|at| (at, Next::Expiry));
        let recheck = done
            .due
            .rechecks
            .next(&self.due_rechecks(directory).await?, now)
            .map(|at| (at, Next::Recheck));
        let paused = self.store.directory(name).await?.paused_until.filter(|until| *until > now);
        let not_before = |at: Timestamp| paused.map_or(at, |until| at.max(until));
        // Whoever pauses without an end looks at no next run.
        let shown =
            scheduled.map(|(at, _)| not_before(at.max(now))).filter(|at| *at < Timestamp(i64::MAX));
        directory.work.next_run.send_replace(shown);
        // Of what is due already, the run at the start comes first.
        let first = [startup, scheduled, expiry, recheck]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| (*at).max(now));
        Ok(first.map_or((None, Next::Scheduled), |(at, what)| (Some(not_before(at)), what)))
    }

    /// A run nobody waits for.
    async fn run_unasked(&self, directory: &Directory, request: Request) {
        if let Err(error) = self.run(directory, request).await {
            let name = &directory.config.name;
            tracing::error!(directory = %name, "{name}: a run could not be written down: {}", chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::model::Cron;

    fn at(text: &str) -> Timestamp {
        Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).expect("a time").to_utc())
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_the_schedule_until_it_has_caught_up() {
        let (later, now) = (at("2036-01-01T00:00:00Z"), at("2026-11-26T08:00:00Z"));
        let mut done = Done { startup: true, scheduled: later, due: Due::default() };
        done.not_after(now);
        let hourly = Cron::parse("@hourly", Tz::UTC).expect("a schedule");
        assert_eq!(hourly.next(done.scheduled), Some(at("2026-11-26T09:00:00Z")));
    }
}
