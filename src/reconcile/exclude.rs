//! Exclusions: people whom the configuration keeps out of scope, by address or by OU.

use crate::model::{Address, Dn};

/// An OU that the configuration names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ou {
    pub configured: Dn,
    /// The present DN; `None` when the OU was not found or could not be looked up.
    pub present: Option<Dn>,
}

impl Ou {
    /// Returns whether the entry is below the OU; `None` when that is unknown.
    pub fn holds(&self, dn: &Dn) -> Option<bool> {
        self.present.as_ref().map(|present| dn.is_within(present))
    }
}

/// The people who are not provisioned: patterns of primary addresses, such as
/// `svc-*@example.com`, and OUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exclude {
    patterns: Vec<String>,
    ous: Vec<Ou>,
}

/// Whether a person is excluded, and by what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Exclusion {
    No,
    /// The pattern that matches the primary address.
    Address(String),
    /// The OU above the entry.
    Ou(Dn),
    /// An OU was not found, so the entry may be below it.
    Unknown,
}

impl Exclude {
    /// In a pattern, `*` stands for any text.
    pub fn new(patterns: impl IntoIterator<Item = String>, ous: Vec<Ou>) -> Self {
        Self { patterns: patterns.into_iter().map(|p| p.to_ascii_lowercase()).collect(), ous }
    }

    /// Returns the pattern that matches the address.
    pub fn matching(&self, address: &Address) -> Option<&str> {
        let key = address.key().0;
        self.patterns.iter().find(|pattern| glob(pattern, &key)).map(String::as_str)
    }

    /// Returns whether all OUs were found, so that it is known who is excluded.
    pub fn is_known(&self) -> bool {
        self.ous.iter().all(|ou| ou.present.is_some())
    }

    /// Returns what excludes an entry with this name and primary address.
    pub(super) fn of(&self, dn: &Dn, address: Option<&Address>) -> Exclusion {
        let pattern = address.and_then(|address| self.matching(address));
        let above = || self.ous.iter().find(|ou| ou.holds(dn) == Some(true));
        match pattern {
            Some(pattern) => Exclusion::Address(pattern.to_owned()),
            None => match above() {
                Some(ou) => Exclusion::Ou(ou.configured.clone()),
                None if self.ous.iter().any(|ou| ou.present.is_none()) => Exclusion::Unknown,
                None => Exclusion::No,
            },
        }
    }
}

/// Returns whether the pattern matches the whole text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_addresses() {
        let table = [
            ("svc-*@example.com", "svc-backup@example.com", true),
            ("svc-*@example.com", "svc-backup@example.com.evil.com", false),
            ("svc-*@example.com", "mysvc-x@example.com", false),
            ("*@example.com", "a@example.com", true),
            ("a*b*c@x.de", "a1b2b3c@x.de", true),
            ("bob@example.com", "bob@example.com", true),
            ("bob@example.com", "bobby@example.com", false),
        ];
        for (pattern, text, matches) in table {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn an_excluded_ou_covers_entries_below_it_wherever_it_is_now() {
        let robots = Dn::new("OU=Robots,DC=corp");
        let ou = |present: Option<&str>| Ou {
            configured: robots.clone(),
            present: present.map(Dn::new),
        };
        let excluded = || Exclusion::Ou(robots.clone());
        let table = [
            (ou(Some("OU=Robots,DC=corp")), "CN=R2,ou=robots,dc=CORP", excluded()),
            (ou(Some("OU=Robots,DC=corp")), "CN=R2,OU=Old,OU=Robots,DC=corp", excluded()),
            (ou(Some("OU=Robots,DC=corp")), "CN=Ann,OU=NotRobots,DC=corp", Exclusion::No),
            (ou(Some("OU=Machines,DC=corp")), "CN=R2,OU=Machines,DC=corp", excluded()),
            (ou(Some("OU=Machines,DC=corp")), "CN=Ann,OU=Robots,DC=corp", Exclusion::No),
            (ou(None), "CN=Ann,OU=Staff,DC=corp", Exclusion::Unknown),
        ];
        for (ou, dn, exclusion) in table {
            let exclude = Exclude::new([], vec![ou.clone()]);
            assert_eq!(exclude.of(&Dn::new(dn), None), exclusion, "{dn} {ou:?}");
        }
    }
}
