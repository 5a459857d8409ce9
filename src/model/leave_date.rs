//! Leave dates: the last day of a person, as personnel departments write it into an attribute.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;

use super::cron::instant;
use super::time::Timestamp;

/// Parses a leave date. A date alone is the last day, and ends at midnight in the zone. A time without an
/// offset is local.
///
/// Only forms with one meaning are read: ISO 8601, and the generalized time of LDAP (RFC 4517, 3.3.13).
/// In `03/04/2026`, day and month could be either.
pub fn leave_date(text: &str, zone: Tz) -> Option<Timestamp> {
    const DAYS: [&str; 2] = ["%Y-%m-%d", "%Y%m%d"];
    const TIMES: [&str; 4] =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    const GENERALIZED: [&str; 2] = ["%Y%m%d%H%M%S%.fZ", "%Y%m%d%H%M%SZ"];
    let text = text.trim();
    // Chrono reads years and numbers of any length.
    if !text.get(..4)?.bytes().all(|b| b.is_ascii_digit()) || !text.is_ascii() {
        return None;
    }
    let day = |form: &&str| {
        let is_whole = text.len() == if form.contains('-') { 10 } else { 8 };
        NaiveDate::parse_from_str(text, form).ok().filter(|_| is_whole)
    };
    if let Some(last) = DAYS.iter().find_map(day) {
        let end = last.checked_add_days(Days::new(1))?.and_hms_opt(0, 0, 0)?;
        return Some(instant(zone, end).into());
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc().into());
    }
    let time = |form: &&str| NaiveDateTime::parse_from_str(text, form).ok();
    if let Some(utc) = GENERALIZED.iter().find_map(time) {
        return Some(utc.and_utc().into());
    }
    TIMES.iter().find_map(time).map(|local| instant(zone, local).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leave_date_has_one_meaning_or_none() {
        let table = [
            ("2026-11-30", Some("2026-12-01T00:00:00+01:00")),
            ("20261130", Some("2026-12-01T00:00:00+01:00")),
            (" 2026-07-31 ", Some("2026-08-01T00:00:00+02:00")),
            ("2026-11-30T17:00", Some("2026-11-30T17:00:00+01:00")),
            ("2026-11-30 17:00:30", Some("2026-11-30T17:00:30+01:00")),
            ("2026-11-30T17:00:00Z", Some("2026-11-30T17:00:00Z")),
            ("2026-11-30T17:00:00-05:00", Some("2026-11-30T22:00:00Z")),
            ("20261130170000.0Z", Some("2026-11-30T17:00:00Z")),
            ("20261130170000Z", Some("2026-11-30T17:00:00Z")),
            // The clocks are set forward at 02:00.
            ("2026-03-29T02:30", Some("2026-03-29T03:00:00+02:00")),
            ("03/04/2026", None),
            ("30.11.2026", None),
            ("2026-02-30", None),
            ("2026-11", None),
            ("20261130170000", None),
            ("134090208000000000", None),
            ("never", None),
            ("", None),
        ];
        let at = |text: &str| {
            Timestamp::from(DateTime::parse_from_rfc3339(text).expect("a time").to_utc())
        };
        for (text, instant) in table {
            let read = leave_date(text, chrono_tz::Europe::Berlin);
            assert_eq!(read, instant.map(at), "{text}");
        }
    }
}
