//! Tier, standing and status of a user.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Basic or Pro.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Basic.
    Basic,
    /// Pro.
    Pro,
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Basic, Self::Pro];

    /// The tier of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Pro => "pro",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A user's standing in the account, leaving causes aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Asked to join, has not yet.
    Invited,
    /// A member.
    Active,
    /// No longer of this account; keeps its GUID, shows its last address, holds none.
    Released,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Released => "released",
        }
    }
}

/// What users are counted and listed by: the standing, or suspended while there is a cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Asked to join, has not yet.
    Invited,
    /// May sign in.
    Active,
    /// May not sign in, for its causes.
    Suspended,
    /// No longer of this account.
    Released,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Invited, Self::Active, Self::Suspended, Self::Released];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Released => "released",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}
