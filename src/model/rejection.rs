//! Rejections: an operator's word that a change must not be made, kept until the directory no longer asks for the change.
//!
//! A plan's digest covers everything that was shown. A rejection is about less: a suspension is recognised by its user and
//! reason, a creation by its tier and addresses, so that a new job title or another cause beside it does not undo the word.

use serde_json::{Value, json};
use sha2::Digest as _;

use super::{Change, Digest, Guid, PlanId, Reason, UserId, WrittenChange};

/// One change that an operator rejected, as far as runs need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The key that recognises the change.
    pub key: Digest,
    /// The rejected plan that holds the change.
    pub plan: PlanId,
    /// The user that the change is about.
    pub user: UserId,
    /// The person; the user's own link where it has one.
    pub guid: Option<Guid>,
    /// The kind of the change, as stored.
    pub kind: String,
    /// The reason of a suspension, or the one that a reactivation would lift.
    pub reason: Option<Reason>,
    /// The cluster, so that further changes of the same cause are measured together with it.
    pub cluster: Option<String>,
}

impl Change {
    /// Returns the keys that recognise this change among rejections; several where it lifts several causes.
    pub fn rejection_keys(&self) -> Vec<Digest> {
        let reason = self.reason().map(Reason::as_str);
        keys(self.user, self.kind.as_str(), reason, &self.before(), &self.after())
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }
}

impl WrittenChange {
    /// Returns the same keys as [`Change::rejection_keys`], each with the reason that it is about.
    pub fn rejection_keys(&self) -> Vec<(Digest, Option<Reason>)> {
        keys(self.user, &self.kind, self.reason.as_deref(), &self.before, &self.after)
    }
}

fn keys(
    user: UserId,
    kind: &str,
    reason: Option<&str>,
    before: &Value,
    after: &Value,
) -> Vec<(Digest, Option<Reason>)> {
    let key = |essence: Value| {
        Digest(sha2::Sha256::digest(json!([user, kind, essence]).to_string().as_bytes()).into())
    };
    let parsed = |reason: Option<&str>| reason.and_then(Reason::parse);
    match kind {
        "suspend" => vec![(key(json!(reason)), parsed(reason))],
        "reactivate" => {
            let set = |of: &Value| of["causes"].as_array().cloned().unwrap_or_default();
            let remaining = set(after);
            let lifted: Vec<Value> =
                set(before).into_iter().filter(|cause| !remaining.contains(cause)).collect();
            lifted.iter().map(|cause| (key(cause.clone()), parsed(cause.as_str()))).collect()
        }
        _ => vec![(key(json!([without_profile(before), without_profile(after)])), parsed(reason))],
    }
}

/// Drops what describes a user that would be created or linked; updates keep their attributes, which are all they are about.
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

    fn key(kind: &str, reason: Option<&str>, before: &Value, after: &Value) -> Vec<Digest> {
        keys(user(), kind, reason, before, after).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_rejected_suspension_is_recognised_whatever_the_user_was_before() {
        let of = |status: &str, reason: &str| {
            key(
                "suspend",
                Some(reason),
                &json!({ "status": status }),
                &json!({ "status": "suspended", "cause": reason }),
            )
        };
        assert_eq!(of("active", "no-group"), of("suspended", "no-group"));
        assert_ne!(
            of("active", "no-group"),
            of("active", "disabled"),
            "another reason is another question"
        );
    }

    #[test]
    fn a_rejected_creation_is_recognised_by_tier_and_addresses_alone() {
        let of = |title: &str, mail: &str, tier: &str| {
            key(
                "create",
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
            key("reactivate", None, &json!({ "causes": before }), &json!({ "causes": after }))
        };
        let both = of(&["no-group", "disabled"], &[]);
        assert_eq!(both.len(), 2);
        assert!(of(&["no-group", "disabled"], &["disabled"]).iter().all(|key| both.contains(key)));
    }
}
