//! How often a password may be tried.
//!
//! AD locks whoever's password was wrong too often, whoever typed it. So a user has fewer attempts here than in AD, those
//! under way among them, and a restart gives nobody more: what AD refused is in the store.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota};

use crate::model::{Timestamp, UserId};

/// An attempt that AD refused counts for so long.
pub(super) const COUNTS_FOR: Duration = Duration::from_mins(15);

/// Binds a second for everybody together: many times a company's Monday morning, and too few to harm a domain controller …
const A_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not nought");
/// … with so many at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(200).expect("not nought");

/// The attempts of everybody.
#[derive(Debug)]
pub(super) struct Attempts {
    tries: Mutex<HashMap<UserId, Tries>>,
    everybody: DefaultDirectRateLimiter,
    /// Whether what the store knows has been taken over.
    pub(super) recalled: tokio::sync::OnceCell<()>,
}

/// The attempts of one user.
#[derive(Debug, Default)]
struct Tries {
    refused: Vec<Timestamp>,
    under_way: usize,
}

impl Default for Attempts {
    fn default() -> Self {
        let everybody = DefaultDirectRateLimiter::direct(Quota::per_second(A_SECOND).allow_burst(AT_ONCE));
        Self { tries: Mutex::default(), everybody, recalled: tokio::sync::OnceCell::new() }
    }
}

/// One attempt; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    of: &'a Attempts,
    user: UserId,
}

impl Attempts {
    fn tries(&self) -> MutexGuard<'_, HashMap<UserId, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what a former process was refused.
    pub(super) fn recall(&self, refused: Vec<(UserId, Timestamp)>) {
        let mut tries = self.tries();
        for (user, at) in refused {
            tries.entry(user).or_default().refused.push(at);
        }
    }

    /// One more attempt of a user, if there may be one.
    pub(super) fn begin(&self, user: UserId, now: Timestamp, at_most: u32) -> Option<Attempt<'_>> {
        let since = now.minus(COUNTS_FOR);
        let mut tries = self.tries();
        tries.retain(|_, t| {
            t.refused.retain(|at| *at > since);
            t.under_way > 0 || !t.refused.is_empty()
        });
        let of_user = tries.entry(user).or_default();
        // One that is under way may be refused, too.
        if of_user.refused.len() + of_user.under_way >= at_most as usize || self.everybody.check().is_err() {
            return None;
        }
        of_user.under_way += 1;
        Some(Attempt { of: self, user })
    }
}

impl Attempt<'_> {
    /// AD refused it.
    pub(super) fn refused(&self, at: Timestamp) {
        self.of.tries().entry(self.user).or_default().refused.push(at);
    }

    /// AD took it, and begins to count anew; so do we. Whether anything had been counted.
    pub(super) fn taken(&self) -> bool {
        !std::mem::take(&mut self.of.tries().entry(self.user).or_default().refused).is_empty()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(tries) = self.of.tries().get_mut(&self.user) {
            tries.under_way = tries.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn attempts_under_way_count_as_refused_until_they_are_over() {
        let attempts = Attempts::default();
        let now = Timestamp(1_000_000_000_000);
        let three: Vec<_> = (0..3).map(|_| attempts.begin(user(1), now, 3).expect("an attempt")).collect();
        assert!(attempts.begin(user(1), now, 3).is_none(), "three at once may all be refused");
        assert!(attempts.begin(user(2), now, 3).is_some(), "of another user nothing is counted");
        three[0].refused(now);
        drop(three);
        let more: Vec<_> = std::iter::from_fn(|| attempts.begin(user(1), now, 3)).collect();
        assert_eq!(more.len(), 2, "one of three was refused");
    }

    #[test]
    fn refusals_count_for_a_quarter_of_an_hour_and_until_a_password_is_taken() {
        let attempts = Attempts::default();
        let now = Timestamp(1_000_000_000_000);
        attempts.recall(vec![(user(1), now), (user(1), now.plus(Duration::from_mins(1))), (user(2), now)]);
        assert!(attempts.begin(user(1), now, 2).is_none(), "what a former process was refused counts");
        assert!(attempts.begin(user(2), now, 2).expect("an attempt").taken());
        let fresh: Vec<_> = std::iter::from_fn(|| attempts.begin(user(2), now, 2)).collect();
        assert_eq!(fresh.len(), 2);
        assert!(attempts.begin(user(1), now.plus(Duration::from_secs(901)), 2).is_some(), "the first is forgotten");
    }

    #[test]
    fn everybody_together_is_slowed_down() {
        let attempts = Attempts::default();
        let now = Timestamp(0);
        let begun: Vec<_> = (0..1_000).filter_map(|n| attempts.begin(user(n), now, 3)).collect();
        assert!((200..300).contains(&begun.len()), "{}", begun.len());
    }
}
