//! Due things stay due until they are done. An attempt that fails is repeated after a backoff.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::sync::observe::policy::MAX_SKEW;
use crate::engine::{Directory, Engine};
use crate::model::{Guid, Timestamp, Trigger};
use crate::store::StoreError;

/// The first backoff of an expiry; it doubles with each attempt. Servers show whole seconds.
const EXPIRY_BACKOFF: Duration = Duration::from_secs(1);
/// The first backoff of a recheck.
const RECHECK_BACKOFF: Duration = Duration::from_secs(5);
/// The maximum backoff: fewer than a hundred attempts a day, whatever the error.
const MAX_BACKOFF: Duration = Duration::from_mins(15);
/// The maximum is reached with fewer attempts than this.
const DOUBLINGS: u32 = 12;

/// A due recheck, expiry or scheduled suspension of one person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::engine) struct DueThing {
    pub person: Guid,
    /// The time of the expiry or of the scheduled suspension, the first observation of the absence, or the end of quiet hours.
    pub about: Timestamp,
    /// The time at which it is due, by our clock.
    pub at: Timestamp,
}

/// The attempts of one trigger.
#[derive(Debug, Default)]
pub(in crate::engine) struct Backoff(BTreeMap<(Guid, Timestamp), Tried>);

#[derive(Debug, Clone, Copy)]
struct Tried {
    times: u32,
    again_at: Timestamp,
}

impl Backoff {
    /// Returns the time of the next attempt. After a clock step the wait is not longer than the
    /// maximum backoff.
    fn at(&self, thing: &DueThing, now: Timestamp) -> Timestamp {
        let tried = self.0.get(&(thing.person, thing.about));
        tried.map_or(thing.at, |tried| {
            thing.at.max(tried.again_at.min(now.plus(MAX_BACKOFF + MAX_BACKOFF / 4)))
        })
    }

    /// Returns the earliest time of an attempt, and forgets attempts at things that are not due any
    /// more.
    pub(in crate::engine) fn next(
        &mut self,
        things: &[DueThing],
        now: Timestamp,
    ) -> Option<Timestamp> {
        let known: BTreeSet<_> = things.iter().map(|thing| (thing.person, thing.about)).collect();
        self.0.retain(|key, _| known.contains(key));
        things.iter().map(|thing| self.at(thing, now)).min()
    }

    /// Returns the people whose attempt is due, and counts it.
    pub(in crate::engine) fn begin(
        &mut self,
        things: &[DueThing],
        first: Duration,
        now: Timestamp,
    ) -> BTreeSet<Guid> {
        let due: Vec<&DueThing> =
            things.iter().filter(|thing| self.at(thing, now) <= now).collect();
        for thing in &due {
            let tried = self
                .0
                .entry((thing.person, thing.about))
                .or_insert(Tried { times: 0, again_at: now });
            let wait = first.saturating_mul(1 << tried.times.min(DOUBLINGS)).min(MAX_BACKOFF);
            // Up to a quarter longer, different for each attempt, so that many daemons do not query
            // one server at once.
            let jitter =
                xxhash_rust::xxh3::xxh3_64_with_seed(&thing.person.0, u64::from(tried.times))
                    % 1_000;
            tried.again_at = now.plus(wait + wait.mul_f64(jitter as f64 / 4_000.0));
            tried.times += 1;
        }
        due.into_iter().map(|thing| thing.person).collect()
    }
}

/// The attempts of all triggers of a directory.
#[derive(Debug, Default)]
pub(in crate::engine) struct Due {
    pub(in crate::engine) expiries: Backoff,
    pub(in crate::engine) rechecks: Backoff,
    pub(in crate::engine) suspensions: Backoff,
}

impl Due {
    /// Returns the first backoff of a trigger.
    pub(in crate::engine) fn first_backoff(trigger: Trigger) -> Duration {
        match trigger {
            Trigger::Expiry | Trigger::Operator => EXPIRY_BACKOFF,
            _ => RECHECK_BACKOFF,
        }
    }
}

/// Returns the time at which a server that is `lag` microseconds behind us shows the expiry. It
/// shows whole seconds.
fn shown_at(expires: Timestamp, lag: i64) -> Timestamp {
    const SECOND: i64 = 1_000_000;
    let whole =
        expires.0.checked_add(SECOND - 1).map_or(i64::MAX, |at| at.div_euclid(SECOND) * SECOND);
    Timestamp(whole.saturating_add(lag))
}

impl Directory {
    /// Notes by how much the server's clock is behind ours.
    pub(in crate::engine) fn note_lag(&self, theirs: Option<Timestamp>, ours: Timestamp) {
        let lag = theirs
            .filter(|theirs| theirs.distance(ours) <= MAX_SKEW)
            .map_or(0, |theirs| ours.0 - theirs.0);
        self.work.lag.store(lag, Ordering::Relaxed);
    }
}

impl Engine {
    /// Returns the expiries that are due or come next. An expiry is due until its user is
    /// suspended, its change is held, or the directory shows another time.
    pub(in crate::engine) async fn due_expiries(
        &self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Vec<DueThing>, StoreError> {
        let lag = directory.work.lag.load(Ordering::Relaxed);
        let expiries = self.store.expiries(&directory.config.name, now).await?;
        Ok(expiries
            .into_iter()
            .map(|(person, about)| DueThing { person, about, at: shown_at(about, lag) })
            .collect())
    }

    /// Returns the rechecks that are due or come next: of absences, and of changes that wait for the end of
    /// quiet hours.
    pub(in crate::engine) async fn due_rechecks(
        &self,
        directory: &Directory,
    ) -> Result<Vec<DueThing>, StoreError> {
        let grace_periods = self.store.grace_periods(&directory.config.name).await?;
        let thing = |s: crate::reconcile::GracePeriod| {
            Some(DueThing { person: s.guid, about: s.first_seen, at: s.due? })
        };
        let quiet = self.store.quiet(&directory.config.name).await?.into_iter();
        let quiet = quiet.map(|(person, until, _)| DueThing { person, about: until, at: until });
        Ok(grace_periods.into_iter().filter_map(thing).chain(quiet).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(n: u8) -> DueThing {
        DueThing { person: Guid([n; 16]), about: Timestamp(5), at: Timestamp(10) }
    }

    #[test]
    fn a_failing_attempt_backs_off_to_at_most_twenty_minutes() {
        let (mut backoff, mut now, mut times) = (Backoff::default(), Timestamp(10), Vec::new());
        while now < Timestamp(10).plus(Duration::from_hours(24)) {
            assert_eq!(backoff.begin(&[thing(1)], RECHECK_BACKOFF, now).len(), 1);
            times.push(now);
            now = backoff.next(&[thing(1)], now).expect("still due");
        }
        assert!((80..120).contains(&times.len()), "{} attempts in a day", times.len());
        let waits: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(waits.iter().all(|wait| *wait < Duration::from_mins(20)));
    }

    #[test]
    fn a_new_instant_starts_anew_and_a_clock_set_back_delays_no_attempt() {
        let mut backoff = Backoff::default();
        let now = Timestamp(10).plus(Duration::from_hours(24 * 3_653));
        for _ in 0..5 {
            backoff.begin(&[thing(1)], EXPIRY_BACKOFF, now);
        }
        let moved = DueThing { about: Timestamp(6), ..thing(1) };
        assert_eq!(
            backoff.begin(&[moved], EXPIRY_BACKOFF, Timestamp(10)).len(),
            1,
            "moved: at once"
        );
        let next = backoff.next(&[thing(1)], Timestamp(10)).expect("still due");
        assert!(next <= Timestamp(10).plus(MAX_BACKOFF + MAX_BACKOFF / 4), "{next}");
    }

    #[test]
    fn an_expiry_is_due_when_the_server_can_show_it() {
        let table = [
            (1_000_000, 0, 1_000_000),
            (1_000_001, 0, 2_000_000),
            (1_500_000, 2_000_000, 4_000_000),
            (1_500_000, -500_000, 1_500_000),
        ];
        for (expires, lag, at) in table {
            assert_eq!(shown_at(Timestamp(expires), lag), Timestamp(at), "{expires} {lag}");
        }
        assert_eq!(shown_at(Timestamp(i64::MAX), 5), Timestamp(i64::MAX));
    }
}
