//! The hook runner: a separate process that starts the programs of hooks and gates.
//!
//! The daemon has passwords, write access to the store and the rights of operators. A hook needs
//! none of them, so the daemon starts no program itself. It sends the *name* of a hook or gate to
//! the runner, which reads the program from the configuration file. Under systemd the runner is
//! `rosterd-hooks.service`, with its own user and sandbox. Elsewhere it is a child process of the
//! daemon.
//!
//! | Rule | Kept by |
//! |---|---|
//! | The runner serves one user | socket mode, and the peer credentials of each connection |
//! | The daemon uses only a runner that root or its own user started | the peer credentials of the listening socket |
//! | Only configured programs run | [`Programs`]: the file must be root's, at the path of the runner |
//! | Both sides mean the same program | the order contains its digest |
//! | The runner's user cannot read the file | the daemon passes an open descriptor of it |
//! | A program ends with its order | closing the connection kills the process group |

mod client;
mod order;
mod programs;
mod serve;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

pub use client::Runner;
pub use order::ProgramKind;
pub use programs::{ConfiguredProgram, Programs};
pub use serve::{Listener, serve};

use super::exec::{self, NoExit, ProgramResult, describe_exit, input};
use super::{Attempt, AttemptOutcome, Hook, Message, text_of};
use crate::model::Program;
use order::{EventSummary, Order};

/// Delivers an event to the program of a hook.
pub async fn deliver(
    runner: &Runner,
    hook: &Hook,
    program: &Program,
    message: &Message,
    instance: &str,
) -> Attempt {
    let Message { id, kind, seq, head, attempt, document } = message;
    let event = EventSummary {
        id: id.clone(),
        kind: kind.clone(),
        seq: *seq,
        head: head.clone(),
        attempt: *attempt,
        text: text_of(document).map(|text| text.whole()),
    };
    let order =
        Order::new(ProgramKind::Hook, &hook.name, program, hook.timeout, instance, Some(event));
    let ProgramResult { status, output } = runner.run(&order, program, document.as_bytes()).await;
    let retry = |reason, is_down| AttemptOutcome::Retry { reason, after: None, is_down };
    let ended = match status {
        Ok(status) if status.success() => AttemptOutcome::Delivered,
        Ok(status) => retry(describe_exit(status), false),
        Err(NoExit::TimedOut) => retry(
            format!("it did not end within {}", humantime::format_duration(hook.timeout)),
            false,
        ),
        Err(NoExit::NotRun(reason)) => retry(reason, true),
    };
    Attempt { ended, output }
}

impl Runner {
    /// Runs the program of a gate with a plan on stdin.
    pub(super) async fn run_gate(
        &self,
        name: &str,
        program: &Program,
        limit: Duration,
        plan: &str,
        instance: &str,
    ) -> ProgramResult {
        let order = Order::new(ProgramKind::Gate, name, program, limit, instance, None);
        self.run(&order, program, plan.as_bytes()).await
    }
}

/// Returns the reason why the program of a hook cannot be run, without running it.
pub async fn refusal(runner: &Runner, hook: &Hook, program: &Program) -> Option<String> {
    let order = Order {
        is_check: true,
        ..Order::new(ProgramKind::Hook, &hook.name, program, Duration::ZERO, "", None)
    };
    match runner.run(&order, program, b"").await.status {
        Err(NoExit::NotRun(reason)) => Some(reason),
        _ => None,
    }
}

/// Executes an order in this process.
async fn execute(
    order: &Order,
    program: &Program,
    stdin: OwnedFd,
    is_apart: bool,
) -> ProgramResult {
    if order.is_check {
        let status = program
            .refusal()
            .map_or(Ok(std::process::ExitStatus::default()), |reason| Err(NoExit::NotRun(reason)));
        return ProgramResult { status, output: String::new() };
    }
    let mut variables = order.variables();
    // Only the credentials of the runner's own unit. Hooks must not get those of the daemon.
    if is_apart && let Ok(folder) = std::env::var("CREDENTIALS_DIRECTORY") {
        variables.push(("CREDENTIALS_DIRECTORY", folder));
    }
    exec::run(program, variables, stdin, order.limit()).await
}

/// Makes the result of a program that was not started.
fn not_run(reason: impl Into<String>) -> ProgramResult {
    ProgramResult { status: Err(NoExit::NotRun(reason.into())), output: String::new() }
}

fn io_error(reason: &str) -> io::Error {
    io::Error::other(reason.to_owned())
}
