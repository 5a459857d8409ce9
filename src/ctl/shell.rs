//! What a packager needs: completions and man pages, made from the same definition as the commands.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::link::Failure;
use super::text::Page;
use super::{Cli, Exit, Output};

/// Print the completions of a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the man page, or write all of them
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write a page for each command into this directory
    directory: Option<PathBuf>,
}

pub(super) fn completions(Completions { shell }: &Completions, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut Cli::command(), "rosterctl", &mut script);
    output.terminal.print(&Page::from(String::from_utf8_lossy(&script).into_owned()))?;
    Ok(Exit::Done)
}

pub(super) fn man(Man { directory }: &Man, output: &mut Output<'_>) -> Result<Exit, Failure> {
    if let Some(directory) = directory {
        clap_mangen::generate_to(Cli::command(), directory)?;
        return Ok(Exit::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output.terminal.print(&Page::from(String::from_utf8_lossy(&page).into_owned()))?;
    Ok(Exit::Done)
}
