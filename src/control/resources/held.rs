//! Held plans.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{Answer, By, Shared, optional_document};
use super::time::time;
use super::{changes, runs};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, TOO_LONG, UNREADABLE, change, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::Selection;
use crate::model::{Guid, PlanId, Timestamp, WrittenChange};
use crate::store::{HeldPlan, HeldSummary, PinKind, cause_key};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/held", list, "Plans that wait for approval")
            .with_query::<WhichPlans>()
            .answers::<api::HeldPlans>("The plans"),
        read("/held/{id}", get, "One held plan with its changes").answers::<api::HeldPlan>("The plan"),
        change("/held/{id}/approve", approve, "Read the people of a plan again, and apply what is still true of it")
            .may_take::<api::Approving>()
            .answers::<api::Approval>("The run that applied it, and what still waits")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change(
            "/held/{id}/reject",
            reject,
            "Reject a plan: every run holds its changes until the directory no longer asks for them",
        )
        .may_take::<api::Rejecting>()
        .answers::<api::HeldPlan>("The plan")
        .fails(&[REFUSED]),
        change("/held/{id}/reopen", reopen, "Take the rejection of a plan back: its changes wait for approval again")
            .may_take::<api::Rejecting>()
            .answers::<api::HeldPlan>("The plan in which they wait")
            .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhichPlans {
    /// Those that are closed, too.
    #[serde(default)]
    all: bool,
    /// Only those that were rejected, as long as the directory asks for one of their changes.
    #[serde(default)]
    rejected: bool,
}

async fn list(State(control): Shared, Query(which): Query<WhichPlans>) -> Answer<api::HeldPlans> {
    let WhichPlans { all, rejected } = which;
    let store = &control.engine.store;
    let mut held = Vec::new();
    for plan in if rejected { store.rejected_plans(None).await? } else { store.plans(all).await? } {
        held.push(show(&control, plan).await?);
    }
    Ok(Json(api::HeldPlans { held }))
}

async fn get(State(control): Shared, Path(id): Path<String>) -> Answer<api::HeldPlan> {
    let store = &control.engine.store;
    let id = plan_id(&id)?;
    let plan =
        store.plan(id).await?.ok_or_else(|| Refusal::not_found("held plan", &id.to_string()))?;
    let (about, changes) = (about(&control, &plan).await?, store.plan_changes(id).await?);
    Ok(Json(convert(plan, about, Some(changes))))
}

async fn approve(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<api::Approval> {
    let api::Approving { causes, people, comment } = optional_document(&body)?;
    let approval = control
        .engine
        .approve_part(plan_id(&id)?, &Selection { causes, people }, &comment, by.actor)
        .await?;
    let waiting = show_waiting(&control, approval.waiting).await?;
    Ok(Json(api::Approval { run: runs::convert(approval.run), waiting }))
}

async fn reject(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<api::HeldPlan> {
    let api::Rejecting { comment } = optional_document(&body)?;
    let plan = control.engine.reject(plan_id(&id)?, &comment, &by.actor).await?;
    Ok(Json(show(&control, plan).await?))
}

async fn reopen(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<api::HeldPlan> {
    let api::Rejecting { comment } = optional_document(&body)?;
    let plan = control.engine.reopen(plan_id(&id)?, &comment, &by.actor).await?;
    Ok(Json(show(&control, plan).await?))
}

/// The id of a held plan; what is none names no plan.
fn plan_id(id: &str) -> Result<PlanId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("held plan", id))
}

/// A held plan with what it amounts to.
pub(in crate::control) async fn show(
    control: &Control,
    plan: HeldPlan,
) -> Result<api::HeldPlan, Refusal> {
    let about = about(control, &plan).await?;
    Ok(convert(plan, about, None))
}

async fn about(control: &Control, plan: &HeldPlan) -> Result<About, Refusal> {
    let store = &control.engine.store;
    let summary = store.plan_summary(plan.id).await?;
    // A directory that is no longer configured has plans all the same.
    let Ok(directory) = control.engine.directory(&plan.directory) else {
        return Ok(About { summary, ..Default::default() });
    };
    let pins = store.pins(&directory.config.name, PinKind::Group).await?;
    let groups = pins
        .into_iter()
        .flat_map(|(name, pins)| pins.into_iter().map(move |pin| (pin.guid, name.clone())))
        .collect();
    Ok(About {
        summary,
        groups,
        approval_expires: control.engine.approval_expires(&directory, plan),
    })
}

pub(in crate::control) async fn show_waiting(
    control: &Control,
    plan: Option<HeldPlan>,
) -> Result<Option<api::HeldPlan>, Refusal> {
    match plan {
        Some(plan) => Ok(Some(show(control, plan).await?)),
        None => Ok(None),
    }
}

/// What is known of a held plan beside itself.
#[derive(Debug, Default)]
struct About {
    /// What it amounts to.
    summary: Vec<HeldSummary>,
    /// The names of the groups that are configured.
    groups: BTreeMap<Guid, String>,
    /// Until when what was approved is tried again.
    approval_expires: Option<Timestamp>,
}

/// A held plan; with its changes where they were asked for.
fn convert(plan: HeldPlan, about: About, changes: Option<Vec<WrittenChange>>) -> api::HeldPlan {
    let HeldPlan {
        id,
        directory,
        run,
        digest,
        state,
        created_at,
        actor,
        comment,
        approved_at,
        announced_at: _,
        count,
        scope_hash: _,
        note,
        version: _,
    } = plan;
    let About { summary, groups, approval_expires } = about;
    api::HeldPlan {
        id: id.to_string(),
        directory,
        run: run.to_string(),
        digest: digest.to_string(),
        state: state.as_str().to_owned(),
        created_at: time(created_at),
        actor: actor.map(|a| a.0),
        comment,
        approved_at: approved_at.map(time),
        approval_expires: approval_expires.map(time),
        note: note.iter().flat_map(|note| note.lines()).map(str::to_owned).collect(),
        count,
        by: summary.into_iter().map(|line| group(line, &groups)).collect(),
        changes: changes.map(|c| c.into_iter().map(changes::stored).collect()),
    }
}

fn group(summary: HeldSummary, groups: &BTreeMap<Guid, String>) -> api::HeldGroup {
    let HeldSummary { class: counted, hold: held, cluster, reason, count, approved } = summary;
    let key = cause_key(counted, reason.as_deref(), cluster.as_deref());
    let guid: Option<Guid> = cluster
        .as_deref()
        .and_then(|c| c.strip_prefix("group:"))
        .and_then(|guid| guid.parse().ok());
    let name = guid.and_then(|guid| groups.get(&guid).cloned());
    api::HeldGroup {
        class: counted.map(|class| class.as_str().to_owned()),
        reason,
        cause: cluster,
        key,
        name,
        held: held.map(|hold| hold.as_str().to_owned()),
        count,
        approved,
    }
}
