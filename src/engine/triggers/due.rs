//! What is due stays due until it is done; an attempt that did not do it is repeated after a backoff.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::sync::observe::policy::MAX_SKEW;
use crate::engine::{Directory, Engine};
use crate::model::{Guid, Timestamp, Trigger};
use crate::store::StoreError;

/// An expiry is tried again this much later; the wait doubles with each attempt. Servers show whole seconds.
const EXPIRY_AGAIN: Duration = Duration::from_secs(1);
/// So is a recheck.
const SECOND_LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The longest wait: fewer than a hundred attempts a day, whatever is wrong.
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// The longest wait is reached with fewer attempts than this.
const DOUBLINGS: u32 = 12;

/// One thing that is due: the person, and the instant that it is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::engine) struct DueThing {
    /// The person.
    pub person: Guid,
    /// When the account expires, or when the absence was first seen.
    pub about: Timestamp,
    /// When it is due by our clock.
    pub at: Timestamp,
}

/// The attempts at what is due, of one trigger.
#[derive(Debug, Default)]
pub(in crate::engine) struct Backoff(BTreeMap<(Guid, Timestamp), Tried>);

#[derive(Debug, Clone, Copy)]
struct Tried {
    times: u32,
    again_at: Timestamp,
}

impl Backoff {
    /// Returns when the thing is to be tried. What was set back with the clock is not waited for longer than any other.
    fn at(&self, thing: &DueThing, now: Timestamp) -> Timestamp {
        let tried = self.0.get(&(thing.person, thing.about));
        tried.map_or(thing.at, |tried| {
            thing.at.max(tried.again_at.min(now.plus(LONGEST_WAIT + LONGEST_WAIT / 4)))
        })
    }

    /// Returns the earliest instant at which something is to be tried; forgets the attempts at what is due no longer.
    pub(in crate::engine) fn next(
        &mut self,
        things: &[DueThing],
        now: Timestamp,
    ) -> Option<Timestamp> {
        let known: BTreeSet<_> = things.iter().map(|thing| (thing.person, thing.about)).collect();
        self.0.retain(|key, _| known.contains(key));
        things.iter().map(|thing| self.at(thing, now)).min()
    }

    /// Returns the people of whom something is to be tried by now, and counts the attempt.
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
            let wait = first.saturating_mul(1 << tried.times.min(DOUBLINGS)).min(LONGEST_WAIT);
            // Up to a quarter more, different for each attempt, so that many rosterds do not ask one server at once.
            let jitter =
                xxhash_rust::xxh3::xxh3_64_with_seed(&thing.person.0, u64::from(tried.times))
                    % 1_000;
            tried.again_at = now.plus(wait + wait.mul_f64(jitter as f64 / 4_000.0));
            tried.times += 1;
        }
        due.into_iter().map(|thing| thing.person).collect()
    }
}

/// The attempts at everything that is due in a directory.
#[derive(Debug, Default)]
pub(in crate::engine) struct Due {
    pub(in crate::engine) expiries: Backoff,
    pub(in crate::engine) rechecks: Backoff,
}

impl Due {
    /// The wait after a first attempt.
    pub(in crate::engine) fn first_wait(trigger: Trigger) -> Duration {
        if trigger == Trigger::Expiry { EXPIRY_AGAIN } else { SECOND_LOOK_AGAIN }
    }
}

/// Returns when a server that shows whole seconds, and is so many microseconds behind us, shows that the account has expired.
fn shown_at(expires: Timestamp, lag: i64) -> Timestamp {
    const SECOND: i64 = 1_000_000;
    let whole =
        expires.0.checked_add(SECOND - 1).map_or(i64::MAX, |at| at.div_euclid(SECOND) * SECOND);
    Timestamp(whole.saturating_add(lag))
}

impl Directory {
    /// Takes note of how far the server's clock is behind ours.
    pub(in crate::engine) fn note_lag(&self, theirs: Option<Timestamp>, ours: Timestamp) {
        let lag = theirs
            .filter(|theirs| theirs.distance(ours) <= MAX_SKEW)
            .map_or(0, |theirs| ours.0 - theirs.0);
        self.work.lag.store(lag, Ordering::Relaxed);
    }
}

impl Engine {
    /// Returns the expiries that are due or come next. One is due until its user is suspended, or waits in sight, or the directory
    /// shows another instant.
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

    /// Returns the rechecks that are due or come next.
    pub(in crate::engine) async fn due_rechecks(
        &self,
        directory: &Directory,
    ) -> Result<Vec<DueThing>, StoreError> {
        let grace_periods = self.store.grace_periods(&directory.config.name).await?;
        let thing = |s: crate::reconcile::GracePeriod| {
            Some(DueThing { person: s.guid, about: s.first_seen, at: s.due? })
        };
        Ok(grace_periods.into_iter().filter_map(thing).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(n: u8) -> DueThing {
        DueThing { person: Guid([n; 16]), about: Timestamp(5), at: Timestamp(10) }
    }

    #[test]
    fn what_cannot_be_done_is_tried_less_and_less_often_but_at_least_every_twenty_minutes() {
        let (mut backoff, mut now, mut times) = (Backoff::default(), Timestamp(10), Vec::new());
        while now < Timestamp(10).plus(Duration::from_hours(24)) {
            assert_eq!(backoff.begin(&[thing(1)], SECOND_LOOK_AGAIN, now).len(), 1);
            times.push(now);
            now = backoff.next(&[thing(1)], now).expect("still due");
        }
        assert!((80..120).contains(&times.len()), "{} attempts in a day", times.len());
        let waits: Vec<Duration> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(waits.iter().all(|wait| *wait < Duration::from_mins(20)));
    }

    #[test]
    fn a_new_instant_begins_anew_and_a_clock_that_is_set_back_silences_nothing() {
        let mut backoff = Backoff::default();
        let now = Timestamp(10).plus(Duration::from_hours(24 * 3_653));
        for _ in 0..5 {
            backoff.begin(&[thing(1)], EXPIRY_AGAIN, now);
        }
        let moved = DueThing { about: Timestamp(6), ..thing(1) };
        assert_eq!(backoff.begin(&[moved], EXPIRY_AGAIN, Timestamp(10)).len(), 1, "moved: at once");
        let next = backoff.next(&[thing(1)], Timestamp(10)).expect("still due");
        assert!(next <= Timestamp(10).plus(LONGEST_WAIT + LONGEST_WAIT / 4), "{next}");
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
