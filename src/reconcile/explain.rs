//! What an entry says of a person, what that means here, and what would make it otherwise. In sentences, because an operator
//! has to pass them on to whoever edits the directory.

use super::{Desired, Finding, Policy, Primary, TierWish, WithoutGroup};
use crate::model::{
    Address, Expiry, Field, Guid, Override, Person, Placement, Reason, Status, Tier, User,
};

/// One thing that was looked at, and what it means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The attribute.
    pub attribute: String,
    /// What it holds; empty where it holds nothing, or could not be read.
    pub value: String,
    /// What that means.
    pub meaning: String,
}

/// What an entry says, and what that comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// In or out, and by which rule.
    pub scope: Line,
    /// Enabled or not, expired or not.
    pub state: Vec<Line>,
    /// The tier, by the rule that gives it.
    pub tier: String,
    /// The closure's groups that the person is in directly, or by the primary group.
    pub groups: Vec<Guid>,
    /// Each address, and which claim covers it.
    pub addresses: Vec<Line>,
    /// Why there is no user for it.
    pub obstacles: Vec<String>,
}

fn line(attribute: &str, value: impl Into<String>, meaning: impl Into<String>) -> Line {
    Line { attribute: attribute.to_owned(), value: value.into(), meaning: meaning.into() }
}

/// Reads an entry. `email` is the attribute that holds the primary address.
pub fn read(person: &Person, desired: &Desired, policy: &Policy, email: &str) -> Reading {
    Reading {
        scope: scope(person, desired, policy),
        state: vec![control(person), expiry(person, desired, policy)],
        tier: tier(desired, policy),
        groups: person.groups.clone(),
        addresses: addresses(person, desired, policy, email),
        obstacles: obstacles(desired, policy),
    }
}

fn scope(person: &Person, desired: &Desired, policy: &Policy) -> Line {
    let address = match &desired.primary {
        Primary::Usable(address) | Primary::Unclaimed(address) => Some(address),
        _ => None,
    };
    if let Some((address, pattern)) = address.and_then(|a| Some((a, policy.exclude.matching(a)?))) {
        return line(
            "mail",
            address.as_str(),
            format!("out of scope: exclude = \"{pattern}\" matches the address"),
        );
    }
    match &person.placement {
        Placement::Inside => line(
            "distinguishedName",
            person.dn.as_str(),
            "in scope: below a base, and let in by the filter",
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
            "unknown: the directory does not return it, and nothing that can be read says why; whatever stands stays",
        ),
    }
}

fn control(person: &Person) -> Line {
    let name = "userAccountControl";
    match person.control {
        Some(bits) if bits.is_disabled() => line(name, bits.0.to_string(), "disabled (bit 2)"),
        Some(bits) => line(name, bits.0.to_string(), "enabled"),
        None => line(name, "", "could not be read: whatever stands stays"),
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
        (Some(Expiry::At(at)), _, None) => {
            line(name, at.to_string(), "unknown: the directory's clock and ours are too far apart")
        }
        (Some(Expiry::At(at)), ..) => line(name, at.to_string(), "unknown"),
        (None, ..) => line(name, "", "could not be read: whatever stands stays"),
    }
}

fn tier(desired: &Desired, policy: &Policy) -> String {
    match (desired.tier, policy.tiers.without_group) {
        (TierWish::Entitled { tier, by: None }, _) => {
            format!("{tier}: default-tier, since no groups are configured")
        }
        (TierWish::Entitled { tier, by: Some(_) }, _) => format!("{tier}: by group"),
        (TierWish::Unknown, _) => {
            "unknown: the groups could not be told; whatever stands stays".to_owned()
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

/// Why a person without a user gets none, each with what to do.
fn obstacles(desired: &Desired, policy: &Policy) -> Vec<String> {
    let mut why = Vec::new();
    for (reason, says, remedy) in [
        (Reason::Disabled, "it is disabled", "it gets a user when it is first seen enabled"),
        (Reason::Expired, "it has expired", "set a later accountExpires"),
        (Reason::OutOfScope, "it is out of scope", "move it, or change base, filter or exclude"),
    ] {
        match desired.finding(reason) {
            Finding::Holds => why.push(format!("{says}: {remedy}")),
            Finding::Unknown => why.push(format!(
                "whether {says} cannot be told: give the service account the right to read that"
            )),
            Finding::Refuted => {}
        }
    }
    match &desired.primary {
        Primary::Usable(_) => {}
        Primary::Unclaimed(address) => why.push(format!(
            "nobody has claimed {} for the account: rosterctl domain claim",
            address.domain()
        )),
        Primary::Malformed => why.push("its primary address is none: correct it".to_owned()),
        Primary::Absent | Primary::Unseen => {
            why.push("it has no primary address: give it one".to_owned())
        }
    }
    if desired.joining_tier(policy).is_none() {
        why.push(match desired.tier {
            TierWish::Unknown => "its groups could not be told".to_owned(),
            _ => "it is in none of the groups that give a tier: put it in one".to_owned(),
        });
    }
    why
}

/// What would make a user other than it is: of a suspended one, what would give it back; of anything overruled, how to let
/// go of it.
pub fn remedies(user: &User) -> Vec<String> {
    let mut remedies: Vec<String> = user
        .causes
        .iter()
        .map(|cause| format!("{}: {}", cause.reason, remedy(cause.reason)))
        .collect();
    if user.status() == Status::Released {
        remedies.push("released: claim the domain of its address again".to_owned());
    }
    for pin in &user.overrides {
        let what = match pin {
            Override::Reason(reason) => {
                format!("it is not suspended as {reason}, although the directory says so")
            }
            Override::Tier(tier) => format!("it is not {tier}, although the directory says so"),
            Override::Addresses(_) => "it has not the addresses that the directory says".to_owned(),
            Override::Attributes(_) => {
                "it has not the attributes that the directory says".to_owned()
            }
            Override::Return => "it does not come back, although the directory has it".to_owned(),
            Override::Link(person) => format!("it is not linked to {person}"),
        };
        remedies.push(format!("overruled: {what}, until the directory says something else, or rosterctl user clear-override"));
    }
    remedies
}

fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Operator => "an operator's word; rosterctl user activate takes it back",
        Reason::Disabled => "enable the account in the directory",
        Reason::Expired => "set a later accountExpires in the directory",
        Reason::Deleted => {
            "restore it in the directory; was it created anew, rosterctl user relink says that it is the same person"
        }
        Reason::OutOfScope => {
            "move it back, or change base, filter or exclude; rosterctl user activate overrules it"
        }
        Reason::NoGroup => {
            "put it in one of the groups that give a tier; rosterctl user activate overrules it"
        }
        Reason::Vanished => {
            "it comes back when it is seen again; was it created anew, rosterctl user relink says so; rosterctl user activate overrules it"
        }
    }
}

/// The ways from the groups somebody is in to the groups that are configured, each from the nearest on. A way that comes
/// back to where it was is none; of very many, the first.
pub fn paths(
    direct: &[Guid],
    parents: &std::collections::BTreeMap<Guid, Vec<Guid>>,
    configured: &std::collections::BTreeSet<Guid>,
) -> Vec<Vec<Guid>> {
    /// More ways than this explain nothing any more.
    const WAYS: usize = 20;
    let mut found = Vec::new();
    let mut under_way: Vec<Vec<Guid>> = direct.iter().rev().map(|group| vec![*group]).collect();
    while let (Some(way), true) = (under_way.pop(), found.len() < WAYS) {
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
    fn every_way_to_a_configured_group_is_told_and_a_circle_has_an_end() {
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
        assert_eq!(ways(&everywhere, &each, &everywhere).len(), 20, "a tangle is cut short");
    }
}
