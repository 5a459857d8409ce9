//! Replays the corpus and some thousands of mutations of it, in a few seconds.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use fuzz::mutation::{Dice, mutate};
use fuzz::{corpus, driver, stream};

/// The time for mutations; `FUZZ_SECONDS` overrides it.
fn budget(default: u64) -> Duration {
    Duration::from_secs(
        std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default),
    )
}

/// A new seed; `FUZZ_SEED` repeats one that was printed.
fn seed() -> u64 {
    let unheard_of = RandomState::new().build_hasher().finish();
    std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(unheard_of)
}

/// Tries mutations of the corpus until the time is over. Returns their number.
#[expect(clippy::print_stderr, reason = "the seed is what repeats a failure")]
fn mutations(default: u64, mut check: impl FnMut(&[u8], &mut Dice)) -> u64 {
    let inputs = corpus::inputs();
    let (begun, budget, first) = (Instant::now(), budget(default), seed());
    let mut tried = 0;
    while begun.elapsed() < budget {
        let seed = first.wrapping_add(tried);
        eprintln_on_panic(seed, || {
            let mut dice = Dice(seed);
            let one = &inputs[dice.below(inputs.len())].1;
            let other = &inputs[dice.below(inputs.len())].1;
            let bytes = mutate(one, other, &mut dice);
            check(&bytes, &mut dice);
        });
        tried += 1;
    }
    eprintln!("{tried} mutations from seed {first} in {:?}", begun.elapsed());
    tried
}

#[expect(clippy::print_stderr, reason = "the seed is what repeats a failure")]
fn eprintln_on_panic(seed: u64, attempt: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)) {
        eprintln!("repeat it with FUZZ_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_corpus_breaks_neither_gate_nor_reader() {
    let inputs = corpus::inputs();
    assert!(inputs.len() > 30, "the corpus is there: {}", inputs.len());
    for (name, bytes) in inputs {
        for size in [1, 2, 7, 100, usize::MAX] {
            let check = || stream::check(&bytes, &mut || size);
            let done = std::panic::catch_unwind(check);
            assert!(done.is_ok(), "{name} in pieces of {size} bytes");
        }
        driver::check(&bytes);
    }
}

#[test]
fn mutations_of_the_corpus_break_neither_gate_nor_reader() {
    let tried = mutations(4, |bytes, dice| {
        let mut pieces = dice.clone();
        stream::check(bytes, &mut || 1 + pieces.below(300));
    });
    assert!(tried > 1_000, "{tried} mutations");
}

#[test]
fn mutations_of_the_corpus_do_not_break_ldap3_behind_the_gate() {
    let tried = mutations(2, |bytes, _| driver::check(bytes));
    assert!(tried > 500, "{tried} mutations");
}
