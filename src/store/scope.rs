//! The scope that an operator has accepted for a directory.

/// The scope by which the runs of a directory apply. A run under another scope only plans.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScopeState {
    /// The hash of the accepted scope.
    Accepted(String),
    /// The store was restored from a copy, which lacks everything that happened afterwards. No scope
    /// is accepted.
    Restored,
    /// An operator has replaced the baseline. No scope is accepted.
    Rebaselined,
}

impl ScopeState {
    /// Returns the stored word.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Accepted(hash) => hash,
            Self::Restored => "restored",
            Self::Rebaselined => "rebaselined",
        }
    }

    /// Parses the stored word. A hash has 16 hexadecimal digits, and so is no other word.
    pub(super) fn parse(word: String) -> Self {
        [Self::Restored, Self::Rebaselined]
            .into_iter()
            .find(|state| state.as_str() == word)
            .unwrap_or(Self::Accepted(word))
    }

    /// Returns whether runs of this scope may apply.
    pub fn accepts(&self, hash: &str) -> bool {
        matches!(self, Self::Accepted(accepted) if accepted == hash)
    }
}
