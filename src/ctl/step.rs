//! Steps at targets: what a change of a target's run does to an account, in words.

use serde_json::Value;

use super::text::value;
use crate::control::api::{Change, InactiveReason, StepKind};

/// The step at a target that a change stands for.
pub(super) struct Step<'a> {
    pub(super) target: &'a str,
    pub(super) kind: StepKind,
    pub(super) reason: Option<InactiveReason>,
    id: Option<&'a str>,
    before: &'a Value,
    after: &'a Value,
}

impl<'a> Step<'a> {
    /// Returns the step; `None` for a change of a directory.
    pub(super) fn of(change: &'a Change) -> Option<Self> {
        let text = |name: &str| change.after.get(name).and_then(Value::as_str);
        Some(Self {
            target: text("target")?,
            kind: text("step").and_then(StepKind::parse)?,
            reason: text("reason").and_then(InactiveReason::parse),
            id: change.before["id"].as_str(),
            before: &change.before["attributes"],
            after: &change.after["attributes"],
        })
    }

    /// Returns the account that is adopted, the reason of a deactivation, and the attributes that
    /// change; else the kind of the step.
    pub(super) fn words(&self) -> String {
        let is_taken_over = matches!(self.kind, StepKind::Adopt | StepKind::Link);
        let account = self.id.filter(|_| is_taken_over).map(|id| format!("account {id}"));
        let reason = self.reason.map(|reason| reason.explanation().to_owned());
        let mut parts: Vec<String> = account.into_iter().chain(reason).collect();
        parts.extend(self.attributes());
        if parts.is_empty() { self.kind.to_string() } else { parts.join("; ") }
    }

    /// Returns each attribute as `title: Clerk → Chief`, or `title: Chief` where there was none.
    fn attributes(&self) -> Vec<String> {
        let pairs = self.after.as_object().into_iter().flatten();
        pairs
            .map(|(name, after)| match self.before.get(name).filter(|was| !was.is_null()) {
                Some(was) if was != after => format!("{name}: {} → {}", value(was), value(after)),
                _ => format!("{name}: {}", value(after)),
            })
            .collect()
    }
}
