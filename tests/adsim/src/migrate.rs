//! Moving an entry to another domain of the forest: its objectGUID stays, its SID and its groups do not (MS-DRSR 4.1.15).

use uuid::Uuid;

use crate::directory::{Ad, Who};
use crate::entry::Packed;
use crate::schema::{Kind, at};

/// A person who has left one domain and not arrived in another yet.
#[derive(Debug)]
pub struct Migrant {
    guid: Uuid,
    kind: Kind,
    name: Box<str>,
    attributes: Packed,
}

impl Ad {
    /// Takes a person out of this domain, without a tombstone.
    pub fn emigrate(&mut self, who: impl Into<Who>) -> Migrant {
        let id = self.need(who);
        let entry = self.entry(id);
        let (guid, kind, name, mut attributes) =
            (entry.guid, entry.kind, entry.name.clone(), entry.attributes.clone());
        // Names of entries of this domain mean nothing in another.
        attributes.set(at::MANAGER, &[]);
        attributes.set(at::PRIMARY_GROUP_ID, &[b"513"]);
        self.purge(guid);
        Migrant { guid, kind, name, attributes }
    }

    /// Puts a person of another domain into a container of this one.
    pub fn immigrate(&mut self, migrant: Migrant, container: impl Into<Who>) {
        let Migrant { guid, kind, name, attributes } = migrant;
        let parent = self.need(container);
        let rid = self.take_rid();
        let id = self.insert(parent, kind, &name, rid, attributes);
        self.rename_guid(id, guid);
    }
}
