//! The decision about one entry, regardless of other people and of stored users.

mod evidence;
mod fingerprint;
mod questions;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono_tz::Tz;

use super::choices::Choices;
use super::exclude::Exclusion;
use super::{Closure, Exclude, OuRules, TierRules, TierWish, WithoutGroup};
use crate::model::{
    AccountId, Address, AddressKey, Broken, ClaimedDomains, DirectoryName, Dn, Expiry, Field, Guid,
    Person, Placement, Profile, Reason, Sid, Timestamp, User, UserAccountControl, leave_date,
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
        has_passed: bool,
        /// Whether it decides alone, because accountExpires shows no expiry.
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
                Some(at) => Leave::At { at, value, has_passed: false, decides: true },
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
    /// Whether the next run reads the person again, because a right to read may be lost.
    is_read_again: bool,
    /// Whether an absence has no witness: of the entry, or of the value that kept it out of scope.
    pub(super) unwitnessed: bool,
}

/// The attribute by which AD itself ends an account.
const ACCOUNT_EXPIRES: &str = "accountExpires";

/// The clock of a server is known to the second, so that a moment less ahead may have passed.
const CLOCK_RESOLUTION: Duration = Duration::from_secs(1);

/// Returns whether a moment has passed by the clock of the server.
fn passed(at: Timestamp, policy: &Policy) -> Finding {
    match policy.now {
        Some(now) if at <= now => Finding::Holds,
        Some(now) if at > now.plus(CLOCK_RESOLUTION) => Finding::Refuted,
        _ => Finding::Unknown,
    }
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
        is_read_again: false,
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
            && !self.is_read_again
            && matches!(&self.facts, Facts::Alive { control: Some(_), expires: Some(_), .. })
    }

    pub fn shows_no_proxies(&self) -> bool {
        self.no_proxies
    }

    /// Keeps a value of the user in place of one that the entry does not show. Without `field` it keeps
    /// the secondary addresses. The next run reads the person again.
    pub fn keep(&mut self, field: Option<&str>, user: &User, policy: &Policy) {
        self.is_read_again = true;
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

    /// Notes that the filter lets the person in, and nobody shows the attribute that it excludes by. The
    /// next run reads the person again.
    pub fn admitted_unwitnessed(&mut self) {
        (self.is_read_again, self.unwitnessed) = (true, true);
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
            is_read_again: false,
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

    /// Returns the decision about a person whose entry was deleted.
    pub fn deleted(guid: Guid, tombstone: Dn) -> Self {
        Self::gone(guid, tombstone, Facts::Tombstone, Reason::Deleted, false)
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
        let expired = match expires {
            Some(Expiry::At(end)) => passed(end, policy),
            Some(Expiry::Never) => Finding::Refuted,
            None => Finding::Unknown,
        };
        self.set(Reason::Expired, expired);
    }

    /// Adds the leave date, which suspends as `expired` does. No value leaves the finding as it is.
    fn set_leave(&mut self, read: Leave, policy: &Policy) {
        let finding = match &read {
            Leave::At { at, .. } => passed(*at, policy),
            Leave::Never => Finding::Refuted,
            Leave::Unreadable(_) => Finding::Unknown,
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
                Leave::At { at, value, .. } => Leave::At {
                    at,
                    value,
                    has_passed: finding == Finding::Holds,
                    decides: !has_expired,
                },
                other => other,
            };
        }
    }

    /// Returns whether the leave date has passed.
    pub(super) fn has_left_by_date(&self) -> bool {
        matches!(&self.facts, Facts::Alive { leave: Leave::At { has_passed: true, .. }, .. })
    }

    /// Returns whether a suspension as `expired` rests on a leave date, and the entry shows none any more.
    /// The right to read it may be lost, or this directory does not read it. Its absence lifts nothing.
    /// A later date does.
    pub(super) fn has_lost_leave_date(&self, reason: Reason, evidence: Option<&str>) -> bool {
        let shows_none = matches!(&self.facts, Facts::Alive { leave: Leave::Never, .. });
        reason == Reason::Expired && evidence.is_some_and(|a| a != ACCOUNT_EXPIRES) && shows_none
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
}
