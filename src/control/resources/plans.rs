//! Plans that are not stored.

use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::changes;
use super::request::{Answer, By, Shared};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, TOO_LONG, UNREADABLE, read};

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
    Ok(Json(convert(&name, dry_run)))
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
