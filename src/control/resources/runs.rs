//! Runs.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::Deserialize;

use super::changes;
use super::request::{Answer, By, Shared, limit};
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, TOO_LONG, UNREADABLE, act, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::Directory;
use crate::model::{Actor, RunId};
use crate::store::Run;
use crate::telemetry::chain;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/runs", list, "The latest runs")
            .with_query::<WhichRuns>()
            .answers::<api::Runs>("The runs, newest first"),
        read("/runs/{id}", get, "One run with its changes").answers::<api::RunDetail>("The run"),
        act("run.requested", "/sync", sync_all, "Run all directories now")
            .with_query::<Waiting>()
            .answers::<api::Runs>("The runs, also those that failed")
            .may_only_begin()
            .fails(&[REFUSED]),
        act("run.requested", "/directories/{name}/sync", sync, "Run one directory now")
            .with_query::<Waiting>()
            .answers::<api::Run>("The run, also when it failed")
            .may_only_begin()
            .fails(&[REFUSED]),
        act(
            "run.requested",
            "/users/{who}/sync",
            sync_user,
            "Read one person again, and apply what has changed",
        )
        .answers::<api::Run>("The run")
        .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
    ]
}

/// A run of a whole company fits; more than this is for the store.
const CHANGES_OF_RUN: u64 = 10_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhichRuns {
    /// Only runs of this directory.
    directory: Option<String>,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    limit: Option<u64>,
}

async fn list(State(control): Shared, Query(which): Query<WhichRuns>) -> Answer<api::Runs> {
    let runs = control.engine.store.runs(which.directory.as_deref(), limit(which.limit)).await?;
    Ok(Json(api::Runs { runs: runs.into_iter().map(convert).collect() }))
}

async fn get(State(control): Shared, Path(id): Path<String>) -> Answer<api::RunDetail> {
    let missing = || Refusal::not_found("run", &id);
    let parsed = run_id(&id)?;
    let run = control.engine.store.run(parsed).await?.ok_or_else(missing)?;
    let changes = control.engine.store.run_changes(parsed, CHANGES_OF_RUN).await?;
    let undone_by = control.engine.store.undone_by(parsed).await?.map(|run| run.to_string());
    Ok(Json(api::RunDetail {
        run: convert(run),
        undone_by,
        applied: changes.into_iter().map(changes::stored).collect(),
    }))
}

/// The id of a run; what is none names no run.
pub(in crate::control) fn run_id(id: &str) -> Result<RunId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("run", id))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Waiting {
    /// Whether the answer comes at the end of the run, rather than at once.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

async fn sync_all(
    State(control): Shared,
    Extension(by): By,
    Query(Waiting { wait }): Query<Waiting>,
) -> Result<Response, Refusal> {
    let configured = control.engine.configured();
    let directories = configured.directories.values();
    if !wait {
        directories.for_each(|d| set_going(&control, d, by.actor.clone()));
        return Ok(accepted());
    }
    let runs = try_join_all(directories.map(|d| control.engine.sync(d, by.actor.clone()))).await?;
    Ok(Json(api::Runs { runs: runs.into_iter().map(convert).collect() }).into_response())
}

async fn sync(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    Query(Waiting { wait }): Query<Waiting>,
) -> Result<Response, Refusal> {
    let directory = control.engine.directory(&name)?;
    if !wait {
        set_going(&control, &directory, by.actor);
        return Ok(accepted());
    }
    let run = control.engine.sync(&directory, by.actor).await?;
    Ok(Json(convert(run)).into_response())
}

async fn sync_user(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::Run> {
    Ok(Json(convert(control.engine.sync_user(&who, &by.actor).await?)))
}

/// Sets a run going, and answers at once. How it ends is in the list of runs.
fn set_going(control: &Arc<Control>, directory: &Arc<Directory>, actor: Actor) {
    let (engine, directory) = (Arc::clone(&control.engine), Arc::clone(directory));
    tokio::spawn(async move {
        if let Err(error) = engine.sync(&directory, actor).await {
            let name = &directory.config.name;
            tracing::warn!(directory = %name, "{name}: a run that was asked for did not take place: {}", chain(&error));
        }
    });
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(api::Accepted {})).into_response()
}

/// A run.
pub(in crate::control) fn convert(run: Run) -> api::Run {
    let Run {
        id,
        directory,
        trigger,
        mode,
        state,
        actor,
        started_at,
        finished_at,
        entries,
        complete,
        server,
        counts: applied,
        held,
        quarantined,
        dropped,
        error,
        warnings,
        active_after: _,
        approves: _,
        undoes,
        full_read_reason,
    } = run;
    api::Run {
        id: id.to_string(),
        directory: Some(directory).filter(|d| !d.is_empty()),
        trigger: trigger.as_str().to_owned(),
        mode,
        state: state.as_str().to_owned(),
        actor: actor.map(|a| a.0),
        started_at: time(started_at),
        finished_at: finished_at.map(time),
        read: api::Read { entries, complete, server },
        changes: changes::counts(applied),
        held,
        quarantined,
        dropped,
        error,
        warnings,
        undoes: undoes.map(|run| run.to_string()),
        full_read_reason,
    }
}
