//! The accounts of a user as the target showed them.

use super::mapping::{Mapping, Wanted};
use super::resource::Resource;
use crate::model::RemoteId;

/// An account as the target showed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    pub id: RemoteId,
    pub user_name: Option<String>,
    pub external_id: Option<String>,
    pub emails: Vec<String>,
    pub active: Option<bool>,
    /// The fingerprint of the mapped attributes.
    pub echo: u64,
    /// The resource, from which an update takes the attributes that differ.
    pub resource: Resource,
}

/// The sight of the accounts of one user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sighting {
    /// The target was not asked.
    Unasked,
    /// The target showed these accounts: the one of the counterpart's id, or the candidates of a
    /// search or a list that was read whole. Candidates may match or not.
    Seen(Vec<Account>),
    /// The account of the counterpart's id is gone: 404 of a SCIM service, twice.
    Gone,
}

impl Account {
    /// Returns the account of a resource; `None` without an id.
    pub fn of(resource: Resource, mapping: &Mapping) -> Option<Self> {
        Some(Self {
            id: RemoteId(resource.id()?),
            user_name: resource.text("userName").map(str::to_owned),
            external_id: resource.text("externalId").map(str::to_owned),
            emails: resource.emails().into_iter().map(str::to_owned).collect(),
            active: resource.active(),
            echo: mapping.echo(&resource),
            resource,
        })
    }

    /// Returns whether an attribute, `userName`, `externalId` or `emails.value`, has this text.
    pub fn has(&self, attribute: &str, text: &str) -> bool {
        match attribute {
            "externalId" => self.external_id.as_deref() == Some(text),
            "emails.value" => self.emails.iter().any(|email| email.eq_ignore_ascii_case(text)),
            _ => self.user_name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(text)),
        }
    }

    /// Returns whether the answer to a creation shows the account of this user: by `externalId`, or by
    /// the name where it shows none.
    pub fn is_made_for(&self, wanted: &Wanted) -> bool {
        match (&self.external_id, &wanted.external_id) {
            (Some(shown), Some(own)) => shown == own,
            _ => self.has("userName", &wanted.user_name),
        }
    }

    /// Returns whether the account has one of the names of a user.
    pub fn may_belong_to(&self, wanted: &Wanted) -> bool {
        wanted.external_id.as_deref().is_some_and(|id| self.has("externalId", id))
            || self.has("userName", &wanted.user_name)
            || wanted.email().is_some_and(|email| self.has("emails.value", email))
    }
}
