//! The JSON of a change: before, after, and the document for gates.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
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
        self.digest_of(&self.before(), &self.after())
    }

    /// Returns the digest of the change whose values are these.
    pub(super) fn digest_of(&self, before: &Value, after: &Value) -> Digest {
        let has_dn = matches!(self.kind, ChangeKind::Create(_) | ChangeKind::Link { .. });
        let before = Decided { of: before, has_dn: false };
        let after = Decided { of: after, has_dn };
        let shown = (self.user, self.kind.verb(), before, after, self.reason());
        // JSON in memory cannot fail.
        let text = serde_json::to_vec(&shown).unwrap_or_default();
        Digest(sha2::Sha256::digest(text).into())
    }
}

/// The values of a change that an operator decides about.
struct Decided<'a> {
    of: &'a Value,
    /// Whether the values have a DN that decides nothing.
    has_dn: bool,
}

impl Serialize for Decided<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(values) = self.of.as_object() else { return self.of.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in values {
            match (name.as_str(), value) {
                ("dn", _) if self.has_dn => {}
                ("profile", Value::Object(profile)) => {
                    let mut profile: BTreeMap<_, _> = profile.iter().collect();
                    profile.retain(|name, _| *name != "extra");
                    map.serialize_entry(name, &profile)?;
                }
                _ => map.serialize_entry(name, value)?,
            }
        }
        map.end()
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
