//! What operators may do. Who did it goes along to the engine, which writes it into the event.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroize as _;

use super::auth::peer::Caller;
use super::problem::Refusal;
use super::read::{plan_id, run_id};
use super::record::dry_run;
use super::reloader::Asked;
use super::server::{Answer, Control, document, handle, optional_document};
use super::{api, convert};
use crate::engine::{Directory, EngineError, Selection, SignIn};
use crate::model::{Actor, Tier};
use crate::store::HeldPlan;
use crate::telemetry::chain;

type Shared = State<Arc<Control>>;
type By = Extension<Caller>;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    /// Whether the answer comes at the end of the run, rather than at once.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
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

pub(super) async fn sync_all(
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
    Ok(Json(api::Runs { runs: runs.into_iter().map(convert::run).collect() }).into_response())
}

pub(super) async fn sync(
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
    Ok(Json(convert::run(run)).into_response())
}

pub(super) async fn reload(State(control): Shared, Extension(by): By) -> Answer<api::Reloaded> {
    let outcome = control
        .reloader
        .reload(by.actor, Asked::OverTheSocket)
        .await
        .ok_or(EngineError::Stopping)?;
    let reloaded =
        outcome.map_err(|problems| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, problems))?;
    Ok(Json(convert::reloaded(reloaded)))
}

pub(super) async fn pause(
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
    Ok(Json(convert::directory(control.engine.pause(&name, duration, &by.actor).await?)))
}

pub(super) async fn resume(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert::directory(control.engine.resume(&name, &by.actor).await?)))
}

pub(super) async fn unlock(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert::directory(control.engine.unlock(&name, &by.actor).await?)))
}

pub(super) async fn rebaseline(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
) -> Answer<api::DirectoryStatus> {
    Ok(Json(convert::directory(control.engine.rebaseline(&name, &by.actor).await?)))
}

pub(super) async fn rename_directory(
    State(control): Shared,
    Extension(by): By,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<api::DirectoryStatus> {
    let api::DirectoryRenaming { to } = document(&body)?;
    Ok(Json(convert::directory(control.engine.rename_directory(&name, &to, &by.actor).await?)))
}

pub(super) async fn approve(
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
    Ok(Json(api::Approval { run: convert::run(approval.run), waiting }))
}

pub(super) async fn reject(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<api::HeldPlan> {
    let api::Rejecting { comment } = optional_document(&body)?;
    let plan = control.engine.reject(plan_id(&id)?, &comment, &by.actor).await?;
    Ok(Json(control.show_held(plan).await?))
}

pub(super) async fn reopen(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<api::HeldPlan> {
    let api::Rejecting { comment } = optional_document(&body)?;
    let plan = control.engine.reopen(plan_id(&id)?, &comment, &by.actor).await?;
    Ok(Json(control.show_held(plan).await?))
}

async fn show_waiting(
    control: &Control,
    plan: Option<HeldPlan>,
) -> Result<Option<api::HeldPlan>, Refusal> {
    match plan {
        Some(plan) => Ok(Some(control.show_held(plan).await?)),
        None => Ok(None),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Undoing {
    /// Whether only to show what it would do.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn undo(
    State(control): Shared,
    Extension(by): By,
    Path(id): Path<String>,
    Query(Undoing { dry_run: is_dry }): Query<Undoing>,
) -> Result<Response, Refusal> {
    let id = run_id(&id)?;
    let mut undone = if is_dry {
        control.engine.plan_undo(id).await?
    } else {
        control.engine.undo(id, &by.actor).await?
    };
    let waiting = show_waiting(&control, undone.waiting.take()).await?;
    let answer = Json(convert::undone(undone, is_dry, waiting));
    Ok(if is_dry { dry_run(answer) } else { answer.into_response() })
}

pub(super) async fn create_account(
    State(control): Shared,
    Extension(by): By,
    body: Bytes,
) -> Answer<api::Account> {
    let api::NewAccount { handle, name } = document(&body)?;
    let account = control.engine.create_account(&handle, &name, &by.actor).await?;
    Ok(Json(control.show_account(account).await?))
}

pub(super) async fn claim(
    State(control): Shared,
    Extension(by): By,
    Path(account): Path<String>,
    body: Bytes,
) -> Answer<api::Domain> {
    let api::NewClaim { domain } = document(&body)?;
    let claim = control.engine.claim(&account, &domain, &by.actor).await?;
    show_claim(&control, claim).await
}

pub(super) async fn rename_account(
    State(control): Shared,
    Extension(by): By,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answer<api::Account> {
    let api::Renaming { name } = document(&body)?;
    let account = control.engine.rename_account(&handle, &name, &by.actor).await?;
    Ok(Json(control.show_account(account).await?))
}

pub(super) async fn delete_account(
    State(control): Shared,
    Extension(by): By,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answer<api::Account> {
    let api::Deletion { confirm } = document(&body)?;
    let account = control.engine.delete_account(&handle, &confirm, &by.actor).await?;
    Ok(Json(control.show_account(account).await?))
}

pub(super) async fn set_policies(
    State(control): Shared,
    Extension(by): By,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answer<api::Account> {
    let api::NewPolicies(wanted) = document(&body)?;
    let text = |value| match value {
        api::PolicyValue::Flag(flag) => flag.to_string(),
        api::PolicyValue::List(list) => list.join(","),
        api::PolicyValue::Text(text) => text,
    };
    let wanted = wanted.into_iter().map(|(key, value)| (key, text(value))).collect();
    let account = control.engine.set_policies(&handle, &wanted, &by.actor).await?;
    Ok(Json(control.show_account(account).await?))
}

pub(super) async fn invite(
    State(control): Shared,
    Extension(by): By,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answer<api::Invitations> {
    let api::NewInvitations { addresses } = document(&body)?;
    let answers = control.engine.invite(&handle, &addresses, &by.actor).await?;
    Ok(Json(api::Invitations {
        invitations: answers
            .into_iter()
            .map(|(address, came)| convert::invitation(address, came))
            .collect(),
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoseClaim {
    /// The handle of the account whose claim it is, where several claim the domain.
    account: Option<String>,
}

pub(super) async fn verify(
    State(control): Shared,
    Extension(by): By,
    Path(domain): Path<String>,
    Query(whose): Query<WhoseClaim>,
) -> Answer<api::Domain> {
    let claim = control.engine.verify(&domain, whose.account.as_deref(), &by.actor).await?;
    show_claim(&control, claim).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Releasing {
    /// The handle of the account whose claim it is, where several claim the domain.
    account: Option<String>,
    /// Whether only to show whom it would touch.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn release(
    State(control): Shared,
    Extension(by): By,
    Path(domain): Path<String>,
    Query(Releasing { account, dry_run: is_dry }): Query<Releasing>,
) -> Result<Response, Refusal> {
    let release = if is_dry {
        control.engine.plan_release(&domain, account.as_deref()).await?
    } else {
        control.engine.release(&domain, account.as_deref(), &by.actor).await?
    };
    let answer = Json(convert::release(release, is_dry));
    Ok(if is_dry { dry_run(answer) } else { answer.into_response() })
}

async fn show_claim(control: &Control, claim: crate::model::Claim) -> Answer<api::Domain> {
    let handles = control.handles([claim.account]).await?;
    let account = handle(&handles, claim.account)?;
    Ok(Json(convert::domain(claim, account)))
}

pub(super) async fn sync_user(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::Run> {
    Ok(Json(convert::run(control.engine.sync_user(&who, &by.actor).await?)))
}

pub(super) async fn suspend(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::User> {
    let api::Suspension { reason } = optional_document(&body)?;
    let user = control.engine.suspend(&who, &reason, &by.actor).await?;
    Ok(Json(control.show_user(user).await?))
}

pub(super) async fn set_tier(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::User> {
    let api::NewTier { tier } = document(&body)?;
    let tier = Tier::parse(&tier)
        .ok_or_else(|| Refusal::invalid(format!("\"{tier}\" is no tier: use basic or pro")))?;
    let user = control.engine.set_tier(&who, tier, &by.actor).await?;
    Ok(Json(control.show_user(user).await?))
}

pub(super) async fn remove_user(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.remove(&who, &by.actor).await?;
    Ok(Json(control.show_user(user).await?))
}

pub(super) async fn relink(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::Run> {
    let api::Relinking { object_guid } = document(&body)?;
    Ok(Json(convert::run(control.engine.relink(&who, &object_guid, &by.actor).await?)))
}

pub(super) async fn release_address(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.release_address(&who, &by.actor).await?;
    Ok(Json(control.show_user(user).await?))
}

pub(super) async fn clear_override(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.clear_override(&who, &by.actor).await?;
    Ok(Json(control.show_user(user).await?))
}

pub(super) async fn sign_in(
    State(control): Shared,
    Extension(by): By,
    body: Bytes,
) -> Result<Response, Refusal> {
    // An error of serde quotes the document, and this one holds a password.
    let parsed = document::<api::SignIn>(&body);
    wipe(body);
    let mut asked = parsed.map_err(|_| {
        Refusal::invalid(
            "the body is not the JSON that belongs here: address, and password or authenticated_by",
        )
    })?;
    let is_external = match asked.authenticated_by.as_deref() {
        None => false,
        Some("external") => true,
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "\"{other}\" authenticates nobody: authenticated_by is \"external\""
            )));
        }
    };
    let from = match asked.client_address.as_deref().map(str::parse::<IpAddr>) {
        None => None,
        Some(Ok(from)) => Some(from),
        Some(Err(_)) => {
            return Err(Refusal::invalid(
                "client_address is not an IP address: write 192.0.2.7 or 2001:db8::7, without a port",
            ));
        }
    };
    // The text moves into the secret, which wipes it; it is not copied.
    let password = asked.password.take().map(SecretString::from);
    let request = SignIn { address: std::mem::take(&mut asked.address), password, is_external };
    let decision = convert::decision(&control.engine.sign_in_from(request, from, &by.actor).await?);
    let retry_after = decision.retry_after;
    let mut response = Json(decision).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// Overwrites a document that holds a password. What the HTTP library itself has buffered is overwritten by its next request.
fn wipe(body: Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
}

pub(super) async fn activate(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::Activation> {
    let (user, remains) = control.engine.activate(&who, &by.actor).await?;
    Ok(Json(api::Activation { user: control.show_user(user).await?, remains }))
}
