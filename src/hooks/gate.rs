//! Asking a gate: a program that is shown a plan before it is applied.
//!
//! Silence is no consent: whatever but exit status 0 within its time means that the plan waits for an operator, who is
//! shown what the gate printed.

use serde_json::Value;

use super::exec::{Cut, Finished, said};
use super::runner::{self, Runner};
use crate::model::Gate;

/// What a gate says of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may be applied.
    GoesOn,
    /// It waits for an operator.
    Holds {
        /// How the gate ended.
        why: String,
        /// What it printed.
        printed: String,
    },
}

/// Asks the gate about a plan, the JSON document of which it gets on stdin, for the rosterd of this instance.
pub async fn ask(runner: &Runner, gate: &Gate, plan: &Value, instance: &str) -> Verdict {
    let Gate { name, program: _, timeout } = gate;
    let Finished { status, output: printed } =
        runner::ask(runner, gate, &plan.to_string(), instance).await;
    let why = match status {
        Ok(status) if status.success() => return Verdict::GoesOn,
        Ok(status) => format!("the gate {name} holds it: {}", said(status)),
        Err(Cut::Late) => format!(
            "the gate {name} did not answer within {}",
            humantime::format_duration(*timeout)
        ),
        Err(Cut::NotRun(why)) => format!("the gate {name} could not be asked: {why}"),
    };
    Verdict::Holds { why, printed }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::Program;

    async fn asked(script: &str, timeout: Duration) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate");
        if !script.is_empty() {
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let gate = Gate {
            name: "board".into(),
            program: Program { path, arguments: Vec::new() },
            timeout,
        };
        ask(
            &Runner::default(),
            &gate,
            &json!({ "directory": "corp", "changes": [{ "kind": "suspend" }] }),
            "here",
        )
        .await
    }

    #[tokio::test]
    async fn a_gate_that_says_yes_to_the_plan_it_was_shown_lets_it_go_on() {
        let yes = "grep -q '\"kind\":\"suspend\"' && [ \"$ROSTERD_GATE\" = board ]";
        assert_eq!(asked(yes, Duration::from_secs(20)).await, Verdict::GoesOn);
    }

    #[tokio::test]
    async fn silence_failure_and_a_gate_that_is_not_there_hold_and_are_told() {
        for (script, limit, why, printed) in [
            (
                "echo 'not on a Friday' >&2; exit 1",
                20_000,
                "the gate board holds it: it ended with exit status 1",
                "not on a Friday",
            ),
            (
                "echo thinking; sleep 300",
                300,
                "the gate board did not answer within 300ms",
                "thinking",
            ),
            ("kill -KILL $$", 20_000, "the gate board holds it: it was ended by SIGKILL", ""),
        ] {
            let held = Verdict::Holds { why: why.to_owned(), printed: printed.to_owned() };
            assert_eq!(asked(script, Duration::from_millis(limit)).await, held, "{script}");
        }
        let Verdict::Holds { why, .. } = asked("", Duration::from_secs(20)).await else {
            panic!("it went on")
        };
        assert!(
            why.starts_with("the gate board could not be asked: ") && why.contains("No such file"),
            "{why}"
        );
    }
}
