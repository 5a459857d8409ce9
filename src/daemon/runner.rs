//! `rosterd hook-runner`, the process that runs the programs of hooks and gates.

use std::io;
use std::path::Path;

use futures_util::StreamExt as _;
use nix::unistd::{Uid, User, geteuid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use crate::config::{NamedProgram, programs};
use crate::hooks::runner::{ConfiguredProgram, Listener, ProgramKind, Programs, serve};

/// The user whose orders a runner accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orders<'a> {
    /// The user of the parent process. The runner exits with its parent.
    OfParent,
    /// A user by name. The runner outlives the daemon.
    OfUser(&'a str),
}

/// Denies other processes of the same user access to this process's memory and descriptors.
pub fn confine() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(
            "PR_SET_DUMPABLE failed: {error}; processes of the same user can read rosterd's memory"
        );
    }
}

/// Runs programs of the configuration file by name until the process is stopped. stdin is the
/// listening socket. In a child process, stdout is the lifeline to the parent.
pub async fn run_hooks(configuration: &Path, orders: Orders<'_>) -> Result<(), DaemonError> {
    let failed = |error: io::Error| DaemonError::HookRunner(error.to_string());
    let stop = CancellationToken::new();
    end_with_signals(stop.clone()).map_err(failed)?;
    let user = match orders {
        Orders::OfParent => {
            end_with_parent(stop.clone()).map_err(failed)?;
            geteuid()
        }
        Orders::OfUser(name) => user(name)?,
    };
    let listener = Listener::on_stdin(user).map_err(failed)?;
    let file = std::path::absolute(configuration).map_err(failed)?;
    tracing::debug!(
        "hook runner: accepting orders of uid {user} for the programs of {}",
        file.display()
    );
    serve(listener, Programs::of(file, configured), stop).await;
    Ok(())
}

fn user(name: &str) -> Result<Uid, DaemonError> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid),
        Ok(None) => {
            Err(DaemonError::HookRunner(format!("there is no user {name}; run systemd-sysusers")))
        }
        Err(error) => {
            Err(DaemonError::HookRunner(format!("look-up of user {name} failed: {error}")))
        }
    }
}

fn configured(text: &str) -> Result<Vec<ConfiguredProgram>, String> {
    let kind = |is_gate| if is_gate { ProgramKind::Gate } else { ProgramKind::Hook };
    let named = |NamedProgram { is_gate, name, program }| ConfiguredProgram {
        kind: kind(is_gate),
        name,
        program,
    };
    Ok(programs(text)?.into_iter().map(named).collect())
}

fn end_with_signals(stop: CancellationToken) -> io::Result<()> {
    // The kernel sends SIGHUP to a stopped runner whose daemon has ended.
    let mut signals = signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
    });
    Ok(())
}

/// Stops when the parent's end of the lifeline closes, which happens after SIGKILL as well.
fn end_with_parent(stop: CancellationToken) -> io::Result<()> {
    let stdout = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
    let lifeline = std::os::unix::net::UnixStream::from(stdout);
    lifeline.set_nonblocking(true)?;
    let mut lifeline = tokio::net::UnixStream::from_std(lifeline)?;
    tokio::spawn(async move {
        // The parent never writes, so the read returns when the socket closes.
        let _ = lifeline.read(&mut [0]).await;
        stop.cancel();
    });
    Ok(())
}
