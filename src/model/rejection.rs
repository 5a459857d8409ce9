//! Rejections: changes that must not be applied until the directory no longer asks for them.
//!
//! The digest of a plan covers all that an operator was shown. The key of a rejection covers less. A
//! suspension is recognised by user and reason, a creation by tier and addresses. A new job title or
//! a second cause therefore does not end a rejection.

use serde_json::{Value, json};
use sha2::Digest as _;

use super::cause::Reason;
use super::change::{Change, ChangeVerb};
use super::digest::Digest;
use super::ids::{Guid, PlanId, UserId};
use super::written::{Shown, WrittenChange};

/// A rejected change, as runs need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The key that recognises the change.
    pub key: Digest,
    /// The rejected plan that holds the change.
    pub plan: PlanId,
    pub user: UserId,
    /// The GUID of the user's link where it has one, else of the proposed person.
    pub guid: Option<Guid>,
    pub kind: ChangeVerb,
    /// The reason of the suspension, or the one that the reactivation would lift.
    pub reason: Option<Reason>,
    /// Further changes of the same cluster are counted together with this one.
    pub cluster: Option<String>,
    /// The attribute that the suspension rests on.
    pub attribute: Option<String>,
}

impl Change {
    /// Returns the keys of the change among rejections: one for each cause that it lifts.
    pub fn rejection_keys(&self) -> Vec<Digest> {
        keys(self.user, self.kind.verb(), self.reason(), &self.before(), &self.after())
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }
}

impl Shown {
    /// Returns the same keys as [`Change::rejection_keys`].
    pub fn rejection_keys(&self) -> Vec<Digest> {
        keys(self.user, self.kind, self.reason, &self.before.value(), &self.after.value())
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }
}

impl WrittenChange {
    /// Returns the attribute that a suspension rests on.
    pub fn attribute(&self) -> Option<&str> {
        self.evidence[0]["attribute"].as_str().filter(|_| self.kind == ChangeVerb::Suspend)
    }

    /// Returns the same keys as [`Change::rejection_keys`], each with its reason.
    pub fn rejection_keys(&self) -> Vec<(Digest, Option<Reason>)> {
        keys(self.user, self.kind, self.reason, &self.before, &self.after)
    }
}

pub(super) fn keys(
    user: UserId,
    kind: ChangeVerb,
    reason: Option<Reason>,
    before: &Value,
    after: &Value,
) -> Vec<(Digest, Option<Reason>)> {
    let key = |essence: Value| {
        Digest(sha2::Sha256::digest(json!([user, kind, essence]).to_string().as_bytes()).into())
    };
    // Each target proposes one step of a kind for a user.
    if let Some(target) = after["target"].as_str() {
        return vec![(key(json!({ "target": target })), reason)];
    }
    match kind {
        ChangeVerb::Suspend => vec![(key(json!(reason)), reason)],
        ChangeVerb::Reactivate => {
            let set = |of: &Value| of["causes"].as_array().cloned().unwrap_or_default();
            let remaining = set(after);
            let lifted: Vec<Value> =
                set(before).into_iter().filter(|cause| !remaining.contains(cause)).collect();
            lifted
                .iter()
                .map(|cause| (key(cause.clone()), cause.as_str().and_then(Reason::parse)))
                .collect()
        }
        _ => vec![(key(json!([without_profile(before), without_profile(after)])), reason)],
    }
}

/// Drops the profile of a created or linked user. An update is about nothing else, so it keeps it.
fn without_profile(of: &Value) -> Value {
    let mut of = of.clone();
    if let Some(fields) = of.as_object_mut().filter(|fields| fields.contains_key("tier")) {
        fields.remove("profile");
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserId {
        UserId(uuid::Uuid::nil())
    }

    fn key(kind: ChangeVerb, reason: Option<Reason>, before: &Value, after: &Value) -> Vec<Digest> {
        keys(user(), kind, reason, before, after).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_rejected_suspension_is_recognised_whatever_the_user_was_before() {
        let of = |status: &str, reason: Reason| {
            key(
                ChangeVerb::Suspend,
                Some(reason),
                &json!({ "status": status }),
                &json!({ "status": "suspended", "cause": reason }),
            )
        };
        assert_eq!(of("active", Reason::NoGroup), of("suspended", Reason::NoGroup));
        assert_ne!(
            of("active", Reason::NoGroup),
            of("active", Reason::Disabled),
            "another reason is another question"
        );
    }

    #[test]
    fn a_rejected_creation_is_recognised_by_tier_and_addresses_alone() {
        let of = |title: &str, mail: &str, tier: &str| {
            key(
                ChangeVerb::Create,
                None,
                &Value::Null,
                &json!({ "tier": tier, "primary_email": mail, "profile": { "title": title } }),
            )
        };
        assert_eq!(of("Clerk", "a@example.com", "pro"), of("Chief", "a@example.com", "pro"));
        assert_ne!(of("Clerk", "a@example.com", "pro"), of("Clerk", "b@example.com", "pro"));
        assert_ne!(of("Clerk", "a@example.com", "pro"), of("Clerk", "a@example.com", "basic"));
    }

    #[test]
    fn a_rejected_reactivation_covers_each_cause_that_it_would_lift() {
        let of = |before: &[&str], after: &[&str]| {
            key(
                ChangeVerb::Reactivate,
                None,
                &json!({ "causes": before }),
                &json!({ "causes": after }),
            )
        };
        let both = of(&["no-group", "disabled"], &[]);
        assert_eq!(both.len(), 2);
        assert!(of(&["no-group", "disabled"], &["disabled"]).iter().all(|key| both.contains(key)));
    }
}
