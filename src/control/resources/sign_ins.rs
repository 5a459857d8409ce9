//! The operations on sign-in decisions.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use secrecy::SecretString;
use serde_json::json;
use zeroize::Zeroize as _;

use super::request::{By, Shared, document};
use crate::control::api::{self, SignInVerdict};
use crate::control::operation::{AUTHENTICATORS, Effect, Operation};
use crate::control::problem::Refusal;
use crate::engine::{Decision, EngineError, SignIn};
use crate::telemetry::chain;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            Some(AUTHENTICATORS),
            Effect::Decides,
            "/sign-ins",
            sign_in,
            "Decide on a sign-in",
        )
        .takes::<api::SignIn>()
        .answers::<api::SignInDecision>("The decision, also when it is `deny`"),
    ]
}

async fn sign_in(
    State(control): Shared,
    Extension(by): By,
    body: Bytes,
) -> Result<Response, Refusal> {
    // Serde's error is dropped, because it quotes the document, which holds a password.
    let parsed = document::<api::SignIn>(&body);
    wipe(body);
    let mut asked = parsed.map_err(|_| {
        Refusal::invalid(
            "the body is not the expected JSON: write address, and password or authenticated_by",
        )
    })?;
    let is_external = match asked.authenticated_by.as_deref() {
        None => false,
        Some("external") => true,
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "\"{other}\" is not a known provider: authenticated_by is \"external\" or absent"
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
    // Moves the text into the secret, which overwrites it when dropped.
    let password = asked.password.take().map(SecretString::from);
    let request = SignIn { address: std::mem::take(&mut asked.address), password, is_external };
    let store = &control.engine.store;
    let decided = match store.outage() {
        Some(_) => Decision::Unavailable,
        None => match control.engine.sign_in_from(request, from, &by.actor).await {
            // A server of the store may be gone for some seconds before rosterd knows.
            Err(EngineError::Store(error)) if store.is_remote() => {
                tracing::warn!("sign-in is undecided: {}", chain(&error));
                Decision::Unavailable
            }
            decided => decided?,
        },
    };
    let decision = convert(&decided);
    let retry_after = decision.retry_after;
    let mut response = Json(decision).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// Overwrites a document that holds a password. The buffer of the HTTP library is overwritten by
/// its next request.
fn wipe(body: Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
}

/// Seconds until another attempt after `unavailable`. By then, a server has timed out (five seconds
/// by default), and the rate limit has admitted further attempts.
const RETRY_AFTER: u64 = 5;

pub(in crate::control) fn convert(decision: &Decision) -> api::SignInDecision {
    let verdict = match decision {
        Decision::Allow { .. } => SignInVerdict::Allow,
        Decision::Deny(_) => SignInVerdict::Deny,
        Decision::Redirect => SignInVerdict::Redirect,
        Decision::Unavailable => SignInVerdict::Unavailable,
    };
    let none = api::SignInDecision {
        decision: verdict,
        reason: None,
        retry_after: None,
        account: None,
        user: None,
        tier: None,
        policies: None,
    };
    match decision {
        Decision::Allow { account, user } => api::SignInDecision {
            account: Some(account.handle.to_string()),
            user: Some(user.id.to_string()),
            tier: Some(user.tier),
            policies: Some(json!(account.policies)),
            ..none
        },
        Decision::Deny(denied) => api::SignInDecision { reason: Some(*denied), ..none },
        Decision::Unavailable => api::SignInDecision { retry_after: Some(RETRY_AFTER), ..none },
        Decision::Redirect => none,
    }
}
