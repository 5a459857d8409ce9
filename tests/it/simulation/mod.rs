//! Histories of a company: the real engine and store over a simulated directory. A history has
//! random edits and operators, faults at every layer, crashes, and time. After every step the
//! promises of the design are checked against the *truth* in the directory. In the end all users
//! must match the directory.
//!
//! A history is made from a seed; see [`crate::histories`]. An ordinary test run plays the same few
//! histories each time, and `tests/run --release` plays new ones. These variables are for this
//! simulation alone:
//!
//! | Variable | Effect |
//! |---|---|
//! | `ROSTERD_SIM_STEPS` | the number of steps in each |
//! | `ROSTERD_SIM_KINDS=all` | all kinds of trouble |
//! | `ROSTERD_SIM_KEEP=0,4,7` | only these steps of each history |
//! | `ROSTERD_SIM_SHRINK=1` | first searches the fewest steps that break the promise |
//!
//! A broken promise is reported with the steps of its history and the command that repeats it. A
//! seed may need several attempts, because the machine decides where a crash occurs and which of two
//! concurrent actions is first.

mod books;
mod brakes;
mod chance;
mod edits;
mod following;
mod history;
mod invariants;
mod memory;
mod office;
mod operators;
mod oracle;
mod play;
mod sections;
mod seen;
mod sequences;
mod suspensions;
mod troubles;
mod truth;

use std::time::Duration;

use crate::histories::{self, setting};
use history::{Stage, Step};
use play::play;

/// Histories of an ordinary test run: about a minute on two cores.
const HISTORIES: u64 = 16;

/// Steps of one history.
const STEPS: usize = 60;

/// A history that takes longer hangs.
const LONGEST: Duration = Duration::from_mins(10);

/// A broken promise.
#[derive(Debug)]
struct Broken {
    promise: String,
    /// The steps up to there.
    told: Vec<String>,
    wrong: Vec<String>,
}

/// Plays a history in which a panic is a broken promise, too.
async fn attempt(stage: &Stage, seed: u64, steps: Vec<Step>) -> Result<usize, Broken> {
    let told = |promise: &str, text: String| {
        Err(Broken { promise: promise.to_owned(), told: Vec::new(), wrong: vec![text] })
    };
    let playing =
        tokio::time::timeout(LONGEST, tokio::spawn(Box::pin(play(stage.clone(), seed, steps))));
    match playing.await {
        Ok(played) => played.unwrap_or_else(|panic| told("nothing panics", panic.to_string())),
        Err(_) => told("a history comes to an end", format!("not within {LONGEST:?}")),
    }
}

/// Removes the steps that the failure does not need. Returns the remaining steps and their failure.
async fn shrink(
    stage: &Stage,
    seed: u64,
    steps: &[Step],
    mut kept: Vec<usize>,
    mut broken: Broken,
) -> (Vec<usize>, Broken) {
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < kept.len() {
            let without: Vec<usize> = kept
                .iter()
                .enumerate()
                .filter(|(n, _)| *n < at || *n >= at + piece)
                .map(|(_, k)| *k)
                .collect();
            match attempt(stage, seed, without.iter().map(|k| steps[*k].clone()).collect()).await {
                Err(still) if still.promise == broken.promise => (kept, broken) = (without, still),
                _ => at += piece,
            }
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    (kept, broken)
}

/// Plays the history of a seed. Returns the number of steps, or the report of a failure.
async fn of_seed(seed: u64) -> Result<usize, String> {
    let length = setting("ROSTERD_SIM_STEPS").map_or(STEPS, |n| n as usize);
    let (stage, steps) = chance::of_seed(seed, length);
    let kept: Vec<usize> = match std::env::var("ROSTERD_SIM_KEEP") {
        Ok(text) => text
            .split(',')
            .map(|n| n.trim().parse().expect("ROSTERD_SIM_KEEP lists numbers"))
            .collect(),
        Err(_) => (0..steps.len()).collect(),
    };
    let broken = match attempt(&stage, seed, kept.iter().map(|k| steps[*k].clone()).collect()).await
    {
        Ok(steps) => return Ok(steps),
        Err(broken) => broken,
    };
    let (kept, Broken { promise, told, wrong }) = match setting("ROSTERD_SIM_SHRINK") {
        Some(1) => shrink(&stage, seed, &steps, kept, broken).await,
        _ => (kept, broken),
    };
    let keep = if kept.len() == steps.len() {
        String::new()
    } else {
        format!(
            "ROSTERD_SIM_KEEP={} ",
            kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        )
    };
    let kinds = std::env::var("ROSTERD_SIM_KINDS")
        .map_or_else(|_| String::new(), |kinds| format!("ROSTERD_SIM_KINDS={kinds} "));
    Err(format!(
        "broken: {promise}\n{}\n\n{}\n\nagain: ROSTERD_SIM_SEED={seed} ROSTERD_SIM_HISTORIES=1 ROSTERD_SIM_STEPS={length} {kinds}{keep}\
         cargo test --features postgres --test it -- simulation::the_promises_hold --nocapture",
        wrong.join("\n"),
        told.join("\n"),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_hold_for_every_history_of_a_company() {
    histories::play(HISTORIES, of_seed).await;
}
