//! The time of an answer: one constant for all that depend on the user and are no yes.
//!
//! A bind takes milliseconds longer than a look into the store, and so would tell users and strangers apart.

use std::time::Duration;

use tokio::time::Instant;

/// Every answer takes this long, but `allow`, and `unavailable` where too many sign in at once. A bind at a domain controller that is well takes a tenth of it; a person who has
/// typed a wrong password does not notice it.
pub const FLOOR: Duration = Duration::from_millis(500);

/// Waits until a request that came then may be answered: at the end of the first floor, or of a later one where deciding took
/// longer, so that what it took does not show under load either.
pub(super) async fn wait(arrived: Instant) {
    tokio::time::sleep_until(arrived + end(arrived.elapsed())).await;
}

/// Returns the end of the floor that a decision after so long falls into.
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
