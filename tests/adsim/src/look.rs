//! Inspection of the directory from a test, past all rights.

use uuid::Uuid;

use crate::directory::{Ad, Who};
use crate::entry::Id;
use crate::schema::Kind;

impl Ad {
    pub fn root_dn(&self) -> &str {
        &self.root_dn
    }

    /// Returns whether the entry exists, living or a tombstone (a tombstone is named by GUID).
    pub fn exists(&self, who: impl Into<Who>) -> bool {
        self.find(&who.into()).is_some()
    }

    pub fn guid(&self, who: impl Into<Who>) -> Uuid {
        let id = self.need(who);
        self.entry(id).guid
    }

    pub fn dn(&self, who: impl Into<Who>) -> String {
        let id = self.need(who);
        self.dn_of(id)
    }

    /// Returns an entry's SID as `S-1-5-21-…`.
    pub fn sid(&self, who: impl Into<Who>) -> String {
        let id = self.need(who);
        self.sid.display(self.entry(id).rid)
    }

    /// Returns an attribute's values in wire form.
    pub fn values(&self, who: impl Into<Who>, attribute: &str) -> Vec<Vec<u8>> {
        let id = self.need(who);
        let mut values = Vec::new();
        if let Some(attribute) = self.schema.id(attribute) {
            self.each_value(id, attribute, &mut |value| values.push(value.to_vec()));
        }
        values
    }

    /// Returns an attribute's first value as text.
    pub fn value(&self, who: impl Into<Who>, attribute: &str) -> Option<String> {
        let first = self.values(who, attribute).into_iter().next()?;
        Some(String::from_utf8_lossy(&first).into_owned())
    }

    /// Returns all living people (of class `user`, no computers) in the order of their creation.
    /// The service account is one of them.
    pub fn people(&self) -> Vec<Uuid> {
        let people = |id: Id| {
            let entry = self.get(id)?;
            let person = matches!(entry.kind, Kind::Person | Kind::InetOrgPerson);
            (person && !entry.deleted).then_some(entry.guid)
        };
        (0..self.entries.len() as Id).filter_map(people).collect()
    }

    pub fn members(&self, group: impl Into<Who>) -> Vec<Uuid> {
        let id = self.need(group);
        self.entry(id).members.iter().filter_map(|member| Some(self.get(*member)?.guid)).collect()
    }

    /// Returns the number of entries, tombstones and the schema included.
    pub fn len(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// Always false: a domain has its head.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the highest USN assigned.
    pub fn usn(&self) -> u64 {
        self.usn
    }
}
