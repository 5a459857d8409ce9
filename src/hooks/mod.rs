//! Hooks: the administrator's programs and web servers, told of events. And gates, asked before a plan is applied.
//! Programs are run by the [hook runner](runner), a process with a user of its own.
//!
//! Here one attempt is made and what came of it is said; when to try again, in which order, and what to remember is the
//! engine's. Nothing of the service reaches a hook but the event: no environment, no descriptor, no secret; and whatever
//! a hook does (hang, flood, fork, lie), an attempt ends within its time.

pub mod exec;
pub mod gate;
pub mod runner;
mod sign;
pub mod webhook;

use std::time::Duration;

pub use gate::Verdict;
pub use runner::Runner;
pub use webhook::{Proxy, Webhook};

use crate::model::Program;

/// What is told of events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Which events: a type, a family (`user.*`) or all (`*`).
    pub events: Vec<String>,
    /// How it is told.
    pub target: Target,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a delivery is tried before it is given up.
    pub max_age: Duration,
    /// How many attempts may be under way at once.
    pub concurrency: usize,
}

/// How a hook is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// By a program.
    Exec(Program),
    /// By a web server.
    Webhook(Webhook),
}

/// What is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The event's id; the same at every attempt.
    pub id: String,
    /// The event's type.
    pub kind: String,
    /// Its place in the log; none for a sample.
    pub seq: Option<u64>,
    /// The log's head after this event, `SEQ:HASH`; none for a sample.
    pub head: Option<String>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The CloudEvents document.
    pub document: String,
}

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// How it ended.
    pub ended: Ended,
    /// The last of what the program printed, or of what the server answered; nothing that could do anything to a terminal.
    pub output: String,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The hook took it.
    Taken,
    /// It did not, and is to be told again.
    Again {
        /// Why not.
        why: String,
        /// Not before so long, if it said so.
        after: Option<Duration>,
        /// Whether it would take nothing else either at the moment.
        is_down: bool,
    },
    /// It never will.
    Refused(String),
    /// It is gone for good, and wants to be told nothing more.
    Gone,
}

impl Hook {
    /// Whether it wants to be told of events of this type.
    pub fn matches(&self, kind: &str) -> bool {
        self.events.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(family) => kind.starts_with(family),
            None => wanted == kind,
        })
    }
}

/// How much of the end of an output is kept: some lines, for people.
const LINES: usize = 20;
const LENGTH: usize = 4 * 1024;

/// The end of what somebody else wrote, as it may be stored and shown: a few lines, without control characters.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let lines: Vec<String> =
        text.lines().rev().map(clean).filter(|line| !line.trim().is_empty()).take(LINES).collect();
    let text = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
    let begin = text
        .char_indices()
        .rev()
        .map(|(at, _)| at)
        .take_while(|at| text.len() - at <= LENGTH)
        .last()
        .unwrap_or(text.len());
    text[begin..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_wants_a_type_a_family_or_everything() {
        let hook = |events: &[&str]| Hook {
            name: "h".into(),
            events: events.iter().map(|e| (*e).to_owned()).collect(),
            target: Target::Exec(Program { path: "/bin/true".into(), arguments: Vec::new() }),
            timeout: Duration::from_secs(1),
            max_age: Duration::from_secs(1),
            concurrency: 1,
        };
        for (events, kind, wanted) in [
            (&["user.suspended"][..], "user.suspended", true),
            (&["user.suspended"], "user.suspended_twice", false),
            (&["user.*"], "user.created", true),
            (&["user.*"], "users.created", false),
            (&["run.failed", "*"], "user.created", true),
        ] {
            assert_eq!(hook(events).matches(kind), wanted, "{events:?} {kind}");
        }
    }

    #[test]
    fn of_an_output_the_last_lines_are_kept_without_what_moves_a_cursor() {
        assert_eq!(last_lines(b"one\n\n\x1b[31mtwo\x07\r\n\xff\n"), "one\n[31mtwo\n\u{fffd}");
        let many = (0..1000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let kept = last_lines(many.as_bytes());
        assert_eq!((kept.lines().count(), kept.lines().last()), (LINES, Some("line 999")));
        let wide = "é".repeat(100_000);
        assert_eq!(last_lines(wide.as_bytes()).len(), LENGTH);
    }
}
