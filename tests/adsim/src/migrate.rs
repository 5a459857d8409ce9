//! Moves of an entry to another domain of the forest (MS-DRSR 4.1.15). Its objectGUID stays, its
//! SID and groups do not.

use uuid::Uuid;

use crate::directory::{Ad, Who};
use crate::entry::{Id, Packed};
use crate::schema::{Kind, at};

/// A person removed from one domain and not yet added to another.
#[derive(Debug)]
pub struct Migrant {
    guid: Uuid,
    kind: Kind,
    name: Box<str>,
    attributes: Packed,
}

impl Ad {
    /// Removes a person from this domain, without a tombstone.
    pub fn emigrate(&mut self, who: impl Into<Who>) -> Migrant {
        let id = self.need(who);
        let migrant = self.migrant(id);
        self.purge(migrant.guid);
        migrant
    }

    /// Removes a person from this domain, which keeps a tombstone.
    pub fn exile(&mut self, who: impl Into<Who>) -> Migrant {
        let id = self.need(who);
        let migrant = self.migrant(id);
        self.delete(migrant.guid);
        migrant
    }

    /// Returns what a move would take to another domain, and leaves the entry where it is.
    pub fn copy_of(&self, who: impl Into<Who>) -> Migrant {
        self.migrant(self.need(who))
    }

    fn migrant(&self, id: Id) -> Migrant {
        let entry = self.entry(id);
        let (guid, kind, name, mut attributes) =
            (entry.guid, entry.kind, entry.name.clone(), entry.attributes.clone());
        // Names of entries of this domain mean nothing in another.
        attributes.set(at::MANAGER, &[]);
        attributes.set(at::PRIMARY_GROUP_ID, &[b"513"]);
        Migrant { guid, kind, name, attributes }
    }

    /// Adds a person of another domain to a container of this one.
    pub fn immigrate(&mut self, migrant: Migrant, container: impl Into<Who>) {
        let Migrant { guid, kind, name, attributes } = migrant;
        let parent = self.need(container);
        let rid = self.take_rid();
        let id = self.insert(parent, kind, &name, rid, attributes);
        self.rename_guid(id, guid);
    }
}
