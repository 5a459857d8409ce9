//! Entries as bytes: the requested attributes, and their values on the wire.

use std::fmt::Write as _;

use crate::ber;
use crate::directory::{Ad, ROOT};
use crate::entry::Id;
use crate::identity::generalized;
use crate::schema::{AttributeId, Kind, Syntax, at};

/// The maximum number of attribute lists with cached encodings.
const KEPT_LISTS: usize = 3;

/// Encoded entries by attribute list, so that a second read of a million people encodes nothing.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    lists: Vec<List>,
}

#[derive(Debug)]
pub(crate) struct List {
    key: String,
    encoded: usize,
    bodies: Vec<Option<Box<[u8]>>>,
}

impl Cache {
    pub(crate) fn clear(&mut self) {
        self.lists.clear();
    }

    /// Drops the lists that show an attribute.
    pub(crate) fn forget_showing(&mut self, attribute: AttributeId) {
        let shown = attribute.to_string();
        self.lists.retain(|list| !list.key.split(' ').any(|one| one == shown));
    }

    pub(crate) fn forget(&mut self, id: Id) {
        for list in &mut self.lists {
            if let Some(body) = list.bodies.get_mut(id as usize) {
                *body = None;
            }
        }
    }

    /// Returns the encoded entries of an attribute list.
    pub(crate) fn list(&mut self, key: &str) -> &mut List {
        let place = self.lists.iter().position(|list| list.key == key);
        let place = place.unwrap_or_else(|| {
            if self.lists.len() == KEPT_LISTS {
                let least = (0..KEPT_LISTS).min_by_key(|place| self.lists[*place].encoded);
                self.lists.remove(least.unwrap_or(0));
            }
            self.lists.push(List { key: key.to_owned(), encoded: 0, bodies: Vec::new() });
            self.lists.len() - 1
        });
        &mut self.lists[place]
    }
}

impl List {
    /// Returns an entry's bytes, encoded if they are not cached. `entries` is the number of all
    /// entries.
    pub(crate) fn get_or_encode(
        &mut self,
        id: Id,
        entries: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> &[u8] {
        if self.bodies.len() < entries {
            self.bodies.resize_with(entries, || None);
        }
        let encoded = &mut self.encoded;
        self.bodies[id as usize].get_or_insert_with(|| {
            *encoded += 1;
            let mut body = Vec::with_capacity(1024);
            encode(&mut body);
            body.into_boxed_slice()
        })
    }
}

/// The attributes that a search requested.
#[derive(Debug)]
pub(crate) struct Selection {
    items: Vec<Item>,
    pub(crate) types_only: bool,
    /// Two selections with the same key encode every entry alike.
    pub(crate) key: String,
    ranged: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Item {
    attribute: AttributeId,
    range: Option<(usize, Option<usize>)>,
}

/// A range that begins behind the last value.
#[derive(Debug)]
pub(crate) struct BeyondLastValue;

impl Selection {
    pub(crate) fn new(ad: &Ad, names: &[String], types_only: bool) -> Self {
        let mut items: Vec<Item> = Vec::new();
        if names.is_empty() || names.iter().any(|name| name == "*") {
            let all = ad.schema.ids().filter(|id| !ad.schema.get(*id).constructed);
            items.extend(all.map(|attribute| Item { attribute, range: None }));
        }
        for name in names {
            let (plain, option) = match name.split_once(';') {
                Some((plain, option)) => (plain, Some(option)),
                None => (name.as_str(), None),
            };
            let range = match option {
                None => None,
                Some(option) => match parse_range(option) {
                    Some(range) => Some(range),
                    None => continue,
                },
            };
            let Some(attribute) = ad.schema.id(plain) else { continue };
            let item = Item { attribute, range };
            if !items.contains(&item) {
                items.push(item);
            }
        }
        let mut key = String::new();
        for item in &items {
            let _ = write!(key, "{} ", item.attribute);
        }
        let ranged = items.iter().any(|item| item.range.is_some());
        Self { items, types_only, key, ranged }
    }

    /// Returns whether the encodings may be cached for the next search.
    pub(crate) fn cacheable(&self, kind: Kind) -> bool {
        !self.ranged && !self.types_only && kind.signs_in()
    }
}

fn parse_range(option: &str) -> Option<(usize, Option<usize>)> {
    let lower = option.to_ascii_lowercase();
    let (from, to) = lower.strip_prefix("range=")?.split_once('-')?;
    let from = from.parse().ok()?;
    if to == "*" {
        return Some((from, None));
    }
    Some((from, Some(to.parse().ok()?)))
}

impl Ad {
    /// Writes an entry as the body of a SearchResultEntry.
    pub(crate) fn encode(
        &self,
        id: Id,
        selection: &Selection,
        max_values: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BeyondLastValue> {
        let entry = ber::begin(out, 0x64);
        let mut dn = Vec::with_capacity(96);
        self.write_dn(id, &mut dn);
        ber::put(out, ber::OCTETS, &dn);
        let list = ber::begin(out, ber::SEQUENCE);
        for item in &selection.items {
            self.encode_attribute(id, item, selection.types_only, max_values, out)?;
        }
        ber::end(out, list);
        ber::end(out, entry);
        Ok(())
    }

    fn encode_attribute(
        &self,
        id: Id,
        item: &Item,
        types_only: bool,
        max_values: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BeyondLastValue> {
        if !self.readable(id, item.attribute) {
            return Ok(());
        }
        let name = &self.schema.get(item.attribute).name;
        let links = self.links(id, item.attribute);
        let count =
            links.map_or_else(|| self.count(id, item.attribute, item.range.is_some()), <[Id]>::len);
        if count == 0 {
            return Ok(());
        }
        if item.range.is_none() && count <= max_values {
            let attribute = ber::begin(out, ber::SEQUENCE);
            ber::put(out, ber::OCTETS, name.as_bytes());
            let set = ber::begin(out, ber::SET);
            if !types_only {
                self.each_value(id, item.attribute, &mut |value| ber::put(out, ber::OCTETS, value));
            }
            ber::end(out, set);
            ber::end(out, attribute);
            return Ok(());
        }
        if item.range.is_none() {
            // AD also returns the plain attribute, without values.
            put_attribute(out, name, &[]);
        }
        let (from, to) = item.range.unwrap_or((0, None));
        if from >= count {
            return Err(BeyondLastValue);
        }
        let wanted = to.map_or(usize::MAX, |to| (to + 1).saturating_sub(from));
        let end = count.min(from.saturating_add(wanted.min(max_values)));
        let upper = if end == count { "*".to_owned() } else { (end - 1).to_string() };
        let mut values = Vec::new();
        if let Some(links) = links {
            values.extend(links[from..end].iter().map(|link| self.dn_of(*link).into_bytes()));
        } else {
            self.each_value(id, item.attribute, &mut |value| values.push(value.to_vec()));
            values.truncate(end);
            values.drain(..from);
        }
        put_attribute(out, &format!("{name};range={from}-{upper}"), &values);
        Ok(())
    }

    /// Returns the entries that a linked attribute refers to.
    fn links(&self, id: Id, attribute: AttributeId) -> Option<&[Id]> {
        let entry = self.get(id)?;
        match attribute {
            at::MEMBER => Some(&entry.members),
            at::MEMBER_OF => Some(&entry.groups),
            _ => None,
        }
    }

    fn count(&self, id: Id, attribute: AttributeId, exact: bool) -> usize {
        // Single values need no counting: most attributes of most entries.
        if self.schema.get(attribute).single && !exact && !matches!(attribute, at::TOKEN_GROUPS) {
            let mut any = 0;
            self.each_value(id, attribute, &mut |_| any = 1);
            return any;
        }
        let mut count = 0;
        self.each_value(id, attribute, &mut |_| count += 1);
        count
    }

    /// Calls back with each value of an attribute in its wire form, readable or not.
    pub(crate) fn each_value(&self, id: Id, attribute: AttributeId, each: &mut dyn FnMut(&[u8])) {
        let Some(entry) = self.get(id) else { return };
        let mut text = |value: String| each(value.as_bytes());
        match attribute {
            at::OBJECT_CLASS => {
                for class in entry.kind.classes() {
                    each(class.as_bytes());
                }
            }
            at::OBJECT_CATEGORY if !entry.deleted => {
                let category = entry.kind.category();
                text(format!("CN={category},CN=Schema,CN=Configuration,{}", self.root_dn));
            }
            at::OBJECT_GUID => each(&entry.guid.to_bytes_le()),
            at::OBJECT_SID if entry.rid != 0 || entry.kind == Kind::Domain => {
                each(&self.sid.bytes(entry.rid))
            }
            at::DISTINGUISHED_NAME => {
                let mut dn = Vec::with_capacity(96);
                self.write_dn(id, &mut dn);
                each(&dn);
            }
            at::NAME => each(entry.name.as_bytes()),
            own if own == entry.kind.rdn_attribute() => each(entry.name.as_bytes()),
            at::INSTANCE_TYPE => each(if entry.kind.is_head() { b"5" } else { b"4" }),
            at::WHEN_CREATED => text(generalized(from_seconds(entry.created))),
            at::WHEN_CHANGED => text(generalized(from_seconds(entry.changed))),
            at::USN_CREATED => text(entry.usn_created.to_string()),
            at::USN_CHANGED => text(entry.usn.to_string()),
            at::S_AM_ACCOUNT_TYPE if !entry.deleted => match entry.kind {
                // The account of another domain that trusts this one.
                Kind::Person
                    if entry
                        .attributes
                        .number(at::USER_ACCOUNT_CONTROL)
                        .is_some_and(|bits| bits & 0x800 != 0) =>
                {
                    each(b"805306370");
                }
                Kind::Person | Kind::InetOrgPerson => each(b"805306368"),
                Kind::Computer | Kind::ManagedServiceAccount => each(b"805306369"),
                Kind::Group => each(b"268435456"),
                _ => {}
            },
            at::PARENT_GUID if id != ROOT => {
                if let Some(parent) = self.get(entry.parent) {
                    each(&parent.guid.to_bytes_le());
                }
            }
            at::COMPUTED_CONTROL if entry.kind.signs_in() => {
                let locked = entry.attributes.number(at::LOCKOUT_TIME).is_some_and(|at| at > 0);
                let must_change = entry.attributes.number(at::PWD_LAST_SET) == Some(0);
                let bits = if locked { 0x10 } else { 0 } | if must_change { 0x80_0000 } else { 0 };
                text(bits.to_string());
            }
            at::TOKEN_GROUPS if entry.rid != 0 => {
                for rid in self.token_rids(id) {
                    each(&self.sid.bytes(rid));
                }
            }
            at::MEMBER | at::MEMBER_OF => {
                let links = if attribute == at::MEMBER { &entry.members } else { &entry.groups };
                let mut dn = Vec::with_capacity(96);
                for link in links {
                    dn.clear();
                    self.write_dn(*link, &mut dn);
                    each(&dn);
                }
            }
            other => {
                let named = self.schema.get(other).syntax == Syntax::Name;
                let values = entry.attributes.iter().filter(|(found, _)| *found == other);
                for (_, value) in values {
                    match <[u8; 4]>::try_from(value) {
                        // A name is stored as the entry's id, so that it follows renames. A deleted
                        // entry's link is gone.
                        Ok(link) if named => {
                            let link = Id::from_le_bytes(link);
                            let living = self.get(link).is_some_and(|entry| !entry.deleted);
                            if living || other == at::LAST_KNOWN_PARENT {
                                each(self.dn_of(link).as_bytes());
                            }
                        }
                        _ => each(value),
                    }
                }
            }
        }
    }

    /// Returns all groups of an entry, by nesting and primary group.
    pub(crate) fn closure(&self, id: Id) -> std::collections::BTreeSet<Id> {
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![id];
        let primary = self.get(id).and_then(|entry| entry.attributes.number(at::PRIMARY_GROUP_ID));
        let primary =
            primary.and_then(|rid| u32::try_from(rid).ok()).and_then(|rid| self.by_rid(rid));
        if let Some(primary) = primary
            && seen.insert(primary)
        {
            open.push(primary);
        }
        while let Some(next) = open.pop() {
            let groups = self.get(next).map(|entry| entry.groups.as_slice()).unwrap_or_default();
            for group in groups {
                if seen.insert(*group) {
                    open.push(*group);
                }
            }
        }
        seen
    }

    /// Returns the RIDs of all groups in an entry's token.
    pub(crate) fn token_rids(&self, id: Id) -> Vec<u32> {
        let groups = self.closure(id);
        groups
            .into_iter()
            .filter_map(|group| self.get(group).map(|entry| entry.rid))
            .filter(|rid| *rid != 0)
            .collect()
    }
}

fn from_seconds(seconds: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}

pub(crate) fn put_attribute(out: &mut Vec<u8>, name: &str, values: &[Vec<u8>]) {
    let attribute = ber::begin(out, ber::SEQUENCE);
    ber::put(out, ber::OCTETS, name.as_bytes());
    let set = ber::begin(out, ber::SET);
    for value in values {
        ber::put(out, ber::OCTETS, value);
    }
    ber::end(out, set);
    ber::end(out, attribute);
}
