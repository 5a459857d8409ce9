//! Changes as they are stored: shown with runs and held plans, and read by an undo.

use serde_json::Value;

use super::cause::Reason;
use super::change::ChangeVerb;
use super::class::ChangeClass;
use super::email::{Address, AddressKey};
use super::ids::{Guid, UserId};
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
