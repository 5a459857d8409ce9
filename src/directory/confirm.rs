//! Asking for people by GUID: the facts without the filter, in or out with it, and what tells gone from unseen.
//!
//! A question that fails costs its own answer only. A batch that is refused is asked again in halves, down to the single
//! person; when the connection ends, the caller opens another one and goes on with the same [`Questions`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ldap3::Scope;

use super::placement::GroupSight;
use super::session::Query;
use super::{
    Assertion, Decoder, DirectoryError, Malformed, Object, PERSON_FILTER, Session, Settings,
};
use crate::model::{
    Address, AddressKey, Broken, Dn, GroupAssertion, Guid, Person, Placement, Timestamp,
};
use crate::reconcile::{Confirmation, Look, StoredPerson};

/// Addresses in one filter: each is two to four assertions.
const ADDRESSES: usize = 50;
/// GUIDs in one filter.
const CHUNK: usize = 200;
/// Batches that fail before no more are halved: enough to find one bad entry in each of several batches.
const HALVED: u32 = 64;
/// Where `tombstoneLifetime` is not set (MS-ADTS 6.1.1.2.4.1.1).
const DEFAULT_TOMBSTONE_DAYS: u64 = 60;

/// The ways to write an address in an entry: with the domain in ASCII, and in its own letters.
fn spellings(key: &AddressKey) -> impl Iterator<Item = String> + use<> {
    let unicode = key.0.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--")).and_then(
        |(local, domain)| {
            let (domain, read) = idna::domain_to_unicode(domain);
            read.is_ok().then(|| format!("{local}@{domain}"))
        },
    );
    std::iter::once(key.0.clone()).chain(unicode)
}

/// The addresses that an entry shows.
fn shown_addresses<'a>(
    object: &'a Object,
    email: &str,
) -> impl Iterator<Item = AddressKey> + use<'a> {
    let values = |name: &str| {
        object
            .attributes
            .get(&name.to_ascii_lowercase())
            .into_iter()
            .flatten()
            .map(|v| String::from_utf8_lossy(v))
    };
    let further = values("proxyAddresses").filter_map(|text| {
        let (kind, address) = text.split_once(':')?;
        kind.eq_ignore_ascii_case("smtp").then(|| address.to_owned())
    });
    values(email)
        .map(std::borrow::Cow::into_owned)
        .chain(further)
        .filter_map(|text| Address::parse(&text).ok())
        .map(|a| a.key())
}

/// The container of a domain's deleted objects.
pub(super) fn deleted_objects(domain: &str) -> String {
    format!("CN=Deleted Objects,{domain}")
}

/// The configured bases as they are located now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bases {
    /// Their distinguished names: the present ones where they are known, else the configured ones.
    pub dns: Vec<Dn>,
    /// Whether each name is the present one, so that a name outside all of them proves something.
    pub are_certain: bool,
}

impl Bases {
    /// Whether one of the bases holds this entry.
    pub(super) fn hold(&self, dn: &Dn) -> bool {
        self.dns.iter().any(|base| dn.is_within(base))
    }
}

/// The facts that questions about people are put with.
#[derive(Debug)]
pub struct Inquiry<'a> {
    /// The bases.
    pub bases: &'a Bases,
    /// The settings of the directory.
    pub settings: &'a Settings,
    /// Reads entries.
    pub decoder: &'a Decoder,
    /// Stored rows of these people, for witnesses.
    pub stored: &'a BTreeMap<Guid, StoredPerson>,
    /// When the run began.
    pub now: Timestamp,
    /// When everybody was last read: a person who is not found was visible then, or deleted before.
    pub last_complete_read: Option<Timestamp>,
}

/// The people who are still to be asked for, and what was learnt on the way.
#[derive(Debug, Default)]
pub struct Questions {
    pieces: Vec<Vec<Guid>>,
    nowhere: Vec<Guid>,
    failures: u32,
    deletions: Option<Deletions>,
    witnesses: BTreeMap<Dn, bool>,
    pub(super) groups: BTreeMap<GroupAssertion, GroupSight>,
}

impl Questions {
    /// Questions about these people.
    pub fn about(guids: &BTreeSet<Guid>) -> Self {
        let all: Vec<Guid> = guids.iter().copied().collect();
        Self { pieces: all.chunks(CHUNK).rev().map(<[Guid]>::to_vec).collect(), ..Self::default() }
    }
}

/// Whether deleted objects can be seen, and for how long they are kept.
#[derive(Clone, Copy, Debug)]
struct Deletions {
    are_visible: bool,
    /// Unknown where the server does not answer.
    lifetime: Option<Duration>,
}

/// The result of asking for people by GUID.
#[derive(Debug, Default)]
pub struct Found {
    /// By person; a person who could not be asked for has no entry.
    pub people: BTreeMap<Guid, Confirmation>,
    /// People who are alive, and of whom could not be asked whether they are in scope.
    pub unplaced: BTreeSet<Guid>,
    /// Questions that failed, with the cause: one sentence each.
    pub problems: BTreeSet<String>,
    /// Warnings for an operator.
    pub warnings: BTreeSet<String>,
}

/// The entries of one chunk.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) alive: BTreeMap<Guid, (Person, BTreeMap<String, String>)>,
    deleted: BTreeMap<Guid, Dn>,
    malformed: BTreeMap<Guid, Broken>,
}

impl Session {
    /// Asks all that is left of these questions. Fails only when the connection has ended; what is left then is still in
    /// `questions`, without the person or batch that ended it.
    pub async fn confirm(
        &mut self,
        questions: &mut Questions,
        inquiry: &Inquiry<'_>,
        found: &mut Found,
    ) -> Result<(), DirectoryError> {
        while let Some(piece) = questions.pieces.pop() {
            let Err(error) = self.confirm_piece(&piece, questions, inquiry, found).await else {
                continue;
            };
            questions.failures += 1;
            if piece.len() > 1 && questions.failures <= HALVED {
                let (first, second) = piece.split_at(piece.len() / 2);
                questions.pieces.extend([second.to_vec(), first.to_vec()]);
            } else {
                found.problems.insert(error.to_string());
            }
            if !self.is_open() {
                return Err(error);
            }
        }
        while let Some(guid) = questions.nowhere.pop() {
            match self.look_for(guid, questions, inquiry).await {
                Ok(confirmation) => drop(found.people.insert(guid, confirmation)),
                Err(error) => {
                    found.problems.insert(error.to_string());
                    if !self.is_open() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    async fn confirm_piece(
        &mut self,
        piece: &[Guid],
        questions: &mut Questions,
        inquiry: &Inquiry<'_>,
        found: &mut Found,
    ) -> Result<(), DirectoryError> {
        let chunk = self.read_chunk(piece, inquiry.settings, inquiry.decoder).await?;
        // Tombstones and disabled accounts count, even when nothing more can be asked about the others.
        let placements = self.place(&chunk, inquiry, questions, found).await;
        let is_seen = |g: &Guid| {
            chunk.alive.contains_key(g)
                || chunk.deleted.contains_key(g)
                || chunk.malformed.contains_key(g)
        };
        questions.nowhere.extend(piece.iter().filter(|g| !is_seen(g)));
        for (guid, (person, _)) in chunk.alive {
            let placement = placements.get(&guid).cloned().unwrap_or(Placement::Unknown);
            found
                .people
                .insert(guid, Confirmation::Alive(Box::new(Person { placement, ..person })));
        }
        found
            .people
            .extend(chunk.deleted.into_iter().map(|(g, dn)| (g, Confirmation::Tombstone(dn))));
        found.people.extend(
            chunk.malformed.into_iter().map(|(g, rest)| (g, Confirmation::Malformed(rest))),
        );
        Ok(())
    }

    /// Decides what the absence of both entry and tombstone means.
    async fn look_for(
        &mut self,
        guid: Guid,
        questions: &mut Questions,
        inquiry: &Inquiry<'_>,
    ) -> Result<Confirmation, DirectoryError> {
        let Deletions { are_visible, lifetime } = match questions.deletions {
            Some(known) => known,
            None => {
                let are_visible = self.sees_tombstones().await?;
                let lifetime =
                    if are_visible { self.tombstone_lifetime().await.ok() } else { None };
                *questions.deletions.insert(Deletions { are_visible, lifetime })
            }
        };
        let known = inquiry.stored.get(&guid);
        let parent = known.and_then(|p| p.dn.parent());
        if let Some(parent) = parent.as_ref().filter(|p| !questions.witnesses.contains_key(*p)) {
            let seen = match self
                .finds(
                    parent.as_str(),
                    Scope::Subtree,
                    &Assertion::raw(PERSON_FILTER),
                    false,
                    |_| true,
                )
                .await
            {
                // A place in another domain has no witness on this server. That is an answer, not a question that failed.
                Err(error) if error.is_elsewhere() => false,
                seen => seen?,
            };
            questions.witnesses.insert(parent.clone(), seen);
        }
        let has_witness = parent.is_some_and(|p| questions.witnesses[&p]);
        // Where tombstones can be seen and this one cannot, it is the person that cannot be seen: unless nobody looked for
        // longer than a tombstone lives. When the person's row was last written says nothing about that.
        let last_looked = known.map(|p| p.seen_at).max(inquiry.last_complete_read);
        let has_expired = |lifetime| last_looked.is_some_and(|at| inquiry.now.since(at) > lifetime);
        let could_have_expired = !are_visible || lifetime.is_some_and(has_expired);
        if !has_witness || !could_have_expired {
            return Ok(Confirmation::Nowhere(Look::Unwitnessed));
        }
        Ok(self.find_unreadable(guid).await?.unwrap_or(Confirmation::Nowhere(Look::Witnessed)))
    }

    /// Who in the whole domain has this address, as primary, further or logon name: compared by ourselves, since Active
    /// Directory takes letters with and without accents for the same.
    pub async fn find_people(
        &mut self,
        address: &str,
        email: &str,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let names = [email, "proxyAddresses", "userPrincipalName"];
        let by_address = Assertion::any(names.iter().map(|name| match *name {
            "proxyAddresses" => Assertion::equals(name, &format!("smtp:{address}")),
            _ => Assertion::equals(name, address),
        }));
        let filter = Assertion::all([Assertion::raw(PERSON_FILTER), by_address]);
        let attributes: Vec<String> =
            names.iter().chain(&["objectGUID"]).map(|name| (*name).to_owned()).collect();
        let base = self.root.default_naming_context.clone();
        let found =
            self.objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)).await?;
        let is_same = |value: &Vec<u8>| {
            let text = String::from_utf8_lossy(value);
            let text = text
                .split_once(':')
                .filter(|(kind, _)| kind.eq_ignore_ascii_case("smtp"))
                .map_or(&*text, |(_, text)| text);
            text.trim().eq_ignore_ascii_case(address)
        };
        let has_it = |object: &Object| {
            names
                .iter()
                .filter_map(|n| object.attributes.get(&n.to_ascii_lowercase()))
                .flatten()
                .any(is_same)
        };
        Ok(found.iter().filter(|object| has_it(object)).filter_map(Object::guid).collect())
    }

    /// The people of the whole domain who show these addresses as primary or further ones. Addresses are compared by
    /// ourselves, since Active Directory takes letters with and without accents for the same.
    pub async fn people_with(
        &mut self,
        addresses: &BTreeSet<AddressKey>,
        email: &str,
    ) -> Result<BTreeMap<AddressKey, BTreeSet<Guid>>, DirectoryError> {
        let mut people: BTreeMap<AddressKey, BTreeSet<Guid>> = BTreeMap::new();
        let attributes = [email, "proxyAddresses", "objectGUID"].map(str::to_owned);
        let base = self.root.default_naming_context.clone();
        let all: Vec<&AddressKey> = addresses.iter().collect();
        for piece in all.chunks(ADDRESSES) {
            let spellings = piece.iter().flat_map(|key| spellings(key));
            let by_address = Assertion::any(spellings.flat_map(|text| {
                [
                    Assertion::equals(email, &text),
                    Assertion::equals("proxyAddresses", &format!("smtp:{text}")),
                ]
            }));
            let filter = Assertion::all([Assertion::raw(PERSON_FILTER), by_address]);
            for object in self
                .objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes))
                .await?
            {
                let Some(guid) = object.guid() else { continue };
                for key in shown_addresses(&object, email).filter(|key| addresses.contains(key)) {
                    people.entry(key).or_default().insert(guid);
                }
            }
        }
        Ok(people)
    }

    async fn read_chunk(
        &mut self,
        guids: &[Guid],
        settings: &Settings,
        decoder: &Decoder,
    ) -> Result<Chunk, DirectoryError> {
        let filter_attributes: BTreeSet<String> =
            settings.filter.iter().flat_map(|(_, f)| f.attributes()).map(str::to_owned).collect();
        let mut attributes = decoder.attributes();
        attributes.extend(["isDeleted".to_owned(), "objectCategory".to_owned()]);
        attributes.extend(
            filter_attributes
                .iter()
                .filter(|a| !decoder.attributes().iter().any(|d| d.eq_ignore_ascii_case(a)))
                .cloned(),
        );
        let filter = Assertion::any(guids.iter().map(|g| Assertion::guid(*g)));
        let base = self.root.default_naming_context.clone();
        let query = Query {
            show_deleted: true,
            ..Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)
        };
        let mut chunk = Chunk::default();
        let end = self.search(&query, |entry| {
            let object = Object::read(entry);
            if let Some((object, guid)) = object
                .as_ref()
                .and_then(|o| Some((o, o.guid()?)))
                .filter(|(o, _)| o.text("isDeleted") == Some("TRUE"))
            {
                chunk.deleted.insert(guid, Dn::new(object.dn.clone()));
                return;
            }
            match (decoder.person(entry, Placement::Unknown), object) {
                (Ok((person, _)), Some(object)) => {
                    let first = |name: &String| {
                        Some((
                            name.to_ascii_lowercase(),
                            String::from_utf8_lossy(object.bytes(name)?).into_owned(),
                        ))
                    };
                    let visible = filter_attributes
                        .iter()
                        .filter_map(first)
                        .chain(first(&"objectCategory".to_owned()))
                        .collect();
                    chunk.alive.insert(person.guid, (person, visible));
                }
                (Err(Malformed { guid: Some(guid), rest }), _) => {
                    drop(chunk.malformed.insert(guid, rest))
                }
                _ => {}
            }
        });
        let end = end.await?;
        if end.code == 0 { Ok(chunk) } else { Err(self.refused(&base, end.code, end.text)) }
    }

    /// An entry none of whose attributes may be read: no filter finds it, but asked for by name it is there.
    async fn find_unreadable(
        &mut self,
        guid: Guid,
    ) -> Result<Option<Confirmation>, DirectoryError> {
        let found = self.object(&format!("<GUID={guid}>"), &["objectGUID".to_owned()]).await?;
        Ok(found.map(|object| {
            Confirmation::Malformed(Broken { dn: Dn::new(object.dn), control: None, expires: None })
        }))
    }

    /// Whether deleted objects can be seen: proven only by one that was.
    pub async fn sees_tombstones(&mut self) -> Result<bool, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let is_tombstone = |o: &Object| o.dn.contains("\\0ADEL:");
        self.finds(
            &base,
            Scope::Subtree,
            &Assertion::raw("(&(isDeleted=TRUE)(objectClass=user))"),
            true,
            is_tombstone,
        )
        .await
    }

    async fn tombstone_lifetime(&mut self) -> Result<Duration, DirectoryError> {
        let dn = format!(
            "CN=Directory Service,CN=Windows NT,CN=Services,{}",
            self.root.configuration_naming_context
        );
        let service =
            self.object(&dn, &["tombstoneLifetime".to_owned()]).await?.unwrap_or_default();
        let days = service
            .text("tombstoneLifetime")
            .and_then(|t| t.parse().ok())
            .unwrap_or(DEFAULT_TOMBSTONE_DAYS);
        Ok(Duration::from_hours(24 * days))
    }
}
