//! The names of configured groups.

use super::dn::Dn;

/// The configured name of a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GroupName {
    /// A sAMAccountName or cn.
    Name(String),
    /// A distinguished name, or a name that contains `=`.
    Dn(String),
}

impl GroupName {
    /// Returns the name of a text. A text with `=` may be a DN or a name; AD decides when the group
    /// is resolved.
    pub fn parse(text: &str) -> Self {
        if text.contains('=') { Self::Dn(text.to_owned()) } else { Self::Name(text.to_owned()) }
    }

    /// Returns whether the name is outdated: a name after the group was renamed, a DN after it was
    /// moved.
    pub fn is_outdated(&self, was: &Dn, is: &Dn) -> bool {
        match self {
            Self::Dn(text) if Dn::new(text.as_str()) == *was => was != is,
            Self::Name(_) | Self::Dn(_) => was.name() != is.name(),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Dn(text) => text,
        }
    }
}
