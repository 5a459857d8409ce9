//! What viewers may ask. Nothing here changes anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::peer::Caller;
use super::problem::Refusal;
use super::server::{Answer, Control, handle};
use super::{api, convert};
use crate::engine::{EngineError, Request, Sort, UserQuery};
use crate::model::{AccountId, Domain, PlanId, Reason, RunId, Status, Tier, Trigger, User};
use crate::store::{HeldPlan, PinKind, UserFilter};

/// The longest list in one answer, and how long one is when nothing is said.
const LONGEST: u64 = 1_000;
const USUAL: u64 = 200;

/// A run of a whole company fits; more than this is for the store.
const CHANGES_OF_RUN: u64 = 10_000;

pub(super) fn limit(asked: Option<u64>) -> u64 {
    asked.unwrap_or(USUAL).clamp(1, LONGEST)
}

type Shared = State<Arc<Control>>;

impl Control {
    /// How all directories stand.
    pub(super) async fn directories(&self) -> Result<Vec<api::DirectoryStatus>, Refusal> {
        let configured = self.engine.configured();
        let mut all = Vec::with_capacity(configured.directories.len());
        for directory in configured.directories.values() {
            all.push(convert::directory(self.engine.directory_status(directory).await?));
        }
        Ok(all)
    }

    /// A held plan with what it amounts to.
    pub(super) async fn show_held(&self, plan: HeldPlan) -> Result<api::HeldPlan, Refusal> {
        let about = self.about(&plan).await?;
        Ok(convert::held(plan, about, None))
    }

    async fn about(&self, plan: &HeldPlan) -> Result<convert::About, Refusal> {
        let store = &self.engine.store;
        let summary = store.plan_summary(plan.id).await?;
        // A directory that is no longer configured has plans all the same.
        let Ok(directory) = self.engine.directory(&plan.directory) else {
            return Ok(convert::About { summary, ..Default::default() });
        };
        let pins = store.pins(&directory.config.name, PinKind::Group).await?;
        let groups = pins
            .into_iter()
            .flat_map(|(name, pins)| pins.into_iter().map(move |pin| (pin.guid, name.clone())))
            .collect();
        Ok(convert::About {
            summary,
            groups,
            approval_expires: self.engine.approval_expires(&directory, plan),
        })
    }

    /// An account with its domains and directories.
    pub(super) async fn show_account(
        &self,
        account: crate::model::Account,
    ) -> Result<api::Account, Refusal> {
        let claims = self.engine.store.claims(Some(account.id)).await?;
        let domains = claims.into_iter().map(|c| convert::domain(c, &account.handle)).collect();
        let configured = self.engine.configured();
        let connected =
            configured.directories.values().filter(|d| d.config.account == account.handle);
        let directories = connected.map(|d| d.config.name.to_string()).collect();
        Ok(convert::account(account, domains, directories))
    }

    /// A user with the handle of its account and its quarantine.
    pub(super) async fn show_user(&self, user: User) -> Result<api::User, Refusal> {
        let quarantine = self.engine.store.quarantine_of(user.id).await?;
        let handles = self.handles([user.account]).await?;
        let account = handle(&handles, user.account)?;
        Ok(convert::user(user, account, &quarantine))
    }

    async fn show_users(&self, users: Vec<User>) -> Result<Vec<api::User>, Refusal> {
        let handles =
            self.handles(users.iter().map(|u| u.account).collect::<BTreeSet<_>>()).await?;
        let quarantined = self
            .engine
            .quarantine(users.iter().filter_map(|u| u.link.as_ref()).map(|l| l.directory.clone()))
            .await?;
        let show = |user: User| {
            let account = handle(&handles, user.account)?;
            let quarantine = quarantined.get(&user.id).map_or(&[][..], Vec::as_slice);
            Ok(convert::user(user, account, quarantine))
        };
        users.into_iter().map(show).collect()
    }

    async fn account_id(&self, account: Option<&str>) -> Result<Option<AccountId>, EngineError> {
        match account {
            Some(account) => Ok(Some(self.engine.account(account).await?.id)),
            None => Ok(None),
        }
    }
}

pub(super) async fn status(State(control): Shared) -> Answer<api::Status> {
    let hooks = control.engine.hook_statuses().await?;
    let attention = control.engine.runner.trouble();
    Ok(Json(convert::status(
        control.engine.started_at,
        control.directories().await?,
        &hooks,
        attention,
    )))
}

pub(super) async fn directories(State(control): Shared) -> Answer<api::Directories> {
    Ok(Json(api::Directories { directories: control.directories().await? }))
}

pub(super) async fn progress(
    State(control): Shared,
    Path(name): Path<String>,
) -> Answer<api::Progress> {
    let progress = control.engine.directory(&name)?.progress();
    let progress = convert::progress(&progress.borrow());
    Ok(Json(progress))
}

pub(super) async fn plan(
    State(control): Shared,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Answer<api::Plan> {
    let directory = control.engine.directory(&name)?;
    let _turn = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    let request = Request::full(Trigger::Manual, Some(caller.actor));
    let proposed = tokio::select! {
        () = control.engine.stop.cancelled() => return Err(EngineError::Stopping.into()),
        proposed = control.engine.propose(&directory, &request) => proposed?,
    };
    Ok(Json(convert::plan(&name, proposed)))
}

pub(super) async fn check(State(control): Shared, Path(name): Path<String>) -> Answer<api::Check> {
    let _turn = control.plans.acquire().await.map_err(|_| EngineError::Stopping)?;
    Ok(Json(convert::check(&name, control.engine.check_directory(&name).await?)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichPlans {
    /// Those that are closed, too.
    #[serde(default)]
    all: bool,
    /// Only those that were rejected, as long as the directory asks for one of their changes.
    #[serde(default)]
    rejected: bool,
}

pub(super) async fn held_plans(
    State(control): Shared,
    Query(which): Query<WhichPlans>,
) -> Answer<api::HeldPlans> {
    let WhichPlans { all, rejected } = which;
    let store = &control.engine.store;
    let mut held = Vec::new();
    for plan in if rejected { store.rejected_plans(None).await? } else { store.plans(all).await? } {
        held.push(control.show_held(plan).await?);
    }
    Ok(Json(api::HeldPlans { held }))
}

pub(super) async fn held_plan(
    State(control): Shared,
    Path(id): Path<String>,
) -> Answer<api::HeldPlan> {
    let store = &control.engine.store;
    let id = plan_id(&id)?;
    let plan =
        store.plan(id).await?.ok_or_else(|| Refusal::not_found("held plan", &id.to_string()))?;
    let (about, changes) = (control.about(&plan).await?, store.plan_changes(id).await?);
    Ok(Json(convert::held(plan, about, Some(changes))))
}

/// The id of a held plan; what is none names no plan.
pub(super) fn plan_id(id: &str) -> Result<PlanId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("held plan", id))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichRuns {
    /// Only runs of this directory.
    directory: Option<String>,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    limit: Option<u64>,
}

pub(super) async fn runs(
    State(control): Shared,
    Query(which): Query<WhichRuns>,
) -> Answer<api::Runs> {
    let runs = control.engine.store.runs(which.directory.as_deref(), limit(which.limit)).await?;
    Ok(Json(api::Runs { runs: runs.into_iter().map(convert::run).collect() }))
}

pub(super) async fn run(State(control): Shared, Path(id): Path<String>) -> Answer<api::RunDetail> {
    let missing = || Refusal::not_found("run", &id);
    let parsed = run_id(&id)?;
    let run = control.engine.store.run(parsed).await?.ok_or_else(missing)?;
    let changes = control.engine.store.run_changes(parsed, CHANGES_OF_RUN).await?;
    let undone_by = control.engine.store.undone_by(parsed).await?.map(|run| run.to_string());
    Ok(Json(api::RunDetail {
        run: convert::run(run),
        undone_by,
        applied: changes.into_iter().map(convert::stored_change).collect(),
    }))
}

/// The id of a run; what is none names no run.
pub(super) fn run_id(id: &str) -> Result<RunId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("run", id))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichAccounts {
    /// Only accounts of which each of these words begins a word of the name, or the handle.
    q: Option<String>,
}

pub(super) async fn accounts(
    State(control): Shared,
    Query(WhichAccounts { q }): Query<WhichAccounts>,
) -> Answer<api::Accounts> {
    let mut accounts = Vec::new();
    for account in control.engine.find_accounts(q.as_deref().unwrap_or_default()).await? {
        accounts.push(control.show_account(account).await?);
    }
    Ok(Json(api::Accounts { accounts }))
}

pub(super) async fn account(
    State(control): Shared,
    Path(handle): Path<String>,
) -> Answer<api::Account> {
    let account = control.engine.account(&handle).await?;
    Ok(Json(control.show_account(account).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichDomains {
    /// Only claims of the account with this handle.
    account: Option<String>,
}

pub(super) async fn domains(
    State(control): Shared,
    Query(which): Query<WhichDomains>,
) -> Answer<api::Domains> {
    let of = control.account_id(which.account.as_deref()).await?;
    let claims = control.engine.store.claims(of).await?;
    let handles =
        control.handles(claims.iter().map(|c| c.account).collect::<BTreeSet<_>>()).await?;
    let show = |claim: crate::model::Claim| {
        let account = handle(&handles, claim.account)?;
        Ok(convert::domain(claim, account))
    };
    Ok(Json(api::Domains {
        domains: claims.into_iter().map(show).collect::<Result<_, Refusal>>()?,
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichUsers {
    /// Only users of the account with this handle.
    account: Option<String>,
    /// Only users of this status: `invited`, `active`, `suspended` or `released`.
    status: Option<String>,
    /// Only users of this tier: `basic` or `pro`.
    tier: Option<String>,
    /// Only users with an address in this domain.
    domain: Option<String>,
    /// Only users suspended for this reason, `disabled` for example; it need not be the only one.
    reason: Option<String>,
    /// Only users of a claimed domain whom no directory has although their account has one.
    #[serde(default)]
    unmanaged: bool,
    /// Only users whose directory entry cannot be used as it is.
    #[serde(default)]
    quarantined: bool,
    /// The order: `id` (the fastest, and the usual one), `address`, `name`, `created` or `updated`.
    sort: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    limit: Option<u64>,
}

/// One of our words, or a sentence that lists them.
fn word<T>(
    what: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<Option<T>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Refusal::invalid(format!("\"{text}\" is no {what}: use {}", words.join(", ")))),
    }
}

pub(super) async fn users(
    State(control): Shared,
    Query(which): Query<WhichUsers>,
) -> Answer<api::Users> {
    let WhichUsers {
        account,
        status,
        tier,
        domain,
        reason,
        unmanaged,
        quarantined,
        sort,
        after,
        limit: asked,
    } = which;
    let query = UserQuery {
        account,
        status: word("status", status.as_deref(), Status::parse, &Status::ALL.map(Status::as_str))?,
        tier: word("tier", tier.as_deref(), Tier::parse, &Tier::ALL.map(Tier::as_str))?,
        domain: domain
            .map(|text| Domain::parse(&text).map_err(|e| Refusal::invalid(e.to_string())))
            .transpose()?,
        reason: word("reason", reason.as_deref(), Reason::parse, &Reason::ALL.map(Reason::as_str))?,
        unmanaged,
        quarantined,
        sort: word("order", sort.as_deref(), Sort::parse, &Sort::ALL.map(Sort::as_str))?
            .unwrap_or_default(),
        after,
        limit: usize::try_from(limit(asked)).unwrap_or(usize::MAX),
    };
    let page = control.engine.list_users(query).await?;
    Ok(Json(api::Users { users: control.show_users(page.users).await?, next: page.next }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhatToFind {
    /// The words, each of which begins a name or an address.
    q: String,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    limit: Option<u64>,
}

pub(super) async fn search(
    State(control): Shared,
    Query(what): Query<WhatToFind>,
) -> Answer<api::Users> {
    let filter = UserFilter { limit: Some(limit(what.limit)), ..UserFilter::default() };
    let found = control.engine.store.search(&what.q, &filter).await?;
    Ok(Json(api::Users { users: control.show_users(found).await?, next: None }))
}

pub(super) async fn quarantine(State(control): Shared) -> Answer<api::Quarantine> {
    let entries = control.engine.store.quarantine().await?;
    Ok(Json(api::Quarantine {
        quarantined: entries.into_iter().map(convert::quarantined).collect(),
    }))
}

pub(super) async fn explain(
    State(control): Shared,
    Path(who): Path<String>,
) -> Answer<api::Explanation> {
    let mut explained = control.engine.explain(&who).await?;
    let user = match explained.user.take() {
        Some(user) => Some(control.show_user(user).await?),
        None => None,
    };
    Ok(Json(convert::explanation(&who, explained, user)))
}

pub(super) async fn contacts(
    State(control): Shared,
    Path(who): Path<String>,
    Query(what): Query<WhatToFind>,
) -> Answer<api::Contacts> {
    let found = control.engine.contacts(&who, &what.q, limit(what.limit)).await?;
    Ok(Json(api::Contacts { contacts: found.into_iter().map(convert::contact).collect() }))
}

pub(super) async fn user(
    State(control): Shared,
    Path(who): Path<String>,
) -> Answer<api::UserDetail> {
    let user = control.engine.find_user(&who).await?;
    let history = convert::history(control.engine.history(&user).await?);
    Ok(Json(api::UserDetail { user: control.show_user(user).await?, history }))
}
