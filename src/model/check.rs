//! Checks of a directory or a target: one finding and one remedy for each step.

use super::words::words;

words! {
    /// Outcome of one step.
    pub enum CheckOutcome {
        Ok = "ok",
        /// Runs work, but an operator should act.
        Warning = "warning",
        /// Runs fail or miss people.
        Failed = "failed",
        /// An earlier step failed.
        Skipped = "skipped",
    }
}

/// One step of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckStep {
    /// Names of a directory's check: `keytab`, `dns`, `tcp`, `tls`, `kdc`, `ticket`, `bind`,
    /// `identity`, `clock`, `rights`, `deleted objects`, `base`, `exclude-ou`, `rule`, `filter`, `attributes`,
    /// `groups`, `paging`. Names of a target's check: `token`, `dns`, `tcp`, `tls`, `service`, `attributes`,
    /// `list`, `paging`, `filter`, `create`, `change`, `deactivate`, `delete`.
    pub name: &'static str,
    /// The server; `None` for a step about the configuration or the domain.
    pub server: Option<String>,
    pub outcome: CheckOutcome,
    pub finding: String,
    pub remedy: Option<String>,
}

impl CheckStep {
    pub fn new(
        name: &'static str,
        outcome: CheckOutcome,
        finding: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self { name, server: None, outcome, finding: finding.into(), remedy }
    }

    /// Returns the step as one of this server.
    #[must_use]
    pub fn at(self, server: &str) -> Self {
        Self { server: Some(server.to_owned()), ..self }
    }
}
