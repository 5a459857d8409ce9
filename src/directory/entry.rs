//! From the attributes of one entry to a person. Pure; the hottest code of a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ber::{AttributeRef, EntryRef};
use crate::model::{
    AttributeNames, Broken, Dn, Expiry, Field, Guid, Person, Placement, Profile, UserAccountControl,
};
use crate::reconcile::{Closure, Presence};

/// Who is a person: users, disabled ones too; no computers, no managed service accounts (other categories), no trusts.
pub const PERSON_FILTER: &str =
    "(&(objectCategory=person)(objectClass=user)(!(sAMAccountType=805306370)))";

/// An entry that could not be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Who, if that could be read.
    pub guid: Option<Guid>,
    /// What is left of it.
    pub rest: Broken,
}

/// The most bytes of a text that can be somebody's name, title or address. Active Directory itself allows 256, and 1,123 for an address.
const LONGEST_TEXT: usize = 4 << 10;
/// The most bytes of all of somebody's addresses. Active Directory has no room for more than some 1,300 values of an attribute.
const LONGEST_ADDRESSES: usize = 256 << 10;

/// The attributes everybody has; missing, they are unknown.
const UNIVERSAL: [&str; 4] =
    ["objectGUID", "userAccountControl", "accountExpires", "primaryGroupID"];

/// The names that people log on with.
const LOGON_NAMES: [&str; 2] = ["sAMAccountName", "userPrincipalName"];

/// What an attribute is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Guid,
    Control,
    Expires,
    PrimaryGroup,
    MemberOf,
    Mail,
    Proxies,
    Profile(usize),
}

/// Knows the attributes to ask for, and how to read a person from them.
#[derive(Debug)]
pub struct Decoder {
    slots: Vec<(String, Slot)>,
    groups: HashMap<Vec<u8>, Guid>,
    lengths: BTreeSet<usize>,
    folded: BTreeMap<Dn, Guid>,
    rids: HashMap<u32, Guid>,
}

impl Decoder {
    /// For these attributes and groups.
    pub fn new(names: &AttributeNames, closure: &Closure) -> Self {
        let AttributeNames {
            email,
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
        } = names;
        let profile =
            [display_name, given_name, surname, title, department, phone, employee_id, manager];
        let fixed = [
            ("objectGUID", Slot::Guid),
            ("userAccountControl", Slot::Control),
            ("accountExpires", Slot::Expires),
            ("primaryGroupID", Slot::PrimaryGroup),
            ("memberOf", Slot::MemberOf),
            ("proxyAddresses", Slot::Proxies),
        ];
        let slots = fixed.into_iter().map(|(name, slot)| (name.to_owned(), slot));
        let slots = slots
            .chain([(email.clone(), Slot::Mail)])
            .chain(
                profile.into_iter().enumerate().map(|(n, name)| (name.clone(), Slot::Profile(n))),
            )
            // No configuration names these: who may log on, and as whom, is AD's to say.
            .chain(
                LOGON_NAMES
                    .iter()
                    .zip(profile.len()..)
                    .map(|(name, n)| ((*name).to_owned(), Slot::Profile(n))),
            );
        Self {
            slots: slots.collect(),
            groups: closure.groups().map(|g| (g.dn.as_str().as_bytes().to_vec(), g.guid)).collect(),
            lengths: closure.groups().map(|g| g.dn.as_str().len()).collect(),
            folded: closure.groups().map(|g| (g.dn.clone(), g.guid)).collect(),
            rids: closure.groups().filter_map(|g| Some((g.rid?, g.guid))).collect(),
        }
    }

    /// The attributes to ask for, in the order of the presence bits.
    pub fn attributes(&self) -> Vec<String> {
        self.slots.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Those that everybody has.
    pub fn universal() -> BTreeSet<String> {
        UNIVERSAL.iter().map(|a| (*a).to_owned()).collect()
    }

    /// Reads one entry.
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
        // Whoever is malformed is kept by name, so that has a limit, too.
        let dn =
            Dn::new(String::from_utf8_lossy(&entry.dn()[..entry.dn().len().min(LONGEST_TEXT)]));
        let mut guid = None;
        // Groups are asked for whoever has this name, and a name of nothing is in none.
        let mut is_broken = entry.dn().is_empty()
            || entry.dn().len() > LONGEST_TEXT
            || std::str::from_utf8(entry.dn()).is_err();
        let mut presence = Presence::default();
        let (mut control, mut expires, mut primary_group) = (None, None, None);
        let mut groups = Vec::new();
        let mut mail = Field::Absent;
        let mut proxy_addresses = Vec::new();
        let mut profile: [Option<String>; 10] = Default::default();
        let mut several: Option<Box<BTreeMap<&'static str, BTreeSet<String>>>> = None;
        for attribute in entry.attributes() {
            let Ok(attribute) = attribute else {
                is_broken = true;
                break;
            };
            // One attribute may hold two things (employeeID as title, say), so every slot is looked at.
            for (bit, (_, slot)) in
                self.slots.iter().enumerate().filter(|(_, (name, _))| attribute.is(name))
            {
                if attribute.values().next().is_some() {
                    presence.0 |= 1 << bit;
                }
                // Too long to be what it should be: a title that is costs the title, addresses that are cost the entry.
                let bytes = || attribute.values().map(<[u8]>::len).sum::<usize>();
                match slot {
                    Slot::Profile(_) if bytes() > LONGEST_TEXT => continue,
                    Slot::Mail if bytes() > LONGEST_TEXT => {
                        mail = Field::Malformed;
                        continue;
                    }
                    Slot::Proxies if bytes() > LONGEST_ADDRESSES => {
                        is_broken = true;
                        continue;
                    }
                    _ => {}
                }
                match slot {
                    Slot::Guid => guid = attribute.values().next().and_then(Guid::from_ad),
                    // An Integer of AD has 32 bits (MS-ADTS 3.1.1.2.2.2): a larger number says nothing about single bits.
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
                    Slot::Proxies => proxy_addresses.extend(
                        attribute
                            .values()
                            .filter_map(|v| std::str::from_utf8(v).ok())
                            .map(str::to_owned),
                    ),
                    Slot::Profile(n) => {
                        let values = || {
                            attribute
                                .values()
                                .filter_map(|v| std::str::from_utf8(v).ok())
                                .filter(|v| !v.is_empty())
                        };
                        profile[*n] = values().min().map(str::to_owned);
                        if values().nth(1).is_some() {
                            several
                                .get_or_insert_default()
                                .insert(Profile::NAMES[*n], values().map(str::to_owned).collect());
                        }
                    }
                }
            }
        }
        // A value that cannot be used counts as no value, so that many of them are noticed as lost rights are.
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
        groups.sort_unstable();
        groups.dedup();
        let [
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
            sam_account_name,
            user_principal_name,
        ] = profile;
        let profile = Profile {
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
            sam_account_name,
            user_principal_name,
        };
        let groups_unknown = primary_group.is_none();
        Ok((
            Person {
                guid,
                dn,
                placement,
                control,
                expires,
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

    /// The group of the closure that this value of `memberOf` names.
    fn group(&self, dn: &[u8]) -> Option<Guid> {
        if !self.lengths.contains(&dn.len()) {
            return None;
        }
        // A server writes one object's name in one way; should it not, the normal form still tells.
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
        // A value that is no text is no address, and the others may be.
        let texts: Vec<String> = attribute
            .values()
            .filter_map(|v| std::str::from_utf8(v).ok())
            .map(str::to_owned)
            .collect();
        return if texts.is_empty() { Field::Malformed } else { Field::Several(texts) };
    }
    match attribute.values().next().map(std::str::from_utf8) {
        None => Field::Absent,
        Some(Ok(text)) => Field::Text(text.to_owned()),
        Some(Err(_)) => Field::Malformed,
    }
}
