//! The expected final state of all users, with full visibility and all held changes approved. It
//! is derived from the truth alone, without any code under test.

use std::collections::BTreeSet;

use rosterd::model::{
    Address, AddressKey, ClaimedDomains, Dn, Guid, Link, Override, Reason, Standing, Status, Tier,
    User,
};
use rosterd::reconcile::WithoutGroup;
use serde_json::Value;

use super::books::Books;
use super::office::Rulebook;
use super::seen::holds;
use super::truth::{Facts, Truth};
use crate::world::Life;

struct Oracle<'a> {
    truth: &'a Truth,
    books: &'a Books,
    claims: &'a ClaimedDomains,
    rulebook: &'a Rulebook,
    attention: &'a str,
}

/// Returns the differences between users and the truth. `attention` is the status of the
/// directories.
pub(super) fn differences(
    truth: &Truth,
    books: &Books,
    claims: &ClaimedDomains,
    rulebook: &Rulebook,
    attention: &str,
) -> Vec<String> {
    let oracle = Oracle { truth, books, claims, rulebook, attention };
    let of_person = |(guid, facts): (&Guid, &Facts)| -> Vec<String> {
        let wrong = oracle.person(*guid, facts);
        wrong
            .into_iter()
            .map(|w| format!("{guid}: {w}: {facts:?} {:?}", oracle.user(*guid)))
            .collect()
    };
    truth.people.iter().flat_map(of_person).collect()
}

impl Oracle<'_> {
    fn user(&self, who: Guid) -> Option<&User> {
        self.books.users.values().find(|u| u.link.as_ref().is_some_and(|l| l.guid == who))
    }

    fn holds(&self, reason: Reason, facts: &Facts) -> bool {
        holds(reason, facts, self.truth, self.truth.at, self.rulebook)
    }

    fn usable(&self, text: &str) -> Option<AddressKey> {
        Address::parse(text).ok().filter(|a| self.claims.covers(a)).map(|a| a.key())
    }

    fn primary(&self, facts: &Facts) -> Option<AddressKey> {
        self.usable(facts.mail.as_deref()?)
    }

    fn secondary(&self, facts: &Facts) -> BTreeSet<AddressKey> {
        let smtp = facts
            .proxies
            .iter()
            .filter_map(|p| p.split_once(':'))
            .filter(|(kind, _)| kind.eq_ignore_ascii_case("smtp"));
        smtp.filter_map(|(_, text)| self.usable(text))
            .filter(|key| Some(key) != self.primary(facts).as_ref())
            .collect()
    }

    /// Returns whether an unknown person gets a user.
    fn is_welcome(&self, facts: &Facts) -> bool {
        let in_order = [Reason::Disabled, Reason::Expired, Reason::OutOfScope, Reason::NoGroup]
            .iter()
            .all(|r| !self.holds(*r, facts));
        facts.life == Life::Alive && facts.is_visible && in_order && self.primary(facts).is_some()
    }

    fn wants_something(&self, who: Guid, facts: &Facts) -> bool {
        let has_user = self.user(who).is_some_and(|u| u.standing != Standing::Released);
        facts.life == Life::Alive
            && self.primary(facts).is_some()
            && (has_user || self.is_welcome(facts))
    }

    /// Returns whether another user holds the address or another person wants it as primary. With
    /// `any`, whether any wants it at all.
    fn is_contested(&self, who: Guid, key: &AddressKey, any: bool) -> bool {
        let own = self.user(who).map(|u| u.id);
        // An unmanaged user with the address is this person, if the person has no other user.
        let is_other = |id: &rosterd::model::UserId| {
            Some(*id) != own && (own.is_some() || self.books.users[id].link.is_some())
        };
        let is_held = self.books.holders.get(&key.0).is_some_and(is_other);
        let wants = |f: &Facts| {
            self.primary(f).as_ref() == Some(key) || (any && self.secondary(f).contains(key))
        };
        is_held
            || self
                .truth
                .people
                .iter()
                .any(|(other, f)| *other != who && self.wants_something(*other, f) && wants(f))
    }

    fn person(&self, who: Guid, facts: &Facts) -> Vec<String> {
        let primary = self.primary(facts);
        let is_free = primary.as_ref().is_some_and(|key| !self.is_contested(who, key, false));
        match self.user(who) {
            Some(user) if user.standing != Standing::Released => {
                self.existing(who, facts, user, primary.filter(|_| is_free))
            }
            Some(user) if user.overrides.contains(&Override::Return) => Vec::new(),
            None if self
                .books
                .users
                .values()
                .any(|u| u.overrides.contains(&Override::Link(who))) =>
            {
                Vec::new()
            }
            None if self.is_former_entry(who) => Vec::new(),
            _ if is_free && self.is_welcome(facts) => vec!["has no user".to_owned()],
            // A user that the address links to this person is suspended, regardless of groups.
            _ if is_free
                && facts.life == Life::Alive
                && facts.is_visible
                && self.is_unmanaged(primary.as_ref()) =>
            {
                vec!["matches an unmanaged user, and is not linked".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    /// Returns whether an operator moved the user of this entry to another one. Such an entry gets no
    /// second user.
    fn is_former_entry(&self, who: Guid) -> bool {
        let from = Value::from(who.to_string());
        self.books.written.iter().any(|w| {
            w.kind == "link"
                && w.before["object_guid"] == from
                && self.books.users.get(&w.user).is_some_and(|u| u.link.is_some())
        })
    }

    /// Returns whether an unlinked active user holds the address.
    fn is_unmanaged(&self, key: Option<&AddressKey>) -> bool {
        let holder = key
            .and_then(|key| self.books.holders.get(&key.0))
            .and_then(|id| self.books.users.get(id));
        holder.is_some_and(|u| u.link.is_none() && u.status() == Status::Active)
    }

    /// Returns whether no configured directory reads the place of a user of a removed directory.
    /// Such a user stays unchanged, because only the directory that reads the place concludes an
    /// absence.
    fn is_left_behind(&self, who: Guid, facts: &Facts, link: &Link) -> bool {
        let home = self.books.people.get(&who).map(|person| Dn::new(person.home.clone()));
        let is_read = [Some(facts.dn.clone()), Some(link.dn.clone()), home]
            .iter()
            .flatten()
            .any(|dn| self.truth.covers(dn));
        !self.truth.bases.contains_key(link.directory.as_str()) && !is_read
    }

    fn existing(
        &self,
        who: Guid,
        facts: &Facts,
        user: &User,
        primary: Option<AddressKey>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |is_so: bool, what: &str| {
            if !is_so {
                wrong.push(what.to_owned())
            }
        };
        let has =
            |reason| user.causes.has(reason) || user.overrides.contains(&Override::Reason(reason));
        let left = user.link.as_ref().filter(|link| self.is_left_behind(who, facts, link));
        if let Some(link) = left {
            let sentence = format!("linked to {}, which is no longer configured", link.directory);
            let is_reported = user.status() != Status::Active || self.attention.contains(&sentence);
            expect(is_reported, "is left behind, and status does not report it");
            for reason in [Reason::Disabled, Reason::Expired] {
                let is = facts.is_visible && self.holds(reason, facts);
                expect(!is || has(reason), reason.as_str());
            }
            return wrong;
        }
        let quarantine = self.books.people.get(&who).and_then(|p| p.quarantine.as_deref());
        if facts.life != Life::Alive || !facts.is_visible {
            expect(
                user.status() != Status::Active || has(Reason::Deleted) || has(Reason::Vanished),
                "has gone",
            );
            return wrong;
        }
        for reason in Reason::ALL.into_iter().filter(|r| *r != Reason::Operator) {
            let is = self.holds(reason, facts);
            expect(!is || has(reason), reason.as_str());
            // A quarantined person is not reactivated.
            expect(
                is || !user.causes.has(reason) || quarantine.is_some(),
                &format!("not {reason}"),
            );
        }
        let tier = match (facts.tier, self.rulebook.without_group) {
            (Some(tier), _) => Some(tier),
            (None, WithoutGroup::Basic) => Some(Tier::Basic),
            (None, WithoutGroup::Keep | WithoutGroup::Suspend) => None,
        };
        // No run reads the groups of a person outside of all bases.
        let tier = tier.filter(|_| self.truth.covers(&facts.dn));
        // An undone change stays undone.
        let is_overruled = |is: fn(&Override) -> bool| user.overrides.iter().any(is);
        let keeps_tier = is_overruled(|pin| matches!(pin, Override::Tier(_)));
        expect(keeps_tier || tier.is_none_or(|tier| tier == user.tier), "has another tier");
        let keeps_name = is_overruled(|pin| matches!(pin, Override::Attributes(_)));
        expect(
            keeps_name || user.profile.display_name == facts.display_name,
            "is called otherwise",
        );
        if is_overruled(|pin| matches!(pin, Override::Addresses(_))) {
            return wrong;
        }
        let Some(primary) = primary else {
            let own = user.addresses.primary.as_ref().map(Address::key);
            expect(
                quarantine.is_some() || own == self.primary(facts),
                "cannot have this address, and is not in quarantine",
            );
            return wrong;
        };
        expect(
            quarantine.is_none(),
            &format!("is in quarantine without a reason ({})", quarantine.unwrap_or_default()),
        );
        expect(
            user.addresses.primary.as_ref().map(Address::key) == Some(primary),
            "has another address",
        );
        let wanted = self.secondary(facts);
        let held: BTreeSet<AddressKey> =
            user.addresses.secondary.iter().map(Address::key).collect();
        expect(held.is_subset(&wanted), "holds a secondary address that is not its own");
        let missing = wanted.difference(&held).any(|key| !self.is_contested(who, key, true));
        expect(!missing, "misses a secondary address");
        wrong
    }
}
