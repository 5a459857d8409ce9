//! `rosterctl sync`: a full run now.

use clap::Args;
use serde_json::Value;

use super::link::{Answer, Daemon, Failure};
use super::progress::with_progress;
use super::text::{Page, View};
use super::{Exit, Output, directory, plan, run};
use crate::control::api::{Run, Runs};
use crate::control::client::Route;

/// Start a run now and wait for its result
#[derive(Debug, Args)]
pub struct Arguments {
    /// The directory; default: all
    directory: Option<String>,
    /// Read all entries instead of changed ones (default for `sync`)
    #[arg(long)]
    full: bool,
    /// Return without waiting for the result
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn call(
    arguments: &Arguments,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    // Each run of an operator is a full run, so `full` has no further effect.
    let Arguments { directory, full: _, no_wait } = arguments;
    if output.dry_run {
        return plan::call(&plan::Arguments::of(directory.clone()), daemon, output).await;
    }
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

pub fn page(runs: &Runs, view: &View) -> Page {
    let mut page = Page::default();
    for run in &runs.runs {
        page.append(&run::summary(run, view));
    }
    if page.is_empty() {
        page.line(
            "no directory is configured: add a [[directory]] to a file in /etc/rosterd/conf.d",
        );
    }
    page
}

/// Confirms a run whose result is not awaited.
fn asked_for(directory: Option<&str>) -> Page {
    let mut page = Page::default();
    match directory {
        Some(name) => {
            page.line(format!("a run of {name} begins; its result: rosterctl run list {name}"))
        }
        None => page.line("a run of each directory begins; their results: rosterctl run list"),
    }
    page
}
