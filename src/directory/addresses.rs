//! Search of people by address and other names.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::query::Query;
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Address, AddressKey, AttributeNames, Dn, Guid};

/// Addresses in one filter, each with two to four assertions.
const ADDRESSES: usize = 50;
/// Returns the spellings of an address: with the domain in ASCII and in Unicode.
fn spellings(key: &AddressKey) -> impl Iterator<Item = String> + use<> {
    let unicode = key.0.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--")).and_then(
        |(local, domain)| {
            let (domain, read) = idna::domain_to_unicode(domain);
            read.is_ok().then(|| format!("{local}@{domain}"))
        },
    );
    std::iter::once(key.0.clone()).chain(unicode)
}

/// Returns the primary and further addresses of an entry.
fn shown_addresses<'a>(
    object: &'a Object,
    email: &str,
) -> impl Iterator<Item = AddressKey> + use<'a> {
    let values = |name: &str| {
        object
            .attributes
            .get(&name.to_ascii_lowercase())
            .into_iter()
            .flatten()
            .map(|v| String::from_utf8_lossy(v))
    };
    let further = values("proxyAddresses").filter_map(|text| {
        let (kind, address) = text.split_once(':')?;
        kind.eq_ignore_ascii_case("smtp").then(|| address.to_owned())
    });
    values(email)
        .map(std::borrow::Cow::into_owned)
        .chain(further)
        .filter_map(|text| Address::parse(&text).ok())
        .map(|a| a.key())
}

impl Session {
    /// Returns the people of the domain with this address, logon name, DN, employee id or display name.
    ///
    /// The values are compared again here, because AD ignores accents.
    pub async fn people_called(
        &mut self,
        name: &str,
        attributes: &AttributeNames,
    ) -> Result<BTreeSet<Guid>, DirectoryError> {
        let AttributeNames { email, employee_id, display_name, .. } = attributes;
        let mut names = vec!["sAMAccountName", "userPrincipalName", employee_id, display_name];
        if name.contains('@') {
            names.extend([email.as_str(), "proxyAddresses"]);
        }
        if name.contains('=') {
            names.push("distinguishedName");
        }
        let is_called = Assertion::any(names.iter().map(|attribute| match *attribute {
            "proxyAddresses" => Assertion::equals(attribute, &format!("smtp:{name}")),
            _ => Assertion::equals(attribute, name),
        }));
        let filter = Assertion::all([Assertion::raw(PERSON_FILTER), is_called]);
        let attributes: Vec<String> =
            names.iter().chain(&["objectGUID"]).map(|name| (*name).to_owned()).collect();
        let base = self.root.default_naming_context.clone();
        let found =
            self.objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)).await?;
        let is_same = |value: &Vec<u8>| {
            let text = String::from_utf8_lossy(value);
            let text = text
                .split_once(':')
                .filter(|(kind, _)| kind.eq_ignore_ascii_case("smtp"))
                .map_or(&*text, |(_, text)| text);
            text.trim().to_lowercase() == name.to_lowercase() || Dn::new(text) == Dn::new(name)
        };
        let has_it = |object: &Object| {
            names
                .iter()
                .filter_map(|n| object.attributes.get(&n.to_ascii_lowercase()))
                .flatten()
                .any(is_same)
        };
        Ok(found.iter().filter(|object| has_it(object)).filter_map(Object::guid).collect())
    }

    /// Returns, for each of these addresses, the people of the domain who have it.
    ///
    /// The values are compared again here, because AD ignores accents.
    pub async fn people_by_address(
        &mut self,
        addresses: &BTreeSet<AddressKey>,
        email: &str,
    ) -> Result<BTreeMap<AddressKey, BTreeSet<Guid>>, DirectoryError> {
        let mut people: BTreeMap<AddressKey, BTreeSet<Guid>> = BTreeMap::new();
        let attributes = [email, "proxyAddresses", "objectGUID"].map(str::to_owned);
        let base = self.root.default_naming_context.clone();
        let all: Vec<&AddressKey> = addresses.iter().collect();
        for piece in all.chunks(ADDRESSES) {
            let spellings = piece.iter().flat_map(|key| spellings(key));
            let by_address = Assertion::any(spellings.flat_map(|text| {
                [
                    Assertion::equals(email, &text),
                    Assertion::equals("proxyAddresses", &format!("smtp:{text}")),
                ]
            }));
            let filter = Assertion::all([Assertion::raw(PERSON_FILTER), by_address]);
            for object in self
                .objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &attributes))
                .await?
            {
                let Some(guid) = object.guid() else { continue };
                for key in shown_addresses(&object, email).filter(|key| addresses.contains(key)) {
                    people.entry(key).or_default().insert(guid);
                }
            }
        }
        Ok(people)
    }
}
