//! The operations on runs.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::Deserialize;

use super::changes;
use super::request::{Answer, By, PageQuery, Shared, limit, word};
use super::time::time;
use crate::control::api;
use crate::control::operation::{DryRuns, Operation, REFUSED, TOO_LONG, UNREADABLE, act, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::Directory;
use crate::model::{Actor, RunId, RunState, Timestamp};
use crate::store::{Run, RunFilter};
use crate::telemetry::chain;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/runs", list, "List the latest runs")
            .with_query::<ListQuery>()
            .answers::<api::Runs>("The runs, the newest first"),
        read("/runs/{id}", get, "Read one run with its changes")
            .with_query::<PageQuery>()
            .answers::<api::RunDetail>("The run"),
        act("run.requested", "/sync", sync_all, "Run all directories now")
            .dry_runs(DryRuns::Instead("rosterctl plan"))
            .with_query::<SyncQuery>()
            .answers::<api::Runs>("The runs, including failed ones")
            .may_only_begin()
            .fails(&[REFUSED]),
        act("run.requested", "/directories/{name}/sync", sync, "Run one directory now")
            .dry_runs(DryRuns::Instead("rosterctl plan"))
            .with_query::<SyncQuery>()
            .answers::<api::Run>("The run, also when it failed")
            .may_only_begin()
            .fails(&[REFUSED]),
        act(
            "run.requested",
            "/users/{who}/sync",
            sync_user,
            "Read one person again, and apply the changes",
        )
        .dry_runs(DryRuns::Instead("rosterctl user explain"))
        .answers::<api::Run>("The run")
        .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Name of a directory.
    directory: Option<String>,
    /// State, such as `failed`.
    state: Option<String>,
    /// Earliest start (RFC 3339).
    #[schemars(with = "Option<String>")]
    since: Option<Timestamp>,
    /// Id of a run. Only older runs are returned.
    before: Option<String>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
}

async fn list(State(control): Shared, Query(query): Query<ListQuery>) -> Answer<api::Runs> {
    let ListQuery { directory, state, since, before, limit: asked } = query;
    let store = &control.engine.store;
    let state =
        word("state", state.as_deref(), RunState::parse, &RunState::ALL.map(RunState::as_str))?;
    let before = match before {
        Some(id) => {
            let missing = || Refusal::not_found("run", &id);
            let run = store.run(run_id(&id)?).await?.ok_or_else(missing)?;
            Some((run.started_at, run.id))
        }
        None => None,
    };
    let mut filter = RunFilter { directory, state, since, before };
    let runs = store.find_runs(&filter, limit(asked)).await?;
    if let Some(name) = filter.directory.as_deref().filter(|_| runs.is_empty()) {
        let of_name = RunFilter { directory: filter.directory.clone(), ..RunFilter::default() };
        let is_configured =
            control.engine.directory(name).is_ok() || control.engine.target(name).is_ok();
        if !is_configured && store.count_runs(&of_name).await? == 0 {
            return Err(Refusal::not_found("directory or target", name));
        }
    }
    let older = match runs.last() {
        Some(last) => {
            filter.before = Some((last.started_at, last.id));
            store.count_runs(&filter).await?
        }
        None => 0,
    };
    let runs = runs.into_iter().map(|run| show(&control, run)).collect();
    Ok(Json(api::Runs { runs, older }))
}

async fn get(
    State(control): Shared,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Answer<api::RunDetail> {
    let store = &control.engine.store;
    let missing = || Refusal::not_found("run", &id);
    let parsed = run_id(&id)?;
    let after = page.place("a run")?;
    let run = store.run(parsed).await?.ok_or_else(missing)?;
    let found = store.page_of_run(parsed, after, page.one_more()).await?;
    let (changes, next) = page.cut(found);
    let undone_by = store.undone_by(parsed).await?.map(|run| run.to_string());
    let stored = changes.into_iter().map(changes::stored).collect();
    let applied = changes::with_people(store, stored).await?;
    Ok(Json(api::RunDetail { run: show(&control, run), undone_by, applied, next }))
}

/// Parses the id of a run. A malformed id is 404, like an unknown one.
pub(in crate::control) fn run_id(id: &str) -> Result<RunId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("run", id))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SyncQuery {
    /// Whether to answer at the end of the run; `true` by default.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

async fn sync_all(
    State(control): Shared,
    Extension(by): By,
    Query(SyncQuery { wait }): Query<SyncQuery>,
) -> Result<Response, Refusal> {
    let configured = control.engine.configured();
    let directories = configured.directories.values();
    if !wait {
        directories.for_each(|d| start(&control, d, by.actor.clone()));
        return Ok(accepted());
    }
    let runs = try_join_all(directories.map(|d| control.engine.sync(d, by.actor.clone()))).await?;
    let runs = runs.into_iter().map(convert).collect();
    Ok(Json(api::Runs { runs, older: 0 }).into_response())
}

async fn sync(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    Query(SyncQuery { wait }): Query<SyncQuery>,
) -> Result<Response, Refusal> {
    let directory = control.engine.directory(&name)?;
    if !wait {
        start(&control, &directory, by.actor);
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

/// Starts a run without waiting for its end.
fn start(control: &Arc<Control>, directory: &Arc<Directory>, actor: Actor) {
    let (engine, directory) = (Arc::clone(&control.engine), Arc::clone(directory));
    tokio::spawn(async move {
        if let Err(error) = engine.sync(&directory, actor).await {
            let name = &directory.config.name;
            tracing::warn!(directory = %name, "{name}: requested run failed to start: {}", chain(&error));
        }
    });
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(api::Accepted {})).into_response()
}

/// Returns a run of a directory or a target.
pub(in crate::control) fn show(control: &Control, run: Run) -> api::Run {
    let name = run.directory.as_ref().map(|name| name.as_str());
    let target = name.is_some_and(|name| control.engine.target(name).is_ok());
    api::Run { target, ..convert(run) }
}

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
        directory: directory.map(|name| name.to_string()),
        target: false,
        trigger,
        mode,
        state,
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
