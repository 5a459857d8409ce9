//! Why a user is suspended, and what was seen that justifies it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Class, Guid, Timestamp};

/// One reason to be suspended. Ordered by weight: the first of a user's causes is the one shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// An operator said so; only an operator lifts it.
    Operator,
    /// userAccountControl bit 2.
    Disabled,
    /// accountExpires in the past by the DC's clock.
    Expired,
    /// The tombstone was read.
    Deleted,
    /// Read by GUID, and visibly outside base or filter.
    OutOfScope,
    /// In none of the configured groups, confirmed at the groups.
    NoGroup,
    /// Neither alive nor a tombstone, twice, with a witness.
    Vanished,
}

impl Reason {
    /// All of them, by weight.
    pub const ALL: [Self; 7] = [
        Self::Operator,
        Self::Disabled,
        Self::Expired,
        Self::Deleted,
        Self::OutOfScope,
        Self::NoGroup,
        Self::Vanished,
    ];

    /// The word in output and store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::OutOfScope => "out-of-scope",
            Self::NoGroup => "no-group",
            Self::Vanished => "vanished",
        }
    }

    /// The reason of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }

    /// The class of a suspension for this reason; an operator's has none.
    pub fn class(self) -> Option<Class> {
        match self {
            Self::Operator => None,
            Self::Disabled | Self::Expired => Some(Class::Confirmed),
            Self::Deleted => Some(Class::Deleted),
            Self::OutOfScope | Self::NoGroup | Self::Vanished => Some(Class::Gone),
        }
    }

    /// Whether something was seen: such a suspension needs no complete read and is never frozen by quarantine.
    pub fn is_positive(self) -> bool {
        matches!(self, Self::Disabled | Self::Expired | Self::Deleted)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was seen that justifies a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The server that showed it, as configured; `rosterd` for an operator's word.
    pub server: String,
    /// The object it was seen on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<Guid>,
    /// Its distinguished name then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dn: Option<String>,
    /// The attribute looked at.
    pub attribute: String,
    /// The value it had, as text.
    pub value: String,
    /// When it was seen.
    pub seen_at: Timestamp,
}

impl Evidence {
    /// Somebody's word: nothing was looked at.
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

/// Who is behind a cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A directory, by its configured name.
    Directory(String),
    /// An operator, by the name of the local user.
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

/// One cause of a suspension.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub by: By,
    /// On what evidence.
    pub evidence: Evidence,
}

/// The causes of one user: suspended while there is one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Cause>", into = "Vec<Cause>")]
pub struct Causes(BTreeMap<Reason, Cause>);

impl Causes {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this reason is among them.
    pub fn has(&self, reason: Reason) -> bool {
        self.0.contains_key(&reason)
    }

    /// The cause of this reason.
    pub fn get(&self, reason: Reason) -> Option<&Cause> {
        self.0.get(&reason)
    }

    /// Adds a cause; one of the same reason keeps its beginning.
    pub fn add(&mut self, cause: Cause) {
        self.0.entry(cause.reason).or_insert(cause);
    }

    /// Takes one away.
    pub fn lift(&mut self, reason: Reason) -> Option<Cause> {
        self.0.remove(&reason)
    }

    /// By weight.
    pub fn iter(&self) -> impl Iterator<Item = &Cause> {
        self.0.values()
    }

    /// The one to show.
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
