//! What the log says of runs: one line for each, readable alone, and no complaint again and again.
//!
//! A directory that fails does so at every run. That is said when it begins, when it fails for another reason, once an
//! hour while it lasts, and when it is over; the failures in between are for debug. Warnings are said when they are new,
//! and once a day. What a run does to people is said in numbers: who they are is in `rosterctl run show`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ChangeCounts, RunState, Timestamp};
use crate::store::{LogHead, Run};
use crate::visible::escaped;

/// A failure that lasts is said again this much later.
const FAILURE_AGAIN: Duration = Duration::from_hours(1);

/// So is a warning.
const WARNING_AGAIN: Duration = Duration::from_hours(24);

/// There is one for a base or a group, so a few; should there be more, the run has them all.
const WARNINGS: usize = 20;

/// What has been said of a directory.
#[derive(Debug, Default)]
pub(in crate::engine) struct Told {
    failing: Option<Failing>,
    /// How many changes waited for an operator when that was said.
    held: u64,
    /// When each warning was said.
    warnings: BTreeMap<String, Timestamp>,
}

/// What is wrong with a directory.
#[derive(Debug)]
struct Failing {
    error: String,
    since: Timestamp,
    said: Timestamp,
    runs: u64,
}

impl Told {
    /// Says how a run ended, with the head of the event log after it: noted in the journal, it shows later whether the log was
    /// changed or cut off.
    pub(in crate::engine) fn tell(&mut self, run: &Run, head: Option<LogHead>) {
        let name = &run.directory;
        let at = run.finished_at.unwrap_or(run.started_at);
        let is_quiet =
            run.counts.total() == 0 && (run.mode != "full" || run.state == RunState::Failed);
        match (&run.error, run.state) {
            (Some(why), RunState::Cancelled) => {
                tracing::info!("{name}: the run was given up: {why}")
            }
            (Some(error), _) => match self.failure(&one_line(error), at) {
                Some(failure) => tracing::warn!("{name}: {failure}"),
                None => tracing::debug!("{name}: the run failed as before: {}", one_line(error)),
            },
            (None, _) => {
                if let Some(recovery) = self.recovery(at) {
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
        if let Some(waiting) = self.waiting(run) {
            tracing::warn!("{name}: {waiting}");
        }
        if run.state != RunState::Cancelled {
            let news = self.news(run, at);
            news.iter().take(WARNINGS).for_each(|warning| tracing::warn!("{name}: {warning}"));
            if let Some(more) = news.len().checked_sub(WARNINGS).filter(|more| *more > 0) {
                tracing::warn!("{name}: {more} more warnings: rosterctl run show {}", run.id);
            }
        }
    }

    /// The sentence to say of a failure, if it is time for one.
    fn failure(&mut self, error: &str, at: Timestamp) -> Option<String> {
        let Some(failing) = self.failing.as_mut() else {
            self.failing = Some(Failing { error: error.to_owned(), since: at, said: at, runs: 1 });
            return Some(format!("the run failed: {error}"));
        };
        failing.runs += 1;
        let is_known = without_digits(&failing.error) == without_digits(error);
        error.clone_into(&mut failing.error);
        if is_known && at.since(failing.said) < FAILURE_AGAIN {
            return None;
        }
        failing.said = at;
        let Failing { since, runs, .. } = failing;
        let since = at.since(*since);
        Some(format!("the run failed: {error} ({runs} runs have failed in {})", roughly(since)))
    }

    /// The sentence to say when it is over.
    fn recovery(&mut self, at: Timestamp) -> Option<String> {
        let Failing { since, runs, .. } = self.failing.take()?;
        let runs =
            if runs == 1 { "one failed run".to_owned() } else { format!("{runs} failed runs") };
        Some(format!(
            "the directory can be read again, after {runs} in {}",
            roughly(at.since(since))
        ))
    }

    /// The sentence to say when more wait for an operator than before. A read that was not complete says nothing of that.
    fn waiting(&mut self, run: &Run) -> Option<String> {
        if matches!(run.state, RunState::Failed | RunState::Cancelled) {
            return None;
        }
        let were = std::mem::replace(&mut self.held, run.held);
        (run.held > were)
            .then(|| format!("{} changes wait for approval: rosterctl held list", run.held))
    }

    /// The warnings to say. After a full run, those that are not among them are over.
    fn news(&mut self, run: &Run, at: Timestamp) -> Vec<String> {
        let mut news = Vec::new();
        let mut lasting = BTreeMap::new();
        for warning in &run.warnings {
            let key = without_digits(warning);
            let said =
                self.warnings.get(&key).copied().filter(|said| at.since(*said) < WARNING_AGAIN);
            if said.is_none() && !lasting.contains_key(&key) {
                news.push(one_line(warning));
            }
            lasting.insert(key, said.unwrap_or(at));
        }
        if run.mode == "full" && run.state != RunState::Failed {
            self.warnings = lasting;
        } else {
            self.warnings.extend(lasting);
        }
        news
    }
}

/// What a run did, in numbers.
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
            .map(|(count, what)| format!("{count} {what}"));
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
        .map(|why| format!("; everybody was read: {why}"))
        .unwrap_or_default();
    format!(
        "{mode} run ({}): {}; {entries} entries read in {took}{full_read_reason}",
        trigger.as_str(),
        parts.join("; ")
    )
}

/// How long, with no more precision than anybody reads.
fn roughly(time: Duration) -> String {
    let time = match time.as_secs() {
        0 => Duration::from_millis(time.as_millis() as u64),
        1..60 => Duration::from_millis(time.as_millis() as u64 / 100 * 100),
        60..3600 => Duration::from_secs(time.as_secs()),
        seconds => Duration::from_secs(seconds / 60 * 60),
    };
    humantime::format_duration(time).to_string()
}

/// What counts along (pages, times) does not make another complaint.
fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Servers' texts have line ends and worse in them.
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
            directory: "corp".to_owned(),
            trigger: Trigger::Schedule,
            mode: "full".to_owned(),
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
        let said = summary(&run(0, &[]));
        assert_eq!(
            said,
            "full run (schedule): 2 created, 1 suspended; 5 held for approval; 1004 entries read in 1s 200ms"
        );
        let quiet = Run { counts: ChangeCounts::default(), held: 0, ..run(0, &[]) };
        assert_eq!(
            summary(&quiet),
            "full run (schedule): no changes; 1004 entries read in 1s 200ms"
        );
    }

    #[test]
    fn a_failure_that_lasts_is_said_once_an_hour_and_another_one_at_once() {
        let mut told = Told::default();
        let at = |minutes: i64| Timestamp(minutes * 60_000_000);
        let mut say = |minutes, error| told.failure(error, at(minutes));
        assert_eq!(
            say(0, "page 3 was cut off").as_deref(),
            Some("the run failed: page 3 was cut off")
        );
        assert_eq!(say(15, "page 7 was cut off"), None, "it is the same, further on");
        assert_eq!(say(30, "page 7 was cut off"), None);
        assert_eq!(
            say(60, "page 7 was cut off").as_deref(),
            Some("the run failed: page 7 was cut off (4 runs have failed in 1h)")
        );
        assert_eq!(say(75, "page 7 was cut off"), None);
        assert!(say(76, "the bind was refused").is_some(), "it is another one");
        assert_eq!(
            told.recovery(at(90)).as_deref(),
            Some("the directory can be read again, after 6 failed runs in 1h 30m")
        );
        assert_eq!(told.recovery(at(91)), None);
        assert!(told.failure("page 3 was cut off", at(92)).is_some(), "it has begun anew");
    }

    #[test]
    fn a_warning_is_said_when_it_is_new_and_once_a_day() {
        let mut told = Told::default();
        let mut news = |minutes, warnings: &[&str]| {
            told.news(&run(minutes, warnings), Timestamp(minutes * 60_000_000))
        };
        assert_eq!(news(0, &["clock 12:00", "a base is gone"]), ["clock 12:00", "a base is gone"]);
        assert_eq!(
            news(15, &["clock 12:15", "a base is gone", "a group is gone"]),
            ["a group is gone"]
        );
        assert!(news(30, &["clock 12:30"]).is_empty());
        assert_eq!(news(45, &["a base is gone"]), ["a base is gone"], "it is back");
        assert_eq!(news(46 + 24 * 60, &["a base is gone"]), ["a base is gone"], "a day has passed");
    }

    #[test]
    fn that_changes_wait_is_said_when_there_are_more_than_before() {
        let mut told = Told::default();
        let mut say = |held, state| told.waiting(&Run { state, held, ..run(0, &[]) });
        assert_eq!(
            say(5, RunState::Held).as_deref(),
            Some("5 changes wait for approval: rosterctl held list")
        );
        assert_eq!(say(5, RunState::Held), None);
        assert_eq!(say(0, RunState::Failed), None, "which says nothing of what waits");
        assert_eq!(say(3, RunState::Held), None);
        assert!(say(4, RunState::Held).is_some());
        assert_eq!(say(0, RunState::Succeeded), None);
        assert!(say(1, RunState::Held).is_some());
    }

    #[test]
    fn what_a_server_says_stays_on_its_line() {
        assert_eq!(one_line("Anna\u{202e}\u{200b}"), "Anna\\u{202e}\\u{200b}");
        assert_eq!(
            one_line("best match of:\n\t'DC=corp'\0\x1b[31m"),
            "best match of: 'DC=corp' [31m"
        );
    }
}
