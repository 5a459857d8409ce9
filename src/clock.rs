//! The only source of the time and of random ids. All other code gets instants and ids as arguments.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::model::Timestamp;

#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Microseconds added to the system's time: it follows the clock of a shared store.
    offset: Arc<AtomicI64>,
    /// Microseconds added to the elapsed time, for tests.
    passed: Arc<AtomicI64>,
    /// The latest instant that was returned.
    latest: Arc<AtomicI64>,
}

/// The origin of elapsed time: the first use in this process.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The microseconds by which NTP may set the clock back without a step.
const SLEW: i64 = 2_000_000;

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    #[expect(clippy::disallowed_methods, reason = "no other code reads it")]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::from(chrono::Utc::now());
        let now = now.0.saturating_add(self.offset.load(Ordering::Relaxed));
        self.latest.fetch_max(now, Ordering::Relaxed);
        Timestamp(now)
    }

    /// Returns the time by which the clock was set back since the last call, if it was.
    pub fn take_step_back(&self) -> Option<Duration> {
        let now = self.now().0;
        let latest = self.latest.load(Ordering::Relaxed);
        if latest.saturating_sub(now) < SLEW {
            return None;
        }
        // One of several concurrent callers gets the step.
        let is_ours =
            self.latest.compare_exchange(latest, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ours.then(|| Timestamp(latest).since(Timestamp(now)))
    }

    /// Returns the elapsed time of this process. It is monotonic, and does not jump when the clock is
    /// set.
    pub fn passed(&self) -> Duration {
        let more = Duration::from_micros(self.passed.load(Ordering::Relaxed).unsigned_abs());
        ORIGIN.elapsed() + more
    }

    /// Shows the time of another clock from now on, unless it differs less than `by`.
    pub fn follow(&self, theirs: Timestamp, by: Duration) {
        let ours = self.now();
        if ours.distance(theirs) > by {
            self.offset.fetch_add(theirs.0.saturating_sub(ours.0), Ordering::Relaxed);
        }
    }

    /// Returns the instant that this clock showed at an instant of the system, such as that of a file.
    pub fn of_system(&self, at: chrono::DateTime<chrono::Utc>) -> Timestamp {
        Timestamp(Timestamp::from(at).0.saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    /// Advances clock and elapsed time, for tests.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.offset.fetch_add(micros, Ordering::Relaxed);
        self.passed.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets the clock forward without elapsed time, for tests.
    pub fn set_forward(&self, by: Duration) {
        self.offset.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets the clock back, for tests.
    pub fn set_back(&self, by: Duration) {
        self.offset.fetch_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Returns a new id, ordered by time (UUID version 7).
    #[expect(clippy::disallowed_methods, reason = "no other code reads it")]
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_ten_minutes_off_shows_the_time_of_the_one_that_it_follows() {
        let database = Clock::system();
        for set in [Clock::set_forward, Clock::set_back] {
            let clock = Clock::system();
            set(&clock, Duration::from_mins(10));
            clock.follow(database.now(), Duration::from_millis(100));
            assert!(clock.now().distance(database.now()) < Duration::from_secs(5));
        }
    }

    #[test]
    fn a_clock_that_differs_little_is_not_set() {
        let clock = Clock::system();
        let ours = clock.now();
        clock.follow(ours.plus(Duration::from_millis(50)), Duration::from_secs(1));
        assert_eq!(clock.offset.load(Ordering::Relaxed), 0);
    }
}
