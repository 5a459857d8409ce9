//! The floor of time for every answer that depends on the user and is not `allow`.
//!
//! A bind takes milliseconds longer than a query of the store. Without the floor, the time of a
//! refusal would reveal whether the user exists.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum time of every answer except `allow` and an overload. A bind at a healthy domain
/// controller takes a tenth of it, and users do not notice it.
pub const FLOOR: Duration = Duration::from_millis(500);

/// Waits for the end of the floor of a request. A decision that took longer waits for the next
/// multiple, so that its duration does not show under load either.
pub(super) async fn wait(arrived: Instant) {
    tokio::time::sleep_until(arrived + end(arrived.elapsed())).await;
}

/// Returns the multiple of the floor in which a decision ended.
fn end(took: Duration) -> Duration {
    let floors = u32::try_from(took.as_millis() / FLOOR.as_millis()).unwrap_or(u32::MAX - 1);
    FLOOR.saturating_mul(floors + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_whole_floors_however_long_its_decision_took() {
        for (took, answered) in [
            (0, 500),
            (1, 500),
            (30, 500),
            (499, 500),
            (500, 1_000),
            (700, 1_000),
            (1_000, 1_500),
            (61_234, 61_500),
        ] {
            assert_eq!(end(Duration::from_millis(took)), Duration::from_millis(answered), "{took}");
        }
    }
}
