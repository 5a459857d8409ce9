//! The log of servers that DNS names outside the allowed domains.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::Timestamp;

/// A warning about the same names is repeated after this time.
const WARNING_INTERVAL: Duration = Duration::from_hours(24);

/// The left-out targets that were logged, and when.
#[derive(Debug, Default)]
pub(super) struct OutsideServers {
    names: BTreeSet<String>,
    at: Option<Timestamp>,
}

impl OutsideServers {
    /// Returns whether these names are to be logged: they differ, or a day has passed.
    pub(super) fn is_due(&mut self, names: &BTreeSet<String>, now: Timestamp) -> bool {
        let is_old = self.at.is_none_or(|at| now.distance(at) >= WARNING_INTERVAL);
        let is_due = !names.is_empty() && (self.names != *names || is_old);
        if is_due || names.is_empty() {
            *self = Self { names: names.clone(), at: is_due.then_some(now) };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_out_servers_are_logged_when_they_change_and_once_a_day() {
        let mut logged = OutsideServers::default();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let now = Timestamp(1_000_000_000_000);
        assert!(!logged.is_due(&names(&[]), now));
        assert!(logged.is_due(&names(&["dc.evil.net"]), now));
        assert!(!logged.is_due(&names(&["dc.evil.net"]), now.plus(Duration::from_hours(1))));
        assert!(
            logged.is_due(
                &names(&["dc.evil.net", "dc2.evil.net"]),
                now.plus(Duration::from_hours(1))
            )
        );
        assert!(
            logged.is_due(
                &names(&["dc.evil.net", "dc2.evil.net"]),
                now.plus(Duration::from_hours(26))
            )
        );
        assert!(!logged.is_due(&names(&[]), now.plus(Duration::from_hours(26))));
        assert!(
            logged.is_due(&names(&["dc2.evil.net"]), now.plus(Duration::from_hours(26))),
            "the warning was over"
        );
    }
}
