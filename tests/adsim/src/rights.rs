//! The reader's rights. A missing right is no error, because AD leaves out what is forbidden.

use std::collections::HashSet;

use crate::directory::{Ad, Who};
use crate::entry::Id;
use crate::schema::AttributeId;

#[derive(Debug, Default, Clone)]
pub(crate) struct Rights {
    /// Containers whose contents are not listed.
    subtrees: HashSet<Id>,
    /// Containers whose own entries are not listed. Those of the containers below are.
    unlisted: HashSet<Id>,
    entries: HashSet<Id>,
    attributes: Vec<(AttributeId, Option<Id>)>,
    members: HashSet<Id>,
    tombstones: bool,
    replication: bool,
}

impl Ad {
    /// Hides everything below a container, with result 0: the reader lost the right to list it.
    pub fn hide_subtree(&mut self, container: impl Into<Who>) {
        let id = self.need(container);
        self.rights.subtrees.insert(id);
    }

    pub fn show_subtree(&mut self, container: impl Into<Who>) {
        let id = self.need(container);
        self.rights.subtrees.remove(&id);
    }

    /// Hides the entries of a container, but not those of the containers below it: the reader lost the
    /// right to list this container only.
    pub fn hide_children(&mut self, container: impl Into<Who>) {
        let id = self.need(container);
        self.rights.unlisted.insert(id);
    }

    /// Hides one entry and everything below it.
    pub fn hide_entry(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        self.rights.entries.insert(id);
    }

    pub fn show_entry(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        self.rights.entries.remove(&id);
    }

    /// Makes an attribute unreadable, everywhere or below a container. Filters match no entry on
    /// it.
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

    /// Hides a group's members: `(member=…)` does not find the group, while people still show it in
    /// `memberOf`.
    pub fn hide_members(&mut self, group: impl Into<Who>) {
        let id = self.need(group);
        self.rights.members.insert(id);
    }

    pub fn show_members(&mut self, group: impl Into<Who>) {
        let id = self.need(group);
        self.rights.members.remove(&id);
    }

    /// Sets whether tombstones can be read with their control. At first they cannot, because an
    /// ordinary account has no rights on `CN=Deleted Objects`.
    pub fn show_tombstones(&mut self, shown: bool) {
        self.rights.tombstones = shown;
    }

    pub fn hide_tombstones(&mut self, hidden: bool) {
        self.rights.tombstones = !hidden;
    }

    /// Sets whether the reader has "Replicating Directory Changes", which DirSync without
    /// `LDAP_DIRSYNC_OBJECT_SECURITY` needs. At first it has not.
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

    /// Returns whether a reader sees an entry at all.
    pub(crate) fn visible(&self, id: Id, deleted_too: bool) -> bool {
        self.listed(id) && (!self.is_buried(id) || (deleted_too && self.sees_tombstones()))
    }

    /// Returns whether an entry needs the right to see tombstones.
    pub(crate) fn is_buried(&self, id: Id) -> bool {
        id == self.deleted_objects || self.get(id).is_some_and(|entry| entry.deleted)
    }

    /// Returns whether an entry exists and is not hidden, tombstone or not.
    pub(crate) fn listed(&self, id: Id) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        if self.get(id).is_some_and(|entry| self.rights.unlisted.contains(&entry.parent)) {
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

    /// Returns whether a reader sees an attribute of an entry.
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
