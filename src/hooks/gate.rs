//! Gates: programs that approve a plan before it is applied.
//!
//! Only exit status 0 within the time limit approves. Any other result holds the plan for an
//! operator, who sees the output of the gate.

use serde_json::Value;

use super::exec::{NoExit, ProgramResult, describe_exit};
use super::runner::Runner;
use crate::model::Gate;

/// Answer of a gate about a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GateVerdict {
    Pass,
    /// The plan waits for an operator.
    Hold {
        reason: String,
        /// The end of the output.
        printed: String,
    },
}

/// Runs a gate with the JSON document of a plan on stdin.
pub async fn ask(runner: &Runner, gate: &Gate, plan: &Value, instance: &str) -> GateVerdict {
    let Gate { name, program, timeout } = gate;
    let ProgramResult { status, output: printed } =
        runner.run_gate(name, program, *timeout, &plan.to_string(), instance).await;
    let reason = match status {
        Ok(status) if status.success() => return GateVerdict::Pass,
        Ok(status) => format!("the gate {name} holds it: {}", describe_exit(status)),
        Err(NoExit::TimedOut) => format!(
            "the gate {name} did not answer within {}",
            humantime::format_duration(*timeout)
        ),
        Err(NoExit::NotRun(reason)) => format!("the gate {name} could not be run: {reason}"),
    };
    GateVerdict::Hold { reason, printed }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::Program;

    async fn asked(script: &str, timeout: Duration) -> GateVerdict {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate");
        if !script.is_empty() {
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let gate = Gate {
            name: "board".into(),
            program: Program { path, arguments: Vec::new(), part: None },
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
    async fn a_gate_that_reads_the_plan_and_exits_with_0_passes_it() {
        let yes = "grep -q '\"kind\":\"suspend\"' && [ \"$ROSTERD_GATE\" = board ]";
        assert_eq!(asked(yes, Duration::from_secs(20)).await, GateVerdict::Pass);
    }

    #[tokio::test]
    async fn a_timeout_a_failure_and_a_missing_gate_hold_the_plan_with_a_reason() {
        for (script, limit, reason, printed) in [
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
            let held = GateVerdict::Hold { reason: reason.to_owned(), printed: printed.to_owned() };
            assert_eq!(asked(script, Duration::from_millis(limit)).await, held, "{script}");
        }
        let GateVerdict::Hold { reason, .. } = asked("", Duration::from_secs(20)).await else {
            panic!("the gate passed the plan")
        };
        assert!(
            reason.starts_with("the gate board could not be run: ")
                && reason.contains("No such file"),
            "{reason}"
        );
    }
}
