//! The operations on accounts.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::domains;
use super::request::{Answer, By, PageQuery, Shared, document};
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, change, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::model::{Account, Status};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/accounts", list, "List accounts")
            .with_query::<ListQuery>()
            .answers::<api::Accounts>("The accounts, ordered by handle"),
        read("/accounts/{handle}", get, "Read one account").answers::<api::Account>("The account"),
        change("/accounts", create, "Create an account")
            .takes::<api::NewAccount>()
            .answers::<api::Account>("The account")
            .fails(&[REFUSED]),
        change("/accounts/{handle}/rename", rename, "Rename an account; its handle stays")
            .takes::<api::Renaming>()
            .answers::<api::Account>("The account"),
        change(
            "/accounts/{handle}/policies",
            set_policies,
            "Set policies of an account: all given ones, or none on an error",
        )
        .takes::<api::NewPolicies>()
        .answers::<api::Account>("The account"),
        change("/accounts/{handle}/delete", delete, "Delete an account without domains and users")
            .takes::<api::Deletion>()
            .answers::<api::Account>("The account before its deletion")
            .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Words. Each must begin a word of the name or the handle.
    q: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Maximum number of results; all by default.
    limit: Option<u64>,
}

async fn list(
    State(control): Shared,
    Query(ListQuery { q, after, limit }): Query<ListQuery>,
) -> Answer<api::Accounts> {
    let mut accounts = Vec::new();
    let found = control.engine.find_accounts(q.as_deref().unwrap_or_default()).await?;
    let (found, next) =
        PageQuery { after, limit }.of(found, |account| account.handle.to_string())?;
    for account in found {
        accounts.push(show(&control, account).await?);
    }
    Ok(Json(api::Accounts { accounts, next }))
}

async fn get(State(control): Shared, Path(handle): Path<String>) -> Answer<api::Account> {
    let account = control.engine.account(&handle).await?;
    Ok(Json(show(&control, account).await?))
}

async fn create(State(control): Shared, Extension(by): By, body: Bytes) -> Answer<api::Account> {
    let api::NewAccount { handle, name } = document(&body)?;
    let account = control.engine.create_account(&handle, &name, &by.actor).await?;
    Ok(Json(show(&control, account).await?))
}

async fn rename(
    State(control): Shared,
    Extension(by): By,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answer<api::Account> {
    let api::Renaming { name } = document(&body)?;
    let account = control.engine.rename_account(&handle, &name, &by.actor).await?;
    Ok(Json(show(&control, account).await?))
}

async fn set_policies(
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
    Ok(Json(show(&control, account).await?))
}

async fn delete(
    State(control): Shared,
    Extension(by): By,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answer<api::Account> {
    let api::Deletion { confirm } = document(&body)?;
    let account = control.engine.delete_account(&handle, &confirm, &by.actor).await?;
    Ok(Json(show(&control, account).await?))
}

pub(in crate::control) async fn show(
    control: &Control,
    account: Account,
) -> Result<api::Account, Refusal> {
    let claims = control.engine.store.claims(Some(account.id)).await?;
    let domains = claims.into_iter().map(|c| domains::convert(c, &account.handle)).collect();
    let configured = control.engine.configured();
    let connected = configured.directories.values().filter(|d| d.config.account == account.handle);
    let directories = connected.map(|d| d.config.name.to_string()).collect();
    Ok(convert(account, domains, directories))
}

pub(in crate::control) fn convert(
    account: Account,
    domains: Vec<api::Domain>,
    directories: Vec<String>,
) -> api::Account {
    let Account { id, handle, name, kind, policies, users, created_at } = account;
    let count = |status| users.get(&status).copied().unwrap_or(0);
    api::Account {
        id: id.to_string(),
        handle: handle.to_string(),
        name,
        kind,
        domains,
        directories,
        policies: json!(policies),
        users: api::UserCounts {
            active: count(Status::Active),
            suspended: count(Status::Suspended),
            invited: count(Status::Invited),
            released: count(Status::Released),
        },
        created_at: time(created_at),
    }
}
