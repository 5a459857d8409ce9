//! Cron expressions in a time zone.

use std::str::FromStr as _;

use chrono::{Offset as _, TimeZone as _};
use chrono_tz::Tz;

use super::time::Timestamp;

/// A cron expression in a time zone.
#[derive(Clone, PartialEq, Debug)]
pub struct Cron {
    schedule: cron::Schedule,
    zone: Tz,
    /// Whether the hours are a plain `*`. Such a schedule follows elapsed time, not local time.
    is_interval: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error(
        "\"{0}\" is not a schedule: write five fields (minute hour day month weekday), six with seconds first, or @hourly, @daily, @weekly"
    )]
    Malformed(String),
    #[error("\"{0}\" never comes")]
    Never(String),
}

impl Cron {
    /// Parses five fields, six with seconds first, or a name such as `@hourly`. Weekdays are names,
    /// or 0 to 7 from Sunday.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, CronError> {
        let malformed = || CronError::Malformed(text.to_owned());
        let mut fields: Vec<String> = match text.trim() {
            "@hourly" => vec!["0", "0", "*", "*", "*", "*"],
            "@daily" | "@midnight" => vec!["0", "0", "0", "*", "*", "*"],
            "@weekly" => vec!["0", "0", "0", "*", "*", "SUN"],
            "@monthly" => vec!["0", "0", "0", "1", "*", "*"],
            "@yearly" | "@annually" => vec!["0", "0", "0", "1", "1", "*"],
            other => other.split_whitespace().collect(),
        }
        .into_iter()
        .map(str::to_owned)
        .collect();
        match fields.len() {
            5 => fields.insert(0, "0".to_owned()),
            6 => {}
            _ => return Err(malformed()),
        }
        // The library counts weekdays 1 to 7 from Sunday, cron 0 to 7.
        fields[5] = weekdays(&fields[5]).ok_or_else(malformed)?;
        let is_interval = fields[2] == "*";
        let schedule = cron::Schedule::from_str(&fields.join(" ")).map_err(|_| malformed())?;
        let cron = Self { schedule, zone, is_interval };
        if cron.schedule.after(&chrono::DateTime::UNIX_EPOCH).next().is_none() {
            Err(CronError::Never(text.to_owned()))
        } else {
            Ok(cron)
        }
    }

    /// Returns the first instant after this one.
    ///
    /// Local time is evaluated as if it were UTC, and mapped to instants afterwards. A time in the
    /// gap of a clock change comes right after the gap. A time in the fold comes once.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let utc = after.to_utc();
        let local = self.zone.from_utc_datetime(&utc.naive_utc());
        if self.is_interval {
            let offset = local.offset().fix();
            let next = self.schedule.after(&utc.with_timezone(&offset)).next()?;
            return Some(Timestamp::from(next.to_utc()));
        }
        // Two hours back, because local time may have been set back since.
        let wall = (local.naive_local() - chrono::Duration::hours(2)).and_utc();
        self.schedule
            .after(&wall)
            .map(|naive| Timestamp::from(instant(self.zone, naive.naive_utc())))
            .find(|at| *at > after)
    }
}

/// Returns the instant of a local time. A time in the gap of a clock change comes right after the gap.
pub(super) fn instant(zone: Tz, wall: chrono::NaiveDateTime) -> chrono::DateTime<chrono::Utc> {
    let mut wall = wall;
    // The longest gap of any zone is a day (Samoa skipped one).
    for _ in 0..=24 * 60 {
        match zone.from_local_datetime(&wall) {
            chrono::LocalResult::Single(at) | chrono::LocalResult::Ambiguous(at, _) => {
                return at.to_utc();
            }
            chrono::LocalResult::None => {
                wall = (wall + chrono::Duration::minutes(1)).with_second0()
            }
        }
    }
    wall.and_utc()
}

trait WithSecond0 {
    fn with_second0(self) -> Self;
}

impl WithSecond0 for chrono::NaiveDateTime {
    fn with_second0(self) -> Self {
        use chrono::Timelike as _;
        self.with_second(0).unwrap_or(self)
    }
}

/// Returns weekdays by name: `1-5` becomes `MON-FRI`.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let name = |day: &str| match day.parse::<usize>() {
        Ok(n) => NAMES.get(n).map(|n| (*n).to_owned()),
        Err(_) => Some(day.to_owned()),
    };
    let parts = field.split(',').map(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(r, s)| (r, Some(s)));
        let range = match range.split_once('-') {
            Some((from, to)) => format!("{}-{}", name(from)?, name(to)?),
            None => name(range)?,
        };
        Some(step.map_or(range.clone(), |s| format!("{range}/{s}")))
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).expect("a time").to_utc())
    }

    #[test]
    fn a_daily_run_comes_once_a_day_across_clock_changes() {
        let daily = Cron::parse("30 2 * * *", chrono_tz::Europe::Berlin).expect("a schedule");
        let table = [
            ("2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"),
            ("2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"),
            ("2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"),
            ("2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
            ("2026-10-25T02:45:00+02:00", "2026-10-26T02:30:00+01:00"),
        ];
        for (after, next) in table {
            assert_eq!(daily.next(at(after)), Some(at(next)), "after {after}");
        }
    }

    #[test]
    fn a_quarter_hourly_run_keeps_its_period_when_clocks_are_set_back() {
        let often = Cron::parse("*/15 * * * *", chrono_tz::Europe::Berlin).expect("a schedule");
        let mut now = at("2026-10-25T01:50:00+02:00");
        for _ in 0..12 {
            let next = often.next(now).expect("a next");
            assert!(next.since(now) <= Duration::from_mins(15));
            now = next;
        }
        assert_eq!(now, at("2026-10-25T03:45:00+01:00"));
    }

    #[test]
    fn weekdays_are_0_to_7_from_sunday() {
        let monday = Cron::parse("0 8 * * 1", Tz::UTC).expect("a schedule");
        assert_eq!(monday.next(at("2026-11-24T00:00:00Z")), Some(at("2026-11-30T08:00:00Z")));
        let sunday = Cron::parse("0 8 * * 0,7", Tz::UTC).expect("a schedule");
        assert_eq!(sunday.next(at("2026-11-24T00:00:00Z")), Some(at("2026-11-29T08:00:00Z")));
    }

    #[test]
    fn a_malformed_schedule_is_refused() {
        for bad in ["", "* * * *", "61 * * * *", "@sometimes", "* * * * 9"] {
            assert!(Cron::parse(bad, Tz::UTC).is_err(), "{bad}");
        }
        assert!(Cron::parse("0 0 30 2 *", Tz::UTC).is_err());
        for good in ["@hourly", "@daily", "*/5 * * * * *", "0 9-17 * * MON-FRI"] {
            assert!(Cron::parse(good, Tz::UTC).is_ok(), "{good}");
        }
    }
}
