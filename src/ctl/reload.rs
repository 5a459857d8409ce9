//! `rosterctl reload`: what came of reading the configuration again.

use super::link::{Daemon, Failure};
use super::text::{Page, View, table};
use super::{Exit, Output};
use crate::control::api::Reloaded;
use crate::control::client::Route;

pub(super) async fn call(daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let reloaded = daemon.post::<Reloaded>(&Route::to(["reload"]), &()).await?;
    output.data(&reloaded.raw, |view| page(&reloaded.value, view))?;
    Ok(Exit::Done)
}

/// What a reload means.
pub fn page(reloaded: &Reloaded, view: &View) -> Page {
    let meaning = |outcome: &str| {
        match outcome {
            "added" => "is new, and runs now",
            "changed" => "changed, and runs now by the new configuration",
            "rescoped" => "changed in who is in scope: its next run, which begins now, only plans; look at rosterctl held list",
            "removed" => "is configured no longer; its users stay as they are",
            _ => "is as it was",
        }
        .to_owned()
    };
    let mut page = if reloaded.directories.is_empty() {
        Page::from("no directory is configured\n".to_owned())
    } else {
        table(["DIRECTORY", "NOW"], reloaded.directories.iter().map(|d| [d.name.clone(), meaning(&d.outcome)]), view)
    };
    if !reloaded.needs_restart.is_empty() {
        page.sentence("", &format!("only a restart takes over: {}; systemctl restart rosterd", reloaded.needs_restart.join(", ")), view);
    }
    page
}
