//! Roles: the groups that give them, and the operations that need them.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::json;

use crate::control::api;
use crate::control::auth::peer::Caller;
use crate::control::auth::roles::{OwnUser, Role, RoleGroups, Roles};
use crate::control::gate::permit;
use crate::control::operation::Effect;
use crate::control::routes::operations;
use crate::model::Actor;

#[test]
fn every_operation_documents_its_roles_and_its_event() {
    let document = crate::control::openapi::document(&operations());
    assert_eq!(document["paths"]["/v1/openapi.json"]["get"]["x-rosterd-roles"], json!(["anybody"]));
    for operation in operations().iter().filter(|o| o.path != "/openapi.json") {
        let at = format!("{} {}", operation.method, operation.path);
        let described = &document["paths"][format!("/v1{}", operation.path)]
            [operation.method.as_str().to_lowercase()];
        let id = described["operationId"].as_str().unwrap();
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{id}");
        assert!(described["tags"][0].as_str().is_some_and(|tag| !tag.is_empty()), "{at}");
        let roles = match (operation.method.as_str(), operation.path) {
            (_, "/sign-ins") => json!(["authenticator"]),
            ("GET", _) => json!(["viewer", "operator"]),
            _ => json!(["operator"]),
        };
        assert_eq!(described["x-rosterd-roles"], roles, "{at}");
        match operation.effect {
            Effect::Records(kind) => {
                assert_eq!(described["x-rosterd-event"], kind, "{at}");
                assert!(
                    crate::model::EVENT_TYPES.contains(&kind),
                    "no hook can ask for {kind}, which {at} leaves"
                );
            }
            Effect::Reads => assert_eq!(operation.method, "GET", "{at} may change something"),
            Effect::Decides => assert_eq!(operation.path, "/sign-ins", "{at} may change something"),
        }
    }
}

#[test]
fn no_operation_lets_a_caller_without_the_operator_role_change_anything() {
    let all: Vec<Roles> = (0_u8..8)
        .map(|bits| {
            Role::ALL
                .into_iter()
                .enumerate()
                .filter(|(n, _)| bits & 1 << n != 0)
                .fold(Roles::NONE, |r, (_, x)| r.with(x))
        })
        .collect();
    for operation in operations() {
        let Some(needed) = operation.roles else {
            assert_eq!((operation.method.as_str(), operation.path), ("GET", "/openapi.json"));
            continue;
        };
        for roles in &all {
            let caller = Caller { actor: Actor("anna".to_owned()), uid: 1000, roles: *roles };
            let may = permit(&caller, 1000, needed, "").is_ok();
            let at = format!("{roles:?}: {} {}", operation.method, operation.path);
            match operation.effect {
                Effect::Reads => {
                    assert_eq!(may, roles.has(Role::Viewer) || roles.has(Role::Operator), "{at}")
                }
                Effect::Records(_) => assert_eq!(may, roles.has(Role::Operator), "{at}"),
                Effect::Decides => assert_eq!(may, roles.has(Role::Authenticator), "{at}"),
            }
        }
    }
}

#[test]
fn roles_come_from_the_groups_of_a_user_and_none_includes_another() {
    let groups = RoleGroups { operators: Some(10), viewers: Some(20), authenticators: Some(30) };
    let own = OwnUser { uid: 999, operates: false };
    let of = |uid, in_groups: &[u32]| groups.roles(uid, &in_groups.iter().copied().collect(), own);
    assert_eq!(of(0, &[]), Roles::ALL);
    assert_eq!(of(1000, &[10]), Roles::of(&[Role::Operator]));
    assert_eq!(of(1000, &[20]), Roles::of(&[Role::Viewer]));
    assert_eq!(of(1000, &[30]), Roles::of(&[Role::Authenticator]));
    assert_eq!(of(1000, &[30, 20]), Roles::of(&[Role::Viewer, Role::Authenticator]));
    assert_eq!(of(1000, &[1, 2, 3]), Roles::NONE);
    assert_eq!(
        RoleGroups::default().roles(1000, &[0, 10].into(), own),
        Roles::NONE,
        "a group that does not exist is empty"
    );
}

#[test]
fn the_daemons_own_user_has_no_role_unless_a_trial_gives_it_all() {
    let groups = RoleGroups { operators: Some(10), viewers: Some(20), authenticators: Some(30) };
    let roles =
        |uid, operates| groups.roles(uid, &BTreeSet::from([10, 20, 30]), OwnUser { uid, operates });
    assert_eq!(roles(999, false), Roles::NONE, "a hook must not operate the daemon");
    assert_eq!(roles(999, true), Roles::ALL);
    assert_eq!(roles(0, false), Roles::ALL);
    assert_eq!(
        roles(65_534, true),
        Roles::NONE,
        "the overflow user stands for every user without a mapping"
    );
}

#[tokio::test]
async fn the_refusal_of_a_caller_names_the_group_it_needs() {
    let caller = |roles| Caller { actor: Actor("anna".to_owned()), uid: 1000, roles };
    let one = |role| Roles::of(&[role]);
    assert!(
        permit(
            &caller(one(Role::Operator)),
            1000,
            Roles::of(&[Role::Viewer, Role::Operator]),
            "adm"
        )
        .is_ok()
    );
    for (roles, needed) in [
        (Roles::NONE, Role::Viewer),
        (one(Role::Viewer), Role::Operator),
        (one(Role::Authenticator), Role::Viewer),
        (one(Role::Viewer), Role::Authenticator),
        (one(Role::Operator), Role::Authenticator),
    ] {
        let refusal =
            permit(&caller(roles), 1000, one(needed), "rosterd").unwrap_err().into_response();
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
        let body = axum::body::to_bytes(refusal.into_body(), 10_000).await.unwrap();
        let problem: api::Problem = serde_json::from_slice(&body).unwrap();
        assert!(
            problem.detail.contains("anna (uid 1000)") && problem.detail.contains("group rosterd"),
            "{}",
            problem.detail
        );
    }
}
