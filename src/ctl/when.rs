//! Times as operators type them: an instant, a day, or an age.

use std::time::Duration;

use chrono::{
    DateTime, Datelike as _, Days, NaiveDate, NaiveTime, SecondsFormat, TimeZone as _, Utc,
};

use super::link::Failure;
use super::text::View;

const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Parses a time in the past, and returns it in RFC 3339. Days and times of day are local.
pub(crate) fn instant(option: &str, text: &str, view: &View) -> Result<String, Failure> {
    let at = past(text, view).ok_or_else(|| {
        Failure::Usage(format!(
            "{option} {text} is not a time: write 2026-11-24T02:58:00Z, 2026-11-24, yesterday, monday, or 2h for two hours ago"
        ))
    })?;
    Ok(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn past(text: &str, view: &View) -> Option<DateTime<Utc>> {
    let word = text.trim().to_ascii_lowercase();
    let today = view.now.with_timezone(&view.zone).date_naive();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    if let Ok(day) = word.parse::<NaiveDate>() {
        return midnight(day, view);
    }
    let days_ago = match word.as_str() {
        "today" => Some(0),
        "yesterday" => Some(1),
        _ => weekday(&word).map(|day| (today.weekday().num_days_from_monday() + 7 - day) % 7),
    };
    if let Some(days) = days_ago {
        return midnight(today.checked_sub_days(Days::new(u64::from(days)))?, view);
    }
    let age = humantime::parse_duration(word.trim_end_matches(" ago")).ok()?;
    view.now.checked_sub_signed(chrono::Duration::from_std(age).ok()?)
}

/// Returns the number of a weekday from Monday, which may be abbreviated to three letters.
fn weekday(word: &str) -> Option<u32> {
    WEEKDAYS
        .iter()
        .position(|day| word.len() >= 3 && day.starts_with(word))
        .and_then(|at| u32::try_from(at).ok())
}

/// Returns the beginning of a local day. A change of the clock may skip midnight.
fn midnight(day: NaiveDate, view: &View) -> Option<DateTime<Utc>> {
    (0..=3).find_map(|hour| local(day, NaiveTime::from_hms_opt(hour, 0, 0)?, view))
}

fn local(day: NaiveDate, time: NaiveTime, view: &View) -> Option<DateTime<Utc>> {
    view.zone.from_local_datetime(&day.and_time(time)).earliest().map(|at| at.to_utc())
}

/// Returns a duration from now: `4h`, or until `18:00`, `tomorrow`, `monday` or a date.
pub(crate) fn duration(option: &str, text: &str, view: &View) -> Result<String, Failure> {
    let word = text.trim().to_ascii_lowercase();
    if let Ok(duration) = humantime::parse_duration(&word) {
        return Ok(humantime::format_duration(duration).to_string());
    }
    let until = future(&word, view).ok_or_else(|| {
        Failure::Usage(format!(
            "{option} {text} is not a duration: write 4h, 2d, 18:00, tomorrow or monday"
        ))
    })?;
    // A fraction counts as a second, so that a pause until midnight does not end before it.
    let milliseconds = u64::try_from((until - view.now).num_milliseconds()).unwrap_or(0);
    let seconds = milliseconds.div_ceil(1_000).max(1);
    Ok(humantime::format_duration(Duration::from_secs(seconds)).to_string())
}

/// Parses a time in the future: an instant, `18:00`, `tomorrow`, a weekday, a date, or a duration from now.
pub(crate) fn coming(option: &str, text: &str, view: &View) -> Result<DateTime<Utc>, Failure> {
    let word = text.trim().to_ascii_lowercase();
    let in_a_while = |age| view.now.checked_add_signed(chrono::Duration::from_std(age).ok()?);
    let at = DateTime::parse_from_rfc3339(text.trim())
        .map(|at| at.to_utc())
        .ok()
        .or_else(|| humantime::parse_duration(&word).ok().and_then(in_a_while))
        .or_else(|| future(&word, view));
    at.filter(|at| *at > view.now).ok_or_else(|| {
        Failure::Usage(format!(
            "{option} {text} is not a time in the future: write 2026-11-30T17:00:00Z, 2026-11-30, 18:00, tomorrow, or 4h"
        ))
    })
}

fn future(word: &str, view: &View) -> Option<DateTime<Utc>> {
    let today = view.now.with_timezone(&view.zone).date_naive();
    let in_days = |days: u32| today.checked_add_days(Days::new(u64::from(days)));
    if let Ok(time) = NaiveTime::parse_from_str(word, "%H:%M") {
        let at = local(today, time, view).filter(|at| *at > view.now);
        return at.or_else(|| local(in_days(1)?, time, view));
    }
    let day = match word {
        "tomorrow" => in_days(1)?,
        _ => match weekday(word) {
            Some(day) => {
                let days = (day + 7 - today.weekday().num_days_from_monday()) % 7;
                in_days(if days == 0 { 7 } else { days })?
            }
            None => word.parse().ok()?,
        },
    };
    midnight(day, view).filter(|at| *at > view.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            width: 80,
            // A Tuesday, 04:01 in Berlin.
            now: "2026-11-24T03:01:00Z".parse().expect("a time"),
            zone: chrono_tz::Europe::Berlin,
        }
    }

    #[test]
    fn a_time_is_an_instant_a_local_day_or_an_age() {
        for (typed, at) in [
            ("2026-11-20T08:00:00+01:00", "2026-11-20T07:00:00.000Z"),
            ("2026-11-20", "2026-11-19T23:00:00.000Z"),
            ("today", "2026-11-23T23:00:00.000Z"),
            ("yesterday", "2026-11-22T23:00:00.000Z"),
            ("Monday", "2026-11-22T23:00:00.000Z"),
            ("tue", "2026-11-23T23:00:00.000Z"),
            ("wednesday", "2026-11-17T23:00:00.000Z"),
            ("3 days", "2026-11-21T03:01:00.000Z"),
            ("2h", "2026-11-24T01:01:00.000Z"),
            ("2h ago", "2026-11-24T01:01:00.000Z"),
        ] {
            assert_eq!(instant("--since", typed, &view()).expect(typed), at, "{typed}");
        }
        assert!(instant("--since", "soonish", &view()).is_err());
        for (typed, at) in [
            ("2026-11-30T17:00:00+01:00", "2026-11-30T16:00:00Z"),
            ("2026-11-30", "2026-11-29T23:00:00Z"),
            ("18:00", "2026-11-24T17:00:00Z"),
            ("2d", "2026-11-26T03:01:00Z"),
        ] {
            let coming = coming("--at", typed, &view()).expect(typed);
            assert_eq!(coming.to_rfc3339_opts(SecondsFormat::Secs, true), at, "{typed}");
        }
        for past in ["2026-11-20", "yesterday", "2026-11-24T03:01:00Z"] {
            assert!(coming("--at", past, &view()).is_err(), "{past}");
        }
    }

    #[test]
    fn a_pause_ends_after_a_duration_or_at_a_local_time() {
        for (typed, lasts) in [
            ("4h", "4h"),
            ("04:31", "30m"),
            ("04:01", "1day"),
            ("18:00", "13h 59m"),
            ("tomorrow", "19h 59m"),
            ("thursday", "1day 19h 59m"),
            ("tuesday", "6days 19h 59m"),
        ] {
            assert_eq!(duration("--for", typed, &view()).expect(typed), lasts, "{typed}");
        }
        let Err(Failure::Usage(refusal)) = duration("--for", "soon", &view()) else {
            panic!("accepted")
        };
        assert!(refusal.ends_with("write 4h, 2d, 18:00, tomorrow or monday"), "{refusal}");
    }
}
