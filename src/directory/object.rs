//! One entry with its attributes, as a server returned it.

use std::collections::BTreeMap;

use super::ber::EntryRef;
use crate::model::Guid;

/// An entry with the requested attributes, by lower-case name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Object {
    pub dn: String,
    pub attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Object {
    /// Decodes an entry; `None` if any attribute is malformed.
    pub(super) fn read(entry: Option<&EntryRef<'_>>) -> Option<Self> {
        let entry = entry?;
        let mut object = Self {
            dn: String::from_utf8_lossy(entry.dn()).replace('\0', ""),
            attributes: BTreeMap::new(),
        };
        for attribute in entry.attributes() {
            let attribute = attribute.ok()?;
            let name = String::from_utf8_lossy(attribute.name).to_ascii_lowercase();
            object
                .attributes
                .entry(name)
                .or_default()
                .extend(attribute.values().map(<[u8]>::to_vec));
        }
        Some(object)
    }

    /// Returns the size of name and values in bytes.
    pub(super) fn size(&self) -> usize {
        self.dn.len() + self.attributes.values().flatten().map(Vec::len).sum::<usize>()
    }

    /// Returns the first value of an attribute as UTF-8.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(attribute)?).ok()
    }

    /// Returns the first value of an attribute.
    pub fn bytes(&self, attribute: &str) -> Option<&[u8]> {
        self.attributes.get(&attribute.to_ascii_lowercase())?.first().map(Vec::as_slice)
    }

    pub fn guid(&self) -> Option<Guid> {
        Guid::from_ad(self.bytes("objectGUID")?)
    }
}
