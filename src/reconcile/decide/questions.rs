//! Questions to a decision, and decisions that follow from another one.

use std::collections::BTreeSet;

use super::{Desired, Facts, Finding, Leave, Policy, Primary};
use crate::model::{Expiry, Guid, Placement, QuarantineReason, Reason, Tier, Timestamp};
use crate::reconcile::exclude::Exclusion;
use crate::reconcile::{Membership, TierWish, WithoutGroup};

impl Desired {
    pub fn finding(&self, reason: Reason) -> Finding {
        self.findings[reason as usize]
    }

    /// Returns whether a positive reason holds.
    pub fn is_seen_to_leave(&self) -> bool {
        self.holding().any(Reason::is_positive)
    }

    /// Returns whether the directory of the person's user has to be asked: the person is in scope here,
    /// or a leaver whom the filter excludes as such.
    pub fn concerns_another_directory(&self) -> bool {
        self.is_in_scope() || (self.is_person_of_scope() && self.is_seen_to_leave())
    }

    /// Returns whether the entry is in scope, or out of it only because the filter excludes disabled or
    /// expired people.
    pub(in crate::reconcile) fn is_person_of_scope(&self) -> bool {
        let by_state = |attribute: &str| {
            ["userAccountControl", "accountExpires"]
                .iter()
                .any(|a| a.eq_ignore_ascii_case(attribute))
        };
        match &self.facts {
            Facts::Alive { exclusion: Exclusion::Address(_) | Exclusion::Ou(_), .. }
            | Facts::Tombstone
            | Facts::Nowhere => false,
            Facts::Alive { placement: Placement::Outside { attribute, .. }, .. } => {
                by_state(attribute)
            }
            Facts::Alive { .. } => true,
        }
    }

    /// Returns the decision of one directory about an entry that another one showed, outside both scopes.
    pub fn seen_outside(seen: &Self) -> Self {
        let dn = seen.dn.clone();
        let (control, expires) = match &seen.facts {
            Facts::Alive { control, expires, .. } => (*control, *expires),
            Facts::Tombstone | Facts::Nowhere => (None, None),
        };
        let value = dn.as_str().to_owned();
        let placement = Placement::Outside { attribute: "distinguishedName".to_owned(), value };
        let mut desired = Self::unread(
            seen.guid,
            dn,
            Facts::Alive {
                control,
                expires,
                placement,
                exclusion: Exclusion::No,
                leave: Leave::Never,
                groups_unknown: false,
            },
        );
        for reason in [Reason::Disabled, Reason::Expired] {
            desired.set(reason, seen.finding(reason));
        }
        desired.set(Reason::OutOfScope, Finding::Holds);
        desired
    }

    /// Returns the positive reasons alone, because another directory decides on the rest.
    pub fn only_positive(&self) -> Option<Self> {
        let mut desired = Self {
            profile: None,
            choices: None,
            primary: Primary::Unseen,
            secondary: BTreeSet::new(),
            tier: TierWish::Unknown,
            ..self.clone()
        };
        desired.findings = [Finding::Unknown; 7];
        for reason in self.holding().filter(|reason| reason.is_positive()) {
            desired.set(reason, Finding::Holds);
        }
        desired.is_seen_to_leave().then_some(desired)
    }

    /// Takes back what a server says that has not heard of newer writes. The reasons that it supports with
    /// writes as new stay.
    pub(in crate::reconcile) fn distrust(&mut self, is_supported: impl Fn(Reason) -> bool) {
        // The stamps are those of accountExpires, and say nothing about a leave date.
        let has_leave =
            matches!(&self.facts, Facts::Alive { leave: Leave::At { decides: true, .. }, .. });
        for reason in Reason::ALL {
            let is_of_leave = has_leave && reason == Reason::Expired;
            if is_of_leave || !(self.finding(reason) == Finding::Holds && is_supported(reason)) {
                self.set(reason, Finding::Unknown);
            }
        }
    }

    pub(in crate::reconcile) fn is_nowhere(&self) -> bool {
        self.facts == Facts::Nowhere
    }

    /// Returns the reasons that hold, by weight.
    pub fn holding(&self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(|r| self.finding(*r) == Finding::Holds)
    }

    /// Returns whether the entry was read, and is seen to be in the scope of this directory.
    pub fn is_in_scope(&self) -> bool {
        self.is_alive() && self.finding(Reason::OutOfScope) == Finding::Refuted
    }

    /// Returns whether AD shows the entry within base and filter. An OU of an exclusion may be missing.
    pub(in crate::reconcile) fn is_placed(&self) -> bool {
        matches!(&self.facts, Facts::Alive { placement: Placement::Inside, .. })
    }

    /// Returns whether the place of the entry excludes it, by a base or an excluded OU.
    pub(in crate::reconcile) fn is_out_by_place(&self) -> bool {
        match &self.facts {
            Facts::Alive { exclusion: Exclusion::Ou(_), .. } => true,
            Facts::Alive { placement: Placement::Outside { attribute, .. }, .. } => {
                attribute == "distinguishedName"
            }
            _ => false,
        }
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.facts, Facts::Alive { .. })
    }

    /// Returns the earlier of `accountExpires` and the leave date; `None` if both are unknown, or never.
    pub fn expires(&self) -> Option<Timestamp> {
        let Facts::Alive { expires, leave, .. } = &self.facts else { return None };
        let account = match expires {
            Some(Expiry::At(at)) => Some(*at),
            Some(Expiry::Never) | None => None,
        };
        let leaves = match leave {
            Leave::At { at, .. } => Some(*at),
            Leave::Never | Leave::Unreadable(_) => None,
        };
        account.into_iter().chain(leaves).min()
    }

    pub fn entitled_by(&self) -> Option<Guid> {
        match self.tier {
            TierWish::Entitled { by, .. } => by,
            _ => None,
        }
    }

    /// Replaces the tier by `memberOf` with the answer of the groups.
    pub fn confirm_membership(&mut self, answer: &Membership, policy: &Policy) {
        self.tier = match answer {
            Membership::In(groups) => policy.wish(&self.dn, groups, true),
            Membership::NotIn => self.tier,
            Membership::Unknown => TierWish::Unknown,
        };
        self.set_tier(policy);
    }

    /// Returns whether a person without a user gets one.
    pub fn is_provisionable(&self, policy: &Policy) -> bool {
        let present = [Reason::Disabled, Reason::Expired, Reason::OutOfScope]
            .into_iter()
            .all(|r| self.finding(r) == Finding::Refuted);
        present && matches!(self.primary, Primary::Usable(_)) && self.joining_tier(policy).is_some()
    }

    /// Returns whether the person may get a user, as far as the read shows. Such a person wants its
    /// address, even while an unknown aspect or group keeps it from getting one.
    pub fn may_join(&self, policy: &Policy) -> bool {
        let is_barred = [Reason::Disabled, Reason::Expired, Reason::OutOfScope]
            .into_iter()
            .any(|r| self.finding(r) == Finding::Holds);
        !is_barred
            && matches!(self.primary, Primary::Usable(_))
            && (self.tier == TierWish::Unknown || self.joining_tier(policy).is_some())
    }

    /// Returns whether a configured group lists the person, and the account is in use and in scope. Without a
    /// user, only the address is in the way. Service accounts are in no such group.
    pub(in crate::reconcile) fn is_expected(&self, policy: &Policy) -> bool {
        let is_entitled = matches!(self.tier, TierWish::Entitled { by: Some(_), .. });
        let is_in_use = [Reason::Disabled, Reason::Expired, Reason::OutOfScope]
            .into_iter()
            .all(|r| self.finding(r) == Finding::Refuted);
        !policy.claims.is_empty() && is_entitled && is_in_use
    }

    /// Returns the aspect of the entry whose attribute is unreadable or has no usable value.
    pub(in crate::reconcile) fn unknown_aspect(&self) -> Option<QuarantineReason> {
        let Facts::Alive { control, expires, leave, groups_unknown, .. } = &self.facts else {
            return None;
        };
        match (control, expires) {
            (None, None) => Some(QuarantineReason::UnreadableState),
            (None, Some(_)) => Some(QuarantineReason::UnknownAccountControl),
            (Some(_), None) => Some(QuarantineReason::UnknownExpiry),
            (Some(_), Some(_)) if matches!(leave, Leave::Unreadable(_)) => {
                Some(QuarantineReason::UnknownLeaveDate)
            }
            (Some(_), Some(_)) => (*groups_unknown && self.tier == TierWish::Unknown)
                .then_some(QuarantineReason::UnknownPrimaryGroup),
        }
    }

    /// Returns whether only an unknown aspect keeps a person without a user from getting one.
    pub(in crate::reconcile) fn is_undecided(&self, policy: &Policy) -> bool {
        let is_barred = [Reason::Disabled, Reason::Expired]
            .into_iter()
            .any(|r| self.finding(r) == Finding::Holds);
        let would_join = self.joining_tier(policy).is_some()
            || self.unknown_aspect() == Some(QuarantineReason::UnknownPrimaryGroup);
        self.unknown_aspect().is_some()
            && !is_barred
            && self.finding(Reason::OutOfScope) == Finding::Refuted
            && matches!(self.primary, Primary::Usable(_))
            && would_join
    }

    /// Returns the tier of a joiner.
    pub(in crate::reconcile) fn joining_tier(&self, policy: &Policy) -> Option<Tier> {
        match (self.tier, policy.tiers.without_group) {
            (TierWish::Entitled { tier, .. } | TierWish::OfOu(tier), _) => Some(tier),
            (TierWish::Without, WithoutGroup::Keep | WithoutGroup::Basic) => Some(Tier::Basic),
            (TierWish::Without, WithoutGroup::Suspend) | (TierWish::Unknown, _) => None,
        }
    }
}
