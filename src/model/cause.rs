//! Causes of suspensions, and their evidence.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::class::ChangeClass;
use super::ids::Guid;
use super::time::Timestamp;
use super::words::words;

words! {
    /// The reason of a suspension. Ordered by weight: lists show the first cause of a user.
    pub enum Reason {
        /// An operator suspended the user. Only an operator lifts it.
        Operator = "operator",
        /// userAccountControl has ACCOUNTDISABLE.
        Disabled = "disabled",
        /// accountExpires is in the past by the DC's clock.
        Expired = "expired",
        /// The tombstone was read.
        Deleted = "deleted",
        /// The entry was read by GUID and is outside base or filter.
        OutOfScope = "out-of-scope",
        /// The person is in no configured group, as the groups confirm.
        NoGroup = "no-group",
        /// Two reads found neither the entry nor a tombstone, and each had a witness.
        Vanished = "vanished",
    }
}

impl Reason {
    /// Explains the reason to a person who knows no codes.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Operator => "suspended by an operator",
            Self::Disabled => "the account is disabled",
            Self::Expired => "the account has expired",
            Self::Deleted => "the account was deleted",
            Self::OutOfScope => "outside the people that rosterd reads",
            Self::NoGroup => "in none of the groups that give access",
            Self::Vanished => "not found in the directory any more",
        }
    }

    /// Returns the class of a suspension; an operator's has none.
    pub fn class(self) -> Option<ChangeClass> {
        match self {
            Self::Operator => None,
            Self::Disabled | Self::Expired => Some(ChangeClass::Confirmed),
            Self::Deleted => Some(ChangeClass::Deleted),
            Self::OutOfScope | Self::NoGroup | Self::Vanished => Some(ChangeClass::Gone),
        }
    }

    /// Returns whether the reason is read directly. Such a suspension needs no complete read, and
    /// quarantine does not stop it.
    pub fn is_positive(self) -> bool {
        matches!(self, Self::Disabled | Self::Expired | Self::Deleted)
    }
}

/// The attribute value that justifies a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The server, as configured; `rosterd` for an operator's decision.
    pub server: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<Guid>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dn: Option<String>,
    pub attribute: String,
    pub value: String,
    pub seen_at: Timestamp,
}

impl Evidence {
    /// Returns the evidence of an operator's decision, which rests on no attribute.
    pub fn of_operator(why: &str, object: Option<Guid>, at: Timestamp) -> Self {
        Self {
            server: "rosterd".to_owned(),
            object,
            dn: None,
            attribute: "operator".to_owned(),
            value: why.to_owned(),
            seen_at: at,
        }
    }
}

/// The origin of a cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Directory(String),
    /// The name of the local user.
    Operator(String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(name) => write!(f, "directory {name}"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    pub reason: Reason,
    pub since: Timestamp,
    pub by: By,
    pub evidence: Evidence,
}

/// The causes of one user, by weight. The user is suspended while there is one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Cause>", into = "Vec<Cause>")]
pub struct Causes(BTreeMap<Reason, Cause>);

impl Causes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, reason: Reason) -> bool {
        self.0.contains_key(&reason)
    }

    pub fn get(&self, reason: Reason) -> Option<&Cause> {
        self.0.get(&reason)
    }

    /// Adds a cause. An existing one of the same reason keeps its beginning, and gets the evidence.
    pub fn add(&mut self, cause: Cause) {
        match self.0.get_mut(&cause.reason) {
            Some(known) => known.evidence = cause.evidence,
            None => {
                self.0.insert(cause.reason, cause);
            }
        }
    }

    pub fn lift(&mut self, reason: Reason) -> Option<Cause> {
        self.0.remove(&reason)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Cause> {
        self.0.values()
    }

    pub fn weightiest(&self) -> Option<&Cause> {
        self.0.values().next()
    }
}

impl From<Vec<Cause>> for Causes {
    fn from(causes: Vec<Cause>) -> Self {
        Self(causes.into_iter().map(|c| (c.reason, c)).collect())
    }
}

impl From<Causes> for Vec<Cause> {
    fn from(causes: Causes) -> Self {
        causes.0.into_values().collect()
    }
}
