//! Objects changed since a cookie, reported by DirSync (MS-ADTS 3.1.1.3.4.1.3).
//!
//! DirSync reports only which objects changed; their attributes are read as in every other run. The
//! search starts at the root of the domain and filters by class, because tombstones keep their
//! class. Thus deleted and moved people are reported, too. Objects that the service account may not
//! read are not reported.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::controls::SearchMode;
use super::query::{Query, SearchEnd};
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Dn, Guid};
use crate::reconcile::{Closure, ClosureGroup};

/// Filter for objects that can affect a user: people, groups and containers.
pub const WATCHED_OBJECTS: &str = "(|(&(objectClass=user)(!(objectClass=computer)))(objectClass=group)(objectClass=organizationalUnit)\
                            (objectClass=container)(objectClass=domainDNS))";
/// DNs in one filter.
const CHUNK: usize = 50;
/// GUIDs in one filter.
const GUIDS: usize = 200;
/// Most consecutive empty DirSync responses; more are taken for an endless loop.
const MAX_EMPTY_ANSWERS: u32 = 100;

/// The role of an object for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A user other than a computer.
    Person,
    Group,
    /// An organizational unit, container or domain.
    Container,
    Other,
}

/// A changed object, as DirSync reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedObject {
    pub guid: Guid,
    pub dn: Dn,
    /// Present for new objects only, because DirSync reports changed attributes and the class never
    /// changes.
    pub kind: Option<ObjectKind>,
    /// New, renamed or moved.
    pub is_named: bool,
    pub is_deleted: bool,
    /// Restored from a tombstone.
    pub is_restored: bool,
    /// Added and removed members.
    pub members: BTreeSet<Dn>,
}

/// Most objects kept in memory; after more changes a full read is cheaper.
const MAX_OBJECTS: usize = 50_000;

/// Changed objects and the next cookie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    objects: Vec<ChangedObject>,
    count: u64,
    cookie: Vec<u8>,
}

impl Changes {
    /// Adds an object; beyond [`MAX_OBJECTS`] it is only counted.
    fn add(&mut self, object: ChangedObject) {
        self.count += 1;
        if self.objects.len() < MAX_OBJECTS {
            self.objects.push(object);
        }
    }

    /// Returns all objects and the next cookie, or the count if they exceed [`MAX_OBJECTS`].
    pub fn all(self) -> Result<(Vec<ChangedObject>, Vec<u8>), u64> {
        if self.count > self.objects.len() as u64 {
            Err(self.count)
        } else {
            Ok((self.objects, self.cookie))
        }
    }
}

impl ObjectKind {
    pub(super) fn of(object: &Object) -> Option<Self> {
        let classes = object.attributes.get("objectclass").filter(|classes| !classes.is_empty())?;
        let is =
            |name: &str| classes.iter().any(|class| class.eq_ignore_ascii_case(name.as_bytes()));
        Some(match () {
            () if is("computer") => Self::Other,
            () if is("user") => Self::Person,
            () if is("group") => Self::Group,
            () if is("organizationalUnit") || is("container") || is("domainDNS") => Self::Container,
            () => Self::Other,
        })
    }
}

impl ChangedObject {
    fn of(object: Object) -> Option<Self> {
        let guid = object.guid()?;
        let members = object
            .attributes
            .iter()
            .filter(|(name, _)| *name == "member" || name.starts_with("member;"));
        let members =
            members.flat_map(|(_, dns)| dns).map(|dn| Dn::new(String::from_utf8_lossy(dn)));
        Some(Self {
            guid,
            kind: ObjectKind::of(&object),
            is_named: object.attributes.contains_key("name"),
            is_deleted: object.text("isDeleted") == Some("TRUE"),
            is_restored: object.attributes.contains_key("isdeleted")
                && object.text("isDeleted") != Some("TRUE"),
            members: members.collect(),
            dn: Dn::new(object.dn),
        })
    }
}

impl Session {
    /// Returns the objects changed since a cookie: in one of these attributes, in name, place or
    /// existence.
    pub async fn changes(
        &mut self,
        since: &[u8],
        attributes: &BTreeSet<String>,
    ) -> Result<Changes, DirectoryError> {
        let always = ["name", "isDeleted", "objectClass", "member"].into_iter().map(str::to_owned);
        let attributes: BTreeSet<String> = attributes.iter().cloned().chain(always).collect();
        let mut changes = Changes::default();
        let dirsync =
            self.dirsync(since, WATCHED_OBJECTS, attributes.into_iter().collect(), |object| {
                match object.and_then(ChangedObject::of) {
                    Some(changed) => {
                        changes.add(changed);
                        true
                    }
                    None => false,
                }
            });
        let cookie = dirsync.await?;
        Ok(Changes { cookie, ..changes })
    }

    /// Returns the present cookie. From an empty one the server sends every object first.
    pub async fn dirsync_cookie(&mut self, since: &[u8]) -> Result<Vec<u8>, DirectoryError> {
        self.dirsync(since, WATCHED_OBJECTS, vec!["objectGUID".to_owned()], |_| true).await
    }

    /// Fails if the server does not support DirSync. The search matches the domain object only.
    pub(super) async fn supports_dirsync(&mut self) -> Result<(), DirectoryError> {
        self.dirsync(&[], "(objectClass=domainDNS)", vec!["objectGUID".to_owned()], |_| true)
            .await
            .map(drop)
    }

    /// Performs DirSync searches until no more changes are available, and returns the last cookie.
    async fn dirsync(
        &mut self,
        since: &[u8],
        filter: &str,
        attributes: Vec<String>,
        mut accept: impl FnMut(Option<Object>) -> bool,
    ) -> Result<Vec<u8>, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let mut cookie = since.to_vec();
        let mut empty = 0;
        loop {
            let query = Query {
                mode: SearchMode::Changes(&cookie),
                ..Query::new(&base, Scope::Subtree, filter, &attributes)
            };
            let (mut count, mut broken) = (0, false);
            let end = self.search(&query, |entry| {
                count += 1;
                broken |= !accept(Object::read(entry));
            });
            let end = end.await?;
            empty = if count > 0 { 0 } else { empty + 1 };
            match end {
                SearchEnd { code: 0, cookie: Some(next), has_more, .. }
                    if !next.is_empty() && !broken && empty <= MAX_EMPTY_ANSWERS =>
                {
                    if !has_more {
                        return Ok(next);
                    }
                    if next == cookie {
                        return Err(self.search_error(
                            &base,
                            80,
                            "DirSync goes in circles".to_owned(),
                        ));
                    }
                    cookie = next;
                }
                SearchEnd { code: 0, .. } => {
                    let problem = "the answer to DirSync has no control, no end, or an object that cannot be read";
                    return Err(self.search_error(&base, 80, problem.to_owned()));
                }
                SearchEnd { code, text, .. } => return Err(self.search_error(&base, code, text)),
            }
        }
    }

    /// Returns the kinds of those of these objects that are visible, deleted ones included.
    pub async fn object_kinds(
        &mut self,
        guids: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, ObjectKind>, DirectoryError> {
        let guids: Vec<Guid> = guids.iter().copied().collect();
        let base = self.root.default_naming_context.clone();
        let attributes = ["objectGUID".to_owned(), "objectClass".to_owned()];
        let mut kinds = BTreeMap::new();
        for piece in guids.chunks(GUIDS) {
            let filter = Assertion::any(piece.iter().map(|guid| Assertion::guid(*guid)));
            let query = Query {
                show_deleted: true,
                ..Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)
            };
            kinds.extend(
                self.objects(&query)
                    .await?
                    .iter()
                    .filter_map(|object| Some((object.guid()?, ObjectKind::of(object)?))),
            );
        }
        Ok(kinds)
    }

    /// Returns those of these objects that are visible, with their kinds.
    pub async fn objects_by_dn(
        &mut self,
        dns: &BTreeSet<Dn>,
    ) -> Result<Vec<(ObjectKind, Object)>, DirectoryError> {
        let dns: Vec<&Dn> = dns.iter().collect();
        let base = self.root.default_naming_context.clone();
        let attributes = ["objectGUID", "objectClass", "objectSid"].map(str::to_owned);
        let mut found = Vec::new();
        for piece in dns.chunks(CHUNK) {
            let filter = Assertion::any(
                piece.iter().map(|dn| Assertion::equals("distinguishedName", dn.as_str())),
            );
            let query = Query::new(&base, Scope::Subtree, filter.as_str(), &attributes);
            found.extend(
                self.objects(&query)
                    .await?
                    .into_iter()
                    .filter_map(|object| Some((ObjectKind::of(&object)?, object))),
            );
        }
        Ok(found)
    }

    /// Returns the direct members of these groups, including those by primary group.
    pub async fn people_in_groups(
        &mut self,
        groups: &Closure,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let attributes = ["objectGUID".to_owned()];
        let mut people = BTreeSet::new();
        let groups: Vec<&ClosureGroup> = groups.groups().collect();
        for piece in groups.chunks(CHUNK) {
            let linked = piece.iter().map(|group| Assertion::equals("memberOf", group.dn.as_str()));
            let primary = piece.iter().filter_map(|group| {
                Some(Assertion::equals("primaryGroupID", &group.rid?.to_string()))
            });
            let filter = Assertion::all([
                Assertion::raw(PERSON_FILTER),
                Assertion::any(linked.chain(primary)),
            ]);
            let query = Query::new(&base, Scope::Subtree, filter.as_str(), &attributes);
            people.extend(self.objects(&query).await?.iter().filter_map(Object::guid));
        }
        Ok(people)
    }

    /// Returns the people in the subtree of an entry.
    pub async fn people_below(&mut self, dn: &Dn) -> Result<BTreeSet<Guid>, DirectoryError> {
        let attributes = ["objectGUID".to_owned()];
        let query = Query::new(dn.as_str(), Scope::Subtree, PERSON_FILTER, &attributes);
        Ok(self.objects(&query).await?.iter().filter_map(Object::guid).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_changes_beyond_the_limit_is_never_taken_as_complete() {
        let object = |n: usize| ChangedObject {
            guid: Guid((n as u128).to_be_bytes()),
            dn: Dn::new(format!("CN=p{n},DC=corp")),
            kind: None,
            is_named: false,
            is_deleted: false,
            is_restored: false,
            members: BTreeSet::new(),
        };
        let of = |count: usize| {
            let mut changes = Changes::default();
            (0..count).for_each(|n| changes.add(object(n)));
            changes.all().map(|(objects, _)| objects.len())
        };
        assert_eq!(of(MAX_OBJECTS), Ok(MAX_OBJECTS));
        assert_eq!(of(MAX_OBJECTS + 1), Err(MAX_OBJECTS as u64 + 1));
    }
}
