//! State of the following of changes, for status.

/// Whether changes are followed as they happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Following {
    Live,
    /// Not followed yet, or not any more, with the cause.
    Inactive(Option<String>),
    /// Disabled by the configuration.
    #[default]
    Disabled,
}
