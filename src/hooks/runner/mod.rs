//! The hook runner: a process of its own that starts the programs of hooks and gates.
//!
//! The daemon knows passwords, writes the store and acts for operators; a hook needs none of that. So the daemon starts no
//! program itself. It asks the runner by the *name* of a hook or gate, and the runner looks the program up in the
//! configuration file. Under systemd the runner is `rosterd-hooks.service`, with a user and a sandbox of its own;
//! elsewhere it is a child process of the daemon.
//!
//! | Rule | Kept by |
//! |---|---|
//! | The runner serves one user | socket mode, and the peer credentials of each connection |
//! | The daemon asks only a runner that root or its own user started | the peer credentials of the listening socket |
//! | Only configured programs run | [`Programs`]: the file must be root's, and the one at the runner's own path |
//! | Both sides mean the same program | its digest goes along with its name |
//! | The runner's user cannot read the file | the daemon passes an open descriptor of it |
//! | A program ends with the request | a connection that is closed ends the program's process group |

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
pub use order::Kind;
pub use programs::{Configured, Programs};
pub use serve::{Listener, serve};

use super::exec::{self, Cut, Finished, input, said};
use super::{Attempt, Ended, Hook, Message};
use crate::model::{Gate, Program};
use order::{EventNote, Order};

/// Tells a hook by its program, for the rosterd of this instance.
pub async fn tell(
    runner: &Runner,
    hook: &Hook,
    program: &Program,
    message: &Message,
    instance: &str,
) -> Attempt {
    let Message { id, kind, seq, head, attempt, document } = message;
    let event = EventNote {
        id: id.clone(),
        kind: kind.clone(),
        seq: *seq,
        head: head.clone(),
        attempt: *attempt,
    };
    let order = Order::new(Kind::Hook, &hook.name, program, hook.timeout, instance, Some(event));
    let Finished { status, output } = runner.run(&order, program, document.as_bytes()).await;
    let again = |why, is_down| Ended::Again { why, after: None, is_down };
    let ended = match status {
        Ok(status) if status.success() => Ended::Taken,
        Ok(status) => again(said(status), false),
        Err(Cut::Late) => again(
            format!("it did not end within {}", humantime::format_duration(hook.timeout)),
            false,
        ),
        Err(Cut::NotRun(why)) => again(why, true),
    };
    Attempt { ended, output }
}

/// Asks a gate's program about a plan, which it gets on stdin.
pub(super) async fn ask(runner: &Runner, gate: &Gate, plan: &str, instance: &str) -> Finished {
    let order = Order::new(Kind::Gate, &gate.name, &gate.program, gate.timeout, instance, None);
    runner.run(&order, &gate.program, plan.as_bytes()).await
}

/// Returns why the program of a hook would not be run now, if that is so.
pub async fn refusal(runner: &Runner, hook: &Hook, program: &Program) -> Option<String> {
    let order = Order {
        is_check: true,
        ..Order::new(Kind::Hook, &hook.name, program, Duration::ZERO, "", None)
    };
    match runner.run(&order, program, b"").await.status {
        Err(Cut::NotRun(why)) => Some(why),
        _ => None,
    }
}

/// Carries an order out in this process.
async fn carry_out(order: &Order, program: &Program, stdin: OwnedFd, is_apart: bool) -> Finished {
    if order.is_check {
        let status = program
            .refusal()
            .map_or(Ok(std::process::ExitStatus::default()), |why| Err(Cut::NotRun(why)));
        return Finished { status, output: String::new() };
    }
    let mut variables = order.variables();
    // Only what systemd gave the runner's own unit: a daemon's credentials are not for its hooks.
    if is_apart && let Ok(folder) = std::env::var("CREDENTIALS_DIRECTORY") {
        variables.push(("CREDENTIALS_DIRECTORY", folder));
    }
    exec::run(program, variables, stdin, order.limit()).await
}

/// The outcome of an order that nothing came of.
fn not_run(why: impl Into<String>) -> Finished {
    Finished { status: Err(Cut::NotRun(why.into())), output: String::new() }
}

fn other(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}
