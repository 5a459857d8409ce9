//! The operations on held plans.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{Answer, By, PageQuery, Shared, optional_document};
use super::time::time;
use super::{changes, runs};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, TOO_LONG, UNREADABLE, change, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::Selection;
use crate::model::{ChangeClass, GivenApproval, Guid, HoldReason, PlanId, Timestamp};
use crate::store::{BaselineKind, ChangePlace, HeldPlan, HeldSummary, cause_key};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/held", list, "List held plans")
            .with_query::<ListQuery>()
            .answers::<api::HeldPlans>("The plans"),
        read("/held/{id}", get, "Read one held plan with its changes")
            .with_query::<PageQuery>()
            .answers::<api::HeldPlan>("The plan"),
        change("/held/{id}/approve", approve, "Approve a plan: read its people again, and apply the changes that are still due")
            .may_take::<api::Approving>()
            .answers::<api::Approval>("The run that applied it, and the held plan afterwards")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change(
            "/held/{id}/reject",
            reject,
            "Reject a plan: every run holds its changes until the directory no longer asks for them",
        )
        .may_take::<api::Rejecting>()
        .answers::<api::HeldPlan>("The plan")
        .fails(&[REFUSED]),
        change("/held/{id}/reopen", reopen, "Reopen a rejected plan: its changes wait for approval again")
            .may_take::<api::Rejecting>()
            .answers::<api::HeldPlan>("The plan in which they wait")
            .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Whether to include closed plans.
    #[serde(default)]
    all: bool,
    /// Only rejected plans of which the directory still asks for a change.
    #[serde(default)]
    rejected: bool,
    /// The `next` of the page before.
    after: Option<String>,
    /// Maximum number of results; all by default.
    limit: Option<u64>,
}

async fn list(State(control): Shared, Query(query): Query<ListQuery>) -> Answer<api::HeldPlans> {
    let ListQuery { all, rejected, after, limit } = query;
    let store = &control.engine.store;
    let mut held = Vec::new();
    let plans = if rejected { store.rejected_plans(None).await? } else { store.plans(all).await? };
    let (plans, next) = PageQuery { after, limit }.of(plans, |plan| plan.id.to_string())?;
    for plan in plans {
        held.push(show(&control, plan).await?);
    }
    Ok(Json(api::HeldPlans { held, next }))
}

async fn get(
    State(control): Shared,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Answer<api::HeldPlan> {
    let store = &control.engine.store;
    let id = plan_id(&id)?;
    let after: Option<ChangePlace> = page.place("a plan")?;
    let plan =
        store.plan(id).await?.ok_or_else(|| Refusal::not_found("held plan", &id.to_string()))?;
    // A plan of a million changes has a thousand pages, and its groups are those of all of them.
    let about = match after {
        Some(_) => About::default(),
        None => about(&control, &plan).await?,
    };
    let (found, next) = page.cut(store.page_of_plan(id, after, page.one_more()).await?);
    let stored = found.into_iter().map(changes::stored).collect();
    let changes = Some(changes::with_people(store, stored).await?);
    Ok(Json(api::HeldPlan { changes, next, ..convert(plan, about) }))
}

async fn approve(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<api::Approval> {
    let api::Approving { causes, people, digest, comment } = optional_document(&body)?;
    let approval = control
        .engine
        .approve_part(plan_id(&id)?, &Selection { causes, people, digest }, &comment, by.approver())
        .await?;
    let waiting = show_waiting(&control, approval.waiting).await?;
    Ok(Json(api::Approval { run: runs::show(&control, approval.run), waiting }))
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

/// Parses the id of a held plan. A malformed id is answered with 404, like an unknown one.
fn plan_id(id: &str) -> Result<PlanId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("held plan", id))
}

pub(in crate::control) async fn show(
    control: &Control,
    plan: HeldPlan,
) -> Result<api::HeldPlan, Refusal> {
    let about = about(control, &plan).await?;
    Ok(convert(plan, about))
}

async fn about(control: &Control, plan: &HeldPlan) -> Result<About, Refusal> {
    let store = &control.engine.store;
    let summary = store.plan_summary(plan.id).await?;
    // A directory that is no longer configured can still have plans.
    let Ok(directory) = control.engine.directory(plan.directory.as_str()) else {
        return Ok(About { summary, ..Default::default() });
    };
    let objects = store.baseline(&directory.config.name, BaselineKind::Group).await?;
    let groups = objects
        .into_iter()
        .flat_map(|(name, objects)| {
            objects.into_iter().map(move |object| (object.guid, name.clone()))
        })
        .collect();
    let config = &directory.config;
    let now = control.engine.clock.now();
    let budget = store.budget(&config.name, config.limits.window, now).await?;
    let limit = |class: ChangeClass| api::HeldLimit {
        allowed: config.limits.allowed(class, budget.active),
        applied: budget.used.get(&class).map_or(0, |used| used.window),
        window: hours(config.limits.window),
    };
    let valid_from = now.minus(config.limits.approval_expires);
    let mut approvals = store.plan_approvals(plan.id).await?;
    approvals.retain(|(approval, _)| approval.at >= valid_from);
    Ok(About {
        approvals,
        needed: config.limits.approvals.of_plan(plan.size.max(plan.count)),
        limits: ChangeClass::ALL.into_iter().map(|class| (class, limit(class))).collect(),
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

/// Data of a held plan from other tables.
#[derive(Debug, Default)]
struct About {
    summary: Vec<HeldSummary>,
    /// Configured group names by GUID.
    groups: BTreeMap<Guid, String>,
    approval_expires: Option<Timestamp>,
    /// The approvals that count, each with the number of its changes.
    approvals: Vec<(GivenApproval, u64)>,
    /// The number of operators that each change needs.
    needed: u32,
    /// The limits of the classes.
    limits: BTreeMap<ChangeClass, api::HeldLimit>,
}

fn convert(plan: HeldPlan, about: About) -> api::HeldPlan {
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
        size: _,
        scope_hash: _,
        note,
        version: _,
    } = plan;
    let About { summary, groups, approval_expires, approvals, needed, limits } = about;
    let given = |(approval, count): (GivenApproval, u64)| api::GivenApproval {
        actor: approval.by.actor.0,
        uid: approval.by.uid,
        at: time(approval.at),
        comment: Some(approval.comment).filter(|comment| !comment.is_empty()),
        count,
    };
    api::HeldPlan {
        id: id.to_string(),
        directory: directory.to_string(),
        run: run.to_string(),
        digest: digest.to_string(),
        state,
        created_at: time(created_at),
        actor: actor.map(|a| a.0),
        comment,
        approved_at: approved_at.map(time),
        approval_expires: approval_expires.map(time),
        approvals_needed: needed.max(1),
        approvals: approvals.into_iter().map(given).collect(),
        note: note.iter().flat_map(|note| note.lines()).map(str::to_owned).collect(),
        count,
        by: summary.into_iter().map(|line| group(line, &groups, &limits)).collect(),
        changes: None,
        next: None,
    }
}

fn group(
    summary: HeldSummary,
    groups: &BTreeMap<Guid, String>,
    limits: &BTreeMap<ChangeClass, api::HeldLimit>,
) -> api::HeldGroup {
    let HeldSummary { kind, class: counted, hold: held, cluster, reason, count, approved } =
        summary;
    let key = cause_key(counted, reason, cluster.as_deref());
    let guid: Option<Guid> = cluster
        .as_deref()
        .and_then(|c| c.strip_prefix("group:"))
        .and_then(|guid| guid.parse().ok());
    let name = guid.and_then(|guid| groups.get(&guid).cloned());
    let limit = counted
        .filter(|_| held == Some(HoldReason::Limit))
        .and_then(|class| limits.get(&class).cloned());
    api::HeldGroup {
        kind,
        class: counted,
        reason,
        cause: cluster,
        key,
        name,
        held,
        limit,
        count,
        approved,
    }
}

/// Writes a window as the configuration does: `24h`.
fn hours(window: Duration) -> String {
    match (window.as_secs() / 3600, window.as_secs() % 3600) {
        (hours @ 1..=72, 0) => format!("{hours}h"),
        _ => humantime::format_duration(window).to_string(),
    }
}
