//! libFuzzer on the gate and the reader.
#![no_main]

use fuzz::{mutation, stream};
use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    let mut dice = mutation::Dice(
        bytes.iter().fold(bytes.len() as u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(*byte)),
    );
    stream::check(bytes, &mut || 1 + dice.below(300));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let new = mutation::mutate(&data[..size], &data[..size], &mut mutation::Dice(u64::from(seed)));
    let size = new.len().min(max_size);
    data[..size].copy_from_slice(&new[..size]);
    size
});

fuzz_crossover!(|one: &[u8], other: &[u8], out: &mut [u8], seed: u32| {
    let new = mutation::mutate(one, other, &mut mutation::Dice(u64::from(seed)));
    let size = new.len().min(out.len());
    out[..size].copy_from_slice(&new[..size]);
    size
});
