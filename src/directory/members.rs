//! The members of a group, as the group lists them, and the entries that SIDs name.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::query::Query;
use super::{Assertion, DirectoryError, Object, ObjectKind, PERSON_FILTER, Session};
use crate::model::{Dn, Guid, Sid};
use crate::reconcile::{ForeignMember, GroupMembers};

/// SIDs in one filter.
const CHUNK: usize = 50;
/// Most parts of a list of members: AD returns 1,500 values at once, and Samba all of them.
const MAX_PARTS: usize = 10_000;

impl Session {
    /// Reads the members of a group, in parts where AD divides the list (MS-ADTS 3.1.1.3.1.3.3).
    pub async fn group_members(&mut self, group: Guid) -> Result<GroupMembers, DirectoryError> {
        let domain = Dn::new(self.root.default_naming_context.clone());
        let mut members = GroupMembers::default();
        for _ in 0..MAX_PARTS {
            let name = format!("member;range={}-*", members.total);
            let object = self.object(&format!("<GUID={group}>"), &[name]).await?;
            let attributes = object.map(|object| object.attributes).unwrap_or_default();
            let part = attributes.into_iter().find(|(name, values)| {
                name.split(';').next() == Some("member") && !values.is_empty()
            });
            let Some((name, values)) = part else { break };
            members.total += values.len() as u64;
            let dns = values.iter().filter_map(|dn| Some(Dn::new(std::str::from_utf8(dn).ok()?)));
            members.foreign.extend(dns.filter_map(|dn| foreign(dn, &domain)));
            if !name.contains(";range=") || name.ends_with("-*") {
                break;
            }
        }
        Ok(members)
    }

    /// Returns those of the groups that list an account of another forest. Lists of members are not read,
    /// because a large group has many parts. Samba does not always write memberOf of such an account.
    pub async fn groups_with_foreign_members(
        &mut self,
        groups: &BTreeSet<Guid>,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let accounts = Assertion::all([
            Assertion::raw("(objectCategory=foreignSecurityPrincipal)"),
            Assertion::raw("(cn=S-1-5-21-*)"),
        ]);
        let name = ["cn".to_owned()];
        let query = Query::new(&base, Scope::Subtree, accounts.as_str(), &name);
        let accounts = self.objects(&query).await?;
        let mut found = BTreeSet::new();
        for piece in accounts.chunks(CHUNK) {
            let lists = Assertion::all([
                Assertion::raw("(objectCategory=group)"),
                Assertion::any(
                    piece.iter().map(|account| Assertion::equals("member", &account.dn)),
                ),
            ]);
            let guid = ["objectGUID".to_owned()];
            let query = Query::new(&base, Scope::Subtree, lists.as_str(), &guid);
            found.extend(self.objects(&query).await?.iter().filter_map(Object::guid));
        }
        found.retain(|group| groups.contains(group));
        Ok(found)
    }

    /// Returns the visible entries with these SIDs.
    pub async fn objects_by_sid(
        &mut self,
        sids: &BTreeSet<Sid>,
    ) -> Result<Vec<(ObjectKind, Object)>, DirectoryError> {
        let sids: Vec<&Sid> = sids.iter().collect();
        let base = self.root.default_naming_context.clone();
        let attributes =
            ["objectGUID", "objectClass", "objectSid", "uSNChanged"].map(str::to_owned);
        let mut found = Vec::new();
        for piece in sids.chunks(CHUNK) {
            let filter = Assertion::any(piece.iter().map(|sid| Assertion::sid(sid)));
            let query = Query::new(&base, Scope::Subtree, filter.as_str(), &attributes);
            let objects = self.objects(&query).await?.into_iter();
            found.extend(objects.filter_map(|object| Some((ObjectKind::of(&object)?, object))));
        }
        Ok(found)
    }

    /// Returns the entries below these bases, or these entries alone, that had other SIDs before.
    pub async fn sid_history(
        &mut self,
        bases: &[Dn],
        entries: Option<&BTreeSet<Guid>>,
    ) -> Result<BTreeMap<Guid, BTreeSet<Sid>>, DirectoryError> {
        let attributes = ["objectGUID".to_owned(), "sIDHistory".to_owned()];
        let has_history = Assertion::raw("(sIDHistory=*)");
        let people = Assertion::raw(PERSON_FILTER);
        let filters: Vec<Assertion> = match entries {
            None => vec![Assertion::all([people, has_history])],
            Some(entries) => {
                let entries: Vec<Guid> = entries.iter().copied().collect();
                let any =
                    |piece: &[Guid]| Assertion::any(piece.iter().map(|g| Assertion::guid(*g)));
                entries
                    .chunks(CHUNK)
                    .map(|piece| Assertion::all([any(piece), has_history.clone()]))
                    .collect()
            }
        };
        let mut found = BTreeMap::new();
        for base in bases {
            for filter in &filters {
                let query = Query::new(base.as_str(), Scope::Subtree, filter.as_str(), &attributes);
                for object in self.objects(&query).await? {
                    let former = object.attributes.get("sidhistory").into_iter().flatten();
                    let former = former.filter_map(|sid| Sid::from_ad(sid)).collect();
                    found.extend(object.guid().map(|guid| (guid, former)));
                }
            }
        }
        Ok(found)
    }

    /// Returns the SID of the domain: that of the service account without its last part.
    pub fn domain_sid(&self) -> Option<Sid> {
        self.service_account.bytes("objectSid").and_then(Sid::from_ad)?.domain()
    }
}

/// Returns the member if it is no entry of the domain.
fn foreign(dn: Dn, domain: &Dn) -> Option<ForeignMember> {
    let container = Dn::new(format!("CN=ForeignSecurityPrincipals,{}", domain.as_str()));
    if dn.is_within(&container) {
        return Some(ForeignMember::Sid(dn.name().parse().ok()?));
    }
    // The DN of a child domain ends with that of its parent.
    let is_of_child = |dn: &Dn| {
        let mut at = dn.parent();
        while let Some(parent) = at.filter(|parent| parent != domain) {
            if parent.key().starts_with("dc=") {
                return true;
            }
            at = parent.parent();
        }
        false
    };
    (!dn.is_within(domain) || is_of_child(&dn)).then_some(ForeignMember::Name(dn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_other_domains_are_told_apart_by_their_names() {
        let domain = Dn::new("DC=corp,DC=example,DC=com");
        let of = |dn: &str| foreign(Dn::new(dn), &domain);
        assert_eq!(of("CN=Bob,OU=Staff,DC=corp,DC=example,DC=com"), None);
        let sid = "CN=S-1-5-21-1-2-3-1105,CN=ForeignSecurityPrincipals,DC=corp,DC=example,DC=com";
        let named: Sid = "S-1-5-21-1-2-3-1105".parse().expect("a SID");
        assert_eq!(of(sid), Some(ForeignMember::Sid(named)));
        for dn in [
            "CN=Bob,OU=Staff,DC=other,DC=example,DC=com",
            "CN=Bob,OU=S,DC=emea,DC=corp,DC=example,DC=com",
        ] {
            assert_eq!(of(dn), Some(ForeignMember::Name(Dn::new(dn))));
        }
    }
}
