//! The script for completions, and the man page from the definition of the commands.

use clap::Args;

use super::link::Failure;
use super::text::Page;
use super::{Exit, Output, command, complete};
use crate::manual;

/// Print shell completions
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The name of the shell
    shell: clap_complete::Shell,
}

pub(super) fn completions(
    Completions { shell }: &Completions,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let script = complete::script(&shell.to_string())?;
    output.terminal.print(&Page::from(String::from_utf8_lossy(&script).into_owned()))?;
    Ok(Exit::Done)
}

pub(super) fn man(output: &mut Output<'_>) -> Result<Exit, Failure> {
    let page = manual::of_command(command(), "1", include_str!("../manual/rosterctl.1"))?;
    output.terminal.print(&Page::from(page))?;
    Ok(Exit::Done)
}
