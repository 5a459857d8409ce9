//! Email addresses and domains, parsed once and compared one way.
//!
//! Two addresses are equal if their keys are. A key has the local part folded by ASCII case, and the
//! domain as a lower-case A-label (UTS 46). Dots, plus tags and accents do not fold.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use psl::{Info, Psl as _};
use serde::{Deserialize, Serialize};

/// A domain name as a lower-case A-label without a trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Domain(String);

/// The reason why a text is no domain that can be claimed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    #[error("\"{0}\" is not a domain name")]
    Malformed(String),
    #[error("\"{0}\" is an IP address; claim the domain after the @ of your addresses")]
    IpAddress(String),
    #[error("\"{0}\" has a single label; claim a domain such as example.com")]
    SingleLabel(String),
    #[error(
        "\"{0}\" is a public suffix under which any person can register; claim the domain below it that is yours"
    )]
    PublicSuffix(String),
}

impl Domain {
    /// Returns the domain of a text: a valid name of at least two labels.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let malformed = || DomainError::Malformed(text.to_owned());
        let bare = text.trim_matches(' ');
        // Nearly all domains are in lower case already, and a full read parses one per address.
        let is_lower = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let ascii = if bare.bytes().all(is_lower) && !bare.contains("xn--") {
            Cow::Borrowed(bare)
        } else {
            if bare.parse::<std::net::IpAddr>().is_ok() || bare.starts_with('[') {
                return Err(DomainError::IpAddress(text.to_owned()));
            }
            idna::domain_to_ascii_cow(bare.as_bytes(), idna::AsciiDenyList::STD3)
                .map_err(|_| malformed())?
        };
        let labels_fit = ascii
            .split('.')
            .all(|l| (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-'));
        if !labels_fit || ascii.len() > 253 {
            return Err(malformed());
        }
        // No top-level domain is a number, so such a name is meant as an IPv4 address.
        if ascii.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(DomainError::IpAddress(text.to_owned()));
        }
        if !ascii.contains('.') {
            return Err(DomainError::SingleLabel(text.to_owned()));
        }
        Ok(Self(ascii.into_owned()))
    }

    /// Returns the domain, if an account may claim it.
    pub fn claimable(text: &str) -> Result<Self, DomainError> {
        let domain = Self::parse(text)?;
        if domain.is_public_suffix() {
            return Err(DomainError::PublicSuffix(text.to_owned()));
        }
        Ok(domain)
    }

    /// Returns whether any person can register names below it, as below `co.uk`.
    pub fn is_public_suffix(&self) -> bool {
        let mut labels = self.0.rsplit('.').map(str::as_bytes);
        // The list is generated code for each type of iterator. A trait object keeps that code small.
        let labels: &mut dyn Iterator<Item = &[u8]> = &mut labels;
        let Info { len, typ } = psl::List.find(labels);
        typ.is_some() && len == self.0.len()
    }

    /// Returns the name in U-labels, where it differs.
    pub fn unicode(&self) -> Option<String> {
        let (text, result) = idna::domain_to_unicode(&self.0);
        (result.is_ok() && text != self.0).then_some(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form in which addresses are compared: ASCII-folded local part, `@`, A-label domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressKey(pub String);

/// An email address: ASCII dot-atom local part (RFC 5321) and a valid domain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    text: String,
    domain: Domain,
}

/// The reason why a text is no usable address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("\"{0}\" has no @")]
    NoAt(String),
    /// The local part is quoted, too long, not ASCII or not a dot-atom.
    #[error("the part of \"{0}\" before the @ is not plain letters, digits and dots")]
    LocalPart(String),
    #[error("the domain of \"{address}\" cannot be used: {reason}")]
    Domain { address: String, reason: DomainError },
}

impl Address {
    /// Returns the address of a text. Spaces around it are ignored.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bare = text.trim_matches(' ');
        if bare.is_empty() {
            return Err(AddressError::Empty);
        }
        let (local, domain) =
            bare.rsplit_once('@').ok_or_else(|| AddressError::NoAt(bare.to_owned()))?;
        let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atext);
        if local.len() > 64 || !local.split('.').all(is_atom) {
            return Err(AddressError::LocalPart(bare.to_owned()));
        }
        // "bob@example.com." is not an address although "example.com." is a name.
        let domain = Domain::parse(domain)
            .map_err(|reason| AddressError::Domain { address: bare.to_owned(), reason })?;
        Ok(Self { text: [local, "@", &domain.0].concat(), domain })
    }

    /// Returns the address with its local part as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    pub fn key(&self) -> AddressKey {
        AddressKey(self.text.to_ascii_lowercase())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Addresses {
    pub primary: Option<Address>,
    /// Sign-in accepts these, too.
    pub secondary: BTreeSet<Address>,
}

impl Addresses {
    pub fn iter(&self) -> impl Iterator<Item = &Address> {
        self.primary.iter().chain(&self.secondary)
    }

    pub fn keys(&self) -> BTreeSet<AddressKey> {
        self.iter().map(Address::key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_in_lower_case_is_judged_like_the_same_in_upper_case() {
        let domains = [
            "example.com",
            "a-b.example",
            "sub.example.co.uk",
            "1.2.3.4",
            "1.2.3.-4",
            "256.1.1.1",
            "a.1",
            "1.a",
            "-a.com",
            "a-.com",
            "a..b",
            ".a",
            "a.",
            "com",
            "",
            "xn--bcher-kva.example",
            "xn--.example",
            "a.xn--",
            "ab--c.example",
        ];
        for domain in domains {
            let kind =
                |text: &str| Domain::parse(text).map_err(|error| std::mem::discriminant(&error));
            assert_eq!(kind(domain), kind(&domain.to_uppercase()), "{domain:?}");
        }
    }

    #[test]
    fn addresses_are_the_same_by_ascii_case_and_a_label_and_by_nothing_else() {
        let same = [
            ("Bob@Example.COM", "bob@example.com"),
            ("a@bücher.de", "A@xn--bcher-kva.de"),
            (" bob@example.com ", "bob@example.com"),
        ];
        for (a, b) in same {
            assert_eq!(
                Address::parse(a).map(|a| a.key()),
                Address::parse(b).map(|b| b.key()),
                "{a} {b}"
            );
        }
        let different = [
            ("a@evil-example.com", "a@example.com"),
            ("a@sub.example.com", "a@example.com"),
            ("a.b@example.com", "ab@example.com"),
        ];
        for (a, b) in different {
            assert_ne!(
                Address::parse(a).map(|a| a.key()),
                Address::parse(b).map(|b| b.key()),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_plain_address_is_refused() {
        for bad in [
            "",
            "  ",
            "bob",
            "@example.com",
            "bob@",
            "bob@example",
            "bob@example.com.",
            "<bob@example.com>",
            "mailto:bob@example.com",
            "a@b.c d@e.f",
            "\"x@example.com\"@evil.com",
            "müller@example.com",
            "bob@1.2.3.4",
            "bob@[1.2.3.4]",
            "bo\u{212A}@example.com",
            "b..b@example.com",
            ".b@example.com",
            "bob@exa mple.com",
            "bob@example.com\0",
            "bob\n@example.com",
            "a@b@example..com",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn only_a_domain_below_a_public_suffix_can_be_claimed() {
        assert_eq!(
            Domain::claimable("Example.COM").map(|d| d.to_string()),
            Ok("example.com".to_owned())
        );
        assert_eq!(
            Domain::claimable("bücher.example").map(|d| d.to_string()),
            Ok("xn--bcher-kva.example".to_owned())
        );
        assert!(matches!(Domain::claimable("co.uk"), Err(DomainError::PublicSuffix(_))));
        assert!(matches!(Domain::claimable("com"), Err(DomainError::SingleLabel(_))));
        assert!(matches!(Domain::claimable("192.0.2.1"), Err(DomainError::IpAddress(_))));
        assert!(matches!(Domain::claimable("exa_mple.com"), Err(DomainError::Malformed(_))));
        assert!(matches!(Domain::claimable("a..com"), Err(DomainError::Malformed(_))));
    }
}
