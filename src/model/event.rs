//! Events (CloudEvents 1.0), written in the transaction of the change that they report.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::account::{Account, Handle};
use super::actor::{Actor, Means};
use super::approval::GivenApproval;
use super::change::{Change, ChangeKind};
use super::claim::{Claim, ClaimState};
use super::dn::Dn;
use super::email::{Address, Addresses};
use super::ids::{AccountId, ClaimId, DirectoryName, EventId, Guid, PlanId, RunId, UserId};
use super::json::Json;
use super::note::NoteText;
use super::profile::Profile;
use super::tier::Tier;
use super::time::Timestamp;
use super::user::{Status, User};
use super::written::Shown;

/// Actor, run, account and time of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventCause {
    pub actor: Actor,
    pub run: Option<RunId>,
    /// The account whose users, domains or policies the event is about.
    pub account: Option<Handle>,
    pub at: Timestamp,
}

/// The object of an event, by id or name; the CloudEvents `subject`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject(pub String);

macro_rules! subjects {
    ($($type:ty),*) => {$(
        impl From<$type> for Subject {
            fn from(object: $type) -> Self {
                Self(object.to_string())
            }
        }
    )*};
}
subjects!(AccountId, ClaimId, PlanId, RunId, UserId, Guid, &DirectoryName, &str, &String, String);

/// An event, before the store has numbered it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The type, such as `user.suspended`.
    pub kind: &'static str,
    pub subject: Subject,
    pub cause: EventCause,
    pub before: Json,
    pub after: Json,
    pub evidence: Json,
    /// The names of the user of a `user.*` event.
    pub user: Option<Box<KnownAs>>,
    /// The approval of a change that had been held.
    pub approval: Option<Approval>,
}

/// The approval of a held change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Approval {
    pub plan: PlanId,
    /// The last operator who approved it.
    pub by: Actor,
    /// Comment of that operator.
    pub comment: Option<String>,
    /// The approvals of all operators, the first one first.
    pub approvals: Vec<GivenApproval>,
}

/// The names of a user before and after all changes of one transaction.
///
/// A program removes an access by the names before, and restores it by the names after.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct KnownAs {
    /// `None` where there is no user any more.
    pub after: Option<Identity>,
    /// `None` where there was no user.
    pub before: Option<Identity>,
}

/// The names by which other systems know a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Identity {
    department: Option<String>,
    directory: Option<DirectoryName>,
    display_name: Option<String>,
    dn: Option<String>,
    employee_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, BTreeSet<String>>,
    manager: Option<String>,
    /// The note of an operator.
    note: Option<NoteText>,
    object_guid: Option<Guid>,
    primary_email: Option<Address>,
    sam_account_name: Option<String>,
    secondary_emails: BTreeSet<Address>,
    status: Status,
    tier: Tier,
    user_principal_name: Option<String>,
}

impl Identity {
    /// Returns the names of a user. `dn` is the present name of the entry, if it was read.
    pub fn of(user: &User, dn: Option<&Dn>) -> Self {
        let Profile {
            display_name,
            sam_account_name,
            user_principal_name,
            employee_id,
            department,
            manager,
            extra,
            ..
        } = user.profile.clone();
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
            department,
            manager,
            tier: user.tier,
            note: user.note.as_ref().map(|note| note.text.clone()),
            extra,
            directory: link.map(|link| link.directory.clone()),
            object_guid: link.map(|link| link.guid),
            dn: link.map(|link| dn.unwrap_or(&link.dn).as_str().to_owned()),
        }
    }
}

impl Event {
    /// Returns the events of a change. A transfer has one for each account; attributes that are
    /// read for the first time have none.
    pub fn of(change: &Change, shown: Shown, cause: &EventCause) -> Vec<Self> {
        if matches!(&change.kind, ChangeKind::Update { before, after } if after.only_reads_other_attributes(before))
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
            // The access of a user with another cause does not change.
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
        let accounts_of = accounts.len();
        let event = |(account, shown): (_, Shown)| Self {
            kind,
            subject: change.user.into(),
            cause: EventCause { account, ..cause.clone() },
            before: shown.before,
            after: shown.after,
            evidence: shown.evidence,
            user: None,
            approval: None,
        };
        accounts.into_iter().zip(std::iter::repeat_n(shown, accounts_of)).map(event).collect()
    }

    /// Returns an event about an object other than a user.
    pub fn about(
        kind: &'static str,
        subject: impl Into<Subject>,
        cause: &EventCause,
        before: Value,
        after: Value,
    ) -> Self {
        Self {
            kind,
            subject: subject.into(),
            cause: cause.clone(),
            before: before.into(),
            after: after.into(),
            evidence: Value::Null.into(),
            user: None,
            approval: None,
        }
    }

    /// Returns an event about an account.
    pub fn of_account(
        kind: &'static str,
        account: &Account,
        cause: &EventCause,
        before: Value,
        after: Value,
    ) -> Self {
        let cause = EventCause { account: Some(account.handle.clone()), ..cause.clone() };
        Self::about(kind, account.id, &cause, before, after)
    }

    /// Returns an event about a claim of the account in `cause`.
    pub fn of_claim(
        kind: &'static str,
        claim: &Claim,
        was: Option<ClaimState>,
        cause: &EventCause,
    ) -> Self {
        let before =
            was.map_or(Value::Null, |state| json!({ "domain": claim.domain, "state": state }));
        let after =
            json!({ "domain": claim.domain, "state": claim.state, "finding": claim.finding });
        Self::about(kind, claim.id, cause, before, after)
    }

    /// Returns the CloudEvents document, with the program through which its actor acts.
    pub fn document(&self, id: EventId, via: Option<Means>) -> String {
        let Self {
            kind,
            subject,
            cause: EventCause { actor, run, account, at },
            before,
            after,
            evidence,
            user,
            approval,
        } = self;
        let (user, approval) = (user.as_deref(), approval.as_ref().map(|approval| json!(approval)));
        let data = Data { account, actor, after, approval, before, evidence, run, user, via };
        let document = Document {
            data,
            id,
            source: "rosterd",
            specversion: "1.0",
            subject: &subject.0,
            time: *at,
            kind,
        };
        // JSON in memory cannot fail.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// The document of an event. It is written at once, because an import has a million of them. All fields,
/// also those of [`KnownAs`] and [`Identity`], are in the order of their names, as they always were.
#[derive(Serialize)]
struct Document<'a> {
    data: Data<'a>,
    id: EventId,
    source: &'static str,
    specversion: &'static str,
    subject: &'a str,
    time: Timestamp,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Data<'a> {
    account: &'a Option<Handle>,
    actor: &'a Actor,
    after: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Value>,
    before: &'a Json,
    evidence: &'a Json,
    run: &'a Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a KnownAs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Means>,
}
