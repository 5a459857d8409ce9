//! `rosterctl run`: runs, and the summary of a run that other commands show.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use super::change::Extent;
use super::link::{Answer, Daemon, Failure, PAGE, joined};
use super::text::{
    Page, View, bold, count, dim, green, not_shown, number, red, table, time, time_and_age, took,
    yellow,
};
use super::when::instant;
use super::{Exit, Output, change, id};
use crate::control::api::{
    Change, Changes, LeftAlone, Run, RunDetail, RunMode, RunState, Runs, Undo,
};
use crate::control::client::Route;

/// Runs and their changes
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List runs, newest first
    #[command(alias = "ls")]
    List(List),
    /// Show one run with its changes
    Show {
        /// The id, or at least four characters of its start or end; default: the latest run
        id: Option<String>,
        /// Show all changes, however many
        #[arg(long)]
        all: bool,
    },
    /// Revert the changes of a run; shows them first, and asks
    Undo {
        /// The id, or at least four characters of its start or end; latest: the last run with changes
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct List {
    /// Only runs of this directory
    directory: Option<String>,
    /// Only failed runs
    #[arg(long)]
    failed: bool,
    /// Runs that began since: a time, a date, yesterday, monday, or an age such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show at most N runs; default: 20, and all with --json
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Runs in a list, unless `--limit` says otherwise.
const LISTED: u64 = 20;

/// The number of recent runs that an abbreviated id may mean.
const SEARCHED_RUNS: u64 = 1_000;

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::List(List { directory, failed, since, limit }) => {
            let view = output.terminal.view();
            let since = since.as_deref().map(|text| instant("--since", text, &view)).transpose()?;
            let route = Route::to(["runs"])
                .with_some("directory", directory.as_ref())
                .with_some("state", failed.then_some(RunState::Failed))
                .with_some("since", since);
            let limit = limit.unwrap_or(if output.json { u64::MAX } else { LISTED });
            let runs = find(&route, limit, daemon).await?;
            output.data(&runs.raw, |view| list(&runs.value, view))?;
        }
        Command::Show { id, all } => {
            let id = resolve(id.as_deref().unwrap_or(LATEST), daemon).await?;
            let run = whole(&id, daemon).await?;
            output.data(&run.raw, |view| detail(&run.value, Extent::of(*all), view))?;
        }
        Command::Undo { id } => return undo(id, daemon, output).await,
    }
    Ok(Exit::Done)
}

/// Returns a run with its changes, page by page, so that the daemon never has all in memory.
async fn whole(id: &str, daemon: &Daemon) -> Result<Answer<RunDetail>, Failure> {
    let first = Route::to(["runs", id]).with("limit", PAGE);
    let mut run: Answer<RunDetail> = daemon.get(&first).await?;
    while let Some(after) = run.value.next.take() {
        let next: Answer<RunDetail> = daemon.get(&first.clone().with("after", after)).await?;
        run.raw = joined(run.raw, next.raw, "applied");
        run.value.applied.extend(next.value.applied);
        run.value.next = next.value.next;
    }
    if let Some(document) = run.raw.as_object_mut() {
        document.remove("next");
    }
    Ok(run)
}

/// Returns up to `limit` runs, page by page.
async fn find(route: &Route, limit: u64, daemon: &Daemon) -> Result<Answer<Runs>, Failure> {
    let page = |left: u64| route.clone().with("limit", left.min(PAGE));
    let mut runs: Answer<Runs> = daemon.get(&page(limit)).await?;
    while runs.value.older > 0 && (runs.value.runs.len() as u64) < limit {
        let Some(last) = runs.value.runs.last() else { break };
        let left = limit - runs.value.runs.len() as u64;
        let next: Answer<Runs> = daemon.get(&page(left).with("before", &last.id)).await?;
        runs.raw = joined(runs.raw, next.raw, "runs");
        runs.value.runs.extend(next.value.runs);
        runs.value.older = next.value.older;
    }
    Ok(runs)
}

async fn undo(given: &str, daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    output.can_ask("run undo")?;
    let id = match given {
        LATEST => last_with_changes(daemon).await?,
        given => resolve(given, daemon).await?,
    };
    let route = Route::to(["runs", &id, "undo"]);
    if !output.yes {
        let tried = route.clone().with("dry_run", true);
        let would: Answer<Undo> = daemon.post(&tried, &()).await?;
        if would.value.changes.is_empty() {
            output.data(&would.raw, |view| undone(&would.value, view))?;
            return Ok(Exit::Done);
        }
        let shown = undone(&would.value, &output.terminal.view());
        output.note(&shown);
        output.ask(&format!("Revert it for {}?", count(users(&would.value.changes), "user")))?;
    }
    let done: Answer<Undo> = daemon.post(&route, &()).await?;
    output.data(&done.raw, |view| undone(&done.value, view))?;
    Ok(exit_of_undo(&done.value))
}

/// Returns 3 if changes of the directory are held afterwards. A failed read afterwards is shown, and is no failure.
pub fn exit_of_undo(undo: &Undo) -> Exit {
    match (&undo.run, &undo.waiting) {
        (Some(run), waiting) => {
            exit(run).max(if waiting.is_some() { Exit::Held } else { Exit::Done })
        }
        (None, _) => Exit::Done,
    }
}

pub fn undone(undo: &Undo, view: &View) -> Page {
    let Undo { undoes, dry_run, run, changes, left, read, waiting } = undo;
    let mut page = Page::default();
    let what = match (users(changes), dry_run) {
        (0, _) => "nothing to revert".to_owned(),
        (n, true) => format!("would be reverted for {}", count(n, "user")),
        (n, false) => format!("reverted for {}", count(n, "user")),
    };
    page.line(format!("run {}: {what}", bold(id::short(undoes))));
    if !changes.is_empty() {
        page.line("");
        let all = format!("rosterctl run show {} --all", id::short(undoes));
        page.append(&change::diff(changes, Extent::Elsewhere(&all), view));
    }
    if !left.is_empty() {
        page.line("");
        page.line(format!("{}: {}", bold("left alone"), number(left.len() as u64)));
        for LeftAlone { user_id, email, kind, why } in left {
            page.sentence(
                "  ",
                &format!("{}  {kind}: {why}", email.as_deref().unwrap_or(user_id)),
                view,
            );
        }
    }
    if let Some(read) = read {
        page.line("");
        page.append(&summary(&Run { held: 0, ..read.clone() }, view));
    } else if run.is_some() && changes.iter().any(|c| c.object_guid.is_some()) {
        page.line(yellow("their people could not be read; the next run reads them"));
    }
    if let Some(plan) = waiting {
        let text = format!(
            "{} for approval: rosterctl held show {}",
            wait(plan.count),
            id::short(&plan.id)
        );
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    page
}

/// The word for the newest run.
const LATEST: &str = "latest";

/// Returns the whole id of a run.
pub(super) async fn resolve(given: &str, daemon: &Daemon) -> Result<String, Failure> {
    if id::is_whole(given) {
        return Ok(given.to_owned());
    }
    let count = if given == LATEST { 1 } else { SEARCHED_RUNS };
    let runs: Answer<Runs> = daemon.get(&Route::to(["runs"]).with("limit", count)).await?;
    if given == LATEST {
        let newest = runs.value.runs.into_iter().next().map(|run| run.id);
        return newest.ok_or_else(|| Failure::Unresolved("no runs yet".to_owned()));
    }
    id::resolved(
        given,
        "recent run",
        "rosterctl run list",
        runs.value.runs.iter().map(|r| r.id.as_str()),
    )
}

/// Returns the exit status of a run. A failure takes precedence over held changes.
pub fn exit(run: &Run) -> Exit {
    match run.state {
        RunState::Failed | RunState::Cancelled => Exit::Failed,
        RunState::Held => Exit::Held,
        RunState::Running | RunState::Succeeded if run.held > 0 => Exit::Held,
        RunState::Running | RunState::Succeeded => Exit::Done,
    }
}

/// Returns the newest run that changed users and is not itself a reversal.
async fn last_with_changes(daemon: &Daemon) -> Result<String, Failure> {
    let runs: Answer<Runs> = daemon.get(&Route::to(["runs"]).with("limit", SEARCHED_RUNS)).await?;
    let has_changes = |run: &Run| run.undoes.is_none() && applied(&run.changes).is_some();
    let found = runs.value.runs.into_iter().find(has_changes).map(|run| run.id);
    found.ok_or_else(|| Failure::Unresolved("no recent run changed a user".to_owned()))
}

pub fn list(runs: &Runs, view: &View) -> Page {
    if runs.runs.is_empty() {
        return Page::from("no runs yet\n".to_owned());
    }
    let rows = runs.runs.iter().map(|run| {
        let mut waits = Vec::new();
        for (n, what) in
            [(run.held, "held"), (run.dropped, "dropped"), (run.quarantined, "quarantined")]
        {
            if n > 0 {
                waits.push(yellow(format!("{} {what}", number(n))));
            }
        }
        if let Some(error) = &run.error {
            waits.push(red(error));
        }
        [
            id::short(&run.id).to_owned(),
            time(&run.started_at, view),
            of(run).to_owned(),
            format!("{}, {}", run.trigger, run.mode),
            state(run.state),
            if run.read.entries > 0 { number(run.read.entries) } else { String::new() },
            applied(&run.changes).unwrap_or_else(|| dim("nothing")),
            waits.join(", "),
        ]
    });
    let mut page = table(
        ["ID", "STARTED", "DIRECTORY", "WHY", "STATE", "READ", "APPLIED", "ALSO"],
        rows,
        view,
    );
    page.append(&not_shown(runs.older, "older", "--limit, --since"));
    page
}

pub fn detail(detail: &RunDetail, extent: Extent<'_>, view: &View) -> Page {
    let RunDetail { run, undone_by, applied, next: _ } = detail;
    // The list of today shows what still waits.
    let mut page = summary(&Run { held: 0, ..run.clone() }, view);
    if run.held > 0 {
        let text = format!("{} for approval after it: rosterctl held list", waited(run.held));
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    let mut fields = vec![
        ("id", run.id.clone()),
        ("started", time_and_age(&run.started_at, view)),
        ("trigger", run.trigger.to_string()),
    ];
    if let Some(actor) = &run.actor {
        fields.push(("actor", actor.clone()));
    }
    if let Some(undoes) = &run.undoes {
        fields.push(("undoes run", id::short(undoes).to_owned()));
    }
    if let Some(undone_by) = undone_by {
        fields.push(("undone by run", id::short(undone_by).to_owned()));
    }
    if let Some(because) = &run.full_read_reason {
        fields.push(("full read because", because.clone()));
    }
    page.fields(&fields, view);
    if !applied.is_empty() {
        page.line("");
        page.append(&change::diff(applied, extent, view));
        page.append(&change::reasons_to_wait(applied, view));
    }
    page
}

/// Summarises a run: one line, and one line for each item that needs attention.
pub fn summary(run: &Run, view: &View) -> Page {
    let mut page = Page::default();
    let lasted = run
        .finished_at
        .as_ref()
        .and_then(|end| took(&run.started_at, end))
        .map(|t| format!(" in {t}"))
        .unwrap_or_default();
    let ended = match run.state {
        RunState::Running => dim("running"),
        RunState::Succeeded => format!("{}{lasted}", green("done")),
        RunState::Held => format!("{}{lasted}, {}", green("done"), yellow("with changes held")),
        RunState::Failed => format!("{}{lasted}", red("failed")),
        RunState::Cancelled => format!("{}{lasted}", yellow(run.state)),
    };
    let from = run.read.server.as_ref().map(|s| format!(" from {s}")).unwrap_or_default();
    let read = match (run.directory.is_some(), run.read.entries, run.state) {
        (false, ..) | (_, _, RunState::Running) => String::new(),
        (_, n, _) if run.target => format!("; {} listed{from} ({})", count(n, "account"), run.mode),
        (_, n, _) => format!("; {} read{from} ({})", count(n, "entry"), run.mode),
    };
    page.sentence("", &format!("{}: {ended}{read}", bold(of(run))), view);
    if let Some(error) = &run.error {
        page.sentence(&format!("  {} ", red("✗")), error, view);
    }
    match applied(&run.changes) {
        Some(_) if run.target => {
            let text = format!(
                "{} admitted; left to send: rosterctl target accounts {} --pending",
                steps(&run.changes),
                of(run)
            );
            page.sentence(&format!("  {} ", green("✓")), &text, view);
        }
        None if run.target && matches!(run.state, RunState::Succeeded | RunState::Held) => {
            page.line(dim("  nothing more to send"));
        }
        Some(changes) => page.sentence(&format!("  {} ", green("✓")), &changes, view),
        None if matches!(run.state, RunState::Succeeded | RunState::Held) => {
            page.line(dim("  nothing changed"))
        }
        None => {}
    }
    if run.held > 0 {
        page.line(format!(
            "  {} {} for approval: rosterctl held list",
            yellow("!"),
            wait(run.held)
        ));
    }
    if run.dropped > 0 {
        let text = format!(
            "{} dropped, because the user changed meanwhile; the next run plans again",
            were(run.dropped, "change")
        );
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    if run.quarantined > 0 {
        let text = if run.target {
            format!(
                "{} cannot be provisioned: rosterctl target accounts {} --quarantined",
                count(run.quarantined, "user"),
                of(run)
            )
        } else if run.mode == RunMode::Full {
            let entries = count(run.quarantined, "entry");
            format!("{entries} in quarantine: rosterctl user list --quarantined")
        } else {
            let entries = count(run.quarantined, "entry");
            format!(
                "{entries} of those read in quarantine; rosterctl user list --quarantined has all"
            )
        };
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    for warning in &run.warnings {
        page.sentence(&format!("  {} ", yellow("!")), warning, view);
    }
    page
}

/// Returns the number of users that changes are about.
pub(crate) fn users(changes: &[Change]) -> u64 {
    changes.iter().map(|change| change.user_id.as_str()).collect::<BTreeSet<_>>().len() as u64
}

/// Returns a phrase such as `3 changes wait`.
pub(crate) fn wait(n: u64) -> String {
    format!("{} {}", count(n, "change"), if n == 1 { "waits" } else { "wait" })
}

fn waited(n: u64) -> String {
    format!("{} waited", count(n, "change"))
}

fn were(n: u64, noun: &str) -> String {
    format!("{} {}", count(n, noun), if n == 1 { "was" } else { "were" })
}

pub(crate) fn of(run: &Run) -> &str {
    run.directory.as_deref().unwrap_or("operator")
}

fn state(state: RunState) -> String {
    match state {
        RunState::Succeeded => green(state),
        RunState::Failed => red(state),
        RunState::Running => dim(state),
        RunState::Held | RunState::Cancelled => yellow(state),
    }
}

/// Returns a phrase such as `2 created, 1 suspended`, or `None` without changes.
pub(crate) fn applied(changes: &Changes) -> Option<String> {
    let Changes { create, update, suspend, reactivate, tier, link, release } = *changes;
    let kinds = [
        (suspend, "suspended"),
        (reactivate, "reactivated"),
        (create, "created"),
        (link, "linked"),
        (tier, "moved to another tier"),
        (update, "updated"),
        (release, "released"),
    ];
    let parts: Vec<String> = kinds
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", number(*n)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns a phrase such as `2 creations, 1 deactivation`.
fn steps(changes: &Changes) -> String {
    let Changes { create, update, suspend, reactivate, tier: _, link, release: _ } = *changes;
    let kinds = [
        (suspend, "deactivation"),
        (reactivate, "reactivation"),
        (create, "creation"),
        (link, "adoption"),
        (update, "update"),
    ];
    let parts = kinds.into_iter().filter(|(n, _)| *n > 0).map(|(n, noun)| count(n, noun));
    parts.collect::<Vec<_>>().join(", ")
}
