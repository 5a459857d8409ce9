//! Programs that outlived the rosterd that started them.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgrp};

/// The environment variable with the instance that started a program.
pub(super) const INSTANCE: &str = "ROSTERD_INSTANCE";

/// Returns the process group and session of a live process (proc_pid_stat(5)).
pub(super) fn stat(process: &Path) -> Option<(i32, i32)> {
    let text = std::fs::read_to_string(process.join("stat")).ok()?;
    // The name is in brackets, and may itself contain brackets.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    (!is_dead).then_some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// Kills the process groups that a killed rosterd of this instance left running; returns their
/// number.
///
/// A process with a session of its own has left the group and is spared.
pub fn end_leftovers(instance: &str) -> usize {
    let mark = format!("{INSTANCE}={instance}");
    let group_of = |process: &Path| {
        let pid: i32 = process.file_name()?.to_str()?.parse().ok()?;
        // The environment of other users' processes cannot be read.
        let environment = std::fs::read(process.join("environ")).ok()?;
        let is_ours =
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        let (group, session) = stat(process).filter(|_| is_ours)?;
        (session != pid).then_some(group)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let groups: BTreeSet<i32> = processes.filter_map(|process| group_of(&process.path())).collect();
    // Not the own group, because this process may have been started by a hook.
    groups
        .into_iter()
        .filter(|group| {
            *group != getpgrp().as_raw() && killpg(Pid::from_raw(*group), Signal::SIGKILL).is_ok()
        })
        .count()
}
