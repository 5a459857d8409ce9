//! Instants, in the units of the store and of AD.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC. Prints as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// The 100 ns ticks between the epochs 1601-01-01 and 1970-01-01.
const FILETIME_OF_UNIX_EPOCH: i64 = 116_444_736_000_000_000;

impl Timestamp {
    /// Converts an AD large integer: 100 ns ticks since 1601-01-01 UTC. Saturates.
    pub fn from_filetime(ticks: i64) -> Self {
        Self(ticks.saturating_sub(FILETIME_OF_UNIX_EPOCH) / 10)
    }

    /// Converts to 100 ns ticks since 1601-01-01 UTC. Saturates.
    pub fn to_filetime(self) -> i64 {
        self.0.saturating_mul(10).saturating_add(FILETIME_OF_UNIX_EPOCH)
    }

    /// Converts seconds since 1970-01-01 UTC. Saturates.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Adds a duration. Saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Subtracts a duration. Saturates.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns the time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn distance(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }

    /// Converts to chrono's type. Instants outside its range are clamped.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(if self.0 < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // To the microsecond, so that a value stored as JSON reads back equal.
        serializer.collect_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|t| Self::from(t.to_utc()))
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_filetime_does_not_overflow_and_an_ordinary_one_is_exact() {
        assert_eq!(
            Timestamp::from_filetime(133_801_632_000_000_000).to_string(),
            "2025-01-01T00:00:00.000Z"
        );
        let last = Timestamp::from_filetime(i64::MAX);
        assert!(last > Timestamp::from_filetime(133_801_632_000_000_000));
        assert_eq!(Timestamp(1_000_000).to_filetime(), FILETIME_OF_UNIX_EPOCH + 10_000_000);
        assert!(!last.to_string().is_empty());
    }
}
