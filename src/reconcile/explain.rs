//! The explanation of an entry: its values, their meaning and the remedies. They are sentences, because
//! an operator passes them on to the administrators of the directory.

use super::decide::{Facts, Leave};
use super::exclude::Exclusion;
use super::{Desired, Finding, Policy, Primary, TierWish, WithoutGroup};
use crate::model::{
    Address, Expiry, Field, Guid, Override, Person, Placement, Profile, Reason, Status, Tier, User,
};

/// One attribute with its meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub attribute: String,
    /// Empty without a value, and when the attribute could not be read.
    pub value: String,
    pub meaning: String,
}

/// The explanation of one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The logon names.
    pub names: Vec<Line>,
    pub scope: Line,
    /// Whether the account is disabled, and whether it has expired.
    pub state: Vec<Line>,
    pub tier: String,
    /// The groups of the closure with the person as a direct member, or as its primary group.
    pub groups: Vec<Guid>,
    pub addresses: Vec<Line>,
    /// The reasons why the person gets no user.
    pub obstacles: Vec<String>,
    pub steps: Steps,
}

/// The conditions of a user that an entry meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own")]
pub struct Steps {
    pub is_in_scope: bool,
    pub has_address: bool,
    pub is_enabled: bool,
    pub has_tier: bool,
}

impl Steps {
    fn of(desired: &Desired, policy: &Policy) -> Self {
        let is_refuted = |reason| matches!(desired.finding(reason), Finding::Refuted);
        Self {
            is_in_scope: is_refuted(Reason::OutOfScope),
            has_address: matches!(desired.primary, Primary::Usable(_)),
            is_enabled: is_refuted(Reason::Disabled) && is_refuted(Reason::Expired),
            has_tier: desired.joining_tier(policy).is_some(),
        }
    }
}

fn line(attribute: &str, value: impl Into<String>, meaning: impl Into<String>) -> Line {
    Line { attribute: attribute.to_owned(), value: value.into(), meaning: meaning.into() }
}

/// Explains an entry. `email` is the attribute of the primary address.
pub fn read(person: &Person, desired: &Desired, policy: &Policy, email: &str) -> Reading {
    Reading {
        names: names(person),
        scope: scope(person, desired),
        state: [control(person), expiry(person, desired, policy)]
            .into_iter()
            .chain(leave(desired, policy))
            .collect(),
        tier: tier(desired, policy),
        groups: person.groups.clone(),
        addresses: addresses(person, desired, policy, email),
        obstacles: obstacles(desired, policy),
        steps: Steps::of(desired, policy),
    }
}

fn names(person: &Person) -> Vec<Line> {
    let Profile { sam_account_name, user_principal_name, .. } = &person.profile;
    [("sAMAccountName", sam_account_name), ("userPrincipalName", user_principal_name)]
        .into_iter()
        .filter_map(|(attribute, name)| {
            Some(line(attribute, name.as_ref()?.as_str(), "logon name"))
        })
        .collect()
}

fn scope(person: &Person, desired: &Desired) -> Line {
    let place = || ("distinguishedName", person.dn.as_str());
    let exclusion = match &desired.facts {
        Facts::Alive { exclusion, .. } => exclusion,
        Facts::Tombstone | Facts::Nowhere => &Exclusion::No,
    };
    match (exclusion, &desired.primary) {
        (Exclusion::Address(pattern), Primary::Usable(address) | Primary::Unclaimed(address)) => {
            let meaning = format!("out of scope: exclude = \"{pattern}\" matches the address");
            return line("mail", address.as_str(), meaning);
        }
        (Exclusion::Ou(ou), _) => {
            let (name, dn) = place();
            return line(name, dn, format!("out of scope: exclude-ou = \"{ou}\" is above it"));
        }
        (Exclusion::Unknown, _) if person.placement == Placement::Inside => {
            let (name, dn) = place();
            return line(
                name,
                dn,
                "unknown: an OU of exclude-ou was not found, and may be above it; the present state stays",
            );
        }
        _ => {}
    }
    match &person.placement {
        Placement::Inside => line(
            "distinguishedName",
            person.dn.as_str(),
            "in scope: below a base, and matched by the filter",
        ),
        Placement::Outside { attribute, value } if attribute == "distinguishedName" => {
            line(attribute, value.as_str(), "out of scope: below none of the bases")
        }
        Placement::Outside { attribute, value } => {
            line(attribute, value.as_str(), "out of scope: the filter excludes this value")
        }
        Placement::Unknown => line(
            "distinguishedName",
            person.dn.as_str(),
            "unknown: the directory does not return it, and no readable attribute explains that; the present state stays",
        ),
    }
}

fn control(person: &Person) -> Line {
    let name = "userAccountControl";
    match person.control {
        Some(bits) if bits.is_disabled() => line(name, bits.0.to_string(), "disabled (bit 2)"),
        Some(bits) => line(name, bits.0.to_string(), "enabled"),
        None => line(name, "", "could not be read: the present state stays"),
    }
}

fn expiry(person: &Person, desired: &Desired, policy: &Policy) -> Line {
    let name = "accountExpires";
    match (person.expires, desired.finding(Reason::Expired), policy.now) {
        (Some(Expiry::Never), ..) => line(name, "never", "does not expire"),
        (Some(Expiry::At(at)), Finding::Holds, _) => {
            line(name, at.to_string(), "expired, by the directory's clock")
        }
        (Some(Expiry::At(at)), Finding::Refuted, _) => {
            line(name, at.to_string(), "not yet expired")
        }
        (Some(Expiry::At(at)), _, None) => line(
            name,
            at.to_string(),
            "unknown: the clocks of the directory and of rosterd differ too much",
        ),
        (Some(Expiry::At(at)), ..) => line(name, at.to_string(), "unknown"),
        (None, ..) => line(name, "", "could not be read: the present state stays"),
    }
}

fn leave(desired: &Desired, policy: &Policy) -> Option<Line> {
    let attribute = policy.leave_date.attribute.as_deref()?;
    let Facts::Alive { leave, .. } = &desired.facts else { return None };
    Some(match (leave, policy.now) {
        (Leave::Never, _) => return None,
        (Leave::At { at, value, .. }, Some(now)) if *at <= now => {
            line(attribute, value, format!("left at {at}"))
        }
        (Leave::At { at, value, .. }, _) => line(attribute, value, format!("leaves at {at}")),
        (Leave::Unreadable(value), _) => line(
            attribute,
            value,
            "no date: the present state stays; write 2026-11-30, for example",
        ),
    })
}

fn tier(desired: &Desired, policy: &Policy) -> String {
    match (desired.tier, policy.tiers.without_group) {
        (TierWish::Entitled { tier, by: None }, _) => {
            format!("{tier}: default-tier, since no groups are configured")
        }
        (TierWish::Entitled { tier, by: Some(_) }, _) => format!("{tier}: by group"),
        (TierWish::OfOu(tier), _) => {
            let ou = policy.rules.giving(&desired.dn).map(|rule| rule.ou.configured.to_string());
            format!("{tier}: in none of the groups, and below {}", ou.unwrap_or_default())
        }
        (TierWish::Unknown, _) => {
            "unknown: the groups could not be read; the present tier stays".to_owned()
        }
        (TierWish::Without, WithoutGroup::Suspend) => {
            "none: in none of the groups, and without-group = \"suspend\"".to_owned()
        }
        (TierWish::Without, WithoutGroup::Keep) => {
            "as it is: in none of the groups, and without-group = \"keep\"".to_owned()
        }
        (TierWish::Without, WithoutGroup::Basic) => {
            format!("{}: in none of the groups, and without-group = \"basic\"", Tier::Basic)
        }
    }
}

fn addresses(person: &Person, desired: &Desired, policy: &Policy, email: &str) -> Vec<Line> {
    let unclaimed = |address: &Address| format!("the account has not claimed {}", address.domain());
    let primary = match (&desired.primary, &person.mail) {
        (Primary::Usable(address), _) => {
            line(email, address.as_str(), format!("primary: {} is claimed", address.domain()))
        }
        (Primary::Unclaimed(address), _) => {
            line(email, address.as_str(), format!("unusable: {}", unclaimed(address)))
        }
        (Primary::Malformed, Field::Several(texts)) => {
            line(email, texts.join(", "), "unusable: none is an e-mail address")
        }
        (Primary::Malformed, Field::Text(text)) => {
            line(email, text.as_str(), "unusable: no e-mail address")
        }
        (Primary::Malformed, _) => line(email, "", "unusable: no text"),
        (Primary::Absent | Primary::Unseen, _) => line(email, "", "there is no primary address"),
    };
    let first = match &desired.primary {
        Primary::Usable(address) | Primary::Unclaimed(address) => Some(address.key()),
        _ => None,
    };
    let secondary = person.proxy_addresses.iter().filter_map(|value| {
        let (kind, text) = value.split_once(':')?;
        if !kind.eq_ignore_ascii_case("smtp") {
            return None;
        }
        let line = |meaning: String| line("proxyAddresses", value.as_str(), meaning);
        match Address::parse(text) {
            Ok(address) if Some(address.key()) == first => None,
            Ok(address) if policy.claims.covers(&address) => {
                Some(line(format!("secondary: {} is claimed", address.domain())))
            }
            Ok(address) => Some(line(format!("left out: {}", unclaimed(&address)))),
            Err(_) => Some(line("left out: no e-mail address".to_owned())),
        }
    });
    [primary].into_iter().chain(secondary).collect()
}

/// Returns the reasons why a person gets no user, each with its remedy.
fn obstacles(desired: &Desired, policy: &Policy) -> Vec<String> {
    let mut why = Vec::new();
    for (reason, says, remedy) in [
        (Reason::Disabled, "it is disabled", "it gets a user when it is first seen enabled"),
        (Reason::Expired, "it has expired", "set a later accountExpires"),
        (
            Reason::OutOfScope,
            "it is out of scope",
            "move it, or change base, filter, exclude or exclude-ou",
        ),
    ] {
        match desired.finding(reason) {
            Finding::Holds => why.push(format!("{says}: {remedy}")),
            Finding::Unknown => why.push(format!(
                "it is unknown whether {says}: give the service account the right to read that"
            )),
            Finding::Refuted => {}
        }
    }
    match &desired.primary {
        Primary::Usable(_) => {}
        Primary::Unclaimed(address) => why.push(format!(
            "the account has not claimed {}: rosterctl domain claim",
            address.domain()
        )),
        Primary::Malformed => why.push("its primary address is not valid: correct it".to_owned()),
        Primary::Absent | Primary::Unseen => {
            why.push("it has no primary address: give it one".to_owned())
        }
    }
    if desired.joining_tier(policy).is_none() {
        why.push(match desired.tier {
            TierWish::Unknown => "its groups could not be read".to_owned(),
            _ => "it is in none of the groups that give a tier: put it in one".to_owned(),
        });
    }
    why
}

/// Returns what lifts each cause of a suspended user, and what clears each override. `is_gone` says that the
/// directory shows the user's entry no more.
pub fn remedies(user: &User, is_gone: bool) -> Vec<String> {
    let mut remedies: Vec<String> = user
        .causes
        .iter()
        .map(|cause| format!("{}: {}", cause.reason, remedy(cause.reason, is_gone)))
        .collect();
    if user.status() == Status::Released {
        remedies.push("released: claim the domain of its address again".to_owned());
    }
    for decision in &user.overrides {
        let what = match decision {
            Override::Reason(reason) => {
                format!("it is not suspended as {reason}, although the directory says so")
            }
            Override::Tier(tier) => format!("it is not {tier}, although the directory says so"),
            Override::Addresses(_) => "it does not get the addresses of the directory".to_owned(),
            Override::Attributes(_) => "it does not get the attributes of the directory".to_owned(),
            Override::Return => "it is not created again, although the directory has it".to_owned(),
            Override::Link(person) => format!("it is not linked to {person}"),
        };
        remedies.push(format!(
            "override: {what}, until the directory changes or rosterctl user clear-override"
        ));
    }
    remedies
}

fn remedy(reason: Reason, is_gone: bool) -> &'static str {
    match reason {
        Reason::Disabled | Reason::Expired | Reason::OutOfScope | Reason::NoGroup if is_gone => {
            "the entry is gone: restore it in the directory; if it was created anew, link that entry with rosterctl user relink"
        }
        Reason::Operator => "suspended by an operator; rosterctl user activate reactivates it",
        Reason::Disabled => "enable the account in the directory",
        Reason::Expired => "set a later accountExpires in the directory, or a later leave date",
        Reason::Deleted => {
            "restore it in the directory; if it was created anew, link that entry with rosterctl user relink"
        }
        Reason::OutOfScope => {
            "move it back, or change base, filter, exclude or exclude-ou; rosterctl user activate overrides it"
        }
        Reason::NoGroup => {
            "put it in one of the groups that give a tier; rosterctl user activate overrides it"
        }
        Reason::Vanished => {
            "it comes back when it is visible again; if it was created anew, link that entry with rosterctl user relink; rosterctl user activate overrides it"
        }
    }
}

/// Returns the paths from the direct groups of a person to configured groups, without cycles.
pub fn paths(
    direct: &[Guid],
    parents: &std::collections::BTreeMap<Guid, Vec<Guid>>,
    configured: &std::collections::BTreeSet<Guid>,
) -> Vec<Vec<Guid>> {
    /// More paths than this are not readable.
    const MAX_PATHS: usize = 20;
    let mut found = Vec::new();
    let mut under_way: Vec<Vec<Guid>> = direct.iter().rev().map(|group| vec![*group]).collect();
    while let (Some(way), true) = (under_way.pop(), found.len() < MAX_PATHS) {
        let Some(last) = way.last() else { continue };
        if configured.contains(last) {
            found.push(way.clone());
        }
        for parent in
            parents.get(last).into_iter().flatten().rev().filter(|parent| !way.contains(parent))
        {
            under_way.push(way.iter().copied().chain([*parent]).collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_path_to_a_configured_group_is_listed_and_a_cycle_ends() {
        let group = |n: u8| Guid([n; 16]);
        let ways = |direct: &[u8], parents: &[(u8, &[u8])], configured: &[u8]| {
            let parents: BTreeMap<Guid, Vec<Guid>> = parents
                .iter()
                .map(|(of, above)| (group(*of), above.iter().map(|n| group(*n)).collect()))
                .collect();
            let configured: BTreeSet<Guid> = configured.iter().map(|n| group(*n)).collect();
            let direct: Vec<Guid> = direct.iter().map(|n| group(*n)).collect();
            paths(&direct, &parents, &configured)
                .iter()
                .map(|way| way.iter().map(|g| g.0[0]).collect())
                .collect::<Vec<Vec<u8>>>()
        };
        assert_eq!(ways(&[1], &[], &[1]), [[1]]);
        assert_eq!(ways(&[3], &[(3, &[2]), (2, &[1])], &[1]), [[3, 2, 1]]);
        assert_eq!(ways(&[3, 1], &[(3, &[1])], &[1]), [vec![3, 1], vec![1]]);
        assert_eq!(ways(&[3], &[(3, &[2]), (2, &[3, 1]), (1, &[2])], &[1]), [[3, 2, 1]]);
        assert!(ways(&[4], &[(4, &[5])], &[1]).is_empty());
        let everywhere: Vec<u8> = (0..12).collect();
        let each: Vec<(u8, &[u8])> =
            everywhere.iter().map(|n| (*n, everywhere.as_slice())).collect();
        assert_eq!(
            ways(&everywhere, &each, &everywhere).len(),
            20,
            "the number of paths is limited"
        );
    }
}
