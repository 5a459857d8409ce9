//! Asking for people by GUID: the facts without the filter, in or out with it, and what tells gone from unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ldap3::Scope;

use super::session::Query;
use super::{Assertion, Decoder, DirectoryError, Malformed, Object, PERSON_FILTER, Session, Settings};
use crate::model::{Address, AddressKey, Broken, Dn, Guid, Person, Placement, Timestamp};
use crate::reconcile::{Confirmation, Look, StoredPerson, Truth};

/// Addresses in one filter: each is two to four assertions.
const ADDRESSES: usize = 50;
/// GUIDs in one filter.
const CHUNK: usize = 200;
/// Where `tombstoneLifetime` is not set (MS-ADTS 6.1.1.2.4.1.1).
const DEFAULT_TOMBSTONE_DAYS: u64 = 60;

/// The ways to write an address in an entry: with the domain in ASCII, and in its own letters.
fn spellings(key: &AddressKey) -> impl Iterator<Item = String> + use<> {
    let unicode = key.0.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--")).and_then(|(local, domain)| {
        let (domain, read) = idna::domain_to_unicode(domain);
        read.is_ok().then(|| format!("{local}@{domain}"))
    });
    std::iter::once(key.0.clone()).chain(unicode)
}

/// The addresses that an entry shows.
fn shown_addresses<'a>(object: &'a Object, email: &str) -> impl Iterator<Item = AddressKey> + use<'a> {
    let values = |name: &str| object.attributes.get(&name.to_ascii_lowercase()).into_iter().flatten().map(|v| String::from_utf8_lossy(v));
    let further = values("proxyAddresses").filter_map(|text| {
        let (kind, address) = text.split_once(':')?;
        kind.eq_ignore_ascii_case("smtp").then(|| address.to_owned())
    });
    values(email).map(std::borrow::Cow::into_owned).chain(further).filter_map(|text| Address::parse(&text).ok()).map(|a| a.key())
}

/// The container of a domain's deleted objects.
pub(super) fn deleted_objects(domain: &str) -> String {
    format!("CN=Deleted Objects,{domain}")
}

/// What asking for people by GUID found.
#[derive(Debug, Default)]
pub struct Found {
    /// By person.
    pub people: BTreeMap<Guid, Confirmation>,
    /// Whether deleted objects can be seen, if that had to be known.
    pub tombstones_visible: Option<bool>,
}

/// What one chunk's entries said.
#[derive(Default)]
struct Chunk {
    alive: BTreeMap<Guid, (Person, BTreeMap<String, String>)>,
    deleted: BTreeMap<Guid, Dn>,
    malformed: BTreeMap<Guid, Broken>,
}

impl Session {
    /// Asks for each of these people. `stored` is what is remembered of them, for witnesses.
    pub async fn confirm(
        &mut self,
        guids: &BTreeSet<Guid>,
        bases: &[Dn],
        settings: &Settings,
        decoder: &Decoder,
        stored: &BTreeMap<Guid, StoredPerson>,
        now: Timestamp,
    ) -> Result<Found, DirectoryError> {
        let mut found = Found::default();
        let all: Vec<Guid> = guids.iter().copied().collect();
        let mut nowhere = BTreeSet::new();
        for piece in all.chunks(CHUNK) {
            let chunk = self.read_chunk(piece, settings, decoder).await?;
            let placements = self.place(&chunk, bases, settings).await?;
            nowhere.extend(
                piece.iter().filter(|g| !chunk.alive.contains_key(g) && !chunk.deleted.contains_key(g) && !chunk.malformed.contains_key(g)),
            );
            for (guid, (person, _)) in chunk.alive {
                let placement = placements.get(&guid).cloned().unwrap_or(Placement::Unknown);
                found.people.insert(guid, Confirmation::Alive(Box::new(Person { placement, ..person })));
            }
            found.people.extend(chunk.deleted.into_iter().map(|(g, dn)| (g, Confirmation::Tombstone(dn))));
            found.people.extend(chunk.malformed.into_iter().map(|(g, rest)| (g, Confirmation::Malformed(rest))));
        }
        if !nowhere.is_empty() {
            let visible = self.sees_tombstones().await?;
            found.tombstones_visible = Some(visible);
            let lifetime = if visible { self.tombstone_lifetime().await? } else { Duration::ZERO };
            let mut witnesses: BTreeMap<Dn, bool> = BTreeMap::new();
            for guid in nowhere {
                let known = stored.get(&guid);
                let parent = known.and_then(|p| p.dn.parent());
                if let Some(parent) = parent.as_ref().filter(|p| !witnesses.contains_key(*p)) {
                    let seen = self.finds(parent.as_str(), Scope::Subtree, &Assertion::raw(PERSON_FILTER), false, |_| true).await?;
                    witnesses.insert(parent.clone(), seen);
                }
                let has_witness = parent.is_some_and(|p| witnesses[&p]);
                // Where tombstones can be seen and this one cannot, it is the person that cannot be seen.
                let could_have_expired = !visible || known.is_some_and(|p| now.since(p.seen_at) > lifetime);
                let confirmation = if has_witness && could_have_expired {
                    self.find_unreadable(guid).await?.unwrap_or(Confirmation::Nowhere(Look::Witnessed))
                } else {
                    Confirmation::Nowhere(Look::Unwitnessed)
                };
                found.people.insert(guid, confirmation);
            }
        }
        Ok(found)
    }

    /// Who in the whole domain has this address, as primary, further or logon name: compared by ourselves, since Active
    /// Directory takes letters with and without accents for the same.
    pub async fn find_people(&mut self, address: &str, email: &str) -> Result<BTreeSet<Guid>, DirectoryError> {
        let names = [email, "proxyAddresses", "userPrincipalName"];
        let by_address = Assertion::any(names.iter().map(|name| match *name {
            "proxyAddresses" => Assertion::equals(name, &format!("smtp:{address}")),
            _ => Assertion::equals(name, address),
        }));
        let filter = Assertion::all([Assertion::raw(PERSON_FILTER), by_address]);
        let attributes: Vec<String> = names.iter().chain(&["objectGUID"]).map(|name| (*name).to_owned()).collect();
        let base = self.root.default_naming_context.clone();
        let found = self.objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)).await?;
        let is_same = |value: &Vec<u8>| {
            let text = String::from_utf8_lossy(value);
            let text = text.split_once(':').filter(|(kind, _)| kind.eq_ignore_ascii_case("smtp")).map_or(&*text, |(_, text)| text);
            text.trim().eq_ignore_ascii_case(address)
        };
        let has_it = |object: &Object| names.iter().filter_map(|n| object.attributes.get(&n.to_ascii_lowercase())).flatten().any(is_same);
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
            let by_address = Assertion::any(
                spellings.flat_map(|text| [Assertion::equals(email, &text), Assertion::equals("proxyAddresses", &format!("smtp:{text}"))]),
            );
            let filter = Assertion::all([Assertion::raw(PERSON_FILTER), by_address]);
            for object in self.objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)).await? {
                let Some(guid) = object.guid() else { continue };
                for key in shown_addresses(&object, email).filter(|key| addresses.contains(key)) {
                    people.entry(key).or_default().insert(guid);
                }
            }
        }
        Ok(people)
    }

    async fn read_chunk(&mut self, guids: &[Guid], settings: &Settings, decoder: &Decoder) -> Result<Chunk, DirectoryError> {
        let filter_attributes: BTreeSet<String> = settings.filter.iter().flat_map(|(_, f)| f.attributes()).map(str::to_owned).collect();
        let mut attributes = decoder.attributes();
        attributes.extend(["isDeleted".to_owned(), "objectCategory".to_owned()]);
        attributes.extend(filter_attributes.iter().filter(|a| !decoder.attributes().iter().any(|d| d.eq_ignore_ascii_case(a))).cloned());
        let filter = Assertion::any(guids.iter().map(|g| Assertion::guid(*g)));
        let base = self.root.default_naming_context.clone();
        let query = Query { show_deleted: true, ..Query::new(&base, Scope::Subtree, filter.as_str(), &attributes) };
        let mut chunk = Chunk::default();
        let end = self.search(&query, |entry| {
            let object = Object::read(entry);
            if let Some((object, guid)) =
                object.as_ref().and_then(|o| Some((o, o.guid()?))).filter(|(o, _)| o.text("isDeleted") == Some("TRUE"))
            {
                chunk.deleted.insert(guid, Dn::new(object.dn.clone()));
                return;
            }
            match (decoder.person(entry, Placement::Unknown), object) {
                (Ok((person, _)), Some(object)) => {
                    let first =
                        |name: &String| Some((name.to_ascii_lowercase(), String::from_utf8_lossy(object.bytes(name)?).into_owned()));
                    let visible = filter_attributes.iter().filter_map(first).chain(first(&"objectCategory".to_owned())).collect();
                    chunk.alive.insert(person.guid, (person, visible));
                }
                (Err(Malformed { guid: Some(guid), rest }), _) => drop(chunk.malformed.insert(guid, rest)),
                _ => {}
            }
        });
        let end = end.await?;
        if end.code == 0 { Ok(chunk) } else { Err(self.refused(&base, end.code, end.text)) }
    }

    /// An entry none of whose attributes may be read: no filter finds it, but asked for by name it is there.
    async fn find_unreadable(&mut self, guid: Guid) -> Result<Option<Confirmation>, DirectoryError> {
        let found = self.object(&format!("<GUID={guid}>"), &["objectGUID".to_owned()]).await?;
        Ok(found.map(|object| Confirmation::Malformed(Broken { dn: Dn::new(object.dn), control: None, expires: None })))
    }

    /// In or out, as AD says, and for whoever is out, why.
    async fn place(&mut self, chunk: &Chunk, bases: &[Dn], settings: &Settings) -> Result<BTreeMap<Guid, Placement>, DirectoryError> {
        let guids: Vec<Guid> = chunk.alive.keys().copied().collect();
        if guids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let filter = [Some(PERSON_FILTER), settings.filter.as_ref().map(|(text, _)| text.as_str())];
        let mut inside = BTreeSet::new();
        for base in bases {
            let conditions: Vec<Assertion> = filter.iter().flatten().map(|f| Assertion::raw(f)).collect();
            inside.extend(self.which(base.as_str(), &guids, conditions).await?);
        }
        let outside: Vec<Guid> = guids.into_iter().filter(|g| !inside.contains(g)).collect();
        let mut placements: BTreeMap<Guid, Placement> = inside.into_iter().map(|g| (g, Placement::Inside)).collect();
        let mut questioned = Vec::new();
        for guid in outside {
            let (person, visible) = &chunk.alive[&guid];
            if !bases.iter().any(|base| person.dn.is_within(base)) {
                let value = person.dn.as_str().to_owned();
                placements.insert(guid, Placement::Outside { attribute: "distinguishedName".into(), value });
            } else if let Some(category) = visible.get("objectcategory").filter(|c| !c.to_ascii_lowercase().starts_with("cn=person,")) {
                placements.insert(guid, Placement::Outside { attribute: "objectCategory".into(), value: category.clone() });
            } else {
                questioned.push(guid);
            }
        }
        if let (Some((_, filter)), false) = (&settings.filter, questioned.is_empty()) {
            self.question(filter, &questioned, chunk, &mut placements).await?;
        }
        Ok(placements)
    }

    /// Puts each assertion of the filter to AD on its own, and finds the one that excludes.
    async fn question(
        &mut self,
        filter: &crate::reconcile::Filter,
        guids: &[Guid],
        chunk: &Chunk,
        placements: &mut BTreeMap<Guid, Placement>,
    ) -> Result<(), DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let assertions = filter.assertions();
        let mut holds = Vec::with_capacity(assertions.len());
        for (_, text) in &assertions {
            holds.push(self.which(&base, guids, vec![Assertion::raw(text)]).await?);
        }
        for guid in guids {
            let visible = &chunk.alive[guid].1;
            let answer = |n: usize| {
                if holds[n].contains(guid) {
                    Truth::True
                } else if visible.contains_key(&assertions[n].0.to_ascii_lowercase()) {
                    Truth::False
                } else {
                    Truth::Unknown
                }
            };
            if filter.value(answer) != Truth::False {
                continue;
            }
            // The assertion that excludes is the one that would let the person in, were it otherwise.
            let decides = |n: usize| {
                let otherwise = if answer(n) == Truth::True { Truth::False } else { Truth::True };
                filter.value(|m| if m == n { otherwise } else { answer(m) }) != Truth::False
            };
            let seen = |n: usize| Some((assertions[n].0, visible.get(&assertions[n].0.to_ascii_lowercase())?));
            let all = || 0..assertions.len();
            let shown = all().filter(|n| decides(*n)).find_map(seen).or_else(|| all().find_map(seen));
            if let Some((attribute, value)) = shown {
                placements.insert(*guid, Placement::Outside { attribute: attribute.to_owned(), value: value.clone() });
            }
        }
        Ok(())
    }

    /// Which of these people are below the base and meet all conditions.
    async fn which(&mut self, base: &str, guids: &[Guid], mut conditions: Vec<Assertion>) -> Result<BTreeSet<Guid>, DirectoryError> {
        conditions.push(Assertion::any(guids.iter().map(|g| Assertion::guid(*g))));
        let filter = Assertion::all(conditions);
        let objects = self.objects(&Query::new(base, Scope::Subtree, filter.as_str(), &["objectGUID".to_owned()])).await?;
        Ok(objects.iter().filter_map(Object::guid).collect())
    }

    /// Whether deleted objects can be seen: proven only by one that was.
    pub async fn sees_tombstones(&mut self) -> Result<bool, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let is_tombstone = |o: &Object| o.dn.contains("\\0ADEL:");
        self.finds(&base, Scope::Subtree, &Assertion::raw("(&(isDeleted=TRUE)(objectClass=user))"), true, is_tombstone).await
    }

    async fn tombstone_lifetime(&mut self) -> Result<Duration, DirectoryError> {
        let dn = format!("CN=Directory Service,CN=Windows NT,CN=Services,{}", self.root.configuration_naming_context);
        let service = self.object(&dn, &["tombstoneLifetime".to_owned()]).await?.unwrap_or_default();
        let days = service.text("tombstoneLifetime").and_then(|t| t.parse().ok()).unwrap_or(DEFAULT_TOMBSTONE_DAYS);
        Ok(Duration::from_hours(24 * days))
    }
}
