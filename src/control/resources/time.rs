//! Instants on the wire.

use crate::model::Timestamp;

/// RFC 3339 has four digits for the year; "for ever" is the last instant they can tell.
const FOR_EVER: &str = "9999-12-31T23:59:59.999Z";

/// The first instant after that one, in microseconds.
const YEAR_10_000: Timestamp = Timestamp(253_402_300_800_000_000);

pub(super) fn time(at: Timestamp) -> String {
    if at < YEAR_10_000 { at.to_string() } else { FOR_EVER.to_owned() }
}
