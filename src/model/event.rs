//! Events: what happened, written with the change that caused it (CloudEvents 1.0).

use serde_json::{Value, json};

use super::{Account, Actor, Change, ChangeKind, Claim, EventId, RunId, Timestamp};

/// Who and what is behind an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventCause {
    /// Who.
    pub actor: Actor,
    /// In which run.
    pub run: Option<RunId>,
    /// When.
    pub at: Timestamp,
}

/// What an event is about; the CloudEvents `subject`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject(pub String);

/// One event, without the place in the log that the store gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its type, `user.suspended` for example.
    pub kind: &'static str,
    /// What it is about: a user's id for `user.*`, else the object's id or name.
    pub subject: Subject,
    /// Who, when, in which run.
    pub cause: EventCause,
    /// What was.
    pub before: Value,
    /// What is.
    pub after: Value,
    /// What was seen.
    pub evidence: Value,
}

impl Event {
    /// The event of a change; none where nothing happened to the user.
    pub fn of(change: &Change, cause: &EventCause) -> Option<Self> {
        let kind = match &change.kind {
            ChangeKind::Create(_) => "user.created",
            ChangeKind::Link { .. } => "user.linked",
            ChangeKind::Suspend { was_active: true, .. } => "user.suspended",
            ChangeKind::Reactivate { remaining, .. } if remaining.is_empty() => "user.reactivated",
            ChangeKind::Tier { .. } => "user.tier_changed",
            // A further cause takes nothing more away, and one of several that is lifted gives nothing back.
            ChangeKind::Suspend { .. } | ChangeKind::Reactivate { .. } | ChangeKind::Readdress { .. } | ChangeKind::Update { .. } => {
                "user.updated"
            }
            ChangeKind::Unpin { .. } => return None,
        };
        Some(Self {
            kind,
            subject: Subject(change.user.to_string()),
            cause: cause.clone(),
            before: change.before(),
            after: change.after(),
            evidence: json!(change.evidence()),
        })
    }

    /// An event about anything that is no user.
    pub fn about(kind: &'static str, subject: impl Into<String>, cause: &EventCause, before: Value, after: Value) -> Self {
        Self { kind, subject: Subject(subject.into()), cause: cause.clone(), before, after, evidence: Value::Null }
    }

    /// An account's event.
    pub fn of_account(kind: &'static str, account: &Account, cause: &EventCause) -> Self {
        let after = json!({ "handle": account.handle, "name": account.name, "kind": account.kind });
        Self::about(kind, account.id.to_string(), cause, Value::Null, after)
    }

    /// A claim's event.
    pub fn of_claim(kind: &'static str, claim: &Claim, cause: &EventCause) -> Self {
        let after = json!({ "domain": claim.domain, "account": claim.account, "state": claim.state });
        Self::about(kind, claim.id.to_string(), cause, Value::Null, after)
    }

    /// The CloudEvents document.
    pub fn document(&self, id: EventId) -> Value {
        let Self { kind, subject, cause: EventCause { actor, run, at }, before, after, evidence } = self;
        json!({
            "specversion": "1.0",
            "id": id,
            "source": "rosterd",
            "type": kind,
            "time": at,
            "subject": subject.0,
            "data": { "actor": actor, "run": run, "before": before, "after": after, "evidence": evidence },
        })
    }
}
