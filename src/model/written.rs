//! Changes as they are stored: shown with runs and held plans, and read by an undo.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cause::Reason;
use super::change::{Change, ChangeVerb};
use super::class::ChangeClass;
use super::digest::Digest;
use super::email::{Address, AddressKey};
use super::ids::{Guid, UserId};
use super::json::Json;
use super::plan::HoldReason;
use super::profile::Names;
use super::time::Timestamp;
use super::words::words;

words! {
    /// The result of a planned change.
    pub enum ChangeOutcome {
        Applied = "applied",
        /// The change waits in a plan.
        Held = "held",
        /// The change was not applied, because its user had changed since it was planned.
        Dropped = "dropped",
    }
}

/// A change in the form in which it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub user: UserId,
    pub guid: Option<Guid>,
    pub email: Option<String>,
    pub names: Names,
    pub kind: ChangeVerb,
    pub class: Option<ChangeClass>,
    pub reason: Option<Reason>,
    pub before: Json,
    pub after: Json,
    pub evidence: Json,
    pub digest: Digest,
    pub cluster: Option<String>,
    pub home: Option<String>,
}

/// A change that a plan can hold: of a user, or of an account at a target.
pub trait Holdable {
    /// Returns the hash by which the change is recognised from plan to plan.
    fn digest(&self) -> Digest;

    /// Returns the keys of the change among rejections.
    fn rejection_keys(&self) -> Vec<Digest>;

    fn shown(&self) -> Shown;
}

impl Holdable for Change {
    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn rejection_keys(&self) -> Vec<Digest> {
        Self::rejection_keys(self)
    }

    fn shown(&self) -> Shown {
        let (before, after) = (self.values_before(), self.values_after());
        Shown {
            user: self.user,
            guid: self.guid,
            email: self.email.as_ref().map(ToString::to_string),
            names: self.names.clone(),
            kind: self.kind.verb(),
            class: self.class,
            reason: self.reason(),
            evidence: serde_json::json!(self.evidence()).into(),
            digest: self.digest_of(&before, &after),
            before: Json::of(&before.written()),
            after: Json::of(&after.written()),
            cluster: self.cluster.clone(),
            home: self.home.clone(),
        }
    }
}

/// One change as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenChange {
    pub user: UserId,
    /// The GUID of the person, for managed users.
    pub guid: Option<Guid>,
    /// The user's primary address at the time of the change.
    pub email: Option<String>,
    /// Empty in changes of older versions.
    pub names: Names,
    pub kind: ChangeVerb,
    /// The class whose limit the change counts towards; `None` has no limit.
    pub class: Option<ChangeClass>,
    /// The reason of a suspension, or the first one that a reactivation lifts.
    pub reason: Option<Reason>,
    pub before: Value,
    pub after: Value,
    pub evidence: Value,
    /// The cause that the change shares with others; see [`super::change::Change::cluster`].
    pub cluster: Option<String>,
    pub hold: Option<HoldReason>,
    pub outcome: ChangeOutcome,
    pub at: Timestamp,
}

impl WrittenChange {
    /// Returns the addresses that the user had before the change.
    pub fn former_addresses(&self) -> Vec<AddressKey> {
        let of = |value: &Value| {
            value.as_str().and_then(|text| Address::parse(text).ok()).map(|address| address.key())
        };
        let secondary = self.before["secondary_emails"].as_array().into_iter().flatten();
        of(&self.before["primary_email"]).into_iter().chain(secondary.filter_map(of)).collect()
    }
}
