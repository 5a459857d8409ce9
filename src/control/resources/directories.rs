//! The operations on directories.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{Answer, By, PageQuery, Shared, document, optional_document};
use super::runs;
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, UNREADABLE, act, change, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::{
    CheckReport, CheckStep, DirectoryStatus, EngineError, Progress, ServerStatus, UnderWay,
};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/directories", list, "List directories")
            .with_query::<PageQuery>()
            .answers::<api::Directories>("The configured directories, ordered by name"),
        read(
            "/directories/{name}/progress",
            progress,
            "Read the progress of the run of a directory",
        )
        .answers::<api::Progress>("The progress of the current run, or of the last one"),
        read(
            "/directories/{name}/check",
            check,
            "Check the requirements of a run of a directory, step by step",
        )
        .with_query::<CheckQuery>()
        .answers::<api::Check>("The steps, including failed ones"),
        change("/directories/{name}/pause", pause, "Pause a directory: no runs start")
            .on_every_node()
            .may_take::<api::Pause>()
            .answers::<api::DirectoryStatus>("The status of the directory afterwards"),
        change("/directories/{name}/resume", resume, "Resume a paused directory")
            .answers::<api::DirectoryStatus>("The status of the directory afterwards"),
        act(
            "directory.unlocked",
            "/directories/{name}/unlock",
            unlock,
            "Allow binds again, after AD refused the service account",
        )
        .answers::<api::DirectoryStatus>("The status of the directory afterwards")
        .fails(&[REFUSED, UNREADABLE]),
        act(
            "directory.server_trusted",
            "/directories/{name}/trust-server",
            trust_server,
            "Believe the present server, whatever other servers showed before",
        )
        .answers::<api::DirectoryStatus>("The status of the directory afterwards")
        .fails(&[REFUSED]),
        act(
            "directory.rebaselined",
            "/directories/{name}/rebaseline",
            rebaseline,
            "Accept the current bases, groups, canaries and readable attributes as the baseline",
        )
        .answers::<api::DirectoryStatus>("The status of the directory afterwards")
        .fails(&[REFUSED]),
        change(
            "/directories/{name}/relink-by-sid-history",
            relink_by_sid_history,
            "Propose links of users of other directories to the entries that had their SIDs before",
        )
        .answers::<api::Run>("The run, which holds the links for approval")
        .fails(&[REFUSED, UNREADABLE]),
        change(
            "/directories/{name}/rename",
            rename,
            "Transfer the stored data of a directory that is no longer configured to another name",
        )
        .takes::<api::DirectoryRenaming>()
        .answers::<api::DirectoryStatus>("The status of the directory with the new name")
        .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CheckQuery {
    /// Whether to read all people and count them.
    #[serde(default)]
    people: bool,
}

async fn list(State(control): Shared, Query(page): Query<PageQuery>) -> Answer<api::Directories> {
    let all = statuses(&control).await?;
    let (directories, next) = page.of(all, |directory| directory.name.clone())?;
    Ok(Json(api::Directories { directories, next }))
}

async fn progress(State(control): Shared, Path(name): Path<String>) -> Answer<api::Progress> {
    let progress = control.engine.directory(&name)?.progress();
    let progress = convert_progress(&progress.borrow());
    Ok(Json(progress))
}

async fn check(
    State(control): Shared,
    Path(name): Path<String>,
    Query(CheckQuery { people }): Query<CheckQuery>,
) -> Answer<api::Check> {
    let _permit = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let mut report = control.engine.check_directory(&name).await?;
    if people {
        control.engine.check_people(&name, &mut report).await;
    }
    Ok(Json(convert_check(&name, report)))
}

async fn pause(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::DirectoryStatus> {
    let api::Pause { duration } = optional_document(&body)?;
    let duration = match duration {
        None => None,
        Some(text) => Some(humantime::parse_duration(&text).map_err(|e| {
            Refusal::invalid(format!("\"{text}\" is not a duration ({e}): write it as in 4h"))
        })?),
    };
    Ok(Json(convert(control.engine.pause(&name, duration, &by.actor).await?)))
}

async fn resume(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert(control.engine.resume(&name, &by.actor).await?)))
}

async fn unlock(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert(control.engine.unlock(&name, &by.actor).await?)))
}

async fn trust_server(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert(control.engine.trust_server(&name, &by.actor).await?)))
}

async fn rebaseline(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert(control.engine.rebaseline(&name, &by.actor).await?)))
}

async fn relink_by_sid_history(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::Run> {
    Ok(Json(runs::convert(control.engine.relink_by_sid_history(&name, &by.actor).await?)))
}

async fn rename(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::DirectoryStatus> {
    let api::DirectoryRenaming { to } = document(&body)?;
    Ok(Json(convert(control.engine.rename_directory(&name, &to, &by.actor).await?)))
}

/// Returns the status of every configured directory.
pub(in crate::control) async fn statuses(
    control: &Control,
) -> Result<Vec<api::DirectoryStatus>, Refusal> {
    let configured = control.engine.configured();
    let mut all = Vec::with_capacity(configured.directories.len());
    for directory in configured.directories.values() {
        all.push(convert(control.engine.directory_status(directory).await?));
    }
    Ok(all)
}

pub(in crate::control) fn convert(status: DirectoryStatus) -> api::DirectoryStatus {
    let DirectoryStatus {
        name,
        account,
        state,
        server,
        servers,
        live,
        running,
        last_attempt,
        last_success,
        last_complete_read,
        next_run,
        paused_until,
        stale: _,
        bind_refused: _,
        active,
        suspended,
        held,
        held_since: _,
        approval_expires: _,
        overdue_expiries: _,
        quarantined,
        quiet,
        attention,
    } = status;
    api::DirectoryStatus {
        name,
        account,
        state,
        server,
        servers: servers.into_iter().map(convert_server).collect(),
        live,
        running: running.and_then(under_way),
        last_attempt: last_attempt.map(time),
        last_success: last_success.map(time),
        last_complete_read: last_complete_read.map(time),
        next_run: next_run.map(time),
        paused_until: paused_until.map(time),
        users: api::ManagedCounts { active, suspended },
        held,
        quarantined,
        quiet: quiet.map(|wait| api::QuietWait { until: time(wait.until), people: wait.people }),
        attention,
    }
}

fn convert_server(server: ServerStatus) -> api::ServerStatus {
    let ServerStatus {
        url,
        in_use,
        reachable,
        failing_since,
        reason,
        certificate_until,
        writable,
        site,
        followed_since,
        unfollowed: _,
    } = server;
    api::ServerStatus {
        url,
        in_use,
        reachable,
        failing_since: failing_since.map(time),
        reason,
        certificate_until: certificate_until.map(time),
        writable,
        site,
        followed_since: followed_since.map(time),
    }
}

pub(in crate::control) fn convert_progress(progress: &Progress) -> api::Progress {
    let Progress { run: _, entries, expected, phase } = progress;
    let (entries, expected, phase) = (*entries, *expected, *phase);
    api::Progress { entries, expected, phase }
}

fn under_way(progress: Progress) -> Option<api::RunUnderWay> {
    let shown = convert_progress(&progress);
    let UnderWay { id, mode, trigger, started_at } = progress.run?;
    let started_at = time(started_at);
    Some(api::RunUnderWay { id: id.to_string(), mode, trigger, started_at, progress: shown })
}

/// Converts the result of a check to its document.
pub fn convert_check(directory: &str, found: CheckReport) -> api::Check {
    api::Check {
        directory: directory.to_owned(),
        ok: found.is_ok(),
        steps: convert_steps(found.steps),
    }
}

/// Converts the steps of a check.
pub fn convert_steps(steps: Vec<CheckStep>) -> Vec<api::CheckStep> {
    let step = |step: CheckStep| {
        let CheckStep { name, server, outcome, finding, remedy } = step;
        api::CheckStep { name: name.to_owned(), server, outcome, finding, remedy }
    };
    steps.into_iter().map(step).collect()
}
