//! Decoding of one entry into a person. Pure, and the hottest code of a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ber::{AttributeRef, EntryRef};
use crate::model::{
    AttributeNames, Broken, Dn, Expiry, Field, Guid, LOGON_NAMES, Person, Placement, Profile, Sid,
    UserAccountControl,
};
use crate::reconcile::{Closure, Presence};

/// Filter for people: users, including disabled ones.
///
/// Computers and managed service accounts have other categories. The account type excludes trusts.
pub const PERSON_FILTER: &str =
    "(&(objectCategory=person)(objectClass=user)(!(sAMAccountType=805306370)))";

/// An entry that could not be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The GUID, if it could be read.
    pub guid: Option<Guid>,
    /// The readable attributes.
    pub rest: Broken,
}

/// Most bytes of a name, title or address. AD itself allows 256, and 1,123 for an address.
const MAX_TEXT: usize = 4 << 10;
/// Most bytes of all addresses of a person. AD has room for about 1,300 values of an attribute.
const MAX_ADDRESSES: usize = 256 << 10;

/// Attributes that every user has. If one is missing, its value is unknown.
const UNIVERSAL: [&str; 4] =
    ["objectGUID", "userAccountControl", "accountExpires", "primaryGroupID"];

/// The use of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Guid,
    Control,
    Expires,
    PrimaryGroup,
    MemberOf,
    Mail,
    Proxies,
    Leave,
    /// The name of the field.
    Profile(&'static str),
}

/// Decoder of entries for one attribute mapping and one closure of groups.
#[derive(Debug)]
pub struct Decoder {
    slots: Vec<(String, Slot)>,
    /// The positions of slots, by the length of their names. Every attribute of every entry is looked up.
    by_length: Vec<Vec<usize>>,
    groups: HashMap<Vec<u8>, Guid>,
    lengths: BTreeSet<usize>,
    folded: BTreeMap<Dn, Guid>,
    rids: HashMap<u32, Guid>,
    closure: Closure,
    /// Attributes that are kept for output. Their absence is no sign of a lost right, and no reason
    /// to stop a run.
    extra: Vec<String>,
}

/// Every account has a SID. No decision rests on it, so its absence is no sign of a lost right.
const SID: &str = "objectSid";

impl Decoder {
    pub fn new(names: &AttributeNames, closure: &Closure) -> Self {
        let fixed = [
            ("objectGUID", Slot::Guid),
            ("userAccountControl", Slot::Control),
            ("accountExpires", Slot::Expires),
            ("primaryGroupID", Slot::PrimaryGroup),
            ("memberOf", Slot::MemberOf),
            ("proxyAddresses", Slot::Proxies),
        ];
        let slots = fixed.into_iter().map(|(name, slot)| (name.to_owned(), slot));
        let leave = names.leave_date.iter().map(|name| (name.clone(), Slot::Leave));
        let slots = slots.chain([(names.email.clone(), Slot::Mail)]).chain(leave).chain(
            names
                .profile()
                .into_iter()
                .chain(LOGON_NAMES)
                .map(|(field, name)| (name.to_owned(), Slot::Profile(field))),
        );
        let slots: Vec<(String, Slot)> = slots.collect();
        let mut by_length = Vec::new();
        for (at, (name, _)) in slots.iter().enumerate() {
            if by_length.len() <= name.len() {
                by_length.resize(name.len() + 1, Vec::new());
            }
            by_length[name.len()].push(at);
        }
        Self {
            slots,
            by_length,
            groups: closure.groups().map(|g| (g.dn.as_str().as_bytes().to_vec(), g.guid)).collect(),
            lengths: closure.groups().map(|g| g.dn.as_str().len()).collect(),
            folded: closure.groups().map(|g| (g.dn.clone(), g.guid)).collect(),
            rids: closure.groups().filter_map(|g| Some((g.rid?, g.guid))).collect(),
            closure: closure.clone(),
            extra: names.extra.clone(),
        }
    }

    /// Returns the attributes that decide about people, in the order of the presence bits.
    pub fn attributes(&self) -> Vec<String> {
        self.slots.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns the attributes to request.
    pub fn requested(&self) -> Vec<String> {
        self.watched().into_iter().chain([SID.to_owned()]).collect()
    }

    /// Returns the attributes whose changes are to be read.
    pub fn watched(&self) -> Vec<String> {
        self.attributes().into_iter().chain(self.extra.iter().cloned()).collect()
    }

    /// Returns the attributes that every user has.
    pub fn universal() -> BTreeSet<String> {
        UNIVERSAL.iter().map(|a| (*a).to_owned()).collect()
    }

    /// Decodes one entry; `None` stands for a malformed one.
    pub fn person(
        &self,
        entry: Option<&EntryRef<'_>>,
        placement: Placement,
    ) -> Result<(Person, Presence), Malformed> {
        let Some(entry) = entry else {
            return Err(Malformed {
                guid: None,
                rest: Broken { dn: Dn::new(""), control: None, expires: None },
            });
        };
        // A malformed entry is stored with its name, so the name has a limit, too.
        let name = String::from_utf8_lossy(&entry.dn()[..entry.dn().len().min(MAX_TEXT)]);
        let dn = Dn::new(name.replace('\0', ""));
        let (mut guid, mut sid) = (None, None);
        // The DN is searched for in groups. An empty or truncated DN would match no group.
        let mut is_broken = entry.dn().is_empty()
            || entry.dn().len() > MAX_TEXT
            || std::str::from_utf8(entry.dn()).is_err()
            || entry.dn().contains(&0);
        let mut presence = Presence::default();
        let (mut control, mut expires, mut primary_group) = (None, None, None);
        let mut groups = Vec::new();
        let (mut mail, mut leave) = (Field::Absent, Field::Absent);
        let mut proxy_addresses = Vec::new();
        let extra = self.extra.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
        let mut profile = Profile { extra, ..Profile::default() };
        let mut several: Option<Box<BTreeMap<&'static str, BTreeSet<String>>>> = None;
        for attribute in entry.attributes() {
            let Ok(attribute) = attribute else {
                is_broken = true;
                break;
            };
            if attribute.is(SID) {
                sid = attribute.values().next().and_then(Sid::from_ad);
            }
            if let Some(name) = self.extra.iter().find(|name| attribute.is(name))
                && attribute.values().map(<[u8]>::len).sum::<usize>() <= MAX_TEXT
            {
                profile
                    .extra
                    .insert(name.clone(), attribute.values().filter_map(readable).collect());
            }
            // An attribute may fill two slots, for example employeeID also as title.
            let candidates = self.by_length.get(attribute.name.len()).into_iter().flatten();
            let candidates = candidates.map(|bit| (bit, &self.slots[*bit]));
            for (bit, (_, slot)) in candidates.filter(|(_, (name, _))| attribute.is(name)) {
                if attribute.values().next().is_some() {
                    presence.0 |= 1 << bit;
                }
                // An overlong title is dropped. Overlong addresses make the entry malformed.
                let bytes = || attribute.values().map(<[u8]>::len).sum::<usize>();
                match slot {
                    Slot::Profile(_) if bytes() > MAX_TEXT => continue,
                    Slot::Mail if bytes() > MAX_TEXT => {
                        mail = Field::Malformed;
                        continue;
                    }
                    Slot::Leave if bytes() > MAX_TEXT => {
                        leave = Field::Malformed;
                        continue;
                    }
                    Slot::Proxies if bytes() > MAX_ADDRESSES => {
                        is_broken = true;
                        continue;
                    }
                    _ => {}
                }
                match slot {
                    Slot::Guid => guid = attribute.values().next().and_then(Guid::from_ad),
                    // AD integers have 32 bits (MS-ADTS 3.1.1.2.2.2), so a larger number has no
                    // valid flags.
                    Slot::Control => {
                        control = number(&attribute)
                            .and_then(|n| i32::try_from(n).ok())
                            .map(UserAccountControl)
                    }
                    Slot::Expires => {
                        expires = number(&attribute)
                            .filter(|ticks| *ticks >= 0)
                            .map(Expiry::from_filetime)
                    }
                    Slot::PrimaryGroup => primary_group = number(&attribute),
                    Slot::MemberOf => {
                        groups.extend(attribute.values().filter_map(|dn| self.group(dn)))
                    }
                    Slot::Mail => mail = text(&attribute),
                    Slot::Leave => leave = text(&attribute),
                    Slot::Proxies => {
                        proxy_addresses.extend(attribute.values().filter_map(readable))
                    }
                    Slot::Profile(field) => {
                        let values =
                            || attribute.values().filter_map(readable).filter(|v| !v.is_empty());
                        if let Some(value) = profile.field_mut(field) {
                            *value = values().min();
                        }
                        if values().nth(1).is_some() {
                            several.get_or_insert_default().insert(field, values().collect());
                        }
                    }
                }
            }
        }
        // An unusable value counts as missing, so that many of them are noticed like lost rights.
        let unusable = |slot: &Slot| match slot {
            Slot::Control => control.is_none(),
            Slot::Expires => expires.is_none(),
            Slot::PrimaryGroup => primary_group.is_none(),
            _ => false,
        };
        for (bit, _) in self.slots.iter().enumerate().filter(|(_, (_, slot))| unusable(slot)) {
            presence.0 &= !(1 << bit);
        }
        let Some(guid) = guid.filter(|_| !is_broken) else {
            return Err(Malformed { guid, rest: Broken { dn, control, expires } });
        };
        groups.extend(
            primary_group
                .and_then(|rid| u32::try_from(rid).ok())
                .and_then(|rid| self.rids.get(&rid).copied()),
        );
        groups.extend(self.closure.listing(sid.as_ref(), &dn));
        groups.sort_unstable();
        groups.dedup();
        let groups_unknown = primary_group.is_none();
        Ok((
            Person {
                guid,
                sid,
                dn,
                placement,
                control,
                expires,
                leave,
                groups,
                groups_unknown,
                mail,
                proxy_addresses,
                profile,
                several,
            },
            presence,
        ))
    }

    /// Returns the group of the closure that a value of `memberOf` names.
    fn group(&self, dn: &[u8]) -> Option<Guid> {
        if !self.lengths.contains(&dn.len()) {
            return None;
        }
        // A server spells a DN in one way. The normal form covers the exception.
        self.groups
            .get(dn)
            .copied()
            .or_else(|| self.folded.get(&Dn::new(std::str::from_utf8(dn).ok()?)).copied())
    }
}

fn number(attribute: &AttributeRef<'_>) -> Option<i64> {
    std::str::from_utf8(attribute.values().next()?).ok()?.trim().parse().ok()
}

fn text(attribute: &AttributeRef<'_>) -> Field {
    if attribute.values().nth(1).is_some() {
        // A value that is not UTF-8 is dropped, because the others may be addresses.
        let texts: Vec<String> = attribute.values().filter_map(readable).collect();
        return if texts.is_empty() { Field::Malformed } else { Field::Several(texts) };
    }
    match attribute.values().next().map(std::str::from_utf8) {
        None => Field::Absent,
        Some(Ok(text)) if !text.contains('\0') => Field::Text(text.to_owned()),
        Some(_) => Field::Malformed,
    }
}

/// Returns a value as text without U+0000, which no name has and PostgreSQL does not store.
fn readable(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(|text| text.replace('\0', ""))
}
