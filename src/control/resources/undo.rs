//! The operations on undone runs.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{By, Shared};
use super::{changes, held, runs};
use crate::control::api;
use crate::control::operation::{DryRuns, Operation, REFUSED, TOO_LONG, change};
use crate::control::problem::Refusal;
use crate::control::record::dry_run;
use crate::engine::Undone;
use crate::reconcile::Left;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        change(
            "/runs/{id}/undo",
            undo,
            "Undo the changes of a run as far as possible, or show the undo (`dry_run`)",
        )
        .with_query::<UndoQuery>()
        .dry_runs(DryRuns::Planned)
        .answers::<api::Undo>("The changes, and those that were not undone")
        .fails(&[REFUSED, TOO_LONG]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UndoQuery {
    /// Whether to show the undo without a change.
    #[serde(default)]
    dry_run: bool,
}

async fn undo(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    Query(UndoQuery { dry_run: is_dry }): Query<UndoQuery>,
) -> Result<Response, Refusal> {
    let id = runs::run_id(&id)?;
    let mut undone = if is_dry {
        control.engine.plan_undo(id).await?
    } else {
        control.engine.undo(id, &by.actor).await?
    };
    let waiting = held::show_waiting(&control, undone.waiting.take()).await?;
    let answer = Json(convert(undone, is_dry, waiting));
    Ok(if is_dry { dry_run(answer) } else { answer.into_response() })
}

pub(in crate::control) fn convert(
    undone: Undone,
    dry_run: bool,
    waiting: Option<api::HeldPlan>,
) -> api::Undo {
    let Undone { of, run: did, changes, left, read, waiting: _ } = undone;
    let alone = |Left { user, email, kind, why }| api::LeftAlone {
        user_id: user.to_string(),
        email,
        kind,
        why,
    };
    api::Undo {
        undoes: of.to_string(),
        dry_run,
        run: did.map(runs::convert),
        changes: changes.iter().map(|change| changes::planned(change, None)).collect(),
        left: left.into_iter().map(alone).collect(),
        read: read.map(runs::convert),
        waiting,
    }
}
