//! Starts the runs that are due: startup, schedule, expiry, recheck.
//!
//! The loop is no periodic task. The end of a run, a pause or a reload wakes it, and it ends with
//! the directory's configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::directory::Use;
use crate::engine::sync::stages::Request;
use crate::engine::triggers::changes::{ChangedPeople, DIRSYNC_TIMEOUT};
use crate::engine::triggers::due::{Due, DueThing};
use crate::engine::{Directory, Engine, EngineError, Health};
use crate::model::{Timestamp, Trigger};
use crate::reconcile::FullReadReason;
use crate::store::StoreError;
use crate::telemetry::chain;

/// Maximum wait, because the clock may be set.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Wait while a database server does not answer.
const OUTAGE_WAIT: Duration = Duration::from_secs(1);

/// The kind of the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Startup,
    Scheduled,
    Expiry,
    Recheck,
    /// The rest of a run that an outage of the database cut off.
    Rest,
    /// Suspensions that operators scheduled. They read nothing.
    Suspension,
}

/// The state of one directory's schedule.
#[derive(Debug)]
struct ScheduleState {
    /// Whether the startup run has begun.
    startup: bool,
    /// The last tick that a run covers.
    scheduled: Timestamp,
    /// The time before which no further run does the rest of one.
    rest_from: Timestamp,
    due: Due,
}

impl ScheduleState {
    fn new(startup: bool, now: Timestamp) -> Self {
        Self { startup, scheduled: now, rest_from: now, due: Due::default() }
    }

    /// Prevents a clock that was set back from silencing the schedule until it has caught up.
    fn limit_to(&mut self, now: Timestamp) {
        self.scheduled = self.scheduled.min(now);
        self.rest_from = self.rest_from.min(now.plus(MAX_WAIT));
    }
}

impl Engine {
    /// Starts the runs of a directory until its configuration is replaced. They are due, or follow
    /// changes that AD reports.
    pub async fn run_triggers(self: Arc<Self>, directory: Arc<Directory>) {
        tokio::join!(
            Box::pin(self.run_schedule(&directory)),
            Box::pin(self.follow_changes(&directory)),
            Box::pin(self.follow_further_servers(&directory))
        );
    }

    async fn run_schedule(&self, directory: &Directory) {
        // Done before the first run, which may begin late: users of the former name can sign in
        // meanwhile.
        if let Err(error) = self.rename_as_configured(directory).await {
            let name = &directory.config.name;
            tracing::error!(directory = %name, "{name}: rename failed: {}", chain(&error));
        }
        let mut done = ScheduleState::new(false, self.clock.now());
        loop {
            self.check_clock_or_log().await;
            let now = self.clock.now();
            done.limit_to(now);
            let wait = match self.next_due(directory, &mut done, now).await {
                Ok((Some(due), what)) if due <= now && !directory.cancel.is_cancelled() => {
                    if let Some(request) = self.request(directory, what, &mut done, now).await {
                        self.run_and_log(directory, request).await;
                    }
                    continue;
                }
                Ok((due, _)) => due.map_or(MAX_WAIT, |at| at.since(now)),
                Err(error) => {
                    let name = &directory.config.name;
                    // The outage is logged already.
                    if self.store.outage().is_none() {
                        tracing::error!(directory = %name, "{name}: cannot read what is due: {}", chain(&error));
                    }
                    if self.store.is_remote() { OUTAGE_WAIT } else { MAX_WAIT }
                }
            };
            tokio::select! {
                () = directory.cancel.cancelled() => return,
                () = directory.work.wake.notified() => {}
                () = tokio::time::sleep(wait.min(MAX_WAIT)) => {}
            }
        }
    }

    /// Returns the request for the due run, and notes the attempt. A scheduled suspension needs no run: it
    /// is carried out.
    async fn request(
        &self,
        directory: &Directory,
        what: Next,
        done: &mut ScheduleState,
        now: Timestamp,
    ) -> Option<Request> {
        Some(match what {
            // The startup run covers the ticks that were missed before it.
            Next::Startup => {
                done.startup = true;
                done.scheduled = now;
                // A takeover goes on from the stored position, however many people there are.
                if self.shares_store() {
                    self.scheduled(directory).await
                } else {
                    Request::full(Trigger::Startup, None)
                }
            }
            // Ticks missed during a long run or a pause are one tick.
            Next::Scheduled => {
                done.startup = true;
                done.scheduled = now;
                self.scheduled(directory).await
            }
            Next::Expiry => {
                let things = self.due_expiries(directory, now).await.unwrap_or_default();
                let people =
                    done.due.expiries.begin(&things, Due::first_backoff(Trigger::Expiry), now);
                Request::people(Trigger::Expiry, people, None)
            }
            Next::Recheck => {
                let things = self.due_rechecks(directory).await.unwrap_or_default();
                let people =
                    done.due.rechecks.begin(&things, Due::first_backoff(Trigger::Recheck), now);
                Request::people(Trigger::Recheck, people, None)
            }
            // The checkpoint did not move, so a scheduled run finds what is left. One that is cut off in
            // turn is not repeated at once.
            Next::Rest => {
                done.rest_from = now.plus(MAX_WAIT);
                if let Err(error) = self.end_cut_off(directory).await {
                    directory.note_cut_off(&error.into(), &self.store);
                    return None;
                }
                self.scheduled(directory).await
            }
            Next::Suspension => {
                self.carry_out_suspensions(directory, done, now).await;
                return None;
            }
        })
    }

    /// Stores the end of the runs that an outage cut off.
    async fn end_cut_off(&self, directory: &Directory) -> Result<(), StoreError> {
        let runs = std::mem::take(&mut *directory.work.cut_off()).unsaved;
        for (at, run) in runs.iter().enumerate() {
            let mut run = run.clone();
            let saved = async {
                (run.counts, run.dropped) = self.store.committed(run.id).await?;
                self.store.save_run(&run).await
            };
            if let Err(error) = saved.await {
                directory.work.cut_off().unsaved.extend_from_slice(&runs[at..]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Carries out the suspensions that operators scheduled until now.
    async fn carry_out_suspensions(
        &self,
        directory: &Directory,
        done: &mut ScheduleState,
        now: Timestamp,
    ) {
        let things = self.due_suspensions(directory).await.unwrap_or_default();
        let due: Vec<DueThing> = things.iter().map(|(thing, _)| *thing).collect();
        let first = Due::first_backoff(Trigger::Operator);
        let begun = done.due.suspensions.begin(&due, first, now);
        let users = things.into_iter().filter(|(thing, _)| begun.contains(&thing.person));
        self.suspend_scheduled(&users.map(|(_, user)| user).collect::<Vec<_>>()).await;
    }

    /// Returns the request for a scheduled run: incremental where changes can be followed and no
    /// full run is due.
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
            let (mut session, settings) = self.open(directory, Use::Follow).await?;
            session.limit_wait(DIRSYNC_TIMEOUT);
            Ok::<_, EngineError>(Some(
                self.changed_and_pending_people(directory, &mut session, &settings).await?,
            ))
        };
        match tokio::time::timeout(limit, since).await {
            Ok(Ok(Some((ChangedPeople::People(people, checkpoint), remarks)))) => Request {
                checkpoint: Some(checkpoint),
                remarks,
                ..Request::people(Trigger::Schedule, people, None)
            },
            Ok(Ok(Some((ChangedPeople::FullRead(reason), _)))) => full(Some(reason)),
            // A failed query for changes does not prevent a full read.
            Ok(Err(EngineError::Directory(error))) => {
                full(Some(FullReadReason::Refused(error.to_string())))
            }
            Err(_) => full(Some(FullReadReason::Refused(EngineError::TooLong(limit).to_string()))),
            // The same error ends the run and is reported there.
            Ok(Ok(None) | Err(_)) => full(None),
        }
    }

    /// Returns the next run and its time. A pause delays every run to its end.
    async fn next_due(
        &self,
        directory: &Directory,
        done: &mut ScheduleState,
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
        let rest = directory.work.cut_off().is_due.then_some((done.rest_from, Next::Rest));
        let suspensions: Vec<DueThing> =
            self.due_suspensions(directory).await?.into_iter().map(|(thing, _)| thing).collect();
        // A pause is about reads, and delays no decision of an operator.
        let suspension = done.due.suspensions.next(&suspensions, now);
        let paused = self.store.directory(name).await?.paused_until.filter(|until| *until > now);
        let not_before = |at: Timestamp| paused.map_or(at, |until| at.max(until));
        let shown = scheduled.map(|(at, _)| not_before(at.max(now)));
        directory.work.next_run.send_replace(shown);
        // Among overdue runs the startup run comes first.
        let first = [startup, scheduled, expiry, recheck, rest]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| (*at).max(now));
        let run = first.map(|(at, what)| (not_before(at), what));
        Ok(match (suspension, run) {
            (Some(at), run) if run.is_none_or(|(run, _)| at.max(now) <= run.max(now)) => {
                (Some(at), Next::Suspension)
            }
            (_, Some((at, what))) => (Some(at), what),
            (_, None) => (None, Next::Scheduled),
        })
    }

    /// Runs a request and logs an error of the store.
    async fn run_and_log(&self, directory: &Directory, request: Request) {
        if let Err(error) = self.run(directory, request).await {
            let name = &directory.config.name;
            tracing::error!(directory = %name, "{name}: cannot store a run: {}", chain(&error));
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
    fn a_clock_that_is_set_back_does_not_silence_the_schedule() {
        let (later, now) = (at("2036-01-01T00:00:00Z"), at("2026-11-26T08:00:00Z"));
        let mut done = ScheduleState::new(true, later);
        done.limit_to(now);
        let hourly = Cron::parse("@hourly", Tz::UTC).expect("a schedule");
        assert_eq!(hourly.next(done.scheduled), Some(at("2026-11-26T09:00:00Z")));
    }
}
