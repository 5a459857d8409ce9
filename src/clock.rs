//! The only caller of "now", and of randomness for ids: everything else is handed instants and ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

use crate::model::Timestamp;

/// Where time comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Microseconds added to the system's time; tests move it.
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The present instant.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::from(chrono::Utc::now());
        Timestamp(now.0.saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    /// Moves the clock; for tests and simulations.
    pub fn advance(&self, by: std::time::Duration) {
        self.offset.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Moves the clock back; for tests and simulations.
    pub fn set_back(&self, by: std::time::Duration) {
        self.offset.fetch_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// A new id, ordered by time (UUID version 7).
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
