//! Plans that are not stored.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};

use super::changes;
use super::request::{Answer, By, Shared, document};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, TOO_LONG, UNREADABLE, change, read};
use crate::control::problem::Refusal;
use crate::control::record::dry_run;
use crate::engine::{DryRun, EngineError, Request};
use crate::model::Trigger;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read(
            "/directories/{name}/plan",
            get,
            "Plan a run; reads the directory and changes nothing",
        )
        .answers::<api::Plan>("The plan, admitted changes first")
        .fails(&[UNREADABLE, TOO_LONG, REFUSED]),
        change(
            "/directories/{name}/preview",
            preview,
            "Plan a run under another configuration; reads the directory and changes nothing",
        )
        .takes::<api::Previewing>()
        .answers::<api::Plan>("The plan, admitted changes first")
        .fails(&[UNREADABLE, TOO_LONG, REFUSED]),
    ]
}

async fn get(
    State(control): Shared,
    Path(name): Path<String>,
    Extension(by): By,
) -> Answer<api::Plan> {
    let directory = control.engine.directory(&name)?;
    let _permit = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let request = Request::full(Trigger::Manual, Some(by.actor));
    let dry_run = tokio::select! {
        () = control.engine.stop.cancelled() => return Err(EngineError::Stopping.into()),
        dry_run = control.engine.dry_run(&directory, &request) => dry_run?,
    };
    let mut plan = convert(&name, dry_run);
    plan.changes = changes::with_people(&control.engine.store, plan.changes).await?;
    Ok(Json(plan))
}

async fn preview(
    State(control): Shared,
    Path(name): Path<String>,
    Extension(by): By,
    body: Bytes,
) -> Result<Response, Refusal> {
    let previewing: api::Previewing = document(&body)?;
    let directory = control.engine.directory(&name)?;
    let configured = control.reloader.parse(&previewing).map_err(Refusal::invalid)?;
    let other = configured.into_iter().find(|other| other.name == directory.config.name);
    let other = other.ok_or_else(|| {
        Refusal::invalid(format!("the sent configuration has no [[directory]] named {name}"))
    })?;
    let _permit = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let planned = tokio::select! {
        () = control.engine.stop.cancelled() => return Err(EngineError::Stopping.into()),
        planned = control.engine.preview(&directory, other, by.actor) => planned?,
    };
    let mut plan = convert(&name, planned);
    plan.changes = changes::with_people(&control.engine.store, plan.changes).await?;
    Ok(dry_run(Json(plan)))
}

/// Converts a plan. Admitted changes come before held ones.
pub(in crate::control) fn convert(directory: &str, dry_run: DryRun) -> api::Plan {
    let DryRun { observed, planned } = dry_run;
    let verdict = planned.verdict;
    let admitted = verdict.admitted.changes().map(|(change, _)| changes::planned(change, None));
    let changes = admitted
        .chain(verdict.held.iter().map(|h| changes::planned(&h.change, Some(h.hold))))
        .collect();
    let quarantined = verdict.quarantined.into_iter().map(|q| api::Quarantined {
        object_guid: q.object_guid.to_string(),
        dn: q.dn,
        reason: q.reason,
    });
    let warnings = observed.warnings.into_iter().chain(planned.warnings).collect();
    api::Plan {
        id: None,
        directory: directory.to_owned(),
        changes,
        quarantined: quarantined.collect(),
        error: observed.seen.failure,
        warnings,
    }
}
