//! The evidence of a decision: the attribute of the entry that gives or refutes a reason.

use super::{ACCOUNT_EXPIRES, Desired, Facts, Leave, Policy};
use crate::model::{Dn, Evidence, Expiry, Guid, Placement, Reason};
use crate::reconcile::TierWish;
use crate::reconcile::exclude::Exclusion;

impl Desired {
    /// Returns the evidence that the reason holds, or that it is refuted.
    pub fn evidence(&self, reason: Reason, policy: &Policy) -> Evidence {
        let provenance = &policy.provenance;
        let mut server = provenance.server.as_str();
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
                Facts::Alive { leave: Leave::At { value, has_passed, decides, .. }, .. },
            ) if *has_passed || *decides => {
                (policy.leave_date.attribute.as_deref().unwrap_or(ACCOUNT_EXPIRES), value.clone())
            }
            (Reason::Expired, Facts::Alive { expires, .. }) => (
                ACCOUNT_EXPIRES,
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
            (Reason::OutOfScope, Facts::Alive { .. }) if self.unwitnessed => (
                "distinguishedName",
                "let in by the filter; no entry shows the attribute that it excludes by".to_owned(),
            ),
            (Reason::NoGroup, Facts::Alive { .. }) => (
                "member",
                match self.tier {
                    TierWish::Entitled { by: Some(group_guid), .. } => {
                        server = policy.closure.server_elsewhere(group_guid).unwrap_or(server);
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
            server: server.to_owned(),
            object: Some(self.guid),
            dn: Some(self.dn.as_str().to_owned()),
            attribute: attribute.to_owned(),
            value,
            seen_at: provenance.at,
        }
    }
}
