//! The number of sign-in attempts of a user.
//!
//! AD locks an account after too many wrong passwords, from any client. So a user has fewer
//! attempts here than in AD. Each attempt is stored before the password is sent. It is taken back
//! only when the answer proves that AD did not count it. A lost answer, a time-out and a crash
//! count.

use std::time::Duration;

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::engine::{Engine, EngineError};
use crate::model::{Timestamp, UserId};
use crate::store::{AttemptLimit, SignInAttempt};

/// An attempt counts this long. AD's own observation window is longer or shorter, as each domain
/// sets it.
pub(super) const COUNTS_FOR: Duration = Duration::from_mins(15);

/// A smaller difference between the clock and the elapsed time is a correction in small steps.
const SLEWED: Duration = Duration::from_secs(2);

/// The clock and the elapsed time at one moment.
#[derive(Debug)]
struct Anchor {
    clock: Timestamp,
    passed: Duration,
}

/// The clock of the attempts. It is locked while one is counted, so that exactly one attempt takes
/// a clock step into account.
#[derive(Debug)]
pub(in crate::engine) struct Attempts(Mutex<Anchor>);

impl Anchor {
    fn of(clock: &Clock) -> Self {
        Self { clock: clock.now(), passed: clock.passed() }
    }

    /// Returns the microseconds by which the clock was set since the anchor; 0 where it only ran.
    fn step_to(&self, now: &Self) -> i64 {
        let ran = now.clock.0.saturating_sub(self.clock.0);
        let passed =
            i64::try_from(now.passed.saturating_sub(self.passed).as_micros()).unwrap_or(i64::MAX);
        let step = ran.saturating_sub(passed);
        if u128::from(step.unsigned_abs()) > SLEWED.as_micros() { step } else { 0 }
    }
}

impl Attempts {
    pub(in crate::engine) fn new(clock: &Clock) -> Self {
        Self(Mutex::new(Anchor::of(clock)))
    }
}

impl Engine {
    /// Counts one more attempt of a user; `None` when as many as allowed count already.
    pub(super) async fn begin_attempt(
        &self,
        user: UserId,
    ) -> Result<Option<SignInAttempt>, EngineError> {
        let mut anchor = self.attempts.0.lock().await;
        let now = Anchor::of(&self.clock);
        let limit = AttemptLimit {
            at_most: self.configured().rules.max_failures,
            window: COUNTS_FOR,
            // The nodes of a shared store all follow its clock, and one of them moves no other's.
            clock_step: if self.shares_store() { 0 } else { anchor.step_to(&now) },
        };
        let begun = self.store.begin_sign_in(self.clock.new_id(), user, now.clock, limit).await?;
        *anchor = now;
        Ok(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_ran() {
        let anchor = Anchor { clock: Timestamp(1_000_000_000), passed: Duration::from_secs(50) };
        let at = |clock: i64, passed| {
            anchor.step_to(&Anchor {
                clock: Timestamp(clock * 1_000_000),
                passed: Duration::from_secs(passed),
            })
        };
        assert_eq!(at(1_900, 950), 0, "a quarter of an hour passed");
        assert_eq!(at(1_001, 50), 0, "a correction of a second");
        assert_eq!(at(4_600, 50), 3_600_000_000, "an hour forward");
        assert_eq!(at(-2_600, 50), -3_600_000_000, "an hour back");
        assert_eq!(at(5_500, 950), 3_600_000_000, "an hour forward within a quarter of an hour");
    }
}
