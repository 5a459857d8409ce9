//! The history of changes: attributes for DirSync, entries for notifications.
//!
//! Entries hold none of it. An attribute without a note is as old as its entry.

use tokio::sync::watch;

use crate::clock;
use crate::directory::Ad;
use crate::entry::{Entry, Id};
use crate::schema::{AttributeId, at};

/// Attributes that refer to other entries. Each value is a link with a history of its own.
pub(crate) const LINKS: &[AttributeId] = &[at::MEMBER, at::MANAGER, at::MANAGED_BY];

/// A change of one attribute of one entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    usn: u64,
    pub(crate) id: Id,
    pub(crate) attribute: AttributeId,
    /// The target of a link that was added or removed.
    pub(crate) link: Option<Id>,
}

/// All changes since the directory was filled, in the order of their USNs.
#[derive(Debug)]
pub(crate) struct History {
    /// The USN up to which there are no notes; `None` while the directory is being filled.
    began: Option<u64>,
    changes: Vec<Change>,
    /// The highest USN, for connections that wait for changes.
    told: watch::Sender<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: None, changes: Vec::new(), told: watch::Sender::new(0) }
    }
}

impl History {
    fn note(&mut self, change: Change) {
        if self.began.is_some() {
            self.changes.push(change);
        }
    }

    /// Returns whether everything after a USN was noted.
    pub(crate) fn reaches(&self, usn: u64) -> bool {
        self.began.is_some_and(|began| began <= usn)
    }

    /// Returns the changes after a USN.
    pub(crate) fn after(&self, usn: u64) -> &[Change] {
        &self.changes[self.changes.partition_point(|change| change.usn <= usn)..]
    }

    /// Publishes the USN of every edit once it has ended.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

impl Ad {
    /// Begins to note changes, after the directory was filled.
    pub(crate) fn begin_history(&mut self) {
        self.history.began = Some(self.usn);
    }

    /// Ends an edit and wakes the connections that wait for changes.
    pub(crate) fn tell(&self) {
        self.history.told.send_if_modified(|told| std::mem::replace(told, self.usn) != self.usn);
    }

    /// Begins a change of attributes: gives the entry a new USN and drops its encoding.
    pub(crate) fn change(&mut self, id: Id, attributes: &[AttributeId]) -> &mut Entry {
        self.touch(id);
        for attribute in attributes {
            self.history.note(Change { usn: self.usn, id, attribute: *attribute, link: None });
        }
        self.entries[id as usize].as_mut().unwrap_or_else(|| panic!("entry {id} has been purged"))
    }

    /// Begins a change of links.
    pub(crate) fn change_links(
        &mut self,
        id: Id,
        attribute: AttributeId,
        targets: impl IntoIterator<Item = Id>,
    ) -> &mut Entry {
        self.touch(id);
        for target in targets {
            self.history.note(Change { usn: self.usn, id, attribute, link: Some(target) });
        }
        self.entries[id as usize].as_mut().unwrap_or_else(|| panic!("entry {id} has been purged"))
    }

    fn touch(&mut self, id: Id) {
        self.usn += 1;
        self.forget(id);
        if let Some(entry) = self.entries[id as usize].as_mut() {
            entry.usn = self.usn;
            entry.changed = clock::seconds();
        }
    }

    /// Returns the entries that were added or changed after a USN, in the order of their last
    /// change.
    pub(crate) fn changed_after(&self, usn: u64) -> Vec<Id> {
        let all = 0..self.entries.len() as Id;
        let mut ids: Vec<Id> = if self.history.reaches(usn) {
            let added = all
                .rev()
                .take_while(|id| self.get(*id).is_none_or(|entry| entry.usn_created > usn));
            added.chain(self.history.after(usn).iter().map(|change| change.id)).collect()
        } else {
            all.collect()
        };
        ids.retain(|id| self.get(*id).is_some_and(|entry| entry.usn > usn));
        ids.sort_unstable_by_key(|id| self.entry(*id).usn);
        ids.dedup();
        ids
    }
}
