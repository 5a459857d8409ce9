//! The backoff between attempts that fail.

use std::time::Duration;

/// The backoff after the first failure; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The maximum backoff.
pub(in crate::engine) const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// Returns the backoff after a number of failures. `jitter` from -1 to 1 changes it by up to a
/// quarter.
pub(in crate::engine) fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << failures.min(20)).min(MAX_BACKOFF);
    doubled.mul_f64(1.0 + jitter / 4.0)
}

/// Returns a number from -1 to 1 that differs by hook, delivery and attempt. So attempts that
/// failed together are not repeated together.
pub(in crate::engine) fn jitter(hook: &str, seq: u64, attempt: u32) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{hook} {seq} {attempt}").as_bytes());
    (hash >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_an_hour_and_differs_between_deliveries() {
        for (failures, seconds) in
            [(0, 1), (1, 2), (5, 32), (11, 2048), (12, 3600), (4_000_000, 3600)]
        {
            assert_eq!(backoff(failures, 0.0).as_secs(), seconds);
        }
        let waits: Vec<f64> =
            (0..1000).map(|seq| backoff(4, jitter("siem", seq, 4)).as_secs_f64()).collect();
        assert!(waits.iter().all(|w| (12.0..=20.0).contains(w)), "{waits:?}");
        let (low, high) = (
            waits.iter().filter(|w| **w < 14.0).count(),
            waits.iter().filter(|w| **w > 18.0).count(),
        );
        assert!(low > 150 && high > 150, "{low} {high}");
    }
}
