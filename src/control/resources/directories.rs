//! Directories.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::request::{Answer, By, Shared, document, optional_document};
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, act, change, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::{DirectoryStatus, EngineError, Examination, Progress, Step};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/directories", list, "All directories")
            .answers::<api::Directories>("The configured directories, by name"),
        read("/directories/{name}/progress", progress, "How far the run of a directory has come")
            .answers::<api::Progress>("The run in progress, or the last one"),
        read(
            "/directories/{name}/check",
            check,
            "Look at everything a run of a directory needs, step by step",
        )
        .answers::<api::Check>("The steps, also when some failed"),
        change("/directories/{name}/pause", pause, "Start no runs of a directory for a while")
            .may_take::<api::Pause>()
            .answers::<api::DirectoryStatus>("How the directory stands then"),
        change("/directories/{name}/resume", resume, "Start runs of a directory again")
            .answers::<api::DirectoryStatus>("How the directory stands then"),
        act(
            "directory.unlocked",
            "/directories/{name}/unlock",
            unlock,
            "Try the bind again, after the service account was refused",
        )
        .answers::<api::DirectoryStatus>("How the directory stands then"),
        act(
            "directory.rebaselined",
            "/directories/{name}/rebaseline",
            rebaseline,
            "Accept bases, groups, canaries and readable attributes as they are now",
        )
        .answers::<api::DirectoryStatus>("How the directory stands then")
        .fails(&[REFUSED]),
        change(
            "/directories/{name}/rename",
            rename,
            "Give what is stored of a directory that is configured no longer to another",
        )
        .takes::<api::DirectoryRenaming>()
        .answers::<api::DirectoryStatus>("How the directory of the new name stands then")
        .fails(&[REFUSED]),
    ]
}

async fn list(State(control): Shared) -> Answer<api::Directories> {
    Ok(Json(api::Directories { directories: statuses(&control).await? }))
}

async fn progress(State(control): Shared, Path(name): Path<String>) -> Answer<api::Progress> {
    let progress = control.engine.directory(&name)?.progress();
    let progress = convert_progress(&progress.borrow());
    Ok(Json(progress))
}

async fn check(State(control): Shared, Path(name): Path<String>) -> Answer<api::Check> {
    let _turn = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    Ok(Json(convert_check(&name, control.engine.check_directory(&name).await?)))
}

async fn pause(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::DirectoryStatus> {
    let api::Pause { duration } = optional_document(&body)?;
    let duration =
        match duration {
            None => None,
            Some(text) => Some(humantime::parse_duration(&text).map_err(|e| {
                Refusal::invalid(format!("\"{text}\" is no duration such as 4h: {e}"))
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

async fn rebaseline(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert(control.engine.rebaseline(&name, &by.actor).await?)))
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

/// How all directories stand.
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

/// How a directory stands.
pub(in crate::control) fn convert(status: DirectoryStatus) -> api::DirectoryStatus {
    let DirectoryStatus {
        name,
        account,
        state,
        server,
        live,
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
        quarantined,
        attention,
    } = status;
    api::DirectoryStatus {
        name,
        account,
        state: state.to_owned(),
        server,
        live,
        last_attempt: last_attempt.map(time),
        last_success: last_success.map(time),
        last_complete_read: last_complete_read.map(time),
        next_run: next_run.map(time),
        paused_until: paused_until.map(time),
        users: api::ManagedCounts { active, suspended },
        held,
        quarantined,
        attention,
    }
}

/// How far a run has come.
pub(in crate::control) fn convert_progress(progress: &Progress) -> api::Progress {
    let Progress { entries, expected, phase } = *progress;
    api::Progress { entries, expected, phase: phase.to_owned() }
}

/// What a check of a directory found.
pub fn convert_check(directory: &str, found: Examination) -> api::Check {
    let ok = found.is_well();
    let step = |step: Step| {
        let Step { name, server, outcome, finding, remedy } = step;
        api::CheckStep {
            name: name.to_owned(),
            server,
            outcome: outcome.as_str().to_owned(),
            finding,
            remedy,
        }
    };
    api::Check {
        directory: directory.to_owned(),
        ok,
        steps: found.steps.into_iter().map(step).collect(),
    }
}
