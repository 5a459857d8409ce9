//! The operations on users.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::request::{Answer, By, PageQuery, Shared, document, limit, optional_document, word};
use super::time::time;
use super::{changes, runs, targets};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, TOO_LONG, UNREADABLE, change, read};
use crate::control::problem::Refusal;
use crate::control::state::{Control, handle};
use crate::engine::{Sort, UserQuery};
use crate::model::{
    Cause, Causes, Domain, Handle, Link, QuarantineReason, Reason, RunId, Status, Tier, Timestamp,
    User, WrittenChange,
};
use crate::store::{ScheduledSuspension, UserFilter};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/users", list, "List users, page by page")
            .with_query::<ListQuery>()
            .answers::<api::Users>("One page of users"),
        read("/users/search", search, "Search users by the beginning of names or addresses")
            .with_query::<SearchQuery>()
            .answers::<api::Users>("The users that match"),
        read("/users/{who}", get, "Read one user with its last changes")
            .answers::<api::UserDetail>("The user"),
        change(
            "/users/{who}/suspend",
            suspend,
            "Suspend a user, at once or at a later time, whatever the directory shows",
        )
        .on_every_node()
        .may_take::<api::Suspension>()
        .answers::<api::User>("The user")
        .fails(&[REFUSED]),
        change(
            "/users/{who}/cancel-suspension",
            cancel_suspension,
            "Cancel the scheduled suspension of a user",
        )
        .answers::<api::User>("The user")
        .fails(&[REFUSED]),
        change(
            "/users/{who}/activate",
            activate,
            "Lift an operator's suspension, and other causes that the directory does not confirm",
        )
        .answers::<api::Activation>("The user, and the causes that remain")
        .fails(&[REFUSED]),
        change("/users/{who}/note", note, "Write or clear an operator's note on a user")
            .takes::<api::NewNote>()
            .answers::<api::User>("The user")
            .fails(&[REFUSED]),
        change("/users/{who}/tier", set_tier, "Set the tier of a user that no directory manages")
            .takes::<api::NewTier>()
            .answers::<api::User>("The user")
            .fails(&[REFUSED]),
        change("/users/{who}/relink", relink, "Link a user to the new entry of the same person")
            .takes::<api::Relinking>()
            .answers::<api::Run>("The run that read the person")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change(
            "/users/{who}/release-address",
            release_address,
            "Release the addresses of a suspended user for another person",
        )
        .answers::<api::User>("The user")
        .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change(
            "/users/{who}/clear-override",
            clear_override,
            "Clear the overrides of a user, so that the directory decides again",
        )
        .answers::<api::User>("The user")
        .fails(&[REFUSED]),
        change("/users/{who}/remove", remove, "Remove a user from its account and delete its data")
            .answers::<api::User>("The user before its removal")
            .fails(&[REFUSED]),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a filter of its own")]
struct ListQuery {
    /// Handle of an account.
    account: Option<String>,
    /// Status: `invited`, `active`, `suspended` or `released`.
    status: Option<String>,
    /// Tier: `basic` or `pro`.
    tier: Option<String>,
    /// Domain of an address of the user.
    domain: Option<String>,
    /// Reason of a cause of suspension, such as `disabled`. The user may have others.
    reason: Option<String>,
    /// Only users of a claimed domain that no directory manages, although their account has a
    /// directory.
    #[serde(default)]
    unmanaged: bool,
    /// Only users with a quarantined entry.
    #[serde(default)]
    quarantined: bool,
    /// Only active users whom their own directory does not show, and no other one has taken over.
    #[serde(default)]
    unseen: bool,
    /// Only active users whose account in the directory expires before this time (RFC 3339).
    #[schemars(with = "Option<String>")]
    expires_before: Option<Timestamp>,
    /// Only users whose suspension an operator has scheduled.
    #[serde(default)]
    scheduled: bool,
    /// Only users with a note of an operator.
    #[serde(default)]
    noted: bool,
    /// Only users of this directory about whom its present server has not heard what another one showed.
    behind: Option<String>,
    /// Order: `id` (the default, and the fastest), `address`, `name`, `created` or `updated`.
    sort: Option<String>,
    /// Value of `next` of the page before.
    after: Option<String>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
}

async fn list(State(control): Shared, Query(query): Query<ListQuery>) -> Answer<api::Users> {
    let ListQuery {
        account,
        status,
        tier,
        domain,
        reason,
        unmanaged,
        quarantined,
        unseen,
        expires_before,
        scheduled,
        noted,
        behind,
        sort,
        after,
        limit: asked,
    } = query;
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
        unseen,
        expires_before,
        scheduled,
        noted,
        behind: behind
            .map(|name| control.engine.directory(&name))
            .transpose()?
            .map(|d| d.config.name.clone()),
        sort: word("order", sort.as_deref(), Sort::parse, &Sort::ALL.map(Sort::as_str))?
            .unwrap_or_default(),
        after,
        limit: usize::try_from(limit(asked)).unwrap_or(usize::MAX),
    };
    let page = control.engine.list_users(query).await?;
    Ok(Json(api::Users { users: show_all(&control, page.users).await?, next: page.next }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    /// Words. Each must begin a name or an address.
    q: String,
    /// Status: `invited`, `active`, `suspended` or `released`.
    status: Option<String>,
    /// Tier: `basic` or `pro`.
    tier: Option<String>,
    /// Value of `next` of the page before.
    after: Option<String>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
}

async fn search(State(control): Shared, Query(query): Query<SearchQuery>) -> Answer<api::Users> {
    let SearchQuery { q, status, tier, after, limit: asked } = query;
    let page = PageQuery { after, limit: Some(limit(asked)) };
    let filter = UserFilter {
        status: word("status", status.as_deref(), Status::parse, &Status::ALL.map(Status::as_str))?,
        tier: word("tier", tier.as_deref(), Tier::parse, &Tier::ALL.map(Tier::as_str))?,
        after: page.place("users")?,
        limit: page.one_more(),
        ..UserFilter::default()
    };
    let found = control.engine.store.search(&q, &filter).await?;
    let (users, next) = page.cut(found.into_iter().map(|user| (user.id, user)).collect());
    Ok(Json(api::Users { users: show_all(&control, users).await?, next }))
}

async fn get(State(control): Shared, Path(who): Path<String>) -> Answer<api::UserDetail> {
    let user = control.engine.find_user(&who).await?;
    let history = history(control.engine.history(&user).await?);
    let targets = targets::of_user(&control, user.id).await?;
    Ok(Json(api::UserDetail { user: show(&control, user).await?, targets, history }))
}

async fn suspend(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::User> {
    let api::Suspension { reason, at } = optional_document(&body)?;
    let user = match at {
        Some(at) => control.engine.suspend_at(&who, at, &reason, &by.actor).await?,
        None => control.engine.suspend(&who, &reason, &by.actor).await?,
    };
    Ok(Json(show(&control, user).await?))
}

async fn cancel_suspension(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.cancel_suspension(&who, &by.actor).await?;
    Ok(Json(show(&control, user).await?))
}

async fn activate(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::Activation> {
    let (user, remains) = control.engine.activate(&who, &by.actor).await?;
    Ok(Json(api::Activation { user: show(&control, user).await?, remains }))
}

async fn note(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::User> {
    let api::NewNote { text } = document(&body)?;
    let user = control.engine.note(&who, text.as_deref(), &by.actor).await?;
    Ok(Json(show(&control, user).await?))
}

async fn set_tier(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::User> {
    let api::NewTier { tier } = document(&body)?;
    let user = control.engine.set_tier(&who, tier, &by.actor).await?;
    Ok(Json(show(&control, user).await?))
}

async fn relink(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
    body: Bytes,
) -> Answer<api::Run> {
    let api::Relinking { object_guid } = document(&body)?;
    Ok(Json(runs::convert(control.engine.relink(&who, &object_guid, &by.actor).await?)))
}

async fn release_address(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.release_address(&who, &by.actor).await?;
    Ok(Json(show(&control, user).await?))
}

async fn clear_override(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.clear_override(&who, &by.actor).await?;
    Ok(Json(show(&control, user).await?))
}

async fn remove(
    State(control): Shared,
    Extension(by): By,
    Path(who): Path<String>,
) -> Answer<api::User> {
    let user = control.engine.remove(&who, &by.actor).await?;
    Ok(Json(show(&control, user).await?))
}

/// A user with the handle of its account and its quarantine.
pub(in crate::control) async fn show(control: &Control, user: User) -> Result<api::User, Refusal> {
    let quarantine = control.engine.store.quarantine_of(user.id).await?;
    let expires = control.engine.store.expiries_of([user.id]).await?.remove(&user.id);
    let handles = control.handles([user.account]).await?;
    let account = handle(&handles, user.account)?;
    let signed_in = control.engine.store.last_sign_ins_of([user.id]).await?.remove(&user.id);
    let scheduled = control.engine.store.scheduled_suspensions().await?.remove(&user.id);
    Ok(convert(user, account, &quarantine, Times { expires, signed_in, scheduled }))
}

async fn show_all(control: &Control, users: Vec<User>) -> Result<Vec<api::User>, Refusal> {
    let handles = control.handles(users.iter().map(|u| u.account).collect::<BTreeSet<_>>()).await?;
    let quarantined = control
        .engine
        .quarantine(users.iter().filter_map(|u| u.link.as_ref()).map(|l| l.directory.clone()))
        .await?;
    let expiries = control.engine.store.expiries_of(users.iter().map(|u| u.id)).await?;
    let sign_ins = control.engine.store.last_sign_ins_of(users.iter().map(|u| u.id)).await?;
    let mut scheduled = control.engine.store.scheduled_suspensions().await?;
    let show = |user: User| {
        let scheduled = scheduled.remove(&user.id);
        let expires = expiries.get(&user.id).copied();
        let signed_in = sign_ins.get(&user.id).copied();
        let account = handle(&handles, user.account)?;
        let quarantine = quarantined.get(&user.id).map_or(&[][..], Vec::as_slice);
        Ok(convert(user, account, quarantine, Times { expires, signed_in, scheduled }))
    };
    users.into_iter().map(show).collect()
}

/// The times of a user that other tables hold.
pub(in crate::control) struct Times {
    pub(in crate::control) expires: Option<Timestamp>,
    pub(in crate::control) signed_in: Option<Timestamp>,
    pub(in crate::control) scheduled: Option<ScheduledSuspension>,
}

/// A user of the account with this handle.
pub(in crate::control) fn convert(
    user: User,
    account: &Handle,
    quarantine: &[QuarantineReason],
    times: Times,
) -> api::User {
    let Times { expires, signed_in, scheduled } = times;
    let status = user.status();
    let User {
        id,
        account: _,
        standing: _,
        tier,
        addresses,
        mut profile,
        link,
        causes,
        overrides,
        note,
        version: _,
        observed_from: _,
        invited_at,
        joined_at,
        created_at,
        updated_at,
    } = user;
    let (display_name, given_name, surname) =
        (profile.display_name.take(), profile.given_name.take(), profile.surname.take());
    api::User {
        id: id.to_string(),
        account: account.to_string(),
        status,
        tier,
        primary_email: addresses.primary.map(|a| a.as_str().to_owned()),
        secondary_emails: addresses.secondary.iter().map(|a| a.as_str().to_owned()).collect(),
        display_name,
        given_name,
        surname,
        // Names have fields of their own.
        profile: json!(profile),
        directory: link.map(|Link { directory, guid, dn }| api::UserLink {
            name: directory.to_string(),
            object_guid: guid.to_string(),
            dn: dn.as_str().to_owned(),
        }),
        expires_at: expires.map(time),
        suspension: suspension(&causes),
        scheduled_suspension: scheduled.map(|scheduled| api::ScheduledSuspension {
            at: time(scheduled.at),
            actor: scheduled.actor.0,
            reason: scheduled.reason,
        }),
        note: note.map(|note| api::Note {
            text: note.text.to_string(),
            actor: note.actor.0,
            at: time(note.at),
        }),
        quarantine: quarantine.to_vec(),
        overrides: overrides.iter().map(ToString::to_string).collect(),
        invited_at: invited_at.map(time),
        joined_at: joined_at.map(time),
        last_sign_in_at: signed_in.map(time),
        created_at: time(created_at),
        updated_at: time(updated_at),
    }
}

fn suspension(causes: &Causes) -> Option<api::UserSuspension> {
    let reason = causes.weightiest()?.reason;
    let since = causes.iter().map(|c| c.since).min()?;
    Some(api::UserSuspension {
        reason,
        since: time(since),
        causes: causes.iter().map(cause).collect(),
    })
}

fn cause(cause: &Cause) -> api::UserCause {
    let Cause { reason, since, by, evidence } = cause;
    api::UserCause {
        reason: *reason,
        since: time(*since),
        by: by.to_string(),
        evidence: json!(evidence),
    }
}

pub(in crate::control) fn history(history: Vec<(RunId, WrittenChange)>) -> Vec<api::Done> {
    let done = |(run, change): (RunId, WrittenChange)| api::Done {
        at: time(change.at),
        run: run.to_string(),
        change: changes::stored(change),
    };
    history.into_iter().map(done).collect()
}
