//! The caller, as the daemon sees it.

use axum::{Extension, Json};

use super::request::{Answer, By};
use crate::control::api;
use crate::control::auth::roles::Role;
use crate::control::operation::{Operation, read};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/caller", get, "Read the name and the roles of the caller")
            .answers::<api::Caller>("The caller"),
    ]
}

async fn get(Extension(caller): By) -> Answer<api::Caller> {
    let roles = caller.roles.iter().map(Role::as_str).map(str::to_owned).collect();
    Ok(Json(api::Caller { actor: caller.actor.0, uid: caller.uid, roles }))
}
