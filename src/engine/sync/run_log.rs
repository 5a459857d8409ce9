//! The log of runs: one line each, and no repeated complaint.
//!
//! A lasting failure is logged when it begins, when its reason changes, once an hour, and when it ends.
//! The failures in between are logged at debug level. A warning is logged when it is new, and once a
//! day. A run logs numbers of people; their names are in `rosterctl run show`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ChangeCounts, DirectoryName, RunMode, RunState, Timestamp};
use crate::store::{LogHead, Run};
use crate::visible::escaped;

/// The interval at which a lasting failure is logged.
const FAILURE_INTERVAL: Duration = Duration::from_hours(1);

/// The interval at which a lasting warning is logged.
const WARNING_INTERVAL: Duration = Duration::from_hours(24);

/// Maximum number of logged warnings of one run. The run keeps all of them.
const MAX_WARNINGS: usize = 20;

/// The state of the log of one directory.
#[derive(Debug, Default)]
pub(in crate::engine) struct RunLog {
    failing: Option<Failing>,
    /// The logged number of held changes.
    held: u64,
    /// The time at which each warning was logged.
    warnings: BTreeMap<String, Timestamp>,
}

/// A failure that lasts.
#[derive(Debug)]
struct Failing {
    error: String,
    since: Timestamp,
    logged: Timestamp,
    runs: u64,
}

impl RunLog {
    /// Logs the end of a run, with the head of the event log. In the journal, that head later shows
    /// whether the event log was changed or truncated.
    pub(in crate::engine) fn log(&mut self, run: &Run, head: Option<LogHead>) {
        let name = run.directory.as_ref().map_or("operator", DirectoryName::as_str);
        let at = run.finished_at.unwrap_or(run.started_at);
        let is_quiet =
            run.counts.total() == 0 && (run.mode != RunMode::Full || run.state == RunState::Failed);
        match (&run.error, run.state) {
            (Some(reason), RunState::Cancelled) => {
                tracing::info!("{name}: the run was cancelled: {reason}")
            }
            (Some(error), _) => match self.failure_line(&one_line(error), at) {
                Some(failure) => tracing::warn!("{name}: {failure}"),
                None => tracing::debug!("{name}: the run failed as before: {}", one_line(error)),
            },
            (None, _) => {
                if let Some(recovery) = self.recovery_line(at) {
                    tracing::info!("{name}: {recovery}");
                }
            }
        }
        if is_quiet {
            tracing::debug!("{name}: {}", summary(run));
        } else if run.state != RunState::Cancelled {
            match head {
                Some(head) => tracing::info!(log_head = %head, "{name}: {}", summary(run)),
                None => tracing::info!("{name}: {}", summary(run)),
            }
        }
        if let Some(held) = self.held_line(run) {
            tracing::warn!("{name}: {held}");
        }
        if run.state != RunState::Cancelled {
            let warnings = self.new_warnings(run, at);
            warnings
                .iter()
                .take(MAX_WARNINGS)
                .for_each(|warning| tracing::warn!("{name}: {warning}"));
            if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
                tracing::warn!("{name}: {more} more warnings: rosterctl run show {}", run.id);
            }
        }
    }

    /// Returns the line about a failure if one is due.
    fn failure_line(&mut self, error: &str, at: Timestamp) -> Option<String> {
        let Some(failing) = self.failing.as_mut() else {
            self.failing =
                Some(Failing { error: error.to_owned(), since: at, logged: at, runs: 1 });
            return Some(format!("the run failed: {error}"));
        };
        failing.runs += 1;
        let is_known = without_digits(&failing.error) == without_digits(error);
        error.clone_into(&mut failing.error);
        if is_known && at.since(failing.logged) < FAILURE_INTERVAL {
            return None;
        }
        failing.logged = at;
        let Failing { since, runs, .. } = failing;
        let since = at.since(*since);
        Some(format!("the run failed: {error} ({runs} runs have failed in {})", roughly(since)))
    }

    /// Returns the line about the end of a failure.
    fn recovery_line(&mut self, at: Timestamp) -> Option<String> {
        let Failing { since, runs, .. } = self.failing.take()?;
        let runs =
            if runs == 1 { "one failed run".to_owned() } else { format!("{runs} failed runs") };
        Some(format!(
            "the directory can be read again, after {runs} in {}",
            roughly(at.since(since))
        ))
    }

    /// Returns the line about held changes when there are more than before. A failed run does not count,
    /// because it may not hold all of them.
    fn held_line(&mut self, run: &Run) -> Option<String> {
        if matches!(run.state, RunState::Failed | RunState::Cancelled) {
            return None;
        }
        let were = std::mem::replace(&mut self.held, run.held);
        (run.held > were)
            .then(|| format!("{} changes wait for approval: rosterctl held list", run.held))
    }

    /// Returns the warnings to log. A warning that a full run does not repeat has ended.
    fn new_warnings(&mut self, run: &Run, at: Timestamp) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut lasting = BTreeMap::new();
        for warning in &run.warnings {
            let key = without_digits(warning);
            let logged = self
                .warnings
                .get(&key)
                .copied()
                .filter(|logged| at.since(*logged) < WARNING_INTERVAL);
            if logged.is_none() && !lasting.contains_key(&key) {
                warnings.push(one_line(warning));
            }
            lasting.insert(key, logged.unwrap_or(at));
        }
        if run.mode == RunMode::Full && run.state != RunState::Failed {
            self.warnings = lasting;
        } else {
            self.warnings.extend(lasting);
        }
        warnings
    }
}

/// Returns the changes of a run in numbers.
fn summary(run: &Run) -> String {
    let ChangeCounts { create, update, suspend, reactivate, tier, link, release } = run.counts;
    let done = [
        (create, "created"),
        (link, "linked"),
        (update, "updated"),
        (tier, "of another tier"),
        (suspend, "suspended"),
        (reactivate, "reactivated"),
        (release, "released"),
    ];
    let some = |counts: &[(u64, &str)]| {
        let some = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"));
        some.collect::<Vec<_>>()
    };
    let mut parts = some(&done);
    parts = vec![if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }];
    parts.extend(some(&[
        (run.held, "held for approval"),
        (run.quarantined, "quarantined"),
        (run.dropped, "dropped"),
    ]));
    let took = roughly(run.finished_at.unwrap_or(run.started_at).since(run.started_at));
    let Run { mode, trigger, entries, full_read_reason, .. } = run;
    let full_read_reason = full_read_reason
        .as_ref()
        .map(|reason| format!("; full read because {reason}"))
        .unwrap_or_default();
    format!(
        "{mode} run ({}): {}; {entries} entries read in {took}{full_read_reason}",
        trigger.as_str(),
        parts.join("; ")
    )
}

/// Returns a duration with two or three significant digits.
fn roughly(time: Duration) -> String {
    let time = match time.as_secs() {
        0 => Duration::from_millis(time.as_millis() as u64),
        1..60 => Duration::from_millis(time.as_millis() as u64 / 100 * 100),
        60..3600 => Duration::from_secs(time.as_secs()),
        seconds => Duration::from_secs(seconds / 60 * 60),
    };
    humantime::format_duration(time).to_string()
}

/// Removes digits, because a page number or a time does not make another complaint.
fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Escapes control characters, which messages of servers contain.
fn one_line(text: &str) -> String {
    let line = text
        .split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    escaped(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RunId, Trigger};

    fn run(minutes: i64, warnings: &[&str]) -> Run {
        let at = Timestamp(minutes * 60_000_000);
        Run {
            id: RunId(uuid::Uuid::nil()),
            directory: DirectoryName::parse("corp"),
            trigger: Trigger::Schedule,
            mode: RunMode::Full,
            state: RunState::Succeeded,
            actor: None,
            started_at: at,
            finished_at: Some(at.plus(Duration::from_millis(1_234))),
            entries: 1004,
            complete: true,
            server: None,
            counts: ChangeCounts { create: 2, suspend: 1, ..ChangeCounts::default() },
            held: 5,
            quarantined: 0,
            dropped: 0,
            error: None,
            warnings: warnings.iter().map(|w| (*w).to_owned()).collect(),
            active_after: None,
            approves: None,
            undoes: None,
            full_read_reason: None,
        }
    }

    #[test]
    fn a_run_is_one_line_of_numbers() {
        let line = summary(&run(0, &[]));
        assert_eq!(
            line,
            "full run (schedule): 2 created, 1 suspended; 5 held for approval; 1004 entries read in 1s 200ms"
        );
        let quiet = Run { counts: ChangeCounts::default(), held: 0, ..run(0, &[]) };
        assert_eq!(
            summary(&quiet),
            "full run (schedule): no changes; 1004 entries read in 1s 200ms"
        );
    }

    #[test]
    fn a_lasting_failure_is_logged_once_an_hour_and_another_one_at_once() {
        let mut log = RunLog::default();
        let at = |minutes: i64| Timestamp(minutes * 60_000_000);
        let mut line = |minutes, error| log.failure_line(error, at(minutes));
        assert_eq!(
            line(0, "page 3 was cut off").as_deref(),
            Some("the run failed: page 3 was cut off")
        );
        assert_eq!(line(15, "page 7 was cut off"), None, "the same failure on a later page");
        assert_eq!(line(30, "page 7 was cut off"), None);
        assert_eq!(
            line(60, "page 7 was cut off").as_deref(),
            Some("the run failed: page 7 was cut off (4 runs have failed in 1h)")
        );
        assert_eq!(line(75, "page 7 was cut off"), None);
        assert!(line(76, "the bind was refused").is_some(), "another failure");
        assert_eq!(
            log.recovery_line(at(90)).as_deref(),
            Some("the directory can be read again, after 6 failed runs in 1h 30m")
        );
        assert_eq!(log.recovery_line(at(91)), None);
        assert!(log.failure_line("page 3 was cut off", at(92)).is_some(), "a new failure");
    }

    #[test]
    fn a_warning_is_logged_when_it_is_new_and_once_a_day() {
        let mut log = RunLog::default();
        let mut warnings = |minutes, warnings: &[&str]| {
            log.new_warnings(&run(minutes, warnings), Timestamp(minutes * 60_000_000))
        };
        assert_eq!(
            warnings(0, &["clock 12:00", "a base is gone"]),
            ["clock 12:00", "a base is gone"]
        );
        assert_eq!(
            warnings(15, &["clock 12:15", "a base is gone", "a group is gone"]),
            ["a group is gone"]
        );
        assert!(warnings(30, &["clock 12:30"]).is_empty());
        assert_eq!(warnings(45, &["a base is gone"]), ["a base is gone"], "it began again");
        assert_eq!(
            warnings(46 + 24 * 60, &["a base is gone"]),
            ["a base is gone"],
            "a day has passed"
        );
    }

    #[test]
    fn held_changes_are_logged_when_there_are_more_than_before() {
        let mut log = RunLog::default();
        let mut line = |held, state| log.held_line(&Run { state, held, ..run(0, &[]) });
        assert_eq!(
            line(5, RunState::Held).as_deref(),
            Some("5 changes wait for approval: rosterctl held list")
        );
        assert_eq!(line(5, RunState::Held), None);
        assert_eq!(line(0, RunState::Failed), None, "a failed run does not count");
        assert_eq!(line(3, RunState::Held), None);
        assert!(line(4, RunState::Held).is_some());
        assert_eq!(line(0, RunState::Succeeded), None);
        assert!(line(1, RunState::Held).is_some());
    }

    #[test]
    fn a_message_of_a_server_stays_on_one_line() {
        assert_eq!(one_line("Anna\u{202e}\u{200b}"), "Anna\\u{202e}\\u{200b}");
        assert_eq!(
            one_line("best match of:\n\t'DC=corp'\0\x1b[31m"),
            "best match of: 'DC=corp' [31m"
        );
    }
}
