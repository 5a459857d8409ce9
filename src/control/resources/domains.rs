//! The operations on domain claims.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{Answer, By, PageQuery, Shared, document};
use super::time::time;
use crate::control::api;
use crate::control::operation::{DryRuns, Operation, REFUSED, change, read};
use crate::control::problem::Refusal;
use crate::control::record::dry_run;
use crate::control::state::{Control, handle};
use crate::engine::{EngineError, Release, Touched};
use crate::model::{AccountId, Claim, Handle};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/domains", list, "List domain claims")
            .with_query::<ListQuery>()
            .answers::<api::Domains>("The claims, ordered by domain"),
        change("/accounts/{handle}/domains", claim, "Claim a domain for an account")
            .takes::<api::NewClaim>()
            .answers::<api::Domain>("The claim, with the TXT record that verifies it")
            .fails(&[REFUSED]),
        change("/domains/{domain}/verify", verify, "Look up the TXT record of a claim now")
            .with_query::<VerifyQuery>()
            .answers::<api::Domain>("The claim, with the finding of the lookup")
            .fails(&[REFUSED]),
        change(
            "/domains/{domain}/release",
            release,
            "Release a domain, or show the effect on users (`dry_run`)",
        )
        .with_query::<ReleaseQuery>()
        .dry_runs(DryRuns::Planned)
        .answers::<api::Release>("The effect on users")
        .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only claims of the account with this handle.
    account: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Maximum number of results; all by default.
    limit: Option<u64>,
}

async fn list(State(control): Shared, Query(query): Query<ListQuery>) -> Answer<api::Domains> {
    let ListQuery { account, after, limit } = query;
    let of = account_id(&control, account.as_deref()).await?;
    let claims = control.engine.store.claims(of).await?;
    let (claims, next) = PageQuery { after, limit }.of(claims, |claim| claim.id.to_string())?;
    let handles =
        control.handles(claims.iter().map(|c| c.account).collect::<BTreeSet<_>>()).await?;
    let show = |claim: Claim| {
        let account = handle(&handles, claim.account)?;
        Ok(convert(claim, account))
    };
    Ok(Json(api::Domains {
        domains: claims.into_iter().map(show).collect::<Result<_, Refusal>>()?,
        next,
    }))
}

async fn claim(
    State(control): Shared,
    Extension(by): By,
    Path(account): Path<String>,
    body: Bytes,
) -> Answer<api::Domain> {
    let api::NewClaim { domain } = document(&body)?;
    let claim = control.engine.claim(&account, &domain, &by.actor).await?;
    show(&control, claim).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyQuery {
    /// Handle of the account, if several accounts claim the domain.
    account: Option<String>,
}

async fn verify(
    State(control): Shared,
    Extension(by): By,
    Path(domain): Path<String>,
    Query(whose): Query<VerifyQuery>,
) -> Answer<api::Domain> {
    let claim = control.engine.verify(&domain, whose.account.as_deref(), &by.actor).await?;
    show(&control, claim).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseQuery {
    /// Handle of the account, if several accounts claim the domain.
    account: Option<String>,
    /// Whether to show the effect without a change.
    #[serde(default)]
    dry_run: bool,
}

async fn release(
    State(control): Shared,
    Extension(by): By,
    Path(domain): Path<String>,
    Query(ReleaseQuery { account, dry_run: is_dry }): Query<ReleaseQuery>,
) -> Result<Response, Refusal> {
    let release = if is_dry {
        control.engine.plan_release(&domain, account.as_deref()).await?
    } else {
        control.engine.release(&domain, account.as_deref(), &by.actor).await?
    };
    let answer = Json(convert_release(release, is_dry));
    Ok(if is_dry { dry_run(answer) } else { answer.into_response() })
}

async fn account_id(
    control: &Control,
    account: Option<&str>,
) -> Result<Option<AccountId>, EngineError> {
    match account {
        Some(account) => Ok(Some(control.engine.account(account).await?.id)),
        None => Ok(None),
    }
}

async fn show(control: &Control, claim: Claim) -> Answer<api::Domain> {
    let handles = control.handles([claim.account]).await?;
    let account = handle(&handles, claim.account)?;
    Ok(Json(convert(claim, account)))
}

pub(in crate::control) fn convert(claim: Claim, account: &Handle) -> api::Domain {
    let record = api::TxtRecord { name: claim.record_name(), value: claim.record_value() };
    let Claim {
        id,
        account: _,
        domain,
        state,
        token: _,
        claimed_at,
        verified_at,
        checked_at,
        finding,
        misses: _,
    } = claim;
    api::Domain {
        id: id.to_string(),
        account: account.to_string(),
        unicode: domain.unicode(),
        domain: domain.to_string(),
        state,
        record,
        claimed_at: time(claimed_at),
        verified_at: verified_at.map(time),
        checked_at: checked_at.map(time),
        finding,
    }
}

pub(in crate::control) fn convert_release(release: Release, dry_run: bool) -> api::Release {
    let Release { claim, account, is_last, people } = release;
    let user = |touched: Touched| api::ReleasedUser {
        id: touched.user.to_string(),
        primary_email: touched.email.map(|e| e.as_str().to_owned()),
        effect: touched.effect,
    };
    api::Release {
        domain: claim.domain.to_string(),
        account: account.handle.to_string(),
        dry_run,
        becomes_team: is_last,
        users: people.into_iter().map(user).collect(),
    }
}
