//! Reloads of the configuration.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::request::{Answer, By, Shared};
use crate::control::api;
use crate::control::operation::{DryRuns, Operation, act};
use crate::control::problem::Refusal;
use crate::control::reloader::{Asked, Reloaded};
use crate::engine::{EngineError, ReloadOutcome};
use crate::model::DirectoryName;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        act("configuration.reloaded", "/reload", reload, "Reload the configuration")
            .dry_runs(DryRuns::Instead("rosterctl plan --config FILE"))
            .on_every_node()
            .answers::<api::Reloaded>("The effect on each directory, hook and target")
            .fails(&[(422, "The file has problems; nothing changes")]),
    ]
}

async fn reload(State(control): Shared, Extension(by): By) -> Answer<api::Reloaded> {
    let outcome = control
        .reloader
        .reload(by.actor, Asked::OverTheSocket)
        .await
        .ok_or(EngineError::Stopping)?;
    let reloaded =
        outcome.map_err(|problems| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, problems))?;
    Ok(Json(convert(reloaded)))
}

pub(in crate::control) fn convert(reloaded: Reloaded) -> api::Reloaded {
    let Reloaded { directories, hooks, targets, needs_restart } = reloaded;
    let directory = |(name, outcome): (DirectoryName, ReloadOutcome)| api::ReloadedDirectory {
        name: name.to_string(),
        outcome,
    };
    api::Reloaded {
        directories: directories.into_iter().map(directory).collect(),
        hooks: hooks
            .into_iter()
            .map(|(name, outcome)| api::ReloadedHook { name, outcome })
            .collect(),
        targets: targets
            .into_iter()
            .map(|(name, outcome)| api::ReloadedTarget { name: name.to_string(), outcome })
            .collect(),
        needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
    }
}
