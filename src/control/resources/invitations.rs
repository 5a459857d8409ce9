//! The operations on invitations.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::request::{Answer, By, Shared, document};
use crate::control::api::{self, InvitationOutcome as Outcome};
use crate::control::operation::{Operation, change};
use crate::engine::Invitation;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        change("/accounts/{handle}/invitations", invite, "Invite people to an account")
            .takes::<api::NewInvitations>()
            .answers::<api::Invitations>("One result for each address"),
    ]
}

async fn invite(
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
            .map(|(address, result)| convert(address, result))
            .collect(),
    }))
}

pub(in crate::control) fn convert(address: String, invitation: Invitation) -> api::Invitation {
    let (outcome, user, detail) = match invitation {
        Invitation::Invited(id) => (Outcome::Invited, Some(id), None),
        Invitation::AlreadyHere(id) => (Outcome::AlreadyHere, Some(id), None),
        Invitation::Elsewhere => {
            (Outcome::Elsewhere, None, Some("the address belongs to another account".to_owned()))
        }
        Invitation::OtherDomain => (
            Outcome::OtherDomain,
            None,
            Some(
                "an enterprise invites people of its own domains only: claim this one first"
                    .to_owned(),
            ),
        ),
        Invitation::Malformed(reason) => (Outcome::Malformed, None, Some(reason)),
    };
    api::Invitation { address, outcome, user: user.map(|id| id.to_string()), detail }
}
