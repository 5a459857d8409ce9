//! The JSON of a change: before, after, and the document for gates.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::Digest as _;

use super::change::{Change, ChangeKind};
use super::digest::Digest;
use super::email::Addresses;
use super::link::Link;
use super::profile::Profile;
use super::user::{Joined, Status};

impl Change {
    /// Returns the values before the change as JSON; `null` where there was no user.
    pub fn before(&self) -> Value {
        match &self.kind {
            ChangeKind::Create(_) | ChangeKind::Invite { .. } => Value::Null,
            ChangeKind::Register { before } | ChangeKind::Release { before } => {
                json!({ "status": before })
            }
            ChangeKind::Transfer { before, .. } => json!({ "account": before.handle }),
            ChangeKind::Remove { before, status } => {
                let mut was = before.as_ref().map_or_else(|| json!({}), |before| joined(before));
                was["status"] = json!(status);
                was
            }
            ChangeKind::Link { before, .. } | ChangeKind::Unlink { before, .. } => joined(before),
            ChangeKind::Relink { before, .. } => {
                json!({ "object_guid": before.guid, "dn": before.dn.as_str() })
            }
            ChangeKind::Move { before, .. } => link(before),
            ChangeKind::Suspend { was_active, .. } => {
                json!({ "status": if *was_active { "active" } else { "suspended" } })
            }
            ChangeKind::Reactivate { lifted, remaining, .. } => {
                json!({ "status": "suspended", "causes": lifted.iter().map(|c| c.reason).chain(remaining.iter().copied()).collect::<BTreeSet<_>>() })
            }
            ChangeKind::Tier { before, .. } => json!({ "tier": before }),
            ChangeKind::Readdress { before, .. } => addresses(before),
            ChangeKind::Update { before, after } => profile_difference(before, after),
            ChangeKind::Override { before, .. } => json!({ "overrides": before }),
        }
    }

    /// Returns the values after the change as JSON; `null` where there is no user any more.
    pub fn after(&self) -> Value {
        match &self.kind {
            ChangeKind::Create(after) | ChangeKind::Link { after, .. } => {
                let mut is = joined(after);
                is["dn"] = json!(after.link.as_ref().map(|link| link.dn.as_str()));
                is
            }
            ChangeKind::Unlink { after, .. } => joined(after),
            ChangeKind::Invite { after, account_name } => {
                let mut is = joined(after);
                is["status"] = json!(Status::Invited);
                is["account_name"] = json!(account_name);
                is
            }
            ChangeKind::Register { .. } => json!({ "status": Status::Active }),
            ChangeKind::Transfer { after, .. } => json!({ "account": after.handle }),
            ChangeKind::Release { .. } => json!({ "status": Status::Released }),
            ChangeKind::Remove { .. } => Value::Null,
            ChangeKind::Relink { after, .. } => {
                json!({ "object_guid": after.guid, "dn": after.dn.as_str() })
            }
            ChangeKind::Move { after, .. } => link(after),
            ChangeKind::Suspend { cause, .. } => {
                json!({ "status": "suspended", "cause": cause.reason })
            }
            ChangeKind::Reactivate { remaining, .. } => {
                json!({ "status": if remaining.is_empty() { "active" } else { "suspended" }, "causes": remaining })
            }
            ChangeKind::Tier { after, .. } => json!({ "tier": after }),
            ChangeKind::Readdress { after, .. } => addresses(after),
            ChangeKind::Update { before, after } => profile_difference(after, before),
            ChangeKind::Override { after, .. } => json!({ "overrides": after }),
        }
    }

    /// Returns the change as gates read it.
    pub fn document(&self) -> Value {
        json!({
            "kind": self.kind.verb(),
            "class": self.class,
            "user_id": self.user,
            "email": self.email,
            "display_name": self.names.display_name,
            "sam_account_name": self.names.sam_account_name,
            "user_principal_name": self.names.user_principal_name,
            "object_guid": self.guid,
            "reason": self.reason(),
            "evidence": self.evidence(),
            "held": null,
            "before": self.before(),
            "after": self.after(),
        })
    }

    /// Returns the digest of what an operator decides about. Further attributes decide nothing, so a
    /// plan stays the same when the configuration names others. Nor does the DN of a joiner.
    pub fn digest(&self) -> Digest {
        let without_extra = |mut shown: Value| {
            if let Some(profile) = shown.get_mut("profile").and_then(Value::as_object_mut) {
                profile.remove("extra");
            }
            shown
        };
        let (before, mut after) = (without_extra(self.before()), without_extra(self.after()));
        if let (ChangeKind::Create(_) | ChangeKind::Link { .. }, Some(after)) =
            (&self.kind, after.as_object_mut())
        {
            after.remove("dn");
        }
        let shown = json!([self.user, self.kind.verb(), before, after, self.reason()]);
        Digest(sha2::Sha256::digest(shown.to_string().as_bytes()).into())
    }
}

fn link(l: &Link) -> Value {
    json!({ "directory": l.directory, "object_guid": l.guid, "dn": l.dn.as_str() })
}

fn addresses(a: &Addresses) -> Value {
    json!({ "primary_email": a.primary, "secondary_emails": a.secondary })
}

fn joined(j: &Joined) -> Value {
    let Joined { tier, addresses, profile, link, causes } = j;
    json!({
        "tier": tier,
        "primary_email": addresses.primary,
        "secondary_emails": addresses.secondary,
        "profile": profile,
        "object_guid": link.as_ref().map(|l| l.guid),
        "causes": causes.iter().map(|c| c.reason).collect::<Vec<_>>(),
    })
}

fn profile_difference(of: &Profile, against: &Profile) -> Value {
    let against = against.values();
    let is_different = |(name, value): &(String, Value)| against.get(name) != Some(value);
    Value::Object(of.values().into_iter().filter(is_different).collect())
}
