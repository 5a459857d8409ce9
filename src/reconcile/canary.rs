//! Canaries: entries that show whether the service account still has its rights.

use std::collections::BTreeSet;

use crate::model::Guid;

/// An entry that must stay readable, with the attributes that it showed when it was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Canary {
    pub guid: Guid,
    /// The name as configured, for messages.
    pub name: String,
    pub attributes: BTreeSet<String>,
}

/// Attributes that AD itself writes on every user and never clears (MS-SAMR 3.1.1.8, MS-ADTS
/// 3.1.1.5.2). Only a lack of rights hides them.
///
/// An administrator can clear any other attribute. AD clears a link when its target is deleted.
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
    /// Returns the attributes of [`ALWAYS_SHOWN`] that the canary no longer shows, because the right to
    /// read them was lost.
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
