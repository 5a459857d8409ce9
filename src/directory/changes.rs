//! What has changed since a cookie. DirSync (MS-ADTS 3.1.1.3.4.1.3) tells which objects; what has become of them is read as
//! in every other run.
//!
//! It is asked at the root of the domain and by classes alone, which tombstones keep: whoever leaves a scope is told of,
//! too. What an ordinary account may not see is not told.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::controls::Course;
use super::session::{Query, SearchEnd};
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Dn, Guid};
use crate::reconcile::{Closure, ClosureGroup};

/// Whatever can concern a person: people, groups, and what they stand in.
pub const WHAT_MATTERS: &str = "(|(&(objectClass=user)(!(objectClass=computer)))(objectClass=group)(objectClass=organizationalUnit)\
                            (objectClass=container)(objectClass=domainDNS))";
/// Names in one filter.
const CHUNK: usize = 50;
/// GUIDs in one filter.
const GUIDS: usize = 200;
/// Answers without an object, one after the other, that are taken for a server at work.
const EMPTY_ROUNDS: u32 = 100;

/// What an object is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user that is no computer.
    Person,
    /// A group.
    Group,
    /// What others stand in.
    Container,
    /// Something else.
    Other,
}

/// An object that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub guid: Guid,
    /// Where it stands.
    pub dn: Dn,
    /// What it is, if it is new: of the others only what has changed is told.
    pub kind: Option<Kind>,
    /// Whether it was renamed or moved, or is new.
    pub is_named: bool,
    /// Whether it was deleted.
    pub is_deleted: bool,
    /// Whether it had been deleted, and is no longer.
    pub is_restored: bool,
    /// The members that came or went.
    pub members: BTreeSet<Dn>,
}

/// So many objects are kept of one answer to what has changed.
const MOST: usize = 50_000;

/// What has changed, and from where on the next question is to be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    objects: Vec<Changed>,
    count: u64,
    cookie: Vec<u8>,
}

impl Changes {
    /// Takes note of one more object; beyond the limit it is only counted.
    fn add(&mut self, object: Changed) {
        self.count += 1;
        if self.objects.len() < MOST {
            self.objects.push(object);
        }
    }

    /// All objects and the cookie for the next question; or only how many there are, when they are too many to be kept.
    pub fn all(self) -> Result<(Vec<Changed>, Vec<u8>), u64> {
        if self.count > self.objects.len() as u64 {
            Err(self.count)
        } else {
            Ok((self.objects, self.cookie))
        }
    }
}

impl Kind {
    fn of(object: &Object) -> Option<Self> {
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

impl Changed {
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
            kind: Kind::of(&object),
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
    /// Which objects have changed since this cookie in one of these attributes, or were renamed, moved or deleted.
    pub async fn changes(
        &mut self,
        since: &[u8],
        attributes: &BTreeSet<String>,
    ) -> Result<Changes, DirectoryError> {
        let always = ["name", "isDeleted", "objectClass", "member"].into_iter().map(str::to_owned);
        let attributes: BTreeSet<String> = attributes.iter().cloned().chain(always).collect();
        let mut changes = Changes::default();
        let rounds =
            self.rounds(
                since,
                WHAT_MATTERS,
                attributes.into_iter().collect(),
                |object| match object.and_then(Changed::of) {
                    Some(changed) => {
                        changes.add(changed);
                        true
                    }
                    None => false,
                },
            );
        let cookie = rounds.await?;
        Ok(Changes { cookie, ..changes })
    }

    /// The cookie to ask with from now on. Without one to go on from, the server tells of everything there is first.
    pub async fn last_cookie(&mut self, since: &[u8]) -> Result<Vec<u8>, DirectoryError> {
        self.rounds(since, WHAT_MATTERS, vec!["objectGUID".to_owned()], |_| true).await
    }

    /// Whether the server tells of changes at all; asked in a way that is little work.
    pub(super) async fn tells_of_changes(&mut self) -> Result<(), DirectoryError> {
        self.rounds(&[], "(objectClass=domainDNS)", vec!["objectGUID".to_owned()], |_| true)
            .await
            .map(drop)
    }

    async fn rounds(
        &mut self,
        since: &[u8],
        filter: &str,
        attributes: Vec<String>,
        mut take: impl FnMut(Option<Object>) -> bool,
    ) -> Result<Vec<u8>, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let mut cookie = since.to_vec();
        let mut empty = 0;
        loop {
            let query = Query {
                course: Course::Changes(&cookie),
                ..Query::new(&base, Scope::Subtree, filter, &attributes)
            };
            let (mut count, mut broken) = (0, false);
            let end = self.search(&query, |entry| {
                count += 1;
                broken |= !take(Object::read(entry));
            });
            let end = end.await?;
            empty = if count > 0 { 0 } else { empty + 1 };
            match end {
                SearchEnd { code: 0, cookie: Some(next), has_more, .. }
                    if !next.is_empty() && !broken && empty <= EMPTY_ROUNDS =>
                {
                    if !has_more {
                        return Ok(next);
                    }
                    if next == cookie {
                        return Err(self.refused(&base, 80, "DirSync goes in circles".to_owned()));
                    }
                    cookie = next;
                }
                SearchEnd { code: 0, .. } => {
                    let problem = "the answer to DirSync has no control, no end, or an object that cannot be read";
                    return Err(self.refused(&base, 80, problem.to_owned()));
                }
                SearchEnd { code, text, .. } => return Err(self.refused(&base, code, text)),
            }
        }
    }

    /// What these objects are, deleted ones too; of those that can be seen.
    pub async fn kinds(
        &mut self,
        guids: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Kind>, DirectoryError> {
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
                    .filter_map(|object| Some((object.guid()?, Kind::of(object)?))),
            );
        }
        Ok(kinds)
    }

    /// The objects with these names, and what they are; of those that can be seen.
    pub async fn named(
        &mut self,
        dns: &BTreeSet<Dn>,
    ) -> Result<Vec<(Kind, Object)>, DirectoryError> {
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
                    .filter_map(|object| Some((Kind::of(&object)?, object))),
            );
        }
        Ok(found)
    }

    /// The people who are members of one of these groups, as their primary group too.
    pub async fn people_in(&mut self, groups: &Closure) -> Result<BTreeSet<Guid>, DirectoryError> {
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

    /// The people who stand below this.
    pub async fn people_under(&mut self, dn: &Dn) -> Result<BTreeSet<Guid>, DirectoryError> {
        let attributes = ["objectGUID".to_owned()];
        let query = Query::new(dn.as_str(), Scope::Subtree, PERSON_FILTER, &attributes);
        Ok(self.objects(&query).await?.iter().filter_map(Object::guid).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_changes_than_are_kept_are_never_taken_for_all_of_them() {
        let object = |n: usize| Changed {
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
        assert_eq!(of(MOST), Ok(MOST));
        assert_eq!(of(MOST + 1), Err(MOST as u64 + 1));
    }
}
