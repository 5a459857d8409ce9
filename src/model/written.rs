//! Changes as they were written down: what is shown of runs and held plans, and what an undo goes by.

use serde_json::Value;

use super::{Address, AddressKey, Class, Guid, HoldReason, Timestamp, UserId};

/// One change as it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenChange {
    /// Whom.
    pub user: UserId,
    /// The person.
    pub guid: Option<Guid>,
    /// The address it was shown by.
    pub email: Option<String>,
    /// What.
    pub kind: String,
    /// Counted as.
    pub class: Option<Class>,
    /// The suspension's reason.
    pub reason: Option<String>,
    /// What was.
    pub before: Value,
    /// What is, or would be.
    pub after: Value,
    /// What was seen.
    pub evidence: Value,
    /// What it has in common with others; see [`super::Change::cluster`].
    pub cluster: Option<String>,
    /// Why it waits.
    pub hold: Option<HoldReason>,
    /// `applied`, `held` or `dropped`.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
}

impl WrittenChange {
    /// The addresses it took from somebody.
    pub fn former_addresses(&self) -> Vec<AddressKey> {
        let of = |value: &Value| {
            value.as_str().and_then(|text| Address::parse(text).ok()).map(|address| address.key())
        };
        let secondary = self.before["secondary_emails"].as_array().into_iter().flatten();
        of(&self.before["primary_email"]).into_iter().chain(secondary.filter_map(of)).collect()
    }
}
