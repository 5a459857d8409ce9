//! Canaries: objects whose attributes tell whether the service account still has its rights.

use std::collections::BTreeSet;

use crate::model::Guid;

/// An object that must be readable throughout, with the attributes it showed when it was pinned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Canary {
    /// The object.
    pub guid: Guid,
    /// How it is configured, for messages.
    pub name: String,
    /// The attributes it showed.
    pub attributes: BTreeSet<String>,
}

/// Attributes that AD itself writes on every user and never clears: only a lack of rights hides them (MS-SAMR 3.1.1.8, MS-ADTS 3.1.1.5.2).
///
/// Any other attribute of a canary can be cleared by an administrator, and link attributes by AD, when what they name is deleted.
const ALWAYS_SHOWN: [&str; 16] = [
    "objectclass",
    "objectcategory",
    "objectguid",
    "objectsid",
    "samaccountname",
    "samaccounttype",
    "useraccountcontrol",
    "accountexpires",
    "primarygroupid",
    "pwdlastset",
    "cn",
    "name",
    "distinguishedname",
    "instancetype",
    "whencreated",
    "usncreated",
];

pub(super) fn is_always_shown(attribute: &str) -> bool {
    ALWAYS_SHOWN.iter().any(|known| known.eq_ignore_ascii_case(attribute))
}

impl Canary {
    /// The attributes that every user has, that it showed, and that it shows no longer: the right to read them is lost.
    pub fn blind<'a>(&'a self, attributes: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
        self.attributes.difference(attributes).filter(|a| is_always_shown(a)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_blind_only_without_an_attribute_that_no_administrator_can_clear() {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let all = set(&["objectguid", "useraccountcontrol", "description", "manager", "mail"]);
        let canary =
            Canary { guid: Guid([1; 16]), name: "svc".to_owned(), attributes: all.clone() };
        let blind = |hidden: &str| {
            let shown = all.iter().filter(|a| *a != hidden).cloned().collect();
            canary.blind(&shown).map(str::to_owned).collect::<Vec<_>>()
        };
        for cleared in ["description", "manager", "mail"] {
            assert!(blind(cleared).is_empty(), "{cleared}");
        }
        for hidden in ["objectguid", "useraccountcontrol"] {
            assert_eq!(blind(hidden), [hidden]);
        }
    }
}
