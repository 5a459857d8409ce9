//! Classes of changes, which the limits count.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the limits are counted by (DESIGN 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Suspension as disabled or expired.
    Confirmed,
    /// Suspension as deleted.
    Deleted,
    /// Suspension as out of scope, without group or vanished.
    Gone,
    /// Pro becomes basic.
    Downgrade,
    /// Basic becomes pro.
    Upgrade,
    /// A user comes to be, is linked, or comes back from released.
    Create,
    /// Addresses of an existing user change.
    Readdress,
    /// A suspension ends.
    Reactivate,
}

impl Class {
    /// All of them, in the order of the configuration.
    pub const ALL: [Self; 8] = [
        Self::Confirmed,
        Self::Deleted,
        Self::Gone,
        Self::Downgrade,
        Self::Upgrade,
        Self::Create,
        Self::Readdress,
        Self::Reactivate,
    ];

    /// The word in configuration, store and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Deleted => "deleted",
            Self::Gone => "gone",
            Self::Downgrade => "downgrade",
            Self::Upgrade => "upgrade",
            Self::Create => "create",
            Self::Readdress => "readdress",
            Self::Reactivate => "reactivate",
        }
    }

    /// The class of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == word)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
