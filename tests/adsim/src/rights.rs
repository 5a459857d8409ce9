//! What a reader is not shown. Nothing here is an error: AD simply leaves out what one may not see.

use std::collections::HashSet;

use crate::directory::{Ad, Who};
use crate::entry::Id;
use crate::schema::AttributeId;

#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// Containers whose contents are not listed.
    subtrees: HashSet<Id>,
    entries: HashSet<Id>,
    attributes: Vec<(AttributeId, Option<Id>)>,
    members: HashSet<Id>,
    tombstones: bool,
    replication: bool,
}

impl Ad {
    /// Everything below a container becomes invisible, with result 0: the reader lost the right to list it.
    pub fn hide_subtree(&mut self, container: impl Into<Who>) {
        let id = self.need(container);
        self.rights.subtrees.insert(id);
    }

    /// Undoes [`hide_subtree`](Self::hide_subtree).
    pub fn show_subtree(&mut self, container: impl Into<Who>) {
        let id = self.need(container);
        self.rights.subtrees.remove(&id);
    }

    /// One entry (and what is below it) becomes invisible.
    pub fn hide_entry(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        self.rights.entries.insert(id);
    }

    /// Undoes [`hide_entry`](Self::hide_entry).
    pub fn show_entry(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        self.rights.entries.remove(&id);
    }

    /// An attribute becomes unreadable, everywhere or below a container; filters on it behave as if nobody had it.
    pub fn hide_attribute(&mut self, attribute: &str, container: Option<Who>) {
        let attribute = self.known(attribute);
        let container = container.map(|who| self.need(who));
        self.rights.attributes.push((attribute, container));
        self.forget_all();
    }

    /// Makes an attribute readable again everywhere.
    pub fn show_attribute(&mut self, attribute: &str) {
        let attribute = self.known(attribute);
        self.rights.attributes.retain(|(hidden, _)| *hidden != attribute);
        self.forget_all();
    }

    /// A group reads as having no members; `(member=…)` does not find it, while people still name it in `memberOf`.
    pub fn hide_members(&mut self, group: impl Into<Who>) {
        let id = self.need(group);
        self.rights.members.insert(id);
    }

    /// Undoes [`hide_members`](Self::hide_members).
    pub fn show_members(&mut self, group: impl Into<Who>) {
        let id = self.need(group);
        self.rights.members.remove(&id);
    }

    /// Whether tombstones can be read (with the control that asks for them). At first they cannot: an ordinary account
    /// has no rights on `CN=Deleted Objects`.
    pub fn show_tombstones(&mut self, shown: bool) {
        self.rights.tombstones = shown;
    }

    /// The opposite of [`show_tombstones`](Self::show_tombstones).
    pub fn hide_tombstones(&mut self, hidden: bool) {
        self.rights.tombstones = !hidden;
    }

    /// Whether the reader has "Replicating Directory Changes", which DirSync without `LDAP_DIRSYNC_OBJECT_SECURITY` needs.
    /// At first it has not.
    pub fn grant_replication(&mut self, granted: bool) {
        self.rights.replication = granted;
    }

    pub(crate) fn sees_tombstones(&self) -> bool {
        self.rights.tombstones
    }

    pub(crate) fn may_replicate(&self) -> bool {
        self.rights.replication
    }

    fn known(&self, attribute: &str) -> AttributeId {
        self.schema
            .id(attribute)
            .unwrap_or_else(|| panic!("the schema has no attribute {attribute}"))
    }

    /// Whether a reader sees an entry at all.
    pub(crate) fn visible(&self, id: Id, deleted_too: bool) -> bool {
        self.listed(id) && (!self.is_buried(id) || (deleted_too && self.sees_tombstones()))
    }

    /// Whether an entry is one of those that only show with the right to see tombstones.
    pub(crate) fn is_buried(&self, id: Id) -> bool {
        id == self.deleted_objects || self.get(id).is_some_and(|entry| entry.deleted)
    }

    /// Whether an entry is there and not hidden, be it a tombstone or not.
    pub(crate) fn listed(&self, id: Id) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        if self.rights.subtrees.is_empty() && self.rights.entries.is_empty() {
            return true;
        }
        let mut at = id;
        loop {
            if self.rights.entries.contains(&at) {
                return false;
            }
            let Some(entry) = self.get(at) else { return false };
            if entry.parent == at {
                return true;
            }
            at = entry.parent;
            if self.rights.subtrees.contains(&at) {
                return false;
            }
        }
    }

    /// Whether a reader sees an attribute of an entry.
    pub(crate) fn readable(&self, id: Id, attribute: AttributeId) -> bool {
        if !self.rights.members.is_empty()
            && attribute == crate::schema::at::MEMBER
            && self.rights.members.contains(&id)
        {
            return false;
        }
        self.rights.attributes.iter().all(|(hidden, container)| {
            *hidden != attribute
                || container.is_some_and(|container| !self.is_within(id, container))
        })
    }
}
