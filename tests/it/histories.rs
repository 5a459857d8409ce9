//! Histories that are made from seeds. An ordinary test run plays the same few each time. A long run
//! is started by hand:
//!
//! ```text
//! ROSTERD_SIM_SEED=$RANDOM ROSTERD_SIM_SECONDS=7200 cargo test --features postgres --test it -- simulation::the_promises_hold --nocapture
//! ROSTERD_SIM_SEED=$RANDOM ROSTERD_SIM_HISTORIES=10000 ROSTERD_SIM_GO_ON=1 cargo test --features postgres --test it -- law::at_rest --nocapture
//! ```
//!
//! | Variable | Effect |
//! |---|---|
//! | `ROSTERD_SIM_SEED` | the first seed |
//! | `ROSTERD_SIM_HISTORIES` | the number of histories |
//! | `ROSTERD_SIM_SECONDS` | the time after which no history begins |
//! | `ROSTERD_SIM_AT_ONCE` | the number of concurrent histories |
//! | `ROSTERD_SIM_GO_ON=1` | a failure is reported, and the next history is played |

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Returns the number in a variable of the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Returns the first seed. It is the same in each ordinary test run, so that the suite fails only for
/// a changed program.
pub(crate) fn first_seed() -> u64 {
    setting("ROSTERD_SIM_SEED").unwrap_or(0)
}

/// Plays the histories of successive seeds, `ordinary` ones unless a variable says otherwise. The
/// function returns the number of steps, or the report of a failure.
#[expect(clippy::print_stderr, reason = "a long run reports to the person who started it")]
pub(crate) async fn play(ordinary: u64, of_seed: impl AsyncFn(u64) -> Result<usize, String>) {
    let seed = first_seed();
    let seconds = setting("ROSTERD_SIM_SECONDS").map(Duration::from_secs);
    let without_number = if seconds.is_some() { u64::MAX } else { ordinary };
    let histories = setting("ROSTERD_SIM_HISTORIES").unwrap_or(without_number);
    let begun = Instant::now();
    let (begin, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    // After the first failure the other histories end, unless they are to continue.
    let goes_on = setting("ROSTERD_SIM_GO_ON") == Some(1);
    let found = AtomicBool::new(false);
    let play = async || {
        let mut all = Vec::new();
        while !found.load(Ordering::Relaxed) && seconds.is_none_or(|limit| begun.elapsed() < limit)
        {
            let n = begin.fetch_add(1, Ordering::Relaxed);
            if n >= histories {
                break;
            }
            match of_seed(seed.wrapping_add(n)).await {
                Ok(played) => drop(steps.fetch_add(played as u64, Ordering::Relaxed)),
                Err(told) => {
                    if goes_on {
                        eprintln!("{told}\n");
                    }
                    found.store(!goes_on, Ordering::Relaxed);
                    all.push(told);
                }
            }
        }
        all
    };
    let at_once = setting("ROSTERD_SIM_AT_ONCE").unwrap_or(2);
    let broken = futures_util::future::join_all((0..at_once).map(|_| play())).await.concat();
    let histories = begin.load(Ordering::Relaxed).min(histories);
    eprintln!(
        "seed {seed}: {histories} histories, {} steps, {} broken, in {:.0?}",
        steps.load(Ordering::Relaxed),
        broken.len(),
        begun.elapsed()
    );
    assert!(broken.is_empty(), "seed {seed}\n{}", broken.join("\n\n"));
}
