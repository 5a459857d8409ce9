//! The truth in the directory, regardless of rights.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use adsim::Ad;
use rosterd::model::{Dn, Guid, Tier, Timestamp};
use uuid::Uuid;

use super::edits::Cast;
use crate::world::Life;

/// The truth about one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) life: Life,
    /// Its DN; of a tombstone, the name among deleted objects.
    pub(super) dn: Dn,
    pub(super) is_disabled: bool,
    pub(super) expires: Option<Timestamp>,
    pub(super) is_robot: bool,
    /// The tier by its groups.
    pub(super) tier: Option<Tier>,
    pub(super) mail: Option<String>,
    pub(super) proxies: Vec<String>,
    pub(super) display_name: Option<String>,
    /// Whether the service account could see the entry, living or a tombstone.
    pub(super) is_visible: bool,
    /// The attributes that the service account could not read.
    pub(super) unreadable: BTreeSet<&'static str>,
}

impl Facts {
    /// A purged person.
    fn gone() -> Self {
        Self {
            life: Life::Purged,
            dn: Dn::new(""),
            is_disabled: false,
            expires: None,
            is_robot: false,
            tier: None,
            mail: None,
            proxies: Vec::new(),
            display_name: None,
            is_visible: false,
            unreadable: BTreeSet::new(),
        }
    }

    /// Returns whether all of these attributes of a present person could be read.
    pub(super) fn shows(&self, attributes: &[&str]) -> bool {
        self.is_visible && !attributes.iter().any(|a| self.unreadable.contains(a))
    }
}

/// The truth at one moment.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    /// The time of the directory's clock.
    pub(super) at: Timestamp,
    /// The difference of the machine's clock to it.
    pub(super) skew: Duration,
    pub(super) people: BTreeMap<Guid, Facts>,
    /// The bases of each directory, by its name.
    pub(super) bases: BTreeMap<String, Vec<Dn>>,
    /// The excluded OUs.
    pub(super) excluded: Vec<Dn>,
    /// The unreadable attributes of each person.
    pub(super) dark: BTreeSet<&'static str>,
    /// Whether all OUs and groups show their contents.
    pub(super) is_open: bool,
}

pub(super) fn guid(of: Uuid) -> Guid {
    Guid(of.into_bytes())
}

impl Truth {
    /// Returns the truth without any domain.
    pub(super) fn new(at: Timestamp, skew: Duration) -> Self {
        Self {
            at,
            skew,
            people: BTreeMap::new(),
            bases: BTreeMap::new(),
            excluded: Vec::new(),
            dark: BTreeSet::new(),
            is_open: true,
        }
    }

    /// Adds the truth of one domain.
    pub(super) fn add(&mut self, ad: &Ad, cast: &Cast) {
        let (pro, basic) = (Entitled::by(ad, cast, 1), Entitled::by(ad, cast, 0));
        let dark: Vec<Dn> = cast.dark_dns(ad).into_iter().map(Dn::new).collect();
        let hidden: Vec<(&'static str, Option<Dn>)> = cast
            .dark_attributes
            .iter()
            .map(|(a, ou)| (*a, ou.map(|ou| Dn::new(ad.dn(ou)))))
            .collect();
        let facts = |who: Uuid| {
            if !ad.exists(who) {
                return Facts::gone();
            }
            let number = |attribute| ad.value(who, attribute).and_then(|v| v.parse::<i64>().ok());
            let primary = number("primaryGroupID");
            let tier = [(&pro, Tier::Pro), (&basic, Tier::Basic)]
                .into_iter()
                .find(|(group, _)| group.has(who, primary))
                .map(|(_, t)| t);
            let dn = Dn::new(ad.dn(who));
            let is_alive = Cast::is_alive(ad, who);
            let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
            Facts {
                life: if is_alive { Life::Alive } else { Life::Tombstone },
                is_disabled: number("userAccountControl").is_some_and(|bits| bits & 2 != 0),
                expires: number("accountExpires")
                    .filter(|t| *t != 0 && *t != i64::MAX)
                    .map(Timestamp::from_filetime),
                is_robot: ad.value(who, "employeeType").as_deref() == Some("robot"),
                tier,
                mail: ad.value(who, "mail"),
                proxies: ad.values(who, "proxyAddresses").into_iter().map(text).collect(),
                display_name: ad.value(who, "displayName"),
                is_visible: (is_alive || cast.tombstones)
                    && !cast.dark_people.contains(&who)
                    && !dark.iter().any(|ou| dn.is_within(ou)),
                unreadable: hidden
                    .iter()
                    .filter(|(_, ou)| ou.as_ref().is_none_or(|ou| dn.is_within(ou)))
                    .map(|(a, _)| *a)
                    .collect(),
                dn,
            }
        };
        self.people.extend(cast.people.iter().map(|who| (guid(*who), facts(*who))));
        self.dark.extend(hidden.iter().map(|(a, _)| *a));
        self.is_open &= cast.dark_ous.len() == 1 && cast.dark_groups.is_empty();
        let dns =
            |bases: &Vec<Uuid>| bases.iter().map(|ou| Dn::new(ad.dn(*ou))).collect::<Vec<_>>();
        self.excluded.extend(cast.excluded.map(|ou| Dn::new(ad.dn(ou))));
        for (directory, bases) in &cast.bases {
            self.bases.entry(directory.clone()).or_default().extend(dns(bases));
        }
    }

    /// Returns whether a directory covers the place.
    pub(super) fn covers(&self, dn: &Dn) -> bool {
        self.bases.keys().any(|directory| self.is_of(directory, dn))
    }

    /// Returns whether this directory covers the place.
    pub(super) fn is_of(&self, directory: &str, dn: &Dn) -> bool {
        let mut bases = self.bases.get(directory).into_iter().flatten();
        bases.any(|base| dn.is_within(base)) && !self.excluded.iter().any(|ou| dn.is_within(ou))
    }
}

/// Returns the people in a configured group, directly or nested.
struct Entitled {
    members: Vec<Uuid>,
    rids: Vec<i64>,
}

impl Entitled {
    fn by(ad: &Ad, cast: &Cast, root: usize) -> Self {
        let mut groups = vec![cast.groups[root]];
        let mut members = Vec::new();
        let mut at = 0;
        while let Some(group) = groups.get(at).copied() {
            at += 1;
            for member in ad.members(group) {
                if !cast.groups.contains(&member) {
                    members.push(member);
                } else if !groups.contains(&member) {
                    groups.push(member);
                }
            }
        }
        let rid = |group: &Uuid| ad.sid(*group).rsplit('-').next().and_then(|rid| rid.parse().ok());
        Self { members, rids: groups.iter().filter_map(rid).collect() }
    }

    fn has(&self, who: Uuid, primary: Option<i64>) -> bool {
        self.members.contains(&who) || primary.is_some_and(|rid| self.rids.contains(&rid))
    }
}
