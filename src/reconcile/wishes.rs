//! The wishes: the addresses that the people of a run want, and the people who may want one.

use std::collections::BTreeMap;

use super::addresses::{self, Rivals, Wish};
use super::decide::Finding;
use super::{Desired, Known, Policy, Primary, Rival, Takeover};
use crate::model::{
    Address, AddressKey, Guid, Override, QuarantineReason, Reason, Standing, Status, User, UserId,
};

/// Returns the wishes of users, joiners and people who turn out to be an unmanaged user.
pub(super) fn wishes<'a>(
    desired: &'a BTreeMap<Guid, Desired>,
    known: &'a Known,
    policy: &Policy,
) -> BTreeMap<Guid, Wish<'a>> {
    let mut linked = BTreeMap::<UserId, u32>::new();
    let mut wishes = BTreeMap::new();
    for d in desired.values() {
        let Primary::Usable(primary) = &d.primary else { continue };
        let own = known.of_person(d.guid);
        // A directory decides about users linked to it and users that it takes over.
        if own
            .and_then(|user| known.takeover(user, policy))
            .is_some_and(|takeover| !takeover.is_move())
        {
            continue;
        }
        let comes_back =
            |user: &User| d.is_provisionable(policy) && !user.overrides.contains(&Override::Return);
        // A quarantined person keeps its addresses, so it has no wish.
        if quarantine(d, own.is_some_and(|u| u.standing != Standing::Released), None, policy)
            .is_some()
        {
            continue;
        }
        let is_barred =
            [Reason::Disabled, Reason::Expired].into_iter().any(|r| d.finding(r) == Finding::Holds);
        let user = match own {
            Some(user) if user.standing == Standing::Released && !comes_back(user) => continue,
            Some(user) => Some(user),
            None => match known.returning(d, primary, policy) {
                // A leaver is linked and suspended whatever its groups, which are a condition for joining only.
                Some(user)
                    if d.is_provisionable(policy) || (is_barred && d.is_person_of_scope()) =>
                {
                    *linked.entry(user.id).or_default() += 1;
                    Some(user)
                }
                _ if d.is_provisionable(policy) && !known.is_id_taken(d, policy) => None,
                _ => continue,
            },
        };
        // A person who is linked and suspended at once does not wait for addresses of other users.
        wishes.insert(
            d.guid,
            Wish {
                primary,
                secondary: &d.secondary,
                user,
                takes_nothing: own.is_none() && is_barred,
            },
        );
    }
    // When two people have the address of one unmanaged user, neither is linked.
    for wish in wishes.values_mut() {
        if wish.user.is_some_and(|u| linked.get(&u.id).is_some_and(|n| *n > 1)) {
            wish.user = None;
        }
    }
    wishes
}

/// Returns the rivals of the wishes. An undecided person gets no address, and no other person gets it
/// meanwhile.
pub(super) fn rivals<'k>(
    desired: &BTreeMap<Guid, Desired>,
    known: &'k Known,
    policy: &Policy,
    wishes: &BTreeMap<Guid, Wish<'_>>,
) -> Rivals<'k> {
    let mut undecided: BTreeMap<AddressKey, BTreeMap<Guid, Rival>> = BTreeMap::new();
    for d in desired.values().filter(|d| !wishes.contains_key(&d.guid)) {
        let Primary::Usable(primary) = &d.primary else { continue };
        let is_undecided = match known.of_person(d.guid) {
            Some(user) if known.takeover(user, policy).is_some_and(|t| !t.is_move()) => false,
            Some(user) if user.standing != Standing::Released => {
                quarantine(d, true, None, policy).is_some()
            }
            own => d.may_want_addresses(own, policy) && !d.is_provisionable(policy),
        };
        for key in d.wanted_keys().into_iter().filter(|_| is_undecided) {
            let rival = if primary.key() == key { Rival::Primary } else { Rival::Secondary };
            undecided.entry(key).or_default().insert(d.guid, rival);
        }
    }
    Rivals { elsewhere: &known.rivals, undecided }
}

impl Desired {
    /// Returns whether a person may get addresses in its directory, where it has this user or none.
    pub fn may_want_addresses(&self, own: Option<&User>, policy: &Policy) -> bool {
        match own {
            Some(user) if user.standing != Standing::Released => true,
            // An undone creation stays undone.
            Some(user) if user.overrides.contains(&Override::Return) => false,
            Some(_) | None => self.may_join(policy),
        }
    }
}

impl Known {
    /// Returns the takeover of a user; `None` when the user is linked to this directory already.
    pub(super) fn takeover(&self, user: &User, policy: &Policy) -> Option<&Takeover> {
        let link = user.link.as_ref().filter(|link| link.directory != policy.directory)?;
        Some(self.takeovers.get(&link.guid).unwrap_or(&Takeover::Not))
    }

    /// Returns whether the scope lets the person in: a joiner, a suspended user, or somebody whom an
    /// operator keeps although it is out of scope.
    pub fn admits(&self, d: &Desired, policy: &Policy) -> bool {
        let is_new = match self.of_person(d.guid) {
            Some(user) if user.standing != Standing::Released => {
                user.status() == Status::Suspended || self.is_excused(d.guid)
            }
            Some(_) | None => d.may_join(policy),
        };
        is_new && d.is_in_scope()
    }

    /// Returns whether an operator keeps the person active although it is out of scope.
    pub fn is_excused(&self, person: Guid) -> bool {
        let excuse = Override::Reason(Reason::OutOfScope);
        self.of_person(person).is_some_and(|user| {
            user.overrides.contains(&excuse)
                || self.rejected.contains(&(user.id, Reason::OutOfScope))
        })
    }

    /// Returns the unmanaged user that the person turns out to be: by the id of the person, else by address.
    fn returning(&self, d: &Desired, primary: &Address, policy: &Policy) -> Option<&User> {
        let by_id = self.user(UserId::of_person(policy.account, d.guid)).filter(|u| {
            let is_free = self.holder(&primary.key()).is_none_or(|holder| holder.id == u.id);
            is_free
                && u.link.is_none()
                && u.account == policy.account
                && !u.overrides.contains(&Override::Link(d.guid))
        });
        by_id.or_else(|| {
            self.holder(&primary.key()).filter(|u| is_linkable(u, d.guid, primary, policy))
        })
    }

    /// Returns whether another user has the id that the person's user would get.
    pub(super) fn is_id_taken(&self, d: &Desired, policy: &Policy) -> bool {
        d.is_provisionable(policy) && self.user(UserId::of_person(policy.account, d.guid)).is_some()
    }
}

fn is_linkable(user: &User, person: Guid, primary: &Address, policy: &Policy) -> bool {
    let is_overridden = user.overrides.contains(&Override::Link(person));
    !is_overridden
        && user.link.is_none()
        && user.account == policy.account
        && user.addresses.primary.as_ref().is_some_and(|a| a.key() == primary.key())
}

pub(super) fn quarantine(
    d: &Desired,
    has_user: bool,
    refused: Option<QuarantineReason>,
    policy: &Policy,
) -> Option<QuarantineReason> {
    if (has_user || d.is_undecided(policy))
        && let Some(reason) = d.unknown_aspect()
    {
        return Some(reason);
    }
    if has_user
        && d.is_alive()
        && d.primary != Primary::Unseen
        && d.finding(Reason::OutOfScope) == Finding::Unknown
        && !d.is_placed()
    {
        return Some(QuarantineReason::UnknownScope);
    }
    refused.or_else(|| addresses::trouble(d, has_user, policy))
}
