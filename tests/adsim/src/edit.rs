//! Edits: everything that an administrator does.

use uuid::Uuid;

use crate::directory::{Ad, DOMAIN_USERS, Who};
use crate::entry::{Id, Packed, insert_sorted, remove_sorted};
use crate::history::LINKS;
use crate::person::{Expiry, NewPerson};
use crate::schema::{AttributeId, Kind, Syntax, at};

/// Attributes that are computed and cannot be set.
const COMPUTED: &[AttributeId] = &[
    at::OBJECT_CLASS,
    at::OBJECT_CATEGORY,
    at::OBJECT_GUID,
    at::OBJECT_SID,
    at::DISTINGUISHED_NAME,
    at::NAME,
    at::MEMBER,
    at::MEMBER_OF,
    at::WHEN_CREATED,
    at::WHEN_CHANGED,
    at::USN_CREATED,
    at::USN_CHANGED,
    at::S_AM_ACCOUNT_TYPE,
    at::IS_DELETED,
    at::LAST_KNOWN_PARENT,
];

/// Packed attributes that a tombstone keeps.
const KEPT: &[AttributeId] = &[at::S_AM_ACCOUNT_NAME, at::USER_ACCOUNT_CONTROL, at::GROUP_TYPE];

/// Attributes that every deletion changes and a restore changes back.
fn marks(kind: Kind) -> Vec<AttributeId> {
    let mut marks = vec![at::NAME, at::IS_DELETED, at::LAST_KNOWN_PARENT, at::OBJECT_CATEGORY];
    if kind.signs_in() || kind == Kind::Group {
        marks.push(at::S_AM_ACCOUNT_TYPE);
    }
    marks
}

impl Ad {
    pub fn add_ou(&mut self, parent: impl Into<Who>, name: &str) -> Uuid {
        self.add(parent, Kind::OrganizationalUnit, name, 0, Packed::default())
    }

    pub fn add_container(&mut self, parent: impl Into<Who>, name: &str) -> Uuid {
        self.add(parent, Kind::Container, name, 0, Packed::default())
    }

    /// Adds a global security group. Its sAMAccountName is its name.
    pub fn add_group(&mut self, parent: impl Into<Who>, name: &str) -> Uuid {
        let parent = self.need(parent);
        let rid = self.take_rid();
        let id = self.insert_group(parent, name, rid);
        self.entry(id).guid
    }

    /// Adds a computer, which is of class `user` and disabled or enabled as people are.
    pub fn add_computer(&mut self, parent: impl Into<Who>, name: &str) -> Uuid {
        let person = NewPerson::new(format!("{name}$")).cn(name).ou(parent).control(4096);
        let guid = self.add_person(person.kind(Kind::Computer));
        let id = self.need(guid);
        self.change(id, &[at::PRIMARY_GROUP_ID]).attributes.set(at::PRIMARY_GROUP_ID, &[b"515"]);
        guid
    }

    /// Adds a contact: a person without an account.
    pub fn add_contact(&mut self, parent: impl Into<Who>, name: &str, mail: &str) -> Uuid {
        let packed =
            Packed::pack([(at::MAIL, mail.as_bytes()), (at::DISPLAY_NAME, name.as_bytes())]);
        self.add(parent, Kind::Contact, name, 0, packed)
    }

    /// Adds a foreign security principal, named by the SID of an account of another forest.
    pub fn add_foreign_principal(&mut self, sid: &str) -> Uuid {
        let name = "ForeignSecurityPrincipals";
        if self.find(&name.into()).is_none() {
            self.add_container("", name);
        }
        self.add(name, Kind::ForeignSecurityPrincipal, sid, 0, Packed::default())
    }

    fn add(
        &mut self,
        parent: impl Into<Who>,
        kind: Kind,
        name: &str,
        rid: u32,
        packed: Packed,
    ) -> Uuid {
        let parent = self.need(parent);
        let id = self.insert(parent, kind, name, rid, packed);
        self.entry(id).guid
    }

    pub fn add_person(&mut self, person: NewPerson) -> Uuid {
        let NewPerson {
            sam,
            cn,
            container,
            kind,
            upn,
            attributes,
            manager,
            control,
            expiry,
            groups,
            password,
        } = person;
        let parent = container.map_or(self.users, |container| self.need(container));
        let upn = upn.unwrap_or_else(|| format!("{sam}@{}", self.domain));
        let cn = cn.unwrap_or_else(|| sam.clone());
        let mut values: Vec<(AttributeId, Vec<u8>)> = vec![
            (at::S_AM_ACCOUNT_NAME, sam.into_bytes()),
            (at::USER_PRINCIPAL_NAME, upn.into_bytes()),
            (at::USER_ACCOUNT_CONTROL, control.to_string().into_bytes()),
            (at::ACCOUNT_EXPIRES, expiry.ticks().to_string().into_bytes()),
            (at::PWD_LAST_SET, b"133500000000000000".to_vec()),
            (at::PRIMARY_GROUP_ID, DOMAIN_USERS.to_string().into_bytes()),
        ];
        if let Some(manager) = manager {
            values.push((at::MANAGER, self.need(manager).to_le_bytes().to_vec()));
        }
        for (name, given) in attributes {
            let attribute = self.settable(&name);
            values.retain(|(found, _)| *found != attribute);
            let given = given.into_iter().filter(|value| !value.is_empty());
            values.extend(given.map(|value| (attribute, self.stored(attribute, value))));
        }
        let packed =
            Packed::pack(values.iter().map(|(attribute, value)| (*attribute, value.as_slice())));
        let rid = self.take_rid();
        let id = self.insert(parent, kind, &cn, rid, packed);
        if let Some(password) = password {
            self.passwords.insert(id, password);
        }
        for group in groups {
            let group = self.need(group);
            self.link(group, id);
        }
        self.entry(id).guid
    }

    fn settable(&mut self, name: &str) -> AttributeId {
        let known = self.schema.id(name).is_some();
        let attribute = self.schema.ensure(name);
        if !known {
            let head = self.schema_head();
            self.publish(head, attribute);
        }
        assert!(
            !COMPUTED.contains(&attribute),
            "{name} follows from other things and cannot be set"
        );
        attribute
    }

    /// Returns a value as it is stored: a name as the entry it refers to.
    fn stored(&self, attribute: AttributeId, value: Vec<u8>) -> Vec<u8> {
        if self.schema.get(attribute).syntax != Syntax::Name {
            return value;
        }
        let target = std::str::from_utf8(&value).ok().and_then(|text| self.find(&text.into()));
        target.map_or(value, |id| id.to_le_bytes().to_vec())
    }

    /// Sets an attribute to one value. An attribute without a definition is added to the schema.
    pub fn set(&mut self, who: impl Into<Who>, attribute: &str, value: &str) {
        self.set_values(who, attribute, [value]);
    }

    /// Sets an attribute to several values, text or bytes of any kind.
    pub fn set_values<V: Into<Vec<u8>>>(
        &mut self,
        who: impl Into<Who>,
        attribute: &str,
        values: impl IntoIterator<Item = V>,
    ) {
        let id = self.need(who);
        let attribute = self.settable(attribute);
        let values: Vec<Vec<u8>> =
            values.into_iter().map(|value| self.stored(attribute, value.into())).collect();
        self.put(id, attribute, &values);
    }

    /// Replaces an attribute's values. The same values again are no change.
    fn put(&mut self, id: Id, attribute: AttributeId, values: &[Vec<u8>]) {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let before = self
            .entry(id)
            .attributes
            .iter()
            .filter(|(found, _)| *found == attribute)
            .map(|(_, value)| value);
        let before: Vec<&[u8]> = before.collect();
        if before == values {
            return;
        }
        let linked = before
            .iter()
            .chain(&values)
            .filter_map(|value| <[u8; 4]>::try_from(*value).ok())
            .map(Id::from_le_bytes);
        let linked: Option<Vec<Id>> = LINKS.contains(&attribute).then(|| linked.collect());
        let renamed = attribute == at::S_AM_ACCOUNT_NAME;
        if renamed {
            self.unindex(id);
        }
        let entry = match linked {
            Some(targets) => self.change_links(id, attribute, targets),
            None => self.change(id, &[attribute]),
        };
        entry.attributes.set(attribute, &values);
        if renamed {
            self.index(id);
        }
    }

    pub fn clear(&mut self, who: impl Into<Who>, attribute: &str) {
        self.set_values(who, attribute, Vec::<Vec<u8>>::new());
    }

    /// Renames an entry: its own part of the DN, nothing else.
    pub fn rename(&mut self, who: impl Into<Who>, name: &str) {
        let id = self.need(who);
        self.unindex(id);
        self.change(id, &[at::NAME]).name = name.into();
        self.index(id);
        self.forget_name(id);
    }

    /// Moves an entry, with all entries below it, into another container.
    pub fn move_to(&mut self, who: impl Into<Who>, container: impl Into<Who>) {
        let (id, parent) = (self.need(who), self.need(container));
        assert!(!self.is_within(parent, id), "an entry cannot be moved into itself");
        self.unindex(id);
        self.change(id, &[at::NAME]).parent = parent;
        self.index(id);
        self.forget_name(id);
    }

    pub fn enable(&mut self, who: impl Into<Who>) {
        self.control(who, |bits| bits & !2);
    }

    pub fn disable(&mut self, who: impl Into<Who>) {
        self.control(who, |bits| bits | 2);
    }

    fn control(&mut self, who: impl Into<Who>, change: impl Fn(i64) -> i64) {
        let id = self.need(who);
        let bits = self.entry(id).attributes.number(at::USER_ACCOUNT_CONTROL).unwrap_or(512);
        self.put(id, at::USER_ACCOUNT_CONTROL, &[change(bits).to_string().into_bytes()]);
    }

    pub fn set_expiry(&mut self, who: impl Into<Who>, expiry: impl Into<Expiry>) {
        let id = self.need(who);
        let ticks = expiry.into().ticks().to_string().into_bytes();
        self.put(id, at::ACCOUNT_EXPIRES, &[ticks]);
    }

    pub fn set_password(&mut self, who: impl Into<Who>, password: &str) {
        let id = self.need(who);
        self.passwords.insert(id, password.to_owned());
    }

    /// Adds a person or a group to a group; cycles are allowed, as in AD.
    pub fn add_member(&mut self, group: impl Into<Who>, who: impl Into<Who>) {
        let (group, id) = (self.need(group), self.need(who));
        self.link(group, id);
    }

    pub fn remove_member(&mut self, group: impl Into<Who>, who: impl Into<Who>) {
        let (group, id) = (self.need(group), self.need(who));
        self.unlink(group, id);
    }

    pub(crate) fn link(&mut self, group: Id, id: Id) {
        let name = &self.entry(group).name;
        assert!(self.entry(group).kind == Kind::Group, "{name} is no group");
        // The member keeps its own USN, because memberOf is computed.
        if self.join(group, id) {
            self.change_links(group, at::MEMBER, [id]);
        }
    }

    fn unlink(&mut self, group: Id, id: Id) {
        if self.part(group, id) {
            self.change_links(group, at::MEMBER, [id]);
        }
    }

    /// Links a group and a member without changing either. Returns false if they were linked.
    fn join(&mut self, group: Id, id: Id) -> bool {
        self.forget(group);
        self.forget(id);
        if let Some(entry) = self.entries[id as usize].as_mut() {
            insert_sorted(&mut entry.groups, group);
        }
        self.entries[group as usize]
            .as_mut()
            .is_some_and(|entry| insert_sorted(&mut entry.members, id))
    }

    /// Undoes [`join`](Self::join). Returns false if they were not linked.
    fn part(&mut self, group: Id, id: Id) -> bool {
        self.forget(group);
        self.forget(id);
        if let Some(entry) = self.entries[id as usize].as_mut() {
            remove_sorted(&mut entry.groups, group);
        }
        self.entries[group as usize]
            .as_mut()
            .is_some_and(|entry| remove_sorted(&mut entry.members, id))
    }

    /// Makes a group the primary group of a person. It no longer lists the person, and the previous
    /// one does.
    pub fn set_primary_group(&mut self, who: impl Into<Who>, group: impl Into<Who>) {
        let (id, group) = (self.need(who), self.need(group));
        let before = self.entry(id).attributes.number(at::PRIMARY_GROUP_ID);
        let before =
            before.and_then(|rid| u32::try_from(rid).ok()).and_then(|rid| self.by_rid(rid));
        if let Some(before) = before
            && before != group
        {
            self.link(before, id);
        }
        self.unlink(group, id);
        let rid = self.entry(group).rid.to_string().into_bytes();
        self.put(id, at::PRIMARY_GROUP_ID, &[rid]);
    }

    /// Sets whether deleted objects keep their attributes and are restored whole. Off at first.
    pub fn set_recycle_bin(&mut self, on: bool) {
        self.recycle_bin = on;
    }

    /// Deletes an entry and all entries below it; tombstones remain.
    pub fn delete(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        for below in self.below(id) {
            self.bury(below);
        }
        self.bury(id);
    }

    /// Removes an entry, living or tombstone, and all entries below it, without a trace.
    pub fn purge(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        for gone in self.below(id).into_iter().chain([id]) {
            self.sever(gone);
            self.forget(gone);
            self.forget_name(gone);
            self.erase(gone);
            self.usn += 1;
        }
    }

    /// Returns all entries below an entry, deepest first.
    fn below(&self, id: Id) -> Vec<Id> {
        let kind = self.entry(id).kind;
        if kind.signs_in() || kind == Kind::Group {
            return Vec::new();
        }
        let mut all: Vec<Id> = (0..self.entries.len() as Id)
            .filter(|other| {
                *other != id && self.is_within(*other, id) && self.get(*other).is_some()
            })
            .collect();
        all.sort_by_key(|below| std::cmp::Reverse(self.dn_of(*below).matches(',').count()));
        all
    }

    /// Removes an entry from all groups, and a group's members from it. As in AD no entry changes
    /// by that, because links to deleted entries are hidden.
    fn sever(&mut self, id: Id) -> (Vec<Id>, Vec<Id>) {
        let entry = self.entry(id);
        let (groups, members) = (entry.groups.clone(), entry.members.clone());
        for group in &groups {
            self.part(*group, id);
        }
        for member in &members {
            self.part(id, *member);
        }
        (groups, members)
    }

    fn bury(&mut self, id: Id) {
        if self.entry(id).deleted {
            return;
        }
        let links = self.sever(id);
        if self.recycle_bin {
            self.remembered.insert(id, links);
        }
        self.unindex(id);
        let (bin, grave) = (self.recycle_bin, self.deleted_objects);
        let mut changed = marks(self.entry(id).kind);
        if !bin {
            changed.extend(
                self.entry(id)
                    .attributes
                    .iter()
                    .map(|(attribute, _)| attribute)
                    .filter(|one| !KEPT.contains(one)),
            );
            changed.dedup();
        }
        let entry = self.change(id, &changed);
        let parent = entry.parent.to_le_bytes();
        if !bin {
            entry.attributes.retain(KEPT);
        }
        entry.attributes.set(at::LAST_KNOWN_PARENT, &[&parent]);
        entry.attributes.set(at::IS_DELETED, &[b"TRUE"]);
        entry.name = format!("{}\nDEL:{}", entry.name, entry.guid).into();
        entry.parent = grave;
        entry.deleted = true;
        self.index(id);
        self.forget_name(id);
    }

    /// Restores a deleted entry (named by its GUID) to its container. With the recycle bin it is
    /// whole, with its groups. Without it, it is disabled and has only the attributes that a
    /// tombstone keeps.
    pub fn restore(&mut self, who: impl Into<Who>) {
        let id = self.need(who);
        assert!(self.entry(id).deleted, "{} is not deleted", self.dn_of(id));
        self.unindex(id);
        let entry = self.entry(id);
        let parent = entry.attributes.first(at::LAST_KNOWN_PARENT);
        let parent = parent.and_then(|value| value.try_into().ok()).map(Id::from_le_bytes);
        let parent = parent
            .filter(|parent| self.get(*parent).is_some_and(|entry| !entry.deleted))
            .unwrap_or_else(|| panic!("the parent of {} is gone, too", self.dn_of(id)));
        let remembered = self.remembered.remove(&id);
        let bare = remembered.is_none() && self.entry(id).kind.signs_in();
        let mut changed = marks(self.entry(id).kind);
        if bare {
            changed.extend([at::USER_ACCOUNT_CONTROL, at::PRIMARY_GROUP_ID, at::ACCOUNT_EXPIRES]);
        }
        let entry = self.change(id, &changed);
        entry.deleted = false;
        entry.parent = parent;
        let name = entry.name.split('\n').next().unwrap_or_default();
        entry.name = name.into();
        entry.attributes.set(at::LAST_KNOWN_PARENT, &[]);
        entry.attributes.set(at::IS_DELETED, &[]);
        if bare {
            let bits = entry.attributes.number(at::USER_ACCOUNT_CONTROL).unwrap_or(512) | 2;
            entry.attributes.set(at::USER_ACCOUNT_CONTROL, &[bits.to_string().as_bytes()]);
            entry.attributes.set(at::PRIMARY_GROUP_ID, &[b"513"]);
            entry.attributes.set(at::ACCOUNT_EXPIRES, &[b"9223372036854775807"]);
        }
        self.index(id);
        self.forget_name(id);
        let (groups, members) = remembered.unwrap_or_default();
        for group in groups {
            if self.get(group).is_some_and(|group| !group.deleted) {
                self.join(group, id);
            }
        }
        for member in members {
            if self.get(member).is_some_and(|member| !member.deleted) {
                self.join(id, member);
            }
        }
    }
}
