//! `rosterctl sync`: run now, and wait for the end.

use clap::Args;
use serde_json::Value;

use super::link::{Answer, Daemon, Failure};
use super::progress::with_progress;
use super::text::{Page, View};
use super::{Exit, Output, directory, run};
use crate::control::api::{Run, Runs};
use crate::control::client::Route;

/// Run now and wait for the end
#[derive(Debug, Args)]
pub struct Arguments {
    /// The directory; all of them if it is left out
    directory: Option<String>,
    /// Read everything, even where reading what has changed would do
    #[arg(long)]
    full: bool,
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn call(
    arguments: &Arguments,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    // Every run that an operator asks for reads everything, so `full` asks for nothing more.
    let Arguments { directory, full: _, no_wait } = arguments;
    let route = match directory {
        Some(name) => Route::to(["directories", name, "sync"]),
        None => Route::to(["sync"]),
    };
    let route = route.with("wait", !no_wait);
    if *no_wait {
        let accepted: Answer<Value> = daemon.post(&route, &()).await?;
        output.data(&accepted.raw, |_| asked_for(directory.as_deref()))?;
        return Ok(Exit::Done);
    }
    let watched = match directory {
        _ if !output.terminal.interactive => Vec::new(),
        Some(name) => vec![name.clone()],
        None => directory::names(daemon).await?,
    };
    if directory.is_some() {
        let run: Answer<Run> =
            with_progress(daemon.post(&route, &()), &watched, daemon, output.terminal).await?;
        output.data(&run.raw, |view| run::summary(&run.value, view))?;
        return Ok(run::exit(&run.value));
    }
    let runs: Answer<Runs> =
        with_progress(daemon.post(&route, &()), &watched, daemon, output.terminal).await?;
    output.data(&runs.raw, |view| page(&runs.value, view))?;
    Ok(runs.value.runs.iter().map(run::exit).max().unwrap_or(Exit::Done))
}

/// What came of the runs.
pub fn page(runs: &Runs, view: &View) -> Page {
    let mut page = Page::default();
    for run in &runs.runs {
        page.append(&run::summary(run, view));
    }
    if page.is_empty() {
        page.line("no directory is configured, so there is nothing to read");
    }
    page
}

/// A run was set going; how it ends is not awaited.
fn asked_for(directory: Option<&str>) -> Page {
    let mut page = Page::default();
    match directory {
        Some(name) => page
            .line(format!("a run of {name} begins: rosterctl run list {name} tells how it ends")),
        None => page.line("a run of each directory begins: rosterctl run list tells how they end"),
    }
    page
}
