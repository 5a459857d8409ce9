//! The settlement of addresses: all wishes of a run are settled together.
//!
//! Two people may swap addresses, and a leaver's address may pass to a joiner in the same run. A
//! person who does not get an address keeps the present one, which may block others in turn. So the
//! settlement is repeated until it is stable.
//!
//! The outcome does not depend on the people that a run reads. A scoped run also reads the other
//! people who want an address that changes hands ([`newly_wanted`]). It asks the other directories of
//! the account as well ([`Rival`]).

use std::collections::{BTreeMap, BTreeSet};

use super::{Desired, Known, Policy, Primary, Rival};
use crate::model::{
    Address, AddressKey, Addresses, Guid, Override, QuarantineReason, Status, User, UserId,
};

/// The addresses that one person wants.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub primary: &'a Address,
    pub secondary: &'a BTreeSet<Address>,
    /// The present user, or the one that will be linked.
    pub user: Option<&'a User>,
    /// Whether it gets no secondary address that another user holds.
    pub takes_nothing: bool,
}

impl Wish<'_> {
    fn wants(&self, key: &AddressKey) -> bool {
        self.primary.key() == *key || self.secondary.iter().any(|a| a.key() == *key)
    }
}

/// The people who want an address without a wish in this run.
#[derive(Debug)]
pub(super) struct Rivals<'a> {
    /// People of other directories of the account.
    pub elsewhere: &'a BTreeMap<AddressKey, Rival>,
    /// People of this directory who are not decided yet.
    pub undecided: BTreeMap<AddressKey, BTreeMap<Guid, Rival>>,
}

impl Rivals<'_> {
    fn want_as_primary(&self, key: &AddressKey) -> bool {
        let undecided = self.undecided.get(key).into_iter().flat_map(BTreeMap::values);
        self.elsewhere.get(key).into_iter().chain(undecided).any(|rival| *rival == Rival::Primary)
    }

    fn want(&self, key: &AddressKey) -> bool {
        self.elsewhere.contains_key(key) || self.undecided.contains_key(key)
    }
}

/// A secondary address that a person does not get.
#[derive(Debug)]
pub(super) struct LeftOut {
    address: Address,
    /// The primary address or id of the present holder.
    holder: Option<String>,
    wanted_by: BTreeSet<Guid>,
}

impl LeftOut {
    /// Returns the note for operators.
    pub fn sentence(&self, d: &Desired, desired: &BTreeMap<Guid, Desired>) -> String {
        let name = |guid: &Guid| {
            desired.get(guid).map_or_else(|| guid.to_string(), |d| d.dn.as_str().to_owned())
        };
        let (address, dn) = (self.address.as_str(), d.dn.as_str());
        let others = self
            .wanted_by
            .iter()
            .filter(|guid| **guid != d.guid)
            .map(name)
            .collect::<Vec<_>>()
            .join(", ");
        match (&self.holder, others.as_str()) {
            (Some(holder), _) => {
                format!(
                    "{dn} does not get the alias {address}, which {holder} holds: take it out of one of the two entries"
                )
            }
            (None, "") => format!(
                "{dn} does not get the alias {address}, which another directory of the account names, too"
            ),
            (None, others) => {
                format!(
                    "{dn} does not get the alias {address}, which {others} names, too: take it out of all entries but one"
                )
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The addresses of people who get their primary one.
    pub granted: BTreeMap<Guid, Addresses>,
    /// The people who do not, with the reason.
    pub refused: BTreeMap<Guid, QuarantineReason>,
    /// The secondary addresses that people in `granted` do not get.
    pub left_out: BTreeMap<Guid, Vec<LeftOut>>,
}

/// Settles the wishes. A user in `known` without a wish keeps all addresses. `leaving` are the users
/// with a cause to be suspended, whether they are suspended yet or not.
pub(super) fn settle(
    wishes: &BTreeMap<Guid, Wish<'_>>,
    known: &Known,
    rivals: &Rivals<'_>,
    leaving: &BTreeSet<UserId>,
) -> Settled {
    let wishers: BTreeMap<UserId, Guid> =
        wishes.iter().filter_map(|(g, w)| Some((w.user?.id, *g))).collect();
    let holder =
        |key: &AddressKey| known.holder(key).map(|user| (user, wishers.get(&user.id).copied()));
    let has_left = |user: &User| {
        user.link.is_some() && (user.status() == Status::Suspended || leaving.contains(&user.id))
    };

    let mut settled = Settled::default();
    loop {
        let mut claims: BTreeMap<AddressKey, Vec<Guid>> = BTreeMap::new();
        for (guid, wish) in wishes.iter().filter(|(g, _)| !settled.refused.contains_key(g)) {
            claims.entry(wish.primary.key()).or_default().push(*guid);
        }
        let mut refused_now = BTreeMap::new();
        for (key, claimants) in &claims {
            let keeper = holder(key).filter(|(user, wisher)| match wisher {
                // A wisher releases its address unless it still wants it or was refused.
                Some(w) => settled.refused.contains_key(w) || wishes[w].wants(key),
                None => user.status() != Status::Released,
            });
            let has_rival = rivals.want_as_primary(key);
            for claimant in claimants {
                let reason = match keeper {
                    Some((_, Some(w))) if w == *claimant => continue,
                    Some((user, _)) if has_left(user) => QuarantineReason::AddressHeld,
                    Some(_) => QuarantineReason::ContestedAddress,
                    None if claimants.len() > 1 || has_rival => QuarantineReason::ContestedAddress,
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
    settle_secondaries(wishes, rivals, holder, &mut settled);
    settled
}

/// Settles secondary addresses after the primary ones. A present holder keeps its address.
fn settle_secondaries<'k>(
    wishes: &BTreeMap<Guid, Wish<'_>>,
    rivals: &Rivals<'_>,
    holder: impl Fn(&AddressKey) -> Option<(&'k User, Option<Guid>)>,
    settled: &mut Settled,
) {
    let primaries: BTreeMap<AddressKey, Guid> = wishes
        .iter()
        .filter(|(g, _)| !settled.refused.contains_key(g))
        .map(|(g, w)| (w.primary.key(), *g))
        .collect();
    // A person who does not get its primary address wants it nevertheless, and its aliases, too.
    let mut wanting: BTreeMap<AddressKey, BTreeSet<Guid>> = BTreeMap::new();
    for (guid, wish) in wishes {
        for address in [wish.primary].into_iter().chain(wish.secondary) {
            wanting.entry(address.key()).or_default().insert(*guid);
        }
    }
    let gets = |key: &AddressKey, guid: Guid| {
        if primaries.contains_key(key) {
            return false;
        }
        match holder(key) {
            Some((_, Some(w))) if w == guid => true,
            Some((user, _)) if wishes[&guid].takes_nothing && user.status() != Status::Released => {
                false
            }
            // The holder keeps it: it has no wish, was refused, or wants it again.
            Some((user, None)) if user.status() != Status::Released => false,
            Some((_, Some(w))) if settled.refused.contains_key(&w) || wishes[&w].wants(key) => {
                false
            }
            _ => wanting[key].len() == 1 && !rivals.want(key),
        }
    };
    for (guid, wish) in wishes.iter().filter(|(g, _)| !settled.refused.contains_key(g)) {
        let (granted, left): (Vec<&Address>, Vec<&Address>) =
            wish.secondary.iter().partition(|a| gets(&a.key(), *guid));
        let secondary = granted.into_iter().cloned().collect();
        settled.granted.insert(*guid, Addresses { primary: Some(wish.primary.clone()), secondary });
        let left: Vec<LeftOut> = left
            .into_iter()
            .map(|address| {
                let key = address.key();
                let kept = holder(&key)
                    .filter(|(user, _)| user.status() != Status::Released)
                    .map(|(user, _)| name(user));
                let undecided = rivals.undecided.get(&key).into_iter().flat_map(BTreeMap::keys);
                let wanted_by = wanting[&key].iter().chain(undecided).copied().collect();
                LeftOut { address: address.clone(), holder: kept, wanted_by }
            })
            .collect();
        if !left.is_empty() {
            settled.left_out.insert(*guid, left);
        }
    }
}

fn name(user: &User) -> String {
    user.addresses
        .primary
        .as_ref()
        .map_or_else(|| format!("the user {}", user.id), |a| a.as_str().to_owned())
}

/// Returns the addresses that these people want and do not hold. Before one changes hands, the other
/// people who want it have to be read.
pub fn newly_wanted(desired: &BTreeMap<Guid, Desired>, known: &Known) -> BTreeSet<AddressKey> {
    let mut wanted = BTreeSet::new();
    for d in desired.values() {
        let own = known.of_person(d.guid).map(|user| user.id);
        wanted.extend(
            d.wanted_keys()
                .into_iter()
                .filter(|key| known.holder(key).is_none_or(|holder| Some(holder.id) != own)),
        );
    }
    wanted
}

/// Returns the people with one of several addresses chosen; `None` when no entry shows several.
///
/// The present address is preferred, then that of an unmanaged user, then the smallest. The order of
/// values decides nothing, because LDAP does not define one.
pub(super) fn chosen(
    desired: &BTreeMap<Guid, Desired>,
    known: &Known,
    policy: &Policy,
) -> Option<BTreeMap<Guid, Desired>> {
    if desired.values().all(|d| d.choices.is_none()) {
        return None;
    }
    let choose = |d: &Desired| -> Desired {
        let mut d = d.clone();
        let Some(choices) = d.choices.clone() else { return d };
        let own = known.of_person(d.guid);
        let present = own.and_then(|user| user.addresses.primary.as_ref());
        let is_present =
            |address: &&Address| present.is_some_and(|present| present.key() == address.key());
        let is_unmanaged = |address: &&Address| {
            let holder = known.holder(&address.key());
            holder.is_some_and(|u| {
                u.link.is_none()
                    && u.account == policy.account
                    && !u.overrides.contains(&Override::Link(d.guid))
            })
        };
        let of_unmanaged =
            || if own.is_none() { choices.addresses.iter().find(is_unmanaged) } else { None };
        if let Some(address) = choices.addresses.iter().find(is_present).or_else(of_unmanaged) {
            d.primary = Primary::Usable(address.clone());
        }
        if let Primary::Usable(primary) = &d.primary {
            let key = primary.key();
            d.secondary.retain(|secondary| secondary.key() != key);
        }
        if let (Some(user), Some(profile)) = (own, d.profile.as_mut()) {
            choices.keep_present(&user.profile, profile);
        }
        d
    };
    Some(desired.iter().map(|(guid, d)| (*guid, choose(d))).collect())
}

/// Returns the reason to quarantine an unusable primary address.
pub(super) fn trouble(
    desired: &Desired,
    has_user: bool,
    policy: &Policy,
) -> Option<QuarantineReason> {
    let is_missed = has_user || desired.is_expected(policy);
    match desired.primary {
        Primary::Usable(_) | Primary::Unseen => None,
        Primary::Malformed => Some(QuarantineReason::MalformedAddress),
        Primary::Unclaimed(_) => is_missed.then_some(QuarantineReason::UnclaimedDomain),
        Primary::Absent => is_missed.then_some(QuarantineReason::NoAddress),
    }
}
