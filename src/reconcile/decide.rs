//! The decision about one entry, regardless of other people and of stored users.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use chrono_tz::Tz;
use xxhash_rust::xxh3::Xxh3;

use super::choices::Choices;
use super::exclude::Exclusion;
use super::{Closure, Exclude, Membership, OuRules, TierRules, TierWish, WithoutGroup};
use crate::model::{
    AccountId, Address, AddressKey, Broken, ClaimedDomains, DirectoryName, Dn, Evidence, Expiry,
    Field, Guid, Person, Placement, Profile, QuarantineReason, Reason, Sid, Timestamp, User,
    UserAccountControl, leave_date,
};

/// The server that entries were read from, and the time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    pub server: String,
    /// The beginning of the read.
    pub at: Timestamp,
}

/// The rules and the time that the people of one run are decided by.
#[derive(Clone, Debug)]
pub struct Policy {
    pub directory: DirectoryName,
    pub account: AccountId,
    pub claims: ClaimedDomains,
    pub closure: Closure,
    pub tiers: TierRules,
    pub exclude: Exclude,
    pub rules: OuRules,
    pub leave_date: LeaveDates,
    /// The time of the domain controller; `None` when it differs too much from ours. Then no account
    /// counts as expired.
    pub now: Option<Timestamp>,
    pub provenance: Provenance,
}

impl Policy {
    /// Returns the tier of the person with this name who is a member of these groups.
    fn wish(&self, dn: &Dn, groups: &[Guid], primary_group_known: bool) -> TierWish {
        self.tiers.wish(&self.closure, groups, primary_group_known, self.rules.tier(dn))
    }
}

/// The attribute of the leave date, and the time zone of its values.
#[derive(Clone, Debug)]
pub struct LeaveDates {
    /// The configured name; `None` where there is none.
    pub attribute: Option<String>,
    pub zone: Tz,
}

/// The leave date of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Leave {
    /// No value, or no attribute is configured.
    Never,
    At {
        at: Timestamp,
        value: String,
        /// Whether it decides, because accountExpires shows no expiry.
        decides: bool,
    },
    /// The value is no date.
    Unreadable(String),
}

impl LeaveDates {
    fn read(&self, field: Field) -> Leave {
        match field {
            Field::Absent => Leave::Never,
            Field::Text(value) => match leave_date(&value, self.zone) {
                Some(at) => Leave::At { at, value, decides: true },
                None => Leave::Unreadable(value),
            },
            Field::Several(values) => Leave::Unreadable(values.join(", ")),
            Field::Malformed => Leave::Unreadable(String::new()),
        }
    }
}

/// Whether a reason to suspend a person applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    Holds,
    /// The opposite was seen.
    Refuted,
    /// Neither was seen.
    Unknown,
}

/// The primary address of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Primary {
    Usable(Address),
    /// A valid address of a domain that is not claimed.
    Unclaimed(Address),
    Malformed,
    Absent,
    /// The entry itself was not read.
    Unseen,
}

/// The attributes that were decided by, kept for evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Facts {
    Alive {
        control: Option<UserAccountControl>,
        expires: Option<Expiry>,
        leave: Leave,
        /// Whether `primaryGroupID` is unknown, so that a group may be missing.
        groups_unknown: bool,
        placement: Placement,
        exclusion: Exclusion,
    },
    Tombstone,
    /// Neither an entry nor a tombstone.
    Nowhere,
}

/// The decision about one person: the user that it should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Desired {
    pub guid: Guid,
    /// `None` when the entry was not read.
    pub sid: Option<Sid>,
    /// The present or last known DN of the entry or its tombstone.
    pub dn: Dn,
    pub(super) facts: Facts,
    pub tier: TierWish,
    pub primary: Primary,
    /// Secondary addresses of claimed domains.
    pub secondary: BTreeSet<Address>,
    /// `None` when the entry was not read.
    pub profile: Option<Profile>,
    /// The values of attributes that show several although one is needed.
    pub(super) choices: Option<Box<Choices>>,
    findings: [Finding; 7],
    /// Whether the entry shows no `proxyAddresses` at all.
    no_proxies: bool,
    /// Whether a value of the user is kept because the right to read the attribute may be lost.
    is_withheld: bool,
    /// Whether the absence has no witness.
    pub(super) unwitnessed: bool,
}

/// Decides about one entry.
pub fn decide(person: Person, policy: &Policy) -> Desired {
    let (mail, addresses) = Choices::first(&person.mail, |address| policy.claims.covers(address));
    let primary = match &mail {
        Field::Absent => Primary::Absent,
        // `Choices::first` has chosen one of several values.
        Field::Malformed | Field::Several(_) => Primary::Malformed,
        Field::Text(text) => match Address::parse(text) {
            Ok(address) if policy.claims.covers(&address) => Primary::Usable(address),
            Ok(address) => Primary::Unclaimed(address),
            Err(crate::model::AddressError::Empty) => Primary::Absent,
            Err(_) => Primary::Malformed,
        },
    };
    let address = match &primary {
        Primary::Usable(address) | Primary::Unclaimed(address) => Some(address),
        _ => None,
    };
    let exclusion = policy.exclude.of(&person.dn, address);
    let tier = policy.wish(&person.dn, &person.groups, !person.groups_unknown);
    let secondary =
        secondaries(&person, if addresses.len() > 1 { &Primary::Unseen } else { &primary }, policy);
    let no_proxies = person.proxy_addresses.is_empty();
    // Nothing is copied, because most decisions equal the stored one and are dropped.
    let Person {
        guid,
        sid,
        dn,
        placement,
        control,
        expires,
        leave,
        groups_unknown,
        profile,
        several,
        ..
    } = person;
    let profiles = several.map(|several| *several).unwrap_or_default();
    let choices = Choices {
        addresses: if addresses.len() > 1 { addresses } else { BTreeSet::new() },
        profile: profiles,
    };
    let mut desired = Desired {
        choices: (choices != Choices::default()).then(|| Box::new(choices)),
        guid,
        sid,
        dn,
        secondary,
        facts: Facts::Alive {
            control,
            expires,
            leave: Leave::Never,
            groups_unknown,
            placement,
            exclusion,
        },
        tier,
        primary,
        profile: Some(profile),
        findings: [Finding::Unknown; 7],
        no_proxies,
        is_withheld: false,
        unwitnessed: false,
    };
    desired.set_state(control, expires, policy);
    desired.set_leave(policy.leave_date.read(leave), policy);
    desired.set(Reason::Deleted, Finding::Refuted);
    desired.set(Reason::Vanished, Finding::Refuted);
    desired.set(
        Reason::OutOfScope,
        match &desired.facts {
            Facts::Alive { exclusion: Exclusion::Address(_) | Exclusion::Ou(_), .. }
            | Facts::Alive { placement: Placement::Outside { .. }, .. } => Finding::Holds,
            Facts::Alive { placement: Placement::Inside, exclusion: Exclusion::No, .. } => {
                Finding::Refuted
            }
            _ => Finding::Unknown,
        },
    );
    desired.set_tier(policy);
    desired
}

fn secondaries(person: &Person, primary: &Primary, policy: &Policy) -> BTreeSet<Address> {
    let first = match primary {
        Primary::Usable(address) => Some(address.key()),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    person
        .proxy_addresses
        .iter()
        .filter_map(|value| {
            value.split_once(':').filter(|(kind, _)| kind.eq_ignore_ascii_case("smtp"))
        })
        .filter_map(|(_, text)| Address::parse(text).ok())
        .filter(|a| policy.claims.covers(a) && Some(a.key()) != first && seen.insert(a.key()))
        .collect()
}

impl Desired {
    /// Returns whether all attributes that decide on a suspension were readable. Otherwise the person is
    /// read again, because AD reports no change when a right comes back.
    pub(super) fn is_fully_readable(&self) -> bool {
        self.tier != TierWish::Unknown
            && !self.is_withheld
            && matches!(&self.facts, Facts::Alive { control: Some(_), expires: Some(_), .. })
    }

    pub fn shows_no_proxies(&self) -> bool {
        self.no_proxies
    }

    /// Keeps a value of the user in place of one that the entry does not show. Without `field` it keeps
    /// the secondary addresses. The next run reads the person again.
    pub fn keep(&mut self, field: Option<&str>, user: &User, policy: &Policy) {
        self.is_withheld = true;
        match (field, self.profile.as_mut()) {
            (Some(field), Some(profile)) => profile.copy_field(field, &user.profile),
            (Some(_), None) => {}
            (None, _) => {
                let first = match &self.primary {
                    Primary::Usable(address) => Some(address.key()),
                    _ => None,
                };
                let kept = user
                    .addresses
                    .secondary
                    .iter()
                    .filter(|a| policy.claims.covers(a) && Some(a.key()) != first);
                self.secondary = kept.cloned().collect();
            }
        }
    }

    /// Returns the decision about an entry that was not read.
    fn unread(guid: Guid, dn: Dn, facts: Facts) -> Self {
        Self {
            guid,
            sid: None,
            dn,
            facts,
            tier: TierWish::Unknown,
            primary: Primary::Unseen,
            secondary: BTreeSet::new(),
            profile: None,
            choices: None,
            findings: [Finding::Unknown; 7],
            no_proxies: true,
            is_withheld: false,
            unwitnessed: false,
        }
    }

    /// Returns the wanted addresses; none without a usable primary one.
    pub fn wanted_keys(&self) -> BTreeSet<AddressKey> {
        let Primary::Usable(primary) = &self.primary else { return BTreeSet::new() };
        let several = self.choices.iter().flat_map(|choices| &choices.addresses);
        [primary].into_iter().chain(&self.secondary).chain(several).map(Address::key).collect()
    }

    /// Returns the notes about attributes of whose values one was chosen.
    pub(super) fn several(&self) -> impl Iterator<Item = String> {
        let choices = self.choices.as_deref();
        let address = choices
            .filter(|c| !c.addresses.is_empty())
            .map(|c| ("primary address", c.addresses.len()));
        let others = choices
            .into_iter()
            .flat_map(|c| c.profile.iter().map(|(name, values)| (*name, values.len())));
        let sentence = |(what, n): (&str, usize)| {
            format!(
                "{} has {n} values for its {what}; the present one is kept while it is among them, else the smallest is taken",
                self.dn.as_str()
            )
        };
        address.into_iter().chain(others).map(sentence)
    }

    /// Returns the decision about a person without an entry.
    pub(super) fn gone(
        guid: Guid,
        dn: Dn,
        facts: Facts,
        reason: Reason,
        unwitnessed: bool,
    ) -> Self {
        let mut desired = Self { unwitnessed, ..Self::unread(guid, dn, facts) };
        desired.set(reason, Finding::Holds);
        desired
    }

    /// Returns the decision about a malformed entry: only that it is disabled or has expired counts.
    pub fn broken(guid: Guid, rest: Broken, policy: &Policy) -> Option<Self> {
        let Broken { dn, control, expires } = rest;
        let facts = Facts::Alive {
            control,
            expires,
            groups_unknown: false,
            placement: Placement::Unknown,
            exclusion: Exclusion::No,
            leave: Leave::Never,
        };
        let mut desired = Self::unread(guid, dn, facts);
        desired.set_state(control, expires, policy);
        let shows = |reason| desired.finding(reason) == Finding::Holds;
        if !shows(Reason::Disabled) && !shows(Reason::Expired) {
            return None;
        }
        // It refutes nothing, so that it reactivates no user.
        for finding in &mut desired.findings {
            if *finding == Finding::Refuted {
                *finding = Finding::Unknown;
            }
        }
        Some(desired)
    }

    fn set_state(
        &mut self,
        control: Option<UserAccountControl>,
        expires: Option<Expiry>,
        policy: &Policy,
    ) {
        let holds = |is: bool| if is { Finding::Holds } else { Finding::Refuted };
        self.set(Reason::Disabled, control.map_or(Finding::Unknown, |c| holds(c.is_disabled())));
        let expired = match (expires, policy.now) {
            (Some(Expiry::Never), _) => Finding::Refuted,
            (Some(Expiry::At(end)), Some(now)) => holds(end <= now),
            (Some(Expiry::At(_)), None) | (None, _) => Finding::Unknown,
        };
        self.set(Reason::Expired, expired);
    }

    /// Adds the leave date, which suspends as `expired` does. No value leaves the finding as it is.
    fn set_leave(&mut self, read: Leave, policy: &Policy) {
        let finding = match (&read, policy.now) {
            (Leave::At { at, .. }, Some(now)) if *at <= now => Finding::Holds,
            (Leave::Never, _) | (Leave::At { .. }, Some(_)) => Finding::Refuted,
            (Leave::At { .. }, None) | (Leave::Unreadable(_), _) => Finding::Unknown,
        };
        let both = match (self.finding(Reason::Expired), finding) {
            (Finding::Holds, _) | (_, Finding::Holds) => Finding::Holds,
            (Finding::Unknown, _) | (_, Finding::Unknown) => Finding::Unknown,
            (Finding::Refuted, Finding::Refuted) => Finding::Refuted,
        };
        let has_expired = self.finding(Reason::Expired) == Finding::Holds;
        self.set(Reason::Expired, both);
        if let Facts::Alive { leave, .. } = &mut self.facts {
            *leave = match read {
                Leave::At { at, value, .. } => Leave::At { at, value, decides: !has_expired },
                other => other,
            };
        }
    }

    /// Returns whether a suspension as `expired` rests on the leave date, and the entry shows none any
    /// more. The right to read it may be lost, so its absence lifts nothing. A later date does.
    pub(super) fn has_lost_leave_date(
        &self,
        reason: Reason,
        evidence: Option<&str>,
        policy: &Policy,
    ) -> bool {
        let shows_none = matches!(&self.facts, Facts::Alive { leave: Leave::Never, .. });
        let attribute = policy.leave_date.attribute.as_deref();
        reason == Reason::Expired && attribute.is_some() && attribute == evidence && shows_none
    }

    fn set(&mut self, reason: Reason, finding: Finding) {
        self.findings[reason as usize] = finding;
    }

    fn set_tier(&mut self, policy: &Policy) {
        let finding = match (self.tier, policy.tiers.without_group) {
            // With these rules groups are no reason to suspend a person.
            (_, WithoutGroup::Keep | WithoutGroup::Basic)
            | (TierWish::Entitled { .. } | TierWish::OfOu(_), _) => Finding::Refuted,
            (TierWish::Without, WithoutGroup::Suspend) => Finding::Holds,
            (TierWish::Unknown, WithoutGroup::Suspend) => Finding::Unknown,
        };
        self.set(Reason::NoGroup, finding);
    }

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
    pub(super) fn is_person_of_scope(&self) -> bool {
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
    pub(super) fn distrust(&mut self, is_supported: impl Fn(Reason) -> bool) {
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

    pub(super) fn is_nowhere(&self) -> bool {
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
    pub(super) fn is_placed(&self) -> bool {
        matches!(&self.facts, Facts::Alive { placement: Placement::Inside, .. })
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
    pub(super) fn is_expected(&self, policy: &Policy) -> bool {
        let is_entitled = matches!(self.tier, TierWish::Entitled { by: Some(_), .. });
        let is_in_use = [Reason::Disabled, Reason::Expired, Reason::OutOfScope]
            .into_iter()
            .all(|r| self.finding(r) == Finding::Refuted);
        !policy.claims.is_empty() && is_entitled && is_in_use
    }

    /// Returns the aspect of the entry whose attribute is unreadable or has no usable value.
    pub(super) fn unknown_aspect(&self) -> Option<QuarantineReason> {
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
    pub(super) fn is_undecided(&self, policy: &Policy) -> bool {
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
    pub(super) fn joining_tier(&self, policy: &Policy) -> Option<crate::model::Tier> {
        match (self.tier, policy.tiers.without_group) {
            (TierWish::Entitled { tier, .. } | TierWish::OfOu(tier), _) => Some(tier),
            (TierWish::Without, WithoutGroup::Keep | WithoutGroup::Basic) => {
                Some(crate::model::Tier::Basic)
            }
            (TierWish::Without, WithoutGroup::Suspend) | (TierWish::Unknown, _) => None,
        }
    }

    /// Returns the evidence that the reason holds, or that it is refuted.
    pub fn evidence(&self, reason: Reason, policy: &Policy) -> Evidence {
        let provenance = &policy.provenance;
        let group = |guid: Guid| {
            policy
                .closure
                .groups()
                .find(|g| g.guid == guid)
                .map_or_else(|| guid.to_string(), |g| g.dn.name())
        };
        let (attribute, value) = match (reason, &self.facts) {
            (Reason::Disabled, Facts::Alive { control, .. }) => {
                ("userAccountControl", control.map_or_else(String::new, |c| c.0.to_string()))
            }
            (
                Reason::Expired,
                Facts::Alive { leave: Leave::At { value, decides: true, .. }, .. },
            ) => {
                (policy.leave_date.attribute.as_deref().unwrap_or("accountExpires"), value.clone())
            }
            (Reason::Expired, Facts::Alive { expires, .. }) => (
                "accountExpires",
                match expires {
                    Some(Expiry::At(at)) => at.to_string(),
                    Some(Expiry::Never) => "never".to_owned(),
                    None => String::new(),
                },
            ),
            (Reason::OutOfScope, Facts::Alive { exclusion: Exclusion::Address(pattern), .. }) => {
                ("mail", format!("excluded by {pattern}"))
            }
            (Reason::OutOfScope, Facts::Alive { exclusion: Exclusion::Ou(ou), .. }) => {
                ("distinguishedName", format!("excluded by {ou}"))
            }
            (
                Reason::OutOfScope,
                Facts::Alive { placement: Placement::Outside { attribute, value }, .. },
            ) => (attribute.as_str(), value.clone()),
            (Reason::NoGroup, Facts::Alive { .. }) => (
                "member",
                match self.tier {
                    TierWish::Entitled { by: Some(group_guid), .. } => {
                        format!("in {}", group(group_guid))
                    }
                    TierWish::OfOu(tier) => {
                        let ou = policy.rules.giving(&self.dn).map(|rule| &rule.ou.configured);
                        let ou = ou.map_or("its OU", Dn::as_str);
                        format!("in no configured group; {ou} gives {tier}")
                    }
                    _ => "in no configured group".to_owned(),
                },
            ),
            (Reason::Deleted, Facts::Tombstone) => ("isDeleted", "TRUE".to_owned()),
            (Reason::Vanished, Facts::Nowhere) => (
                "objectGUID",
                if self.unwitnessed {
                    "neither alive nor deleted; no witness"
                } else {
                    "neither alive nor deleted"
                }
                .to_owned(),
            ),
            _ => ("distinguishedName", self.dn.as_str().to_owned()),
        };
        Evidence {
            server: provenance.server.clone(),
            object: Some(self.guid),
            dn: Some(self.dn.as_str().to_owned()),
            attribute: attribute.to_owned(),
            value,
            seen_at: provenance.at,
        }
    }

    /// Returns a hash that differs when the decision does. It is the same in every build.
    ///
    /// It covers everything that a plan depends on. So a new claim, another closure or a passed expiry is
    /// a change although the entry is the same. A new version of the format makes each person
    /// a changed one, which costs one slow run.
    pub fn fingerprint(&self) -> NonZeroU64 {
        let Self {
            guid,
            // It is stored beside the decision.
            sid: _,
            dn,
            facts,
            tier,
            primary,
            secondary,
            profile,
            choices,
            findings,
            no_proxies: _,
            is_withheld: _,
            unwitnessed,
        } = self;
        let mut hash = Xxh3::new();
        let mut text = |tag: u8, value: &str| {
            hash.update(&[tag]);
            hash.update(&(value.len() as u64).to_le_bytes());
            hash.update(value.as_bytes());
        };
        text(1, "rosterd decision v1");
        text(2, dn.as_str());
        match primary {
            Primary::Usable(a) => text(3, a.as_str()),
            Primary::Unclaimed(a) => text(4, a.as_str()),
            Primary::Malformed => text(5, ""),
            Primary::Absent => text(6, ""),
            Primary::Unseen => text(7, ""),
        }
        for address in secondary {
            text(8, address.as_str());
        }
        for (name, value) in profile.iter().flat_map(Profile::fields) {
            if let Some(value) = value {
                text(9, name);
                text(10, value);
            }
        }
        for (name, values) in profile.iter().flat_map(|profile| &profile.extra) {
            text(17, name);
            for value in values {
                text(18, value);
            }
        }
        for address in choices.iter().flat_map(|choices| &choices.addresses) {
            text(14, address.as_str());
        }
        for (name, value) in choices
            .iter()
            .flat_map(|choices| &choices.profile)
            .flat_map(|(name, values)| values.iter().map(move |v| (name, v)))
        {
            text(15, name);
            text(16, value);
        }
        hash.update(&guid.0);
        hash.update(&findings.map(|f| f as u8));
        match tier {
            TierWish::Entitled { tier, by } => {
                hash.update(&[11, *tier as u8]);
                hash.update(&by.map_or([0; 16], |g| g.0));
            }
            TierWish::OfOu(tier) => hash.update(&[19, *tier as u8]),
            TierWish::Without => hash.update(&[12]),
            TierWish::Unknown => hash.update(&[13]),
        }
        let kind = match facts {
            Facts::Alive { .. } => 0,
            Facts::Tombstone => 1,
            Facts::Nowhere => 2,
        };
        hash.update(&[kind, u8::from(*unwitnessed)]);
        hash.update(&self.expires().map_or(i64::MAX, |t| t.0).to_le_bytes());
        NonZeroU64::new(hash.digest()).unwrap_or(NonZeroU64::MIN)
    }
}
