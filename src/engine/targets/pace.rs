//! The pace of requests to one target: at most its rate, with leavers before all others.
//!
//! A leaver waits for no other request to end: beside the configured number of requests at once, one
//! of a leaver may be under way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::model::{Lane, Rate};

/// Requests that may follow each other at once after a pause.
const BURST: u32 = 5;

/// The time without a refusal after which a quarter of the rate returns.
const RECOVERY: Duration = Duration::from_mins(10);

/// The slowest pace, as a multiple of the configured interval.
const MAX_SLOWDOWN: f64 = 32.0;

/// The shortest wait for a turn, so that waiting tasks do not spin.
const SHORTEST: Duration = Duration::from_millis(2);

/// The longest wait for the end of another request.
const SLOT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    interval: Duration,
    /// Requests at once.
    slots: usize,
    /// A request has ended.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// The time of the next request at the configured rate, without a burst.
    next: Instant,
    /// The same for steps of runs, which get half of the rate.
    next_of_runs: Instant,
    /// The number of tasks that wait, by lane.
    waiting: [u32; Lane::ALL.len()],
    /// The multiple of the interval after refusals as too many.
    slowdown: f64,
    slowed_at: Instant,
    under_way: usize,
    /// Leavers whose work has begun, and whose first request was not answered yet.
    announced: u32,
    /// The elapsed time of this process before which the target wants no request.
    rests_until: Duration,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Pace);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.locked().under_way -= 1;
        self.0.freed.notify_waiters();
    }
}

/// The lane of a task, which becomes that of leavers if its user leaves meanwhile.
#[derive(Debug)]
pub(super) struct TaskLane {
    lane: AtomicUsize,
    /// Requests of other lanes wait for the first answer to this task.
    is_announced: AtomicBool,
}

impl TaskLane {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane: AtomicUsize::new(lane as usize), is_announced: AtomicBool::new(false) }
    }

    pub(super) fn get(&self) -> Lane {
        Lane::ALL.get(self.lane.load(Ordering::Acquire)).copied().unwrap_or(Lane::Run)
    }
}

/// Counts a waiting task until it is dropped.
struct Waiting<'a>(&'a Pace, Lane);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.locked().waiting[self.1 as usize] -= 1;
    }
}

impl Pace {
    pub(super) fn new(rate: Rate, slots: usize) -> Self {
        let now = Instant::now();
        let state = State {
            next: now,
            next_of_runs: now,
            waiting: [0; Lane::ALL.len()],
            slowdown: 1.0,
            slowed_at: now,
            under_way: 0,
            announced: 0,
            rests_until: Duration::ZERO,
        };
        let interval = rate.per / rate.requests.max(1);
        Self { state: Mutex::new(state), interval, slots: slots.max(1), freed: Notify::new() }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a request. A task of an earlier lane goes first.
    pub(super) async fn turn(&self, task: &TaskLane) -> Turn<'_> {
        loop {
            let freed = self.freed.notified();
            let lane = task.get();
            self.locked().waiting[lane as usize] += 1;
            let _waiting = Waiting(self, lane);
            let Some(wait) = self.wait(lane, Instant::now()) else { return Turn(self) };
            tokio::select! {
                () = sleep(wait) => {}
                () = freed => {}
            }
        }
    }

    /// Moves a task into the lane of leavers.
    pub(super) fn hasten(&self, task: &TaskLane) {
        task.lane.store(Lane::Leaver as usize, Ordering::Release);
        self.freed.notify_waiters();
    }

    /// Lets the requests of other lanes wait for the first answer to a leaver's task.
    pub(super) fn announce(&self, task: &TaskLane) {
        if !task.is_announced.swap(true, Ordering::AcqRel) {
            self.locked().announced += 1;
        }
    }

    /// Ends the wait for a task, which has got an answer or has ended.
    pub(super) fn retract(&self, task: &TaskLane) {
        if task.is_announced.swap(false, Ordering::AcqRel) {
            self.locked().announced -= 1;
            self.freed.notify_waiters();
        }
    }

    /// Returns the time for which the target wants no request.
    pub(super) fn rest(&self, passed: Duration) -> Duration {
        self.locked().rests_until.saturating_sub(passed)
    }

    /// Sends no request before this elapsed time of the process.
    pub(super) fn rest_until(&self, until: Duration) {
        let mut state = self.locked();
        state.rests_until = state.rests_until.max(until);
    }

    /// Takes a turn; returns the wait for the next try if there is none.
    fn wait(&self, lane: Lane, now: Instant) -> Option<Duration> {
        let mut state = self.locked();
        if state.slowdown > 1.0 && now.duration_since(state.slowed_at) > RECOVERY {
            (state.slowdown, state.slowed_at) = ((state.slowdown * 0.75).max(1.0), now);
        }
        let interval = self.interval.mul_f64(state.slowdown);
        // A refusal takes the burst away, too.
        let burst = if state.slowdown > 1.0 { Duration::ZERO } else { interval * (BURST - 1) };
        let mut free = state.next.checked_sub(burst).unwrap_or(state.next);
        if lane == Lane::Run {
            free = free.max(state.next_of_runs.checked_sub(burst).unwrap_or(state.next_of_runs));
        }
        let is_outranked = state.waiting[..lane as usize].iter().any(|waiting| *waiting > 0)
            || (lane != Lane::Leaver && state.announced > 0);
        if free > now || is_outranked {
            return Some(free.saturating_duration_since(now).max(SHORTEST));
        }
        // The end of a request wakes those that wait for a slot.
        if state.under_way >= self.slots + usize::from(lane == Lane::Leaver) {
            return Some(SLOT_INTERVAL);
        }
        state.under_way += 1;
        state.next = state.next.max(now) + interval;
        if lane == Lane::Run {
            state.next_of_runs = state.next_of_runs.max(now) + 2 * interval;
        }
        None
    }

    /// Halves the rate, because the target refused a request as one too many.
    pub(super) fn slow_down(&self, now: Instant) {
        let mut state = self.locked();
        (state.slowdown, state.slowed_at) = ((state.slowdown * 2.0).min(MAX_SLOWDOWN), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pace and the present time, which advances only by waits.
    struct Course {
        pace: Pace,
        now: Instant,
    }

    impl Course {
        fn new() -> Self {
            let pace =
                Pace::new(Rate { requests: 10, per: Duration::from_secs(1) }, usize::MAX - 1);
            Self { pace, now: Instant::now() }
        }

        fn rest(&mut self, time: Duration) {
            self.now += time;
        }

        /// Returns the milliseconds that so many turns take.
        fn millis(&mut self, lane: Lane, turns: u32) -> u128 {
            let begun = self.now;
            for _ in 0..turns {
                while let Some(wait) = self.pace.wait(lane, self.now) {
                    self.now += wait;
                }
            }
            self.now.duration_since(begun).as_millis()
        }
    }

    #[test]
    fn a_burst_is_followed_by_the_configured_rate_and_runs_get_half() {
        let mut course = Course::new();
        assert!(course.millis(Lane::Change, 5) < 50);
        assert!((900..1100).contains(&course.millis(Lane::Change, 10)));
        course.rest(Duration::from_secs(10));
        course.millis(Lane::Run, 3);
        assert!((1800..2200).contains(&course.millis(Lane::Run, 10)));
    }

    #[test]
    fn a_leaver_takes_the_next_turn_while_others_wait() {
        let mut course = Course::new();
        course.millis(Lane::Change, 5);
        course.rest(Duration::from_millis(100));
        let state = |pace: &Pace, count| pace.locked().waiting[Lane::Leaver as usize] = count;
        state(&course.pace, 1);
        assert!(course.pace.wait(Lane::Change, course.now).is_some(), "a leaver waits");
        assert_eq!(course.pace.wait(Lane::Leaver, course.now), None);
        state(&course.pace, 0);
        assert!((90..110).contains(&course.millis(Lane::Change, 1)));
    }

    #[test]
    fn a_leaver_waits_for_no_request_that_is_under_way() {
        let now = Instant::now();
        let pace = Pace::new(Rate { requests: 100, per: Duration::from_secs(1) }, 2);
        let takes = |lane| pace.wait(lane, now).is_none();
        assert!(takes(Lane::Run) && takes(Lane::Change));
        assert!(!takes(Lane::Change), "two requests are under way");
        assert!(takes(Lane::Leaver), "one more is for leavers");
        assert!(!takes(Lane::Leaver));
        drop(Turn(&pace));
        assert!(takes(Lane::Leaver));
        assert!(!takes(Lane::Change));
    }

    #[test]
    fn requests_of_others_wait_for_the_first_one_of_an_announced_leaver() {
        let now = Instant::now();
        let pace = Pace::new(Rate { requests: 100, per: Duration::from_secs(1) }, 4);
        let task = TaskLane::new(Lane::Leaver);
        pace.announce(&task);
        pace.announce(&task);
        assert!(pace.wait(Lane::Change, now).is_some());
        assert!(pace.wait(Lane::Leaver, now).is_none());
        pace.retract(&task);
        assert!(pace.wait(Lane::Change, now).is_none());
        pace.retract(&task);
        assert_eq!(pace.locked().announced, 0);
    }

    #[test]
    fn a_refusal_halves_the_rate_until_it_recovers() {
        let mut course = Course::new();
        course.pace.slow_down(course.now);
        course.millis(Lane::Change, 1);
        assert!((1900..2100).contains(&course.millis(Lane::Change, 10)));
        for _ in 0..3 {
            course.rest(RECOVERY + Duration::from_secs(1));
            course.millis(Lane::Change, 1);
        }
        course.millis(Lane::Change, 5);
        assert!((900..1100).contains(&course.millis(Lane::Change, 10)));
    }
}
