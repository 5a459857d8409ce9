//! The only caller of "now", and of randomness for ids: everything else is handed instants and ids.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::model::Timestamp;

/// Where time comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Microseconds added to the system's time; tests move it.
    offset: Arc<AtomicI64>,
    /// Microseconds added to the time that has passed; tests let time pass.
    passed: Arc<AtomicI64>,
    /// The latest instant that was given out.
    latest: Arc<AtomicI64>,
}

/// The instant that passed time is measured from: the first use in this process.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A clock that is set back by less than this is being disciplined, not wrong.
const SLEW: i64 = 2_000_000;

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The present instant.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::from(chrono::Utc::now());
        let now = now.0.saturating_add(self.offset.load(Ordering::Relaxed));
        self.latest.fetch_max(now, Ordering::Relaxed);
        Timestamp(now)
    }

    /// Returns by how much the clock was set back since it last said so, if it was.
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

    /// Returns how much time has passed since an instant of this process: it never goes back, and does not jump when the clock
    /// is set.
    pub fn passed(&self) -> Duration {
        let more = Duration::from_micros(self.passed.load(Ordering::Relaxed).unsigned_abs());
        ORIGIN.elapsed() + more
    }

    /// Lets time pass; for tests and simulations.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.offset.fetch_add(micros, Ordering::Relaxed);
        self.passed.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets the clock forward without time passing; for tests and simulations.
    pub fn set_forward(&self, by: Duration) {
        self.offset.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Moves the clock back; for tests and simulations.
    pub fn set_back(&self, by: Duration) {
        self.offset.fetch_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// A new id, ordered by time (UUID version 7).
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
