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
    let Reloaded { directories, hooks, needs_restart } = reloaded;
    let mut page = if directories.is_empty() {
        Page::from("no directory is configured\n".to_owned())
    } else {
        table(
            ["DIRECTORY", "NOW"],
            directories.iter().map(|d| [d.name.clone(), of_directory(&d.outcome).to_owned()]),
            view,
        )
    };
    if !hooks.is_empty() {
        page.line("");
        page.append(&table(
            ["HOOK", "NOW"],
            hooks.iter().map(|h| [h.name.clone(), of_hook(&h.outcome).to_owned()]),
            view,
        ));
    }
    if !needs_restart.is_empty() {
        page.sentence(
            "",
            &format!(
                "only a restart takes over: {}; systemctl restart rosterd",
                needs_restart.join(", ")
            ),
            view,
        );
    }
    page
}

fn of_directory(outcome: &str) -> &'static str {
    match outcome {
        "added" => "is new, and runs now",
        "changed" => "changed, and runs now by the new configuration",
        "rescoped" => {
            "changed in who is in scope: its next run, which begins now, only plans; look at rosterctl held list"
        }
        "removed" => "is configured no longer; its users stay as they are",
        _ => "is as it was",
    }
}

fn of_hook(outcome: &str) -> &'static str {
    match outcome {
        "added" => "is new, and is told what happens from now on",
        "changed" => "changed, and is told by the new configuration",
        "removed" => {
            "is configured no longer; what it has not been told waits for it until its max-age is over"
        }
        _ => "is as it was",
    }
}
