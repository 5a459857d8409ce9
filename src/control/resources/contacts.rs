//! Colleagues of a user.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::json;

use super::request::{Answer, PageQuery, Search, Shared, limit};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, read};
use crate::model::User;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read(
            "/users/{who}/contacts",
            list,
            "Search the colleagues of a user by the beginning of names or addresses",
        )
        .with_query::<Search>()
        .answers::<api::Contacts>("Active users of the same account, each page ordered by name")
        .fails(&[REFUSED]),
    ]
}

async fn list(
    State(control): Shared,
    Path(who): Path<String>,
    Query(what): Query<Search>,
) -> Answer<api::Contacts> {
    let Search { q, after, limit: asked } = what;
    let page = PageQuery { after, limit: None };
    let found = control.engine.contacts(&who, &q, page.place("contacts")?, limit(asked)).await?;
    let contacts = found.users.into_iter().map(convert).collect();
    Ok(Json(api::Contacts { contacts, next: found.next }))
}

pub(in crate::control) fn convert(user: User) -> api::Contact {
    let User { id, addresses, mut profile, .. } = user;
    let (display_name, given_name, surname) =
        (profile.display_name.take(), profile.given_name.take(), profile.surname.take());
    // Colleagues do not see manager, employee number, logon names and further attributes.
    profile.extra.clear();
    (profile.manager, profile.employee_id) = (None, None);
    (profile.sam_account_name, profile.user_principal_name) = (None, None);
    let primary_email = addresses.primary.map(|a| a.as_str().to_owned());
    api::Contact {
        id: id.to_string(),
        display_name,
        given_name,
        surname,
        primary_email,
        profile: json!(profile),
    }
}
