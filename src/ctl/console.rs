//! The command line of `rosterctl console`. The pages are in the room `console`.

use std::path::PathBuf;

use clap::Args;

/// Show and decide held plans in a web browser on this machine, as the caller, until Ctrl-C
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Offer no changes; always so for callers who are only viewers
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Print the link and open no browser
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Answer the requests of Cockpit on stdin instead of those of a browser
    #[arg(long, hide = true, conflicts_with = "no_browser")]
    pub(crate) stdio: bool,
}

/// A console that a command line opens.
#[derive(Debug)]
pub struct Opening {
    pub(crate) socket: PathBuf,
    pub(crate) arguments: Arguments,
    /// Whether to print the link as a document.
    pub(crate) json: bool,
}
