//! `rosterctl reload`: the effect of a new configuration.

use super::link::{Daemon, Failure};
use super::text::{Page, View, table};
use super::{Exit, Output};
use crate::control::api::{ReloadOutcome, Reloaded};
use crate::control::client::Route;

pub(super) async fn call(daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let reloaded = daemon.post::<Reloaded>(&Route::to(["reload"]), &()).await?;
    output.data(&reloaded.raw, |view| page(&reloaded.value, view))?;
    Ok(Exit::Done)
}

pub fn page(reloaded: &Reloaded, view: &View) -> Page {
    let Reloaded { directories, hooks, targets, needs_restart } = reloaded;
    let mut page = if directories.is_empty() {
        Page::from("no directory is configured\n".to_owned())
    } else {
        table(
            ["DIRECTORY", "NOW"],
            directories.iter().map(|d| [d.name.clone(), of_directory(d.outcome).to_owned()]),
            view,
        )
    };
    if !hooks.is_empty() {
        page.line("");
        page.append(&table(
            ["HOOK", "NOW"],
            hooks.iter().map(|h| [h.name.clone(), of_hook(h.outcome).to_owned()]),
            view,
        ));
    }
    if !targets.is_empty() {
        page.line("");
        page.append(&table(
            ["TARGET", "NOW"],
            targets.iter().map(|t| [t.name.clone(), of_target(t.outcome).to_owned()]),
            view,
        ));
    }
    if !needs_restart.is_empty() {
        page.sentence(
            "",
            &format!(
                "these keys need a restart: {}; run systemctl restart rosterd",
                needs_restart.join(", ")
            ),
            view,
        );
    }
    page
}

fn of_directory(outcome: ReloadOutcome) -> &'static str {
    match outcome {
        ReloadOutcome::Added => "added; its first run begins now",
        ReloadOutcome::Changed => "reloaded; a run with the new configuration begins now",
        ReloadOutcome::Rescoped => {
            "reloaded; who is in scope changed, so its next run waits for approval (held list)"
        }
        ReloadOutcome::Removed => "removed; its users keep their state",
        ReloadOutcome::Unchanged => "unchanged",
    }
}

fn of_target(outcome: ReloadOutcome) -> &'static str {
    match outcome {
        ReloadOutcome::Added => "added; its first run begins now",
        ReloadOutcome::Changed => "reloaded; a run with the new configuration begins now",
        ReloadOutcome::Rescoped => {
            "reloaded; its rules changed, so the steps of its next run wait for approval (held list)"
        }
        ReloadOutcome::Removed => "removed; the accounts there keep their state",
        ReloadOutcome::Unchanged => "unchanged",
    }
}

fn of_hook(outcome: ReloadOutcome) -> &'static str {
    match outcome {
        ReloadOutcome::Added => "added; receives events from now on",
        ReloadOutcome::Changed => "changed; the new configuration is in use",
        ReloadOutcome::Removed => "removed; its backlog is kept until its max-age has passed",
        // A hook has no scope.
        ReloadOutcome::Unchanged | ReloadOutcome::Rescoped => "unchanged",
    }
}
