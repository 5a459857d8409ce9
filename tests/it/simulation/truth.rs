//! What is true in the directory, whatever of it can be seen.

use std::collections::BTreeMap;

use adsim::Ad;
use rosterd::model::{Dn, Guid, Tier, Timestamp};
use uuid::Uuid;

use super::edits::Cast;
use crate::world::Life;

/// What is true of one person.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) life: Life,
    /// Where it stands; of a tombstone, its name among the deleted.
    pub(super) dn: Dn,
    pub(super) is_disabled: bool,
    pub(super) expires: Option<Timestamp>,
    pub(super) is_robot: bool,
    /// What its groups give it.
    pub(super) tier: Option<Tier>,
    pub(super) mail: Option<String>,
    pub(super) proxies: Vec<String>,
    pub(super) display_name: Option<String>,
    /// Whether the service account could see the entry.
    pub(super) is_visible: bool,
}

/// What is true at one moment.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) at: Timestamp,
    pub(super) people: BTreeMap<Guid, Facts>,
    pub(super) tombstones: bool,
    /// Whether all attributes could be read.
    pub(super) is_readable: bool,
}

pub(super) fn guid(of: Uuid) -> Guid {
    Guid(of.into_bytes())
}

impl Truth {
    pub(super) fn of(ad: &Ad, cast: &Cast, at: Timestamp) -> Self {
        let (pro, basic) = (Entitled::by(ad, cast, 1), Entitled::by(ad, cast, 0));
        let dark: Vec<Dn> = cast.dark_dns(ad).into_iter().map(Dn::new).collect();
        let facts = |who: Uuid| {
            if !ad.exists(who) {
                return Facts {
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
                };
            }
            let number = |attribute| ad.value(who, attribute).and_then(|v| v.parse::<i64>().ok());
            let primary = number("primaryGroupID");
            let tier = [(&pro, Tier::Pro), (&basic, Tier::Basic)].into_iter().find(|(group, _)| group.has(who, primary)).map(|(_, t)| t);
            let dn = Dn::new(ad.dn(who));
            let is_alive = Cast::is_alive(ad, who);
            let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
            Facts {
                life: if is_alive { Life::Alive } else { Life::Tombstone },
                is_disabled: number("userAccountControl").is_some_and(|bits| bits & 2 != 0),
                expires: number("accountExpires").filter(|t| *t != 0 && *t != i64::MAX).map(Timestamp::from_filetime),
                is_robot: ad.value(who, "employeeType").as_deref() == Some("robot"),
                tier,
                mail: ad.value(who, "mail"),
                proxies: ad.values(who, "proxyAddresses").into_iter().map(text).collect(),
                display_name: ad.value(who, "displayName"),
                is_visible: is_alive && !cast.dark_people.contains(&who) && !dark.iter().any(|ou| dn.is_within(ou)),
                dn,
            }
        };
        let people = cast.people.iter().map(|who| (guid(*who), facts(*who))).collect();
        Self { at, people, tombstones: cast.tombstones, is_readable: cast.dark_attributes.is_empty() }
    }
}

/// Whoever a configured group holds, directly or through others.
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
