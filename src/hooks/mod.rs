//! Hooks, which receive events by program, HTTP or mail, and gates, which approve plans.
//!
//! The [hook runner](runner), a process with its own user, runs the programs. This module performs
//! one attempt and returns its outcome. The engine decides order, backoff and storage.
//!
//! A hook gets the event and nothing else: no environment, no descriptor, no secret. An attempt
//! ends within its time limit even if the hook hangs, floods or forks.

mod exec;
pub mod gate;
pub mod leftovers;
pub mod mail;
mod program;
pub mod runner;
mod sign;
mod text;
pub mod webhook;

use std::time::Duration;

pub use gate::GateVerdict;
pub use runner::Runner;
pub use webhook::Webhook;

pub use text::{Text, text_of};

use crate::model::{Mail, Program};

/// A configured hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    pub name: String,
    /// Event types, families (`user.*`) or all (`*`).
    pub events: Vec<String>,
    pub receiver: Receiver,
    /// Time limit of one attempt.
    pub timeout: Duration,
    /// Age at which a delivery becomes a dead letter.
    pub max_age: Duration,
    /// Most concurrent attempts.
    pub concurrency: usize,
}

/// The program or server of a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Receiver {
    Exec(Program),
    Webhook(Webhook),
    /// The section `[mail]`.
    Mail(Box<Mail>),
}

/// An event on its way to a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Id of the event, equal in every attempt.
    pub id: String,
    /// Type of the event.
    pub kind: String,
    /// Sequence number in the log; `None` for a sample.
    pub seq: Option<u64>,
    /// Head of the log after this event, `SEQ:HASH`; `None` for a sample.
    pub head: Option<String>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The CloudEvents document.
    pub document: String,
}

/// Result of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub ended: AttemptOutcome,
    /// The end of the output or response body, without control characters.
    pub output: String,
}

/// Outcome of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttemptOutcome {
    Delivered,
    /// The delivery is retried.
    Retry {
        reason: String,
        /// Earliest retry, if the server names one.
        after: Option<Duration>,
        /// The hook would reject any other event, too, at the moment.
        is_down: bool,
    },
    /// The hook will never accept this event.
    Rejected(String),
    /// The hook wants no more events.
    Gone,
}

impl Hook {
    /// Returns whether the hook receives events of this type.
    pub fn matches(&self, kind: &str) -> bool {
        self.events.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(family) => kind.starts_with(family),
            None => wanted == kind,
        })
    }
}

/// Most lines of an output, which is only shown to operators.
const LINES: usize = 20;
/// Most bytes of an output.
const LENGTH: usize = 4 * 1024;

/// Returns the last lines of an untrusted output, without control characters.
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
    fn a_hook_receives_a_type_a_family_or_all_events() {
        let hook = |events: &[&str]| Hook {
            name: "h".into(),
            events: events.iter().map(|e| (*e).to_owned()).collect(),
            receiver: Receiver::Exec(Program {
                path: "/bin/true".into(),
                arguments: Vec::new(),
                part: None,
            }),
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
    fn the_last_lines_of_an_output_are_kept_without_control_characters() {
        assert_eq!(last_lines(b"one\n\n\x1b[31mtwo\x07\r\n\xff\n"), "one\n[31mtwo\n\u{fffd}");
        let many = (0..1000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let kept = last_lines(many.as_bytes());
        assert_eq!((kept.lines().count(), kept.lines().last()), (LINES, Some("line 999")));
        let wide = "é".repeat(100_000);
        assert_eq!(last_lines(wide.as_bytes()).len(), LENGTH);
    }
}
