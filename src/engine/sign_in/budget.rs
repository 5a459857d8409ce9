//! The rate limit of passwords of all users together.
//!
//! It protects the domain controllers. A spray of guesses must not use it up for all users. So a
//! part is reserved for users without a recent refusal. A client address with many refusals gets a
//! small part of its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};

use super::attempts::COUNTS_FOR;
use crate::model::Address;

/// Binds of all users together: a second, and at once. A company's Monday morning needs a fraction
/// of them, and they do not overload a DC.
const COMMON: (u32, u32) = (30, 150);
/// The part that is reserved for users without a recent refusal, when the common part is used up.
const RESERVE: (u32, u32) = (20, 50);
/// The part of one client address: a large office behind one address signs in within a minute.
const OF_ADDRESS: (u32, u32) = (10, 100);
/// The part of all client addresses together that were refused often.
const OF_SUSPECTS: (u32, u32) = (5, 10);

/// Refusals of one client address after which it is a suspect. People of one office mistype, too.
const MANY_REFUSALS: u32 = 20;

/// Guesses and client addresses whose refusals are kept; more of them are an attack, and all are
/// forgotten then.
const KEPT: usize = 50_000;

/// The refusals of one key within the last window.
#[derive(Debug, Clone, Copy)]
struct Tally {
    count: u32,
    last: Duration,
}

/// Recent refusals by key.
#[derive(Debug)]
struct Recent<K>(HashMap<K, Tally>);

impl<K: Eq + Hash> Recent<K> {
    fn count(&self, key: &K, now: Duration) -> u32 {
        self.0
            .get(key)
            .filter(|tally| now.saturating_sub(tally.last) < COUNTS_FOR)
            .map_or(0, |tally| tally.count)
    }

    fn add(&mut self, key: K, now: Duration) {
        if self.0.len() >= KEPT {
            self.0.retain(|_, tally| now.saturating_sub(tally.last) < COUNTS_FOR);
            if self.0.len() >= KEPT {
                self.0.clear();
            }
        }
        let count = self.count(&key, now).saturating_add(1);
        self.0.insert(key, Tally { count, last: now });
    }
}

/// A client: its IPv4 address, or the /64 of its IPv6 address, within which one client has all
/// addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Returns a key that tells addresses apart and reveals nothing about users.
pub(super) fn key(address: &Address) -> u64 {
    xxhash_rust::xxh3::xxh3_64(address.key().0.as_bytes())
}

/// The budget of all users.
#[derive(Debug)]
pub(in crate::engine) struct Budget {
    common: DefaultDirectRateLimiter,
    reserve: DefaultDirectRateLimiter,
    suspects: DefaultDirectRateLimiter,
    by_address: DefaultKeyedRateLimiter<Source>,
    guesses: Mutex<Recent<u64>>,
    addresses: Mutex<Recent<Source>>,
}

fn quota((a_second, at_once): (u32, u32)) -> Quota {
    let positive = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(positive(a_second)).allow_burst(positive(at_once))
}

impl Default for Budget {
    fn default() -> Self {
        let direct = |part| DefaultDirectRateLimiter::direct(quota(part));
        Self {
            common: direct(COMMON),
            reserve: direct(RESERVE),
            suspects: direct(OF_SUSPECTS),
            by_address: DefaultKeyedRateLimiter::keyed(quota(OF_ADDRESS)),
            guesses: Mutex::new(Recent(HashMap::new())),
            addresses: Mutex::new(Recent(HashMap::new())),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    /// Returns whether one more password may be tried for this address, and takes it off the
    /// budget.
    pub(super) fn admits(&self, guess: u64, from: Option<IpAddr>, now: Duration) -> bool {
        if let Some(source) = from.map(Source::of) {
            if self.by_address.len() >= KEPT {
                self.by_address.retain_recent();
            }
            let is_suspect = locked(&self.addresses).count(&source, now) >= MANY_REFUSALS;
            if self.by_address.check_key(&source).is_err()
                || is_suspect && self.suspects.check().is_err()
            {
                return false;
            }
        }
        let is_refused = locked(&self.guesses).count(&guess, now) > 0;
        self.common.check().is_ok() || !is_refused && self.reserve.check().is_ok()
    }

    /// Notes that a sign-in with this address was refused.
    pub(super) fn refused(&self, guess: u64, from: Option<IpAddr>, now: Duration) {
        locked(&self.guesses).add(guess, now);
        if let Some(source) = from.map(Source::of) {
            locked(&self.addresses).add(source, now);
        }
    }

    /// Notes that a sign-in with this address was accepted.
    pub(super) fn accepted(&self, guess: u64) {
        locked(&self.guesses).0.remove(&guess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Tries until one is not admitted; at most so many.
    fn spray(budget: &Budget, guesses: impl Iterator<Item = u64>, from: Option<IpAddr>) -> usize {
        guesses
            .take_while(|guess| budget.admits(*guess, from, NOW))
            .inspect(|guess| budget.refused(*guess, from, NOW))
            .count()
    }

    #[test]
    fn all_users_together_are_slowed_down() {
        let budget = Budget::default();
        let admitted = (0..1_000).filter(|guess| budget.admits(*guess, None, NOW)).count();
        assert!((200..300).contains(&admitted), "{admitted}");
    }

    #[test]
    fn guesses_at_refused_users_leave_the_reserve_to_the_others() {
        let budget = Budget::default();
        (0..20).for_each(|guess| budget.refused(guess, None, NOW));
        let admitted = spray(&budget, (0..20).cycle().take(10_000), None);
        assert!((150..200).contains(&admitted), "{admitted}");
        assert!(!budget.admits(3, None, NOW));
        assert!(budget.admits(1_000, None, NOW), "a user without a refusal has the reserve");
        budget.accepted(3);
        assert!(budget.admits(3, None, NOW), "and so has one whose password was accepted since");
        assert!(budget.admits(4, None, NOW + COUNTS_FOR), "or who was refused long ago");
    }

    #[test]
    fn one_client_address_cannot_use_up_the_budget_of_all() {
        let budget = Budget::default();
        let admitted = spray(&budget, 0..10_000, Some(address("192.0.2.1")));
        assert!((MANY_REFUSALS as usize..60).contains(&admitted), "{admitted}");
        assert!(
            (0..50).all(|guess| budget.admits(20_000 + guess, Some(address("192.0.2.2")), NOW)),
            "another address"
        );
        assert!((0..50).all(|guess| budget.admits(30_000 + guess, None, NOW)), "no address");
    }

    #[test]
    fn a_client_is_one_whatever_its_address_is_written_like() {
        for (one, other, is_same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            let source = |text: &str| Source::of(text.parse().expect("an address"));
            assert_eq!(source(one) == source(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn more_refusals_than_are_kept_are_forgotten_at_once() {
        let mut recent = Recent(HashMap::new());
        (0..=KEPT * 2).for_each(|key| recent.add(key, NOW));
        assert!(recent.0.len() <= KEPT);
    }
}
