//! When runs are due: the schedule, an expiry that nothing announces, a recheck.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Offset as _, TimeZone as _};
use chrono_tz::Tz;

use crate::engine::sync::Request;
use crate::engine::triggers::changes::{PATIENCE, Since};
use crate::engine::triggers::due::Due;
use crate::engine::{Directory, Engine, EngineError, Health};
use crate::model::{Timestamp, Trigger};
use crate::reconcile::FullReadReason;
use crate::store::StoreError;
use crate::telemetry::chain;

/// A cron expression in a time zone.
#[derive(Clone, PartialEq, Debug)]
pub struct Cron {
    schedule: cron::Schedule,
    zone: Tz,
    /// Whether the hours are a plain `*`, so that it counts real time and not the clock on the wall.
    is_interval: bool,
}

/// Why an expression is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not cron.
    #[error(
        "\"{0}\" is not a schedule: write five fields (minute hour day month weekday), six with seconds first, or @hourly, @daily, @weekly"
    )]
    Malformed(String),
    /// Cron that never fires.
    #[error("\"{0}\" never comes")]
    Never(String),
}

impl Cron {
    /// Parses five fields, six with seconds first, or a name such as `@hourly`. Weekdays are 0 to 7 from Sunday, or names.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, CronError> {
        let malformed = || CronError::Malformed(text.to_owned());
        let mut fields: Vec<String> = match text.trim() {
            "@hourly" => vec!["0", "0", "*", "*", "*", "*"],
            "@daily" | "@midnight" => vec!["0", "0", "0", "*", "*", "*"],
            "@weekly" => vec!["0", "0", "0", "*", "*", "SUN"],
            "@monthly" => vec!["0", "0", "0", "1", "*", "*"],
            "@yearly" | "@annually" => vec!["0", "0", "0", "1", "1", "*"],
            other => other.split_whitespace().collect(),
        }
        .into_iter()
        .map(str::to_owned)
        .collect();
        match fields.len() {
            5 => fields.insert(0, "0".to_owned()),
            6 => {}
            _ => return Err(malformed()),
        }
        // The library counts weekdays 1 to 7 from Sunday, cron 0 to 7.
        fields[5] = weekdays(&fields[5]).ok_or_else(malformed)?;
        let is_interval = fields[2] == "*";
        let schedule = cron::Schedule::from_str(&fields.join(" ")).map_err(|_| malformed())?;
        let cron = Self { schedule, zone, is_interval };
        if cron.schedule.after(&chrono::DateTime::UNIX_EPOCH).next().is_none() {
            Err(CronError::Never(text.to_owned()))
        } else {
            Ok(cron)
        }
    }

    /// The first instant after this one.
    ///
    /// Evaluated on the wall clock as if that were UTC, and mapped to real instants here: what falls into
    /// the gap of a time change comes right after it, what falls into the fold comes once.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let utc = after.to_utc();
        let local = self.zone.from_utc_datetime(&utc.naive_utc());
        if self.is_interval {
            let offset = local.offset().fix();
            let next = self.schedule.after(&utc.with_timezone(&offset)).next()?;
            return Some(Timestamp::from(next.to_utc()));
        }
        // One hour back, because the wall clock may have been set back since.
        let wall = (local.naive_local() - chrono::Duration::hours(2)).and_utc();
        self.schedule
            .after(&wall)
            .map(|naive| Timestamp::from(self.instant(naive.naive_utc())))
            .find(|at| *at > after)
    }

    fn instant(&self, wall: chrono::NaiveDateTime) -> chrono::DateTime<chrono::Utc> {
        let mut wall = wall;
        // The longest gap of any zone is a day (Samoa skipped one).
        for _ in 0..=24 * 60 {
            match self.zone.from_local_datetime(&wall) {
                chrono::LocalResult::Single(at) | chrono::LocalResult::Ambiguous(at, _) => {
                    return at.to_utc();
                }
                chrono::LocalResult::None => {
                    wall = (wall + chrono::Duration::minutes(1)).with_second0()
                }
            }
        }
        wall.and_utc()
    }
}

trait WithSecond0 {
    fn with_second0(self) -> Self;
}

impl WithSecond0 for chrono::NaiveDateTime {
    fn with_second0(self) -> Self {
        use chrono::Timelike as _;
        self.with_second(0).unwrap_or(self)
    }
}

/// Weekdays by name: `1-5` becomes `MON-FRI`.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let name = |day: &str| match day.parse::<usize>() {
        Ok(n) => NAMES.get(n).map(|n| (*n).to_owned()),
        Err(_) => Some(day.to_owned()),
    };
    let parts = field.split(',').map(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(r, s)| (r, Some(s)));
        let range = match range.split_once('-') {
            Some((from, to)) => format!("{}-{}", name(from)?, name(to)?),
            None => name(range)?,
        };
        Some(step.map_or(range.clone(), |s| format!("{range}/{s}")))
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join(","))
}

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
            session.wait_at_most(PATIENCE);
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
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).expect("a time").to_utc())
    }

    #[test]
    fn a_daily_run_comes_once_on_every_day_whatever_the_clocks_do() {
        let daily = Cron::parse("30 2 * * *", chrono_tz::Europe::Berlin).expect("a schedule");
        let table = [
            ("2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"),
            ("2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"),
            ("2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"),
            ("2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
            ("2026-10-25T02:45:00+02:00", "2026-10-26T02:30:00+01:00"),
        ];
        for (after, next) in table {
            assert_eq!(daily.next(at(after)), Some(at(next)), "after {after}");
        }
    }

    #[test]
    fn every_quarter_of_an_hour_is_every_quarter_of_an_hour_when_the_clocks_are_set_back() {
        let often = Cron::parse("*/15 * * * *", chrono_tz::Europe::Berlin).expect("a schedule");
        let mut now = at("2026-10-25T01:50:00+02:00");
        for _ in 0..12 {
            let next = often.next(now).expect("a next");
            assert!(next.since(now) <= Duration::from_mins(15));
            now = next;
        }
        assert_eq!(now, at("2026-10-25T03:45:00+01:00"));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_the_schedule_until_it_has_caught_up() {
        let (later, now) = (at("2036-01-01T00:00:00Z"), at("2026-11-26T08:00:00Z"));
        let mut done = Done { startup: true, scheduled: later, due: Due::default() };
        done.not_after(now);
        let hourly = Cron::parse("@hourly", Tz::UTC).expect("a schedule");
        assert_eq!(hourly.next(done.scheduled), Some(at("2026-11-26T09:00:00Z")));
    }

    #[test]
    fn weekdays_count_as_cron_counts_them() {
        let monday = Cron::parse("0 8 * * 1", Tz::UTC).expect("a schedule");
        assert_eq!(monday.next(at("2026-11-24T00:00:00Z")), Some(at("2026-11-30T08:00:00Z")));
        let sunday = Cron::parse("0 8 * * 0,7", Tz::UTC).expect("a schedule");
        assert_eq!(sunday.next(at("2026-11-24T00:00:00Z")), Some(at("2026-11-29T08:00:00Z")));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in ["", "* * * *", "61 * * * *", "@sometimes", "* * * * 9"] {
            assert!(Cron::parse(bad, Tz::UTC).is_err(), "{bad}");
        }
        assert!(Cron::parse("0 0 30 2 *", Tz::UTC).is_err());
        for good in ["@hourly", "@daily", "*/5 * * * * *", "0 9-17 * * MON-FRI"] {
            assert!(Cron::parse(good, Tz::UTC).is_ok(), "{good}");
        }
    }
}
