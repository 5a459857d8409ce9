//! One entry, small enough for a million of them on a test machine.

use uuid::Uuid;

use crate::schema::{AttributeId, Kind};

/// An entry's index in the directory, never reused for another entry.
pub(crate) type Id = u32;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) guid: Uuid,
    pub(crate) parent: Id,
    /// 0: the entry has no SID.
    pub(crate) rid: u32,
    pub(crate) kind: Kind,
    pub(crate) deleted: bool,
    /// The value of its own part of the name, unescaped.
    pub(crate) name: Box<str>,
    pub(crate) attributes: Packed,
    /// The groups that list it, sorted.
    pub(crate) groups: Vec<Id>,
    /// A group's members, sorted.
    pub(crate) members: Vec<Id>,
    pub(crate) usn_created: u64,
    pub(crate) usn: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) changed: u64,
}

/// Attribute values in one allocation: `(attribute, length, bytes)*`, values of one attribute side
/// by side.
#[derive(Debug, Default, Clone)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    pub(crate) fn pack<'a>(values: impl IntoIterator<Item = (AttributeId, &'a [u8])>) -> Self {
        let mut out = Vec::new();
        for (attribute, value) in values {
            out.push(attribute);
            let mut length = value.len();
            while length >= 0x80 {
                out.push(length as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
            out.extend_from_slice(value);
        }
        Self(out.into_boxed_slice())
    }

    pub(crate) fn iter(&self) -> Values<'_> {
        Values(&self.0)
    }

    /// Returns the first value of an attribute.
    pub(crate) fn first(&self, attribute: AttributeId) -> Option<&[u8]> {
        self.iter().find_map(|(found, value)| (found == attribute).then_some(value))
    }

    pub(crate) fn text(&self, attribute: AttributeId) -> Option<&str> {
        self.first(attribute).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub(crate) fn number(&self, attribute: AttributeId) -> Option<i64> {
        self.text(attribute)?.parse().ok()
    }

    /// Replaces an attribute's values; no values remove it.
    pub(crate) fn set(&mut self, attribute: AttributeId, values: &[&[u8]]) {
        let kept = self.iter().filter(|(found, _)| *found != attribute);
        let new = values.iter().map(|value| (attribute, *value));
        *self = Self::pack(kept.chain(new));
    }

    /// Keeps only these attributes.
    pub(crate) fn retain(&mut self, kept: &[AttributeId]) {
        *self = Self::pack(self.iter().filter(|(found, _)| kept.contains(found)));
    }
}

/// Iterates over packed values.
pub(crate) struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = (AttributeId, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&attribute, mut rest) = self.0.split_first()?;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let (&digit, after) = rest.split_first()?;
            rest = after;
            length |= usize::from(digit & 0x7f) << shift;
            shift += 7;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let (value, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((attribute, value))
    }
}

/// Inserts an id into a sorted list. Returns false if it was there.
pub(crate) fn insert_sorted(list: &mut Vec<Id>, id: Id) -> bool {
    if list.last().is_none_or(|last| *last < id) {
        list.push(id);
        return true;
    }
    match list.binary_search(&id) {
        Ok(_) => false,
        Err(place) => {
            list.insert(place, id);
            true
        }
    }
}

/// Removes an id from a sorted list. Returns false if it was not there.
pub(crate) fn remove_sorted(list: &mut Vec<Id>, id: Id) -> bool {
    match list.binary_search(&id) {
        Ok(place) => {
            list.remove(place);
            true
        }
        Err(_) => false,
    }
}
