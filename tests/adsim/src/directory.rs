//! The directory: entries, and how they are found.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Mutex;

use uuid::Uuid;

use crate::clock;
use crate::dn;
use crate::encode::Cache;
use crate::entry::{Entry, Id, Packed};
use crate::history::History;
use crate::identity::{DomainSid, next_guid};
use crate::rights::Rights;
use crate::schema::{Kind, Schema, at};

/// The first RID that is not reserved.
const FIRST_RID: u32 = 1103;
/// The RID of Domain Users.
pub(crate) const DOMAIN_USERS: u32 = 513;
/// The first entry is the head of the domain.
pub(crate) const ROOT: Id = 0;

/// The name of an entry in an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The entry's objectGUID.
    Guid(Uuid),
    /// A DN, sAMAccountName or userPrincipalName, or the name of a group or container; "" is the
    /// domain.
    Name(String),
}

impl From<Uuid> for Who {
    fn from(guid: Uuid) -> Self {
        Self::Guid(guid)
    }
}

impl From<&Uuid> for Who {
    fn from(guid: &Uuid) -> Self {
        Self::Guid(*guid)
    }
}

impl From<&str> for Who {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Who {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<&String> for Who {
    fn from(name: &String) -> Self {
        Self::Name(name.clone())
    }
}

impl From<&Self> for Who {
    fn from(who: &Self) -> Self {
        who.clone()
    }
}

/// The directory, as [`Sim::edit`](crate::Sim::edit) changes it and searches read it.
///
/// A misuse (a missing entry, a name taken twice) panics, because it is a mistake in the test.
#[derive(Debug)]
pub struct Ad {
    pub(crate) schema: Schema,
    pub(crate) domain: String,
    pub(crate) root_dn: String,
    pub(crate) sid: DomainSid,
    pub(crate) rights: Rights,
    pub(crate) cache: Mutex<Cache>,
    pub(crate) history: History,
    pub(crate) entries: Vec<Option<Entry>>,
    pub(crate) deleted_objects: Id,
    pub(crate) users: Id,
    pub(crate) usn: u64,
    pub(crate) recycle_bin: bool,
    pub(crate) by_sam: HashMap<Box<str>, Id>,
    /// The groups and members of entries that were deleted with the recycle bin on.
    pub(crate) remembered: HashMap<Id, (Vec<Id>, Vec<Id>)>,
    pub(crate) passwords: HashMap<Id, String>,
    pub(crate) default_password: String,
    root_parts: Vec<dn::Rdn>,
    by_guid: HashMap<Uuid, Id>,
    by_rid: HashMap<u32, Id>,
    by_rdn: HashMap<u64, Id>,
    /// Groups and containers by lower-case name.
    by_name: HashMap<String, BTreeSet<Id>>,
    hashing: RandomState,
    guids: u64,
    next_rid: u32,
}

impl Ad {
    pub(crate) fn new(domain: &str, seed: u64) -> Self {
        let root_dn =
            domain.split('.').map(|label| format!("DC={label}")).collect::<Vec<_>>().join(",");
        let root_parts = dn::parse(&root_dn).unwrap_or_default();
        let mut ad = Self {
            schema: Schema::new(),
            domain: domain.to_owned(),
            root_dn,
            sid: DomainSid::from_seed(seed),
            rights: Rights::default(),
            cache: Mutex::default(),
            history: History::default(),
            entries: Vec::new(),
            deleted_objects: ROOT,
            users: ROOT,
            usn: 12_000,
            recycle_bin: false,
            by_sam: HashMap::new(),
            remembered: HashMap::new(),
            passwords: HashMap::new(),
            default_password: "Passw0rd!".to_owned(),
            root_parts,
            by_guid: HashMap::new(),
            by_rid: HashMap::new(),
            by_rdn: HashMap::new(),
            by_name: HashMap::new(),
            hashing: RandomState::new(),
            guids: seed,
            next_rid: FIRST_RID,
        };
        ad.furnish();
        ad
    }

    /// Returns a copy that later changes do not reach.
    pub(crate) fn copy(&self) -> Self {
        let mut copy = Self {
            schema: self.schema.clone(),
            domain: self.domain.clone(),
            root_dn: self.root_dn.clone(),
            sid: self.sid,
            rights: self.rights.clone(),
            cache: Mutex::default(),
            history: History::default(),
            entries: self.entries.clone(),
            deleted_objects: self.deleted_objects,
            users: self.users,
            usn: self.usn,
            recycle_bin: self.recycle_bin,
            by_sam: self.by_sam.clone(),
            remembered: self.remembered.clone(),
            passwords: self.passwords.clone(),
            default_password: self.default_password.clone(),
            root_parts: self.root_parts.clone(),
            by_guid: self.by_guid.clone(),
            by_rid: self.by_rid.clone(),
            by_rdn: self.by_rdn.clone(),
            by_name: self.by_name.clone(),
            hashing: self.hashing.clone(),
            guids: self.guids,
            next_rid: self.next_rid,
        };
        copy.begin_history();
        copy
    }

    /// Adds the entries that every domain has.
    fn furnish(&mut self) {
        let label = self.domain.split('.').next().unwrap_or_default().to_owned();
        self.insert(ROOT, Kind::Domain, &label, 0, Packed::default());
        self.users = self.insert(ROOT, Kind::Container, "Users", 0, Packed::default());
        self.insert(ROOT, Kind::Container, "Computers", 0, Packed::default());
        let deleted = Packed::pack([(at::IS_DELETED, &b"TRUE"[..])]);
        self.deleted_objects = self.insert(ROOT, Kind::Container, "Deleted Objects", 0, deleted);
        self.insert_group(self.users, "Domain Users", DOMAIN_USERS);
        self.insert_group(self.users, "Domain Admins", 512);
        self.insert_group(self.users, "Domain Computers", 515);

        let none = Packed::default;
        let configuration = self.insert(ROOT, Kind::Configuration, "Configuration", 0, none());
        let services = self.insert(configuration, Kind::Container, "Services", 0, none());
        let windows = self.insert(services, Kind::Container, "Windows NT", 0, none());
        let lifetime = Packed::pack([(at::TOMBSTONE_LIFETIME, &b"180"[..])]);
        self.insert(windows, Kind::DirectoryService, "Directory Service", 0, lifetime);
        let sites = self.insert(configuration, Kind::Container, "Sites", 0, none());
        let site = self.insert(sites, Kind::Container, "Default-First-Site-Name", 0, none());
        self.insert(site, Kind::Container, "Servers", 0, none());
        let schema = self.insert(configuration, Kind::SchemaHead, "Schema", 0, none());
        for attribute in self.schema.ids() {
            self.publish(schema, attribute);
        }
    }

    /// Adds an attribute's definition to the schema's naming context.
    pub(crate) fn publish(&mut self, schema: Id, attribute: u8) {
        let definition = self.schema.get(attribute);
        let (syntax, om) = definition.syntax.oids();
        let single = if definition.single { "TRUE" } else { "FALSE" };
        let name = definition.name.clone();
        let packed = Packed::pack([
            (at::LDAP_DISPLAY_NAME, name.as_bytes()),
            (at::ATTRIBUTE_ID, definition.oid.as_bytes()),
            (at::ATTRIBUTE_SYNTAX, syntax.as_bytes()),
            (at::OM_SYNTAX, om.as_bytes()),
            (at::IS_SINGLE_VALUED, single.as_bytes()),
        ]);
        self.insert(schema, Kind::AttributeSchema, &name, 0, packed);
    }

    /// Adds a domain controller and returns its NTDS Settings.
    pub(crate) fn add_server(&mut self, name: &str) -> Id {
        let servers = self.named(Kind::Container, "Servers");
        let host = format!("{}.{}", name.to_ascii_lowercase(), self.domain);
        let packed = Packed::pack([(at::DNS_HOST_NAME, host.as_bytes())]);
        let server = self.insert(servers, Kind::Server, name, 0, packed);
        let invocation = next_guid(&mut self.guids).to_bytes_le();
        let packed = Packed::pack([(at::INVOCATION_ID, &invocation[..])]);
        self.insert(server, Kind::NtdsSettings, "NTDS Settings", 0, packed)
    }

    /// Returns the invocationId in a server's NTDS Settings.
    pub(crate) fn invocation_id(&self, settings: Id) -> Uuid {
        let value = self.get(settings).and_then(|entry| entry.attributes.first(at::INVOCATION_ID));
        value.and_then(|bytes| bytes.try_into().ok()).map_or(Uuid::nil(), Uuid::from_bytes_le)
    }

    fn named(&self, kind: Kind, name: &str) -> Id {
        self.by_name
            .get(&name.to_lowercase())
            .into_iter()
            .flatten()
            .copied()
            .find(|id| self.get(*id).is_some_and(|entry| entry.kind == kind))
            .unwrap_or_else(|| panic!("the directory has no {name}"))
    }

    pub(crate) fn schema_head(&self) -> Id {
        self.named(Kind::SchemaHead, "Schema")
    }

    pub(crate) fn insert_group(&mut self, parent: Id, name: &str, rid: u32) -> Id {
        let packed = Packed::pack([
            (at::S_AM_ACCOUNT_NAME, name.as_bytes()),
            (at::GROUP_TYPE, &b"-2147483646"[..]),
        ]);
        self.insert(parent, Kind::Group, name, rid, packed)
    }

    /// Reserves room for this many more entries.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
        self.by_guid.reserve(more);
        self.by_rid.reserve(more);
        self.by_rdn.reserve(more);
        self.by_sam.reserve(more);
    }

    pub(crate) fn take_rid(&mut self) -> u32 {
        self.next_rid += 1;
        self.next_rid
    }

    /// Adds an entry. `attributes` gives its sAMAccountName.
    pub(crate) fn insert(
        &mut self,
        parent: Id,
        kind: Kind,
        name: &str,
        rid: u32,
        attributes: Packed,
    ) -> Id {
        let id = Id::try_from(self.entries.len()).unwrap_or_else(|_| panic!("too many entries"));
        self.usn += 1;
        let now = clock::seconds();
        let entry = Entry {
            guid: next_guid(&mut self.guids),
            parent,
            rid,
            kind,
            deleted: false,
            name: name.into(),
            attributes,
            groups: Vec::new(),
            members: Vec::new(),
            usn_created: self.usn,
            usn: self.usn,
            created: now,
            changed: now,
        };
        self.by_guid.insert(entry.guid, id);
        if rid != 0 {
            self.by_rid.insert(rid, id);
        }
        self.entries.push(Some(entry));
        self.index(id);
        id
    }

    /// Gives an entry the objectGUID that it had in another domain.
    pub(crate) fn rename_guid(&mut self, id: Id, guid: Uuid) {
        let Some(entry) = self.entries[id as usize].as_mut() else { return };
        let made = std::mem::replace(&mut entry.guid, guid);
        self.by_guid.remove(&made);
        self.by_guid.insert(guid, id);
    }

    /// Adds a living entry to the indexes of names.
    pub(crate) fn index(&mut self, id: Id) {
        let Some(entry) = self.get(id) else { return };
        let key = self.rdn_key(entry.parent, entry.kind.rdn(), &entry.name);
        assert!(
            id == ROOT || !self.by_rdn.contains_key(&key),
            "there already is an entry {}",
            self.dn_of(id)
        );
        let living = !entry.deleted;
        let sam = entry.attributes.text(at::S_AM_ACCOUNT_NAME).filter(|_| living).map(fold_name);
        let name = (living && !entry.kind.signs_in()).then(|| entry.name.to_lowercase());
        self.by_rdn.insert(key, id);
        if let Some(sam) = sam {
            let before = self.by_sam.insert(sam, id);
            assert!(
                before.is_none_or(|other| other == id),
                "the sAMAccountName of {} is taken",
                self.dn_of(id)
            );
        }
        if let Some(name) = name {
            self.by_name.entry(name).or_default().insert(id);
        }
    }

    /// Removes an entry from the indexes of names, before it is renamed, moved or deleted.
    pub(crate) fn unindex(&mut self, id: Id) {
        let Some(entry) = self.get(id) else { return };
        let key = self.rdn_key(entry.parent, entry.kind.rdn(), &entry.name);
        let sam = entry.attributes.text(at::S_AM_ACCOUNT_NAME).map(fold_name);
        let name = entry.name.to_lowercase();
        self.by_rdn.remove(&key);
        if let Some(sam) = sam
            && self.by_sam.get(&sam) == Some(&id)
        {
            self.by_sam.remove(&sam);
        }
        if let Some(ids) = self.by_name.get_mut(&name) {
            ids.remove(&id);
        }
    }

    /// Removes every trace of an entry.
    pub(crate) fn erase(&mut self, id: Id) {
        self.unindex(id);
        if let Some(entry) = self.entries[id as usize].take() {
            self.by_guid.remove(&entry.guid);
            self.by_rid.remove(&entry.rid);
        }
    }

    fn rdn_key(&self, parent: Id, kind: &str, name: &str) -> u64 {
        let mut hasher = self.hashing.build_hasher();
        parent.hash(&mut hasher);
        for letter in kind.chars() {
            letter.to_ascii_lowercase().hash(&mut hasher);
        }
        for letter in name.chars().flat_map(char::to_lowercase) {
            letter.hash(&mut hasher);
        }
        hasher.finish()
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(crate) fn entry(&self, id: Id) -> &Entry {
        self.get(id).unwrap_or_else(|| panic!("entry {id} has been purged"))
    }

    /// Drops an entry's encoding from the cache.
    pub(crate) fn forget(&mut self, id: Id) {
        self.cache.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).forget(id);
    }

    /// Drops encodings that contain an entry's changed name. A group's or container's name is in
    /// many memberOf values and DNs; a person's is in the manager of reports.
    pub(crate) fn forget_name(&mut self, id: Id) {
        if self.get(id).is_some_and(|entry| !entry.kind.signs_in()) {
            self.forget_all();
        } else {
            let cache = self.cache.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            cache.forget_showing(at::MANAGER);
            cache.forget_showing(at::MANAGED_BY);
        }
    }

    /// Drops the encodings of all entries.
    pub(crate) fn forget_all(&mut self) {
        self.cache.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    pub(crate) fn by_guid(&self, guid: Uuid) -> Option<Id> {
        self.by_guid.get(&guid).copied()
    }

    pub(crate) fn by_rid(&self, rid: u32) -> Option<Id> {
        self.by_rid.get(&rid).copied()
    }

    pub(crate) fn by_sam(&self, sam: &str) -> Option<Id> {
        self.by_sam.get(&fold_name(sam)).copied()
    }

    /// Returns the entry of a distinguished name, living or a tombstone.
    pub(crate) fn by_dn(&self, text: &str) -> Option<Id> {
        let parts = dn::parse(text)?;
        let own = parts.len().checked_sub(self.root_parts.len())?;
        let same = |(given, root): (&dn::Rdn, &dn::Rdn)| {
            given.kind == root.kind && given.value.eq_ignore_ascii_case(&root.value)
        };
        if !parts[own..].iter().zip(&self.root_parts).all(same) {
            return None;
        }
        parts[..own].iter().rev().try_fold(ROOT, |parent, part| {
            let id = *self.by_rdn.get(&self.rdn_key(parent, &part.kind, &part.value))?;
            (self.get(id)?.parent == parent).then_some(id)
        })
    }

    /// Returns the candidates for a user principal name, explicit or implied.
    pub(crate) fn by_upn(&self, upn: &str) -> Option<Id> {
        let folded = upn.to_lowercase();
        let has = |id: Id| {
            self.get(id)
                .and_then(|entry| entry.attributes.text(at::USER_PRINCIPAL_NAME))
                .is_some_and(|found| found.to_lowercase() == folded)
        };
        let (local, domain) = upn.rsplit_once('@')?;
        let implied = self.by_sam(local);
        if let Some(id) = implied
            && has(id)
        {
            return Some(id);
        }
        (0..self.entries.len() as Id)
            .find(|id| self.get(*id).is_some_and(|entry| !entry.deleted) && has(*id))
            .or(implied.filter(|_| domain.eq_ignore_ascii_case(&self.domain)))
    }

    pub(crate) fn find(&self, who: &Who) -> Option<Id> {
        let name = match who {
            Who::Guid(guid) => return self.by_guid(*guid),
            Who::Name(name) if name.is_empty() => return Some(ROOT),
            Who::Name(name) => name,
        };
        if let Some(id) = self.by_sam(name) {
            return Some(id);
        }
        if name.contains('=')
            && let Some(id) = self.by_dn(name)
        {
            return Some(id);
        }
        if name.contains('@')
            && let Some(id) = self.by_upn(name)
        {
            return Some(id);
        }
        let ids = self.by_name.get(&name.to_lowercase())?;
        assert!(ids.len() < 2, "several entries are named {name}: give the DN");
        ids.first().copied()
    }

    pub(crate) fn need(&self, who: impl Into<Who>) -> Id {
        let who = who.into();
        self.find(&who).unwrap_or_else(|| panic!("the directory has no {who:?}"))
    }

    /// Writes an entry's distinguished name.
    pub(crate) fn write_dn(&self, mut id: Id, out: &mut Vec<u8>) {
        while id != ROOT {
            let Some(entry) = self.get(id) else { break };
            out.extend_from_slice(entry.kind.rdn().as_bytes());
            out.push(b'=');
            out.extend_from_slice(dn::escape(&entry.name).as_bytes());
            out.push(b',');
            id = entry.parent;
        }
        out.extend_from_slice(self.root_dn.as_bytes());
    }

    pub(crate) fn dn_of(&self, id: Id) -> String {
        let mut out = Vec::with_capacity(96);
        self.write_dn(id, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Returns whether a search below `base` reaches an entry: same naming context, and below it.
    pub(crate) fn is_under(&self, id: Id, base: Id) -> bool {
        let mut at = id;
        loop {
            if at == base {
                return true;
            }
            let Some(entry) = self.get(at) else { return false };
            if entry.kind.is_head() {
                return false;
            }
            at = entry.parent;
        }
    }

    /// Returns whether a container is, or is above, an entry, in any naming context.
    pub(crate) fn is_within(&self, id: Id, above: Id) -> bool {
        let mut at = id;
        while at != above {
            match self.get(at) {
                Some(entry) if at != ROOT => at = entry.parent,
                _ => return false,
            }
        }
        true
    }
}

/// A sAMAccountName in the form for comparison.
fn fold_name(name: &str) -> Box<str> {
    if name.is_ascii() { name.to_ascii_lowercase().into() } else { name.to_lowercase().into() }
}
