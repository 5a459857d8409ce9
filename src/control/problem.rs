//! Errors of the API: problem documents (RFC 9457) with cause, subject and remedy.
//!
//! Errors of the HTTP library are converted as well, so that no error is plain text.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api;
use crate::engine::{
    AccountError, ClaimError, DirectoryChangeError, EngineError, LeaderError, TargetError,
    UserError,
};
use crate::model::Leader;
use crate::store::StoreError;
use crate::telemetry::chain;

/// Media type of RFC 9457, section 6.1.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Size limit of an error text of the HTTP library, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;

/// An error answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    kind: &'static str,
    status: StatusCode,
    detail: String,
    /// The leader, where another rosterd is to be asked.
    leader: Option<Leader>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind: "about:blank", status, detail: detail.into(), leader: None }
    }

    pub(super) fn not_leader(leader: Option<Leader>) -> Self {
        let detail = match &leader {
            Some(Leader { node, since, .. }) => format!(
                "nothing was done, because rosterd on {node} leads since {since}: ask there; this one answers reads and sign-ins, user suspend and directory pause"
            ),
            None => "nothing was done, because no rosterd leads at this moment: ask again in some seconds".to_owned(),
        };
        Self { kind: api::NOT_LEADER, leader, ..Self::new(StatusCode::CONFLICT, detail) }
    }

    pub(super) fn no_store(outage: String) -> Self {
        Self { kind: api::NO_STORE, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, outage) }
    }

    pub(super) fn unknown_route(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind: api::UNKNOWN_ROUTE, ..Self::new(status, detail) }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(what: &'static str, name: &str) -> Self {
        EngineError::NotFound { what, name: name.to_owned(), near: None }.into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { kind, status, detail, leader } = self;
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let since = leader.as_ref().map(|leader| leader.since.to_string());
        let problem = api::Problem {
            kind: kind.to_owned(),
            title,
            status: status.as_u16(),
            detail,
            leader: leader.map(|leader| leader.node),
            since,
        };
        // Serializing a struct of texts and a number cannot fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        if matches!(error, EngineError::Store(StoreError::NotLeader)) {
            return Self {
                kind: api::NOT_LEADER,
                ..Self::new(StatusCode::CONFLICT, chain(&error))
            };
        }
        let status = status_of(&error);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("control socket request failed in the store: {}", chain(&error));
        }
        Self::new(status, chain(&error))
    }
}

/// Returns the status of an error. Input is 400, an unknown name 404, and a state that forbids the
/// request 409. Servers and time limits are 502 to 504, and the store is 500.
fn status_of(error: &EngineError) -> StatusCode {
    use EngineError as E;
    match error {
        E::NotFound { .. }
        | E::User(UserError::Unknown { .. })
        | E::Leader(LeaderError::Unknown { .. })
        | E::TargetChange(TargetError::Unknown(_)) => StatusCode::NOT_FOUND,
        E::Invitation(_)
        | E::Page(_)
        | E::User(
            UserError::NoGuid(_)
            | UserError::Address(_)
            | UserError::NotLater(_)
            | UserError::Note(_),
        )
        | E::Account(AccountError::Handle(_) | AccountError::Name | AccountError::Policy(_))
        | E::Claim(ClaimError::Domain(_) | ClaimError::Ambiguous(_))
        | E::DirectoryChange(DirectoryChangeError::PauseTooLong { .. })
        | E::TargetChange(TargetError::PauseTooLong(_)) => StatusCode::BAD_REQUEST,
        E::NoLoss
        | E::User(
            UserError::Ambiguous { .. }
            | UserError::AlreadySuspended(_)
            | UserError::NotSuspendable { .. }
            | UserError::TeamCannotSuspend { .. }
            | UserError::TierOfDirectory { .. }
            | UserError::NoTier(_)
            | UserError::NotLinked(_)
            | UserError::NotLeft { .. }
            | UserError::AlreadyLinked { .. }
            | UserError::NotQuarantined { .. }
            | UserError::NotInScope { .. }
            | UserError::NotUsable { .. }
            | UserError::KeepsAddress { .. }
            | UserError::NoAddress(_)
            | UserError::NoNote(_)
            | UserError::NoOverride(_)
            | UserError::NoSchedule
            | UserError::NotScheduled(_)
            | UserError::NotSuspended { .. }
            | UserError::Unmanaged
            | UserError::NoColleagues { .. }
            | UserError::ReturnsByDirectory { .. }
            | UserError::ReturnsBySignIn { .. }
            | UserError::Changed,
        )
        | E::Account(
            AccountError::NotConfirmed { .. }
            | AccountError::HoldsDomain { .. }
            | AccountError::HasUsers { .. }
            | AccountError::Refused(_),
        )
        | E::Claim(ClaimError::UsersChanged { .. } | ClaimError::Refused(_))
        | E::DirectoryChange(
            DirectoryChangeError::StillConfigured { .. }
            | DirectoryChangeError::NotConfigured { .. }
            | DirectoryChangeError::HasPeople { .. }
            | DirectoryChangeError::NoSuccessor { .. },
        )
        | E::Held(_)
        | E::TargetChange(
            TargetError::StillConfigured(_)
            | TargetError::NoAccount { .. }
            | TargetError::Owned { .. }
            | TargetError::NoCounterpart { .. },
        )
        | E::Undo(_)
        | E::Leader(
            LeaderError::NotShared
            | LeaderError::Nobody(_)
            | LeaderError::NeverLeads(_)
            | LeaderError::NotTaken(_)
            | LeaderError::Silent { .. }
            | LeaderError::IsThere(_),
        )
        | E::TermEnded
        | E::BindSuspended(_)
        | E::Unsettled(_)
        | E::Reloaded
        | E::Store(StoreError::Raced { .. } | StoreError::NoBackup | StoreError::NoCopy) => {
            StatusCode::CONFLICT
        }
        E::Directory(_)
        | E::NoServer(_)
        | E::Follow(_)
        | E::Silent(_)
        | E::GroupsBehind { .. }
        | E::Target(_) => StatusCode::BAD_GATEWAY,
        E::Stopping | E::Store(StoreError::Unreachable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        E::TooLong(_) => StatusCode::GATEWAY_TIMEOUT,
        E::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        E::OfRun(error) => status_of(error),
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        EngineError::Store(error).into()
    }
}

/// Converts errors of the HTTP library, such as 405 or a malformed query, to problem documents.
pub(super) async fn as_problems(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == MEDIA_TYPE);
    if !is_error || is_problem {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let refusal = match &allow {
        Some(allow) if status == StatusCode::METHOD_NOT_ALLOWED => {
            Refusal::unknown_route(status, no_such_method(&method, &path, allow))
        }
        _ => {
            let text = to_bytes(response.into_body(), LONGEST_TEXT).await.unwrap_or_default();
            Refusal::new(status, String::from_utf8_lossy(&text))
        }
    };
    let mut answer = refusal.into_response();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

fn no_such_method(method: &Method, path: &str, allow: &HeaderValue) -> String {
    format!("{path} does not support {method}: use {}", allow.to_str().unwrap_or("another method"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::{BindSuspended, NoServer};
    use crate::model::DirectoryName;

    #[test]
    fn an_unreachable_server_is_502_and_a_suspended_bind_409() {
        let no_server = || EngineError::NoServer(NoServer::Unknown("corp.example".to_owned()));
        assert_eq!(status_of(&no_server()), StatusCode::BAD_GATEWAY);
        assert_eq!(status_of(&EngineError::OfRun(Arc::new(no_server()))), StatusCode::BAD_GATEWAY);
        let suspended = BindSuspended {
            directory: DirectoryName::parse("corp").expect("a name"),
            refusal: "AD refused the password".to_owned(),
            file_kind: "password file",
            retry_at: None,
        };
        assert_eq!(status_of(&suspended.into()), StatusCode::CONFLICT);
        assert_eq!(status_of(&UserError::NoGuid("x".to_owned()).into()), StatusCode::BAD_REQUEST);
    }
}
