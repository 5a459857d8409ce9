//! Events: what happened, written with the change that caused it (CloudEvents 1.0).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Account, Actor, Address, Addresses, Change, ChangeKind, Claim, DirectoryName, Dn, EventId,
    Guid, Handle, Profile, RunId, Status, Timestamp, User,
};

/// Who and what is behind an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventCause {
    /// Who.
    pub actor: Actor,
    /// In which run.
    pub run: Option<RunId>,
    /// Whose users, domains or policies it is about.
    pub account: Option<Handle>,
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
    /// The user of a `user.*` event, as other systems know it.
    pub user: Option<Box<KnownAs>>,
}

/// How a user is known elsewhere, before and after all changes that were written together. A program that takes an access
/// away has to find it by the names of before, and one that gives it back by the names of after.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnownAs {
    /// None where there was no user.
    pub before: Option<Identity>,
    /// None where there is no user any more.
    pub after: Option<Identity>,
}

/// The names of a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Identity {
    status: Status,
    primary_email: Option<Address>,
    secondary_emails: BTreeSet<Address>,
    display_name: Option<String>,
    sam_account_name: Option<String>,
    user_principal_name: Option<String>,
    employee_id: Option<String>,
    directory: Option<DirectoryName>,
    object_guid: Option<Guid>,
    dn: Option<String>,
}

impl Identity {
    /// The names of this user; `dn` is where its entry is located by now, if that was read.
    pub fn of(user: &User, dn: Option<&Dn>) -> Self {
        let Profile { display_name, sam_account_name, user_principal_name, employee_id, .. } =
            user.profile.clone();
        let Addresses { primary, secondary } = user.addresses.clone();
        let link = user.link.as_ref();
        Self {
            status: user.status(),
            primary_email: primary,
            secondary_emails: secondary,
            display_name,
            sam_account_name,
            user_principal_name,
            employee_id,
            directory: link.map(|link| link.directory.clone()),
            object_guid: link.map(|link| link.guid),
            dn: link.map(|link| dn.unwrap_or(&link.dn).as_str().to_owned()),
        }
    }
}

impl Event {
    /// The events of a change. A transfer is one for either account; that logon names are kept from now on is none.
    pub fn of(change: &Change, cause: &EventCause) -> Vec<Self> {
        if matches!(&change.kind, ChangeKind::Update { before, after } if after.only_learns_logon_names(before))
        {
            return Vec::new();
        }
        let kind = match &change.kind {
            ChangeKind::Create(_) => "user.created",
            ChangeKind::Invite { .. } => "user.invited",
            ChangeKind::Register { .. } => "user.registered",
            ChangeKind::Transfer { .. } => "user.transferred",
            ChangeKind::Release { .. } => "user.released",
            ChangeKind::Remove { .. } => "user.removed",
            ChangeKind::Link { .. } | ChangeKind::Relink { .. } => "user.linked",
            ChangeKind::Move { .. } => "user.moved",
            ChangeKind::Suspend { was_active: true, .. } => "user.suspended",
            ChangeKind::Reactivate { remaining, .. } if remaining.is_empty() => "user.reactivated",
            ChangeKind::Tier { .. } => "user.tier_changed",
            // A further cause takes nothing more away, and one of several that is lifted gives nothing back.
            ChangeKind::Suspend { .. }
            | ChangeKind::Unlink { .. }
            | ChangeKind::Reactivate { .. }
            | ChangeKind::Readdress { .. }
            | ChangeKind::Update { .. }
            | ChangeKind::Override { .. } => "user.updated",
        };
        let accounts = match &change.kind {
            ChangeKind::Transfer { before, after } => {
                vec![Some(before.handle.clone()), Some(after.handle.clone())]
            }
            _ => vec![cause.account.clone()],
        };
        let told_to = |account| Self {
            kind,
            subject: Subject(change.user.to_string()),
            cause: EventCause { account, ..cause.clone() },
            before: change.before(),
            after: change.after(),
            evidence: json!(change.evidence()),
            user: None,
        };
        accounts.into_iter().map(told_to).collect()
    }

    /// An event about anything that is no user.
    pub fn about(
        kind: &'static str,
        subject: impl Into<String>,
        cause: &EventCause,
        before: Value,
        after: Value,
    ) -> Self {
        Self {
            kind,
            subject: Subject(subject.into()),
            cause: cause.clone(),
            before,
            after,
            evidence: Value::Null,
            user: None,
        }
    }

    /// An account's event.
    pub fn of_account(
        kind: &'static str,
        account: &Account,
        cause: &EventCause,
        before: Value,
        after: Value,
    ) -> Self {
        let cause = EventCause { account: Some(account.handle.clone()), ..cause.clone() };
        Self::about(kind, account.id.to_string(), &cause, before, after)
    }

    /// A claim's event: the cause says whose it is.
    pub fn of_claim(
        kind: &'static str,
        claim: &Claim,
        was: Option<super::ClaimState>,
        cause: &EventCause,
    ) -> Self {
        let before =
            was.map_or(Value::Null, |state| json!({ "domain": claim.domain, "state": state }));
        let after =
            json!({ "domain": claim.domain, "state": claim.state, "finding": claim.finding });
        Self::about(kind, claim.id.to_string(), cause, before, after)
    }

    /// The CloudEvents document.
    pub fn document(&self, id: EventId) -> Value {
        let Self {
            kind,
            subject,
            cause: EventCause { actor, run, account, at },
            before,
            after,
            evidence,
            user,
        } = self;
        let mut document = json!({
            "specversion": "1.0",
            "id": id,
            "source": "rosterd",
            "type": kind,
            "time": at,
            "subject": subject.0,
            "data": { "actor": actor, "run": run, "account": account, "before": before, "after": after, "evidence": evidence },
        });
        if let Some(user) = user {
            let KnownAs { before, after } = &**user;
            document["data"]["user"] = json!({ "before": before, "after": after });
        }
        document
    }
}
