//! Quiet hours: times of the day in which changes that can wait are not applied.

use chrono::{NaiveTime, TimeZone as _, Timelike as _};
use chrono_tz::Tz;

use super::cron::Cron;
use super::time::Timestamp;

/// Times of the day, by the clock of one time zone.
#[derive(Clone, PartialEq, Debug)]
pub struct QuietHours {
    spans: Vec<Span>,
    zone: Tz,
}

/// A time of the day from its begin to its end, which may lie after midnight.
#[derive(Clone, PartialEq, Debug)]
struct Span {
    begin: NaiveTime,
    end: NaiveTime,
    /// The instants of the end.
    ends: Cron,
}

impl Span {
    /// Parses `22:00-06:00`. The error is a sentence with a remedy.
    fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is no time of the day: write \"22:00-06:00\"");
        // 24:00 is the end of a day, which chrono has no time for.
        let time = |part: &str| match part.trim() {
            "24:00" => Some(NaiveTime::MIN),
            part => NaiveTime::parse_from_str(part, "%H:%M").ok(),
        };
        let (begin, end) = text.split_once('-').ok_or_else(bad)?;
        let (begin, end) = time(begin).zip(time(end)).ok_or_else(bad)?;
        if begin == end {
            return Err(format!(
                "\"{text}\" is the whole day, so that no user would ever be created: write \"22:00-06:00\""
            ));
        }
        let ends = Cron::parse(&format!("{} {} * * *", end.minute(), end.hour()), zone)
            .map_err(|error| error.to_string())?;
        Ok(Self { begin, end, ends })
    }

    fn holds(&self, time: NaiveTime) -> bool {
        if self.begin < self.end {
            (self.begin..self.end).contains(&time)
        } else {
            time >= self.begin || time < self.end
        }
    }
}

impl QuietHours {
    /// Returns hours that are never quiet.
    pub fn none(zone: Tz) -> Self {
        Self { spans: Vec::new(), zone }
    }

    /// Adds a time of the day. The error is a sentence with a remedy.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        self.spans.push(Span::parse(text, self.zone)?);
        Ok(())
    }

    /// Returns the end of the quiet time that this instant lies in. Times that touch are one.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let end_of = |at: Timestamp| {
            let local = self.zone.from_utc_datetime(&at.to_utc().naive_utc()).time();
            self.spans.iter().filter(|span| span.holds(local)).filter_map(|s| s.ends.next(at)).max()
        };
        let mut until = end_of(now)?;
        // Spans that cover the whole day end at last, so that changes are applied once a day.
        for _ in &self.spans {
            let Some(later) = end_of(until) else { break };
            until = later;
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).expect("a time").to_utc())
    }

    #[test]
    fn quiet_hours_end_by_the_clock_of_their_zone() {
        let night = ["22:00-06:00"].as_slice();
        let table = [
            (night, "2026-11-24T21:59:59+01:00", None),
            (night, "2026-11-24T22:00:00+01:00", Some("2026-11-25T06:00:00+01:00")),
            (night, "2026-11-25T05:59:00+01:00", Some("2026-11-25T06:00:00+01:00")),
            (night, "2026-11-25T06:00:00+01:00", None),
            // The clocks are set forward, and back.
            (night, "2026-03-28T23:00:00+01:00", Some("2026-03-29T06:00:00+02:00")),
            (night, "2026-10-25T02:30:00+02:00", Some("2026-10-25T06:00:00+01:00")),
            (&["12:00-13:00"], "2026-11-24T12:30:00+01:00", Some("2026-11-24T13:00:00+01:00")),
            (&["20:00-24:00"], "2026-11-24T23:30:00+01:00", Some("2026-11-25T00:00:00+01:00")),
            (
                &["18:00-24:00", "00:00-05:00"],
                "2026-11-24T19:00:00+01:00",
                Some("2026-11-25T05:00:00+01:00"),
            ),
            (&[], "2026-11-24T23:00:00+01:00", None),
        ];
        for (spans, now, until) in table {
            let mut quiet = QuietHours::none(chrono_tz::Europe::Berlin);
            for span in spans {
                quiet.add(span).expect("a time of the day");
            }
            assert_eq!(quiet.until(at(now)), until.map(at), "{spans:?} {now}");
        }
    }

    #[test]
    fn a_malformed_time_of_the_day_is_refused() {
        for bad in ["", "22:00", "22-6", "25:00-06:00", "06:00-06:00", "00:00-24:00"] {
            assert!(Span::parse(bad, Tz::UTC).is_err(), "{bad}");
        }
    }
}
