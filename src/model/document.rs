//! The JSON of a change: before, after, and the document for gates.

use std::collections::BTreeSet;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::cause::Reason;
use super::change::{Change, ChangeKind};
use super::digest::Digest;
use super::email::Addresses;
use super::link::Link;
use super::profile::Profile;
use super::user::{Joined, Status};

/// The values before or after a change.
pub(super) enum Values<'a> {
    /// The values that creations and links write.
    Joined(JoinedValues<'a>),
    Other(Value),
}

/// The values that creations and links write, with those that some changes add.
pub(super) struct JoinedValues<'a> {
    of: &'a Joined,
    account_name: Option<&'a str>,
    /// The DN of the entry, which decides nothing.
    dn: Option<EntryDn<'a>>,
    status: Option<Status>,
}

/// The DN of the entry of a joiner; `null` without one.
#[derive(Clone, Copy, Serialize)]
#[serde(transparent)]
struct EntryDn<'a>(Option<&'a str>);

impl<'a> Values<'a> {
    fn joined(of: &'a Joined) -> Self {
        Self::Joined(JoinedValues { of, account_name: None, dn: None, status: None })
    }

    /// Returns the JSON, with names in order.
    pub(super) fn written(&self) -> impl Serialize {
        Written { values: self, is_digested: false }
    }

    /// Returns the JSON of what an operator decides about. Further attributes decide nothing, so a plan
    /// stays the same when the configuration names others. Nor does the DN of a joiner.
    fn digested(&self) -> impl Serialize {
        Written { values: self, is_digested: true }
    }
}

impl Change {
    /// Returns the values before the change as JSON; `null` where there was no user.
    pub fn before(&self) -> Value {
        json!(self.values_before().written())
    }

    /// Returns the values after the change as JSON; `null` where there is no user any more.
    pub fn after(&self) -> Value {
        json!(self.values_after().written())
    }

    pub(super) fn values_before(&self) -> Values<'_> {
        Values::Other(match &self.kind {
            ChangeKind::Create(_) | ChangeKind::Invite { .. } => Value::Null,
            ChangeKind::Register { before } | ChangeKind::Release { before } => {
                json!({ "status": before })
            }
            ChangeKind::Transfer { before, .. } => json!({ "account": before.handle }),
            ChangeKind::Remove { before: Some(of), status } => {
                let status = Some(*status);
                return Values::Joined(JoinedValues { of, account_name: None, dn: None, status });
            }
            ChangeKind::Remove { before: None, status } => json!({ "status": status }),
            ChangeKind::Link { before, .. } | ChangeKind::Unlink { before, .. } => {
                return Values::joined(before);
            }
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
        })
    }

    pub(super) fn values_after(&self) -> Values<'_> {
        Values::Other(match &self.kind {
            ChangeKind::Create(of) | ChangeKind::Link { after: of, .. } => {
                let dn = Some(EntryDn(of.link.as_ref().map(|link| link.dn.as_str())));
                return Values::Joined(JoinedValues { of, account_name: None, dn, status: None });
            }
            ChangeKind::Unlink { after, .. } => return Values::joined(after),
            ChangeKind::Invite { after: of, account_name } => {
                let (account_name, status) = (Some(account_name.as_str()), Some(Status::Invited));
                return Values::Joined(JoinedValues { of, account_name, dn: None, status });
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
        })
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

    /// Returns the digest of what an operator decides about.
    pub fn digest(&self) -> Digest {
        self.digest_of(&self.values_before(), &self.values_after())
    }

    /// Returns the digest of the change whose values are these.
    pub(super) fn digest_of(&self, before: &Values<'_>, after: &Values<'_>) -> Digest {
        let (before, after) = (before.digested(), after.digested());
        let shown = (self.user, self.kind.verb(), before, after, self.reason());
        // JSON in memory cannot fail.
        let text = serde_json::to_vec(&shown).unwrap_or_default();
        Digest(sha2::Sha256::digest(text).into())
    }
}

/// Values as they are stored, or as they are digested. They are written at once, because an import has a
/// million of them. The names are in order, as they always were.
struct Written<'a> {
    values: &'a Values<'a>,
    is_digested: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let JoinedValues { of, account_name, dn, status } = match self.values {
            Values::Joined(values) => values,
            Values::Other(value) => return value.serialize(serializer),
        };
        let Joined { tier, addresses, profile, link, causes } = of;
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = account_name {
            map.serialize_entry("account_name", name)?;
        }
        let causes: Vec<Reason> = causes.iter().map(|cause| cause.reason).collect();
        map.serialize_entry("causes", &causes)?;
        if let Some(dn) = dn.filter(|_| !self.is_digested) {
            map.serialize_entry("dn", &dn)?;
        }
        map.serialize_entry("object_guid", &link.as_ref().map(|link| link.guid))?;
        map.serialize_entry("primary_email", &addresses.primary)?;
        map.serialize_entry("profile", &InOrder { profile, has_extra: !self.is_digested })?;
        map.serialize_entry("secondary_emails", &addresses.secondary)?;
        if let Some(status) = status {
            map.serialize_entry("status", status)?;
        }
        map.serialize_entry("tier", tier)?;
        map.end()
    }
}

/// A profile with names in order.
struct InOrder<'a> {
    profile: &'a Profile,
    has_extra: bool,
}

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { profile, has_extra } = *self;
        let mut fields = profile.stored_fields();
        fields.sort_unstable_by_key(|(name, _)| *name);
        let mut extra = Some(&profile.extra).filter(|extra| has_extra && !extra.is_empty());
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields {
            if let Some(extra) = extra.take_if(|_| *name > *"extra") {
                map.serialize_entry("extra", extra)?;
            }
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
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

fn profile_difference(of: &Profile, against: &Profile) -> Value {
    let against = against.values();
    let is_different = |(name, value): &(String, Value)| against.get(name) != Some(value);
    Value::Object(of.values().into_iter().filter(is_different).collect())
}
