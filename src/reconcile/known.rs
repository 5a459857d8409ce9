//! The stored users and people that a plan is made from.

use std::collections::{BTreeMap, BTreeSet};

use super::knowledge::SKEW;
use super::{Desired, LastSeen, Metadata, Takeover};
use crate::model::{
    AccountId, AddressKey, ChangeVerb, DirectoryName, Dn, Guid, Reason, Rejection, Standing,
    Status, Timestamp, User, UserId,
};

/// A stored person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPerson {
    /// The DN when it was last seen alive.
    pub dn: Dn,
    /// The parent when its last change was applied whole, in normal form. Clusters count by it.
    pub home: String,
    /// The group that gave the tier when its last change was applied whole.
    pub entitled_by: Option<Guid>,
    /// `None` for a person who was quarantined before it had a user.
    pub user: Option<UserId>,
    /// When a run that stored the person last saw it alive.
    pub seen_at: Timestamp,
    /// The notes that operators have been warned of.
    pub notes: BTreeSet<String>,
    /// The newest stamps that runs have seen of the entry; `None` where none were read.
    pub metadata: Option<Metadata>,
}

impl StoredPerson {
    /// Returns the last sight of the entry. `early` are the stamps of a leaver who had no user then.
    pub fn last_seen(self, early: Option<Metadata>, now: Timestamp) -> LastSeen {
        let metadata = match (early, self.metadata) {
            (early, Some(stored)) => Some(early.unwrap_or_default().merged(&stored, now)),
            (early, None) => early,
        };
        LastSeen { metadata, alive: Some((self.dn, self.seen_at)) }
    }

    /// Returns whether a domain controller wrote something after the person was last seen alive. Its clock
    /// may differ.
    pub fn was_seen_before(&self, write: Timestamp) -> bool {
        self.seen_at.plus(SKEW) < write
    }
}

/// The stored people and users of a plan, and the users who hold addresses that the people want.
#[derive(Debug, Default)]
pub struct Known {
    users: BTreeMap<UserId, User>,
    by_guid: BTreeMap<Guid, UserId>,
    by_key: BTreeMap<AddressKey, UserId>,
    pub people: BTreeMap<Guid, StoredPerson>,
    /// The people of users linked to another directory, as that directory stored them.
    pub former: BTreeMap<Guid, StoredPerson>,
    /// The suspensions that an operator rejected.
    pub rejected: BTreeSet<(UserId, Reason)>,
    /// The decision about each person whose user is linked to another directory of the account.
    pub takeovers: BTreeMap<Guid, Takeover>,
    /// The users of other directories whose SID an entry had before, by the GUID of that entry.
    pub successors: BTreeMap<Guid, UserId>,
    /// The addresses that people of other directories of the account want, or may want.
    pub rivals: BTreeMap<AddressKey, Rival>,
}

impl Known {
    /// Adds a user. It is found by each address, and in its own account by GUID in any directory.
    pub fn add(&mut self, user: User, account: AccountId) {
        if let Some(link) = user.link.as_ref().filter(|_| user.account == account) {
            self.by_guid.insert(link.guid, user.id);
        }
        if user.standing != Standing::Released {
            for key in user.addresses.keys() {
                self.by_key.insert(key, user.id);
            }
        }
        self.users.insert(user.id, user);
    }

    /// Adds the suspensions among the rejections of an operator.
    pub fn reject(&mut self, rejections: &[Rejection]) {
        let suspensions = rejections.iter().filter(|r| r.kind == ChangeVerb::Suspend);
        self.rejected.extend(suspensions.filter_map(|r| Some((r.user, r.reason?))));
    }

    /// Returns the user linked to the person in any directory of the account.
    pub fn of_person(&self, guid: Guid) -> Option<&User> {
        self.users.get(self.by_guid.get(&guid)?)
    }

    /// Returns the people of all users of the account.
    pub(super) fn linked(&self) -> impl Iterator<Item = Guid> {
        self.by_guid.keys().copied()
    }

    /// Returns the people of users linked to other directories, by directory.
    pub fn linked_elsewhere(&self, this: &DirectoryName) -> BTreeMap<DirectoryName, Vec<Guid>> {
        let mut elsewhere: BTreeMap<DirectoryName, Vec<Guid>> = BTreeMap::new();
        let links = self.by_guid.values().filter_map(|id| self.users.get(id)?.link.as_ref());
        for link in links.filter(|link| link.directory != *this) {
            elsewhere.entry(link.directory.clone()).or_default().push(link.guid);
        }
        elsewhere
    }

    /// Returns the person as the directory of its user stored it. Clusters count by that.
    pub fn stored(&self, guid: Guid) -> Option<&StoredPerson> {
        self.former.get(&guid).or_else(|| self.people.get(&guid))
    }

    /// Returns the user that holds the address.
    pub fn holder(&self, key: &AddressKey) -> Option<&User> {
        self.users.get(self.by_key.get(key)?)
    }

    /// Returns the user whose former entry this one succeeds. An entry that would suspend an active user
    /// succeeds none.
    pub(super) fn former_user(&self, d: &Desired) -> Option<&User> {
        let user = self.users.get(self.successors.get(&d.guid)?)?;
        let is_usable = match user.status() {
            Status::Active => d.holding().next().is_none(),
            Status::Suspended => true,
            Status::Invited | Status::Released => false,
        };
        (is_usable && d.is_in_scope()).then_some(user)
    }

    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id)
    }
}

/// A person of another directory of the account who wants an address, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rival {
    /// As a secondary address.
    Secondary,
    /// As its primary address, or in an unknown way.
    Primary,
}
