//! Who gets which address, when everybody's wishes are taken together.
//!
//! A plan is a set: two people may swap addresses, a leaver's may pass to a joiner in the same run. So
//! the wishes are settled all at once: whoever cannot have what it wants keeps what it has, which may
//! block others in turn, until nothing changes any more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Desired, Known, Primary};
use crate::model::{Address, AddressKey, Addresses, Guid, QuarantineReason, Status, User};

/// One person's wish, with what it has.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub primary: &'a Address,
    pub secondary: &'a BTreeSet<Address>,
    /// The user it has, or will be linked to.
    pub user: Option<&'a User>,
    /// Whether it gets no further address that somebody else has until then.
    pub takes_nothing: bool,
}

impl Wish<'_> {
    fn wants(&self, key: &AddressKey) -> bool {
        self.primary.key() == *key || self.secondary.iter().any(|a| a.key() == *key)
    }
}

/// How the wishes were settled.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The addresses of those who get their primary.
    pub granted: BTreeMap<Guid, Addresses>,
    /// Those who do not, and why.
    pub refused: BTreeMap<Guid, QuarantineReason>,
}

/// Settles the wishes. `known` tells who holds what now; whoever is not among the wishes keeps all of it.
pub(super) fn settle(wishes: &BTreeMap<Guid, Wish<'_>>, known: &Known) -> Settled {
    // Who holds each wanted key now, and which wisher that is.
    let mut wanted: BTreeSet<AddressKey> = wishes.values().map(|w| w.primary.key()).collect();
    wanted.extend(wishes.values().flat_map(|w| w.secondary.iter().map(Address::key)));
    let wishers: BTreeMap<crate::model::UserId, Guid> = wishes.iter().filter_map(|(g, w)| Some((w.user?.id, *g))).collect();
    let holder = |key: &AddressKey| known.holder(key).map(|user| (user, wishers.get(&user.id).copied()));

    let mut settled = Settled::default();
    loop {
        let mut claims: BTreeMap<AddressKey, Vec<Guid>> = BTreeMap::new();
        for (guid, wish) in wishes.iter().filter(|(g, _)| !settled.refused.contains_key(g)) {
            claims.entry(wish.primary.key()).or_default().push(*guid);
        }
        let mut refused_now = BTreeMap::new();
        for (key, claimants) in &claims {
            let keeper = holder(key).filter(|(user, wisher)| match wisher {
                // A wisher gives its address up, unless it still wants it or was refused.
                Some(w) => settled.refused.contains_key(w) || wishes[w].wants(key),
                None => user.status() != Status::Released,
            });
            for claimant in claimants {
                let reason = match keeper {
                    Some((_, Some(w))) if w == *claimant => continue,
                    Some((user, _)) if user.status() == Status::Suspended && user.link.is_some() => QuarantineReason::AddressHeld,
                    Some(_) => QuarantineReason::ContestedAddress,
                    None if claimants.len() > 1 => QuarantineReason::ContestedAddress,
                    None => continue,
                };
                refused_now.insert(*claimant, reason);
            }
        }
        if refused_now.is_empty() {
            break;
        }
        settled.refused.extend(refused_now);
    }

    // Primaries are settled; secondaries take what is left, and whoever holds one keeps it.
    let primaries: BTreeSet<AddressKey> =
        wishes.iter().filter(|(g, _)| !settled.refused.contains_key(g)).map(|(_, w)| w.primary.key()).collect();
    let mut asking: BTreeMap<AddressKey, Vec<Guid>> = BTreeMap::new();
    for (guid, wish) in wishes.iter().filter(|(g, _)| !settled.refused.contains_key(g)) {
        for address in wish.secondary {
            asking.entry(address.key()).or_default().push(*guid);
        }
    }
    let gets = |key: &AddressKey, guid: Guid| {
        if primaries.contains(key) {
            return false;
        }
        match holder(key) {
            Some((_, Some(w))) if w == guid => true,
            Some((user, _)) if wishes[&guid].takes_nothing && user.status() != Status::Released => false,
            // Held by somebody who keeps it: not a wisher, refused, or asking for it again.
            Some((user, None)) if user.status() != Status::Released => false,
            Some((_, Some(w))) if settled.refused.contains_key(&w) || asking.get(key).is_some_and(|a| a.contains(&w)) => false,
            _ => asking.get(key).is_some_and(|a| a.len() == 1),
        }
    };
    let granted = wishes
        .iter()
        .filter(|(g, _)| !settled.refused.contains_key(g))
        .map(|(guid, wish)| {
            let secondary = wish.secondary.iter().filter(|a| gets(&a.key(), *guid)).cloned().collect();
            (*guid, Addresses { primary: Some(wish.primary.clone()), secondary })
        })
        .collect();
    Settled { granted, refused: settled.refused }
}

/// The quarantine of a primary address that cannot be used at all.
pub(super) fn trouble(desired: &Desired, has_user: bool) -> Option<QuarantineReason> {
    match desired.primary {
        Primary::Usable(_) | Primary::Unseen => None,
        Primary::Malformed => Some(QuarantineReason::MalformedAddress),
        Primary::Unclaimed(_) => has_user.then_some(QuarantineReason::UnclaimedDomain),
        Primary::Absent => has_user.then_some(QuarantineReason::NoAddress),
    }
}
