//! The operations on targets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::directories::convert_steps;
use super::request::{Answer, By, PageQuery, Shared, document, limit, optional_document, word};
use super::runs;
use super::time::time;
use crate::control::api;
use crate::control::operation::{DryRuns, Operation, REFUSED, TOO_LONG, UNREADABLE, act, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::engine::{EngineError, PlannedStep, TargetPlan, TargetStatus};
use crate::model::{CheckOutcome, CounterpartRow, RemoteId, TargetName, User, UserId};
use crate::store::{CounterpartFilter, UnmanagedAccount};

/// The pause of a request that names none.
const DEFAULT_PAUSE: Duration = Duration::from_hours(4);

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/targets", list, "List targets with state and counts")
            .with_query::<PageQuery>()
            .answers::<api::Targets>("The targets"),
        read("/targets/{name}", get, "Read the status of a target")
            .answers::<api::TargetStatus>("The target"),
        read("/targets/{name}/accounts", accounts, "List the accounts of users at a target")
            .with_query::<AccountsQuery>()
            .answers::<api::TargetAccounts>("A page of accounts"),
        read("/targets/{name}/unmanaged", unmanaged, "List accounts that belong to no user")
            .with_query::<UnmanagedQuery>()
            .answers::<api::UnmanagedAccounts>("The accounts that the last run saw"),
        read("/targets/{name}/plan", plan, "Show the steps of a run now; sends nothing")
            .with_query::<PlanQuery>()
            .answers::<api::TargetPlan>("The steps")
            .fails(&[UNREADABLE, TOO_LONG]),
        read(
            "/targets/{name}/check",
            check,
            "Check what requests to a target need, step by step; changes no account",
        )
        .answers::<api::TargetCheck>("The steps, including failed ones"),
        act("target.synced", "/targets/{name}/sync", sync, "Run over a target now")
            .may_take::<api::TargetSync>()
            .dry_runs(DryRuns::Instead("rosterctl target plan"))
            .answers::<api::Run>("The run, also when it failed")
            .fails(&[UNREADABLE, TOO_LONG]),
        act("target.pushed", "/targets/{name}/push", push, "Send the account of a user again")
            .takes::<api::TargetPush>()
            .dry_runs(DryRuns::Rehearsed)
            .answers::<api::TargetAccount>("The account, before it is sent"),
        act("target.adopted", "/targets/{name}/adopt", adopt, "Link a user to an existing account")
            .takes::<api::Adoption>()
            .dry_runs(DryRuns::Rehearsed)
            .answers::<api::TargetAccount>("The account")
            .fails(&[REFUSED, UNREADABLE]),
        act("target.disowned", "/targets/{name}/disown", disown, "End the link to an account")
            .takes::<api::Disowning>()
            .dry_runs(DryRuns::Rehearsed)
            .answers::<api::TargetAccount>("The account, which is never changed again")
            .fails(&[REFUSED]),
        act("target.paused", "/targets/{name}/pause", pause, "Send nothing to a target for a time")
            .may_take::<api::Pause>()
            .dry_runs(DryRuns::Rehearsed)
            .answers::<api::TargetStatus>("The target"),
        act("target.resumed", "/targets/{name}/resume", resume, "Resume a paused target")
            .dry_runs(DryRuns::Rehearsed)
            .answers::<api::TargetStatus>("The target"),
        act(
            "target.unlocked",
            "/targets/{name}/unlock",
            unlock,
            "Try a target again that refused the secret or was not recognised",
        )
        .answers::<api::TargetStatus>("The target"),
        act("target.forgotten", "/targets/{name}/forget", forget, "Forget a removed target")
            .dry_runs(DryRuns::Rehearsed)
            .answers::<api::Forgotten>("The number of accounts that are not known any more")
            .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountsQuery {
    /// Only accounts in this state: `pending`, `quarantined`, `drifted` or `inactive`.
    state: Option<String>,
    /// The user after whom the page begins: `next` of the page before.
    after: Option<String>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnmanagedQuery {
    /// Only active accounts that have the name of a suspended user.
    #[serde(default)]
    left: bool,
    /// The id after which the page begins: `next` of the page before.
    after: Option<String>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlanQuery {
    /// Name of a user, for the steps of that user alone.
    user: Option<String>,
}

/// Returns the status of each target.
pub(in crate::control) async fn statuses(
    control: &Control,
) -> Result<Vec<api::TargetStatus>, Refusal> {
    Ok(control.engine.target_statuses().await?.into_iter().map(convert).collect())
}

async fn list(State(control): Shared, Query(page): Query<PageQuery>) -> Answer<api::Targets> {
    let (targets, next) = page.of(statuses(&control).await?, |target| target.name.clone())?;
    Ok(Json(api::Targets { targets, next }))
}

async fn get(State(control): Shared, Path(name): Path<String>) -> Answer<api::TargetStatus> {
    let found = statuses(&control).await?.into_iter().find(|target| target.name == name);
    found.map(Json).ok_or_else(|| Refusal::not_found("target", &name))
}

async fn accounts(
    State(control): Shared,
    Path(name): Path<String>,
    Query(query): Query<AccountsQuery>,
) -> Answer<api::TargetAccounts> {
    let AccountsQuery { state, after, limit: asked } = query;
    let words: Vec<&str> = CounterpartFilter::ALL.iter().map(|word| word.as_str()).collect();
    let filter = word("state of an account", state.as_deref(), CounterpartFilter::parse, &words)?;
    let after = after
        .map(|after| after.parse::<UserId>())
        .transpose()
        .map_err(|_| Refusal::invalid("after is no user id: take next of the page before"))?;
    let limit = limit(asked);
    let rows = control.engine.target_accounts(&name, filter, after, limit).await?;
    let next =
        rows.last().filter(|_| rows.len() as u64 == limit).map(|row| row.account.user.to_string());
    let users = users_of(&control, rows.iter().map(|row| row.account.user)).await?;
    let target = TargetName::parse(&name).ok_or_else(|| Refusal::not_found("target", &name))?;
    let accounts = rows.into_iter().map(|row| account(&target, row, &users)).collect::<Vec<_>>();
    Ok(Json(api::TargetAccounts { accounts, next }))
}

async fn unmanaged(
    State(control): Shared,
    Path(name): Path<String>,
    Query(UnmanagedQuery { left, after, limit: asked }): Query<UnmanagedQuery>,
) -> Answer<api::UnmanagedAccounts> {
    let (after, limit) = (after.map(RemoteId), limit(asked));
    let mut accounts =
        control.engine.unmanaged_accounts(&name, left, after.as_ref(), limit + 1).await?;
    let has_more = accounts.len() as u64 > limit;
    accounts.truncate(limit as usize);
    let next = accounts.last().filter(|_| has_more).map(|account| account.id.0.clone());
    let users = users_of(&control, accounts.iter().filter_map(|account| account.user)).await?;
    let convert = |account: UnmanagedAccount| {
        let UnmanagedAccount { id, user_name, active, user } = account;
        let user = user.and_then(|user| users.get(&user));
        api::UnmanagedAccount {
            id: id.0,
            user_name,
            active,
            user_id: user.map(|user| user.id.to_string()),
            email: user.and_then(address),
            left: active != Some(false) && user.is_some_and(|user| !user.causes.is_empty()),
        }
    };
    Ok(Json(api::UnmanagedAccounts { accounts: accounts.into_iter().map(convert).collect(), next }))
}

async fn plan(
    State(control): Shared,
    Path(name): Path<String>,
    Query(PlanQuery { user }): Query<PlanQuery>,
) -> Answer<api::TargetPlan> {
    let _permit = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let plan = control.engine.plan_target(&name, user.as_deref()).await?;
    let TargetPlan { steps, listed, partial, further } = plan;
    let steps = steps.into_iter().map(step).collect();
    Ok(Json(api::TargetPlan { target: name, listed, partial, steps, further }))
}

async fn check(State(control): Shared, Path(name): Path<String>) -> Answer<api::TargetCheck> {
    let _permit = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let steps = convert_steps(control.engine.check_target(&name).await?);
    let ok = steps.iter().all(|step| step.outcome != CheckOutcome::Failed);
    Ok(Json(api::TargetCheck { target: name, ok, steps }))
}

async fn sync(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::Run> {
    let api::TargetSync { user } = optional_document(&body)?;
    let run = control.engine.sync_target(&name, user.as_deref(), by.actor).await?;
    Ok(Json(runs::show(&control, run)))
}

async fn push(
    State(control): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::TargetAccount> {
    let api::TargetPush { user, again } = document(&body)?;
    let row = control.engine.push_user(&name, &user, again).await?;
    one(&control, &name, row).await
}

async fn adopt(
    State(control): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::TargetAccount> {
    let api::Adoption { user, id } = document(&body)?;
    let row = control.engine.adopt_account(&name, &user, RemoteId(id)).await?;
    one(&control, &name, row).await
}

async fn disown(
    State(control): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::TargetAccount> {
    let api::Disowning { user } = document(&body)?;
    let row = control.engine.disown_account(&name, &user).await?;
    one(&control, &name, row).await
}

async fn pause(
    State(control): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::TargetStatus> {
    let api::Pause { duration } = optional_document(&body)?;
    let duration = match duration {
        None => DEFAULT_PAUSE,
        Some(text) => humantime::parse_duration(&text).map_err(|e| {
            Refusal::invalid(format!("\"{text}\" is not a duration ({e}): write it as in 4h"))
        })?,
    };
    Ok(Json(convert(control.engine.pause_target(&name, duration).await?)))
}

async fn resume(State(control): Shared, Path(name): Path<String>) -> Answer<api::TargetStatus> {
    Ok(Json(convert(control.engine.resume_target(&name).await?)))
}

async fn unlock(State(control): Shared, Path(name): Path<String>) -> Answer<api::TargetStatus> {
    Ok(Json(convert(control.engine.unlock_target(&name).await?)))
}

async fn forget(State(control): Shared, Path(name): Path<String>) -> Answer<api::Forgotten> {
    let accounts = control.engine.forget_target(&name).await?;
    Ok(Json(api::Forgotten { target: name, accounts }))
}

fn convert(status: TargetStatus) -> api::TargetStatus {
    let TargetStatus {
        name,
        condition,
        host,
        state,
        counts,
        unmanaged,
        left,
        held,
        token_expires,
        next_run,
        attention,
    } = status;
    api::TargetStatus {
        name: name.to_string(),
        account: state.account.to_string(),
        state: condition,
        host,
        active: counts.active,
        inactive: counts.inactive,
        pending: counts.pending,
        quarantined: counts.quarantined,
        unmanaged,
        left,
        held,
        oldest_deactivation: counts.oldest_deactivation.map(time),
        last_attempt: state.last_attempt.map(time),
        last_success: state.last_success.map(time),
        last_complete_run: state.last_complete_run.map(time),
        listed: state.listed,
        next_run: next_run.map(time),
        paused_until: state.paused_until.map(time),
        token_expires: token_expires.map(time),
        capabilities: state.capabilities.map(|known| json!(known)),
        attention,
    }
}

async fn users_of(
    control: &Control,
    ids: impl Iterator<Item = UserId>,
) -> Result<BTreeMap<UserId, User>, Refusal> {
    let ids: BTreeSet<UserId> = ids.collect();
    Ok(control.engine.store.users_by_id(&ids).await.map_err(EngineError::from)?)
}

fn address(user: &User) -> Option<String> {
    user.addresses.primary.as_ref().map(ToString::to_string)
}

async fn one(control: &Control, name: &str, row: CounterpartRow) -> Answer<api::TargetAccount> {
    let target = TargetName::parse(name).ok_or_else(|| Refusal::not_found("target", name))?;
    let users = users_of(control, std::iter::once(row.account.user)).await?;
    Ok(Json(account(&target, row, &users)))
}

/// Returns the next steps for one user at the targets of its account.
pub(in crate::control) async fn outlook(
    control: &Control,
    user: &User,
) -> Result<Vec<api::TargetOutlook>, Refusal> {
    let planned = control.engine.outlook_of(user).await?.into_iter();
    let outlook = planned.map(|(target, planned)| {
        let (steps, error) = match planned {
            Ok(plan) => (plan.steps.into_iter().map(step).collect(), None),
            Err(error) => (Vec::new(), Some(error)),
        };
        api::TargetOutlook { target: target.to_string(), steps, error }
    });
    Ok(outlook.collect())
}

/// Returns the accounts of one user at all targets.
pub(in crate::control) async fn of_user(
    control: &Control,
    user: UserId,
) -> Result<Vec<api::TargetAccount>, Refusal> {
    let rows = control.engine.store.counterparts_of(user).await.map_err(EngineError::from)?;
    let users = users_of(control, std::iter::once(user)).await?;
    Ok(rows.into_iter().map(|(target, row)| account(&target, row, &users)).collect())
}

fn account(
    target: &TargetName,
    row: CounterpartRow,
    users: &BTreeMap<UserId, User>,
) -> api::TargetAccount {
    let CounterpartRow { account, user_name, due, problem, answer, sent_at, seen_at, found_at: _ } =
        row;
    api::TargetAccount {
        target: target.to_string(),
        user_id: account.user.to_string(),
        email: users.get(&account.user).and_then(address),
        state: account.state,
        id: account.id.map(|id| id.0),
        user_name,
        origin: account.origin,
        active: account.active,
        due_at: due.at.map(time),
        lane: due.lane,
        attempts: due.attempts,
        failing_since: due.failing_since.map(time),
        problem,
        answer,
        sent_at: sent_at.map(time),
        seen_at: seen_at.map(time),
    }
}

fn step(planned: PlannedStep) -> api::TargetStep {
    let PlannedStep { step, hold } = planned;
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) = step
        .attributes
        .into_iter()
        .map(|(name, (before, after))| ((name.clone(), before), (name, after)))
        .unzip();
    api::TargetStep {
        step: step.kind,
        user_id: step.user.to_string(),
        email: step.email,
        display_name: step.names.display_name,
        id: step.id.map(|id| id.0),
        reason: step.reason,
        before: json!(before),
        after: json!(after),
        held: hold,
    }
}
