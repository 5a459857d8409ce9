//! Times in documents (RFC 3339).

use crate::model::Timestamp;

/// The last time that RFC 3339 can express, because it has four digits for the year. Later times
/// are shown as this.
const FOR_EVER: &str = "9999-12-31T23:59:59.999Z";

/// The first time after it.
const YEAR_10_000: Timestamp = Timestamp(253_402_300_800_000_000);

pub(super) fn time(at: Timestamp) -> String {
    if at < YEAR_10_000 { at.to_string() } else { FOR_EVER.to_owned() }
}
