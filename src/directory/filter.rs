//! Filters built from typed parts, so that no value can become syntax (RFC 4515).

use std::fmt::Write as _;

use crate::model::{Guid, Sid};

/// A filter under construction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assertion(String);

impl Assertion {
    /// Wraps a valid filter: a constant, or a parsed one of the configuration.
    pub fn raw(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns `(attribute=value)` with the value escaped.
    pub fn equals(attribute: &str, value: &str) -> Self {
        Self(format!("({attribute}={})", escaped(value)))
    }

    /// Returns `(attribute=*part*)` with the part escaped.
    pub fn contains(attribute: &str, part: &str) -> Self {
        Self(format!("({attribute}=*{}*)", escaped(part)))
    }

    /// Returns the assertion `(objectGUID=…)`.
    pub fn guid(guid: Guid) -> Self {
        Self::binary("objectGUID", &guid.to_ad())
    }

    /// Returns the assertion `(objectSid=…)`.
    pub fn sid(sid: &Sid) -> Self {
        Self::binary("objectSid", sid.as_bytes())
    }

    fn binary(attribute: &str, value: &[u8]) -> Self {
        let mut text = format!("({attribute}=");
        for byte in value {
            let _ = write!(text, "\\{byte:02x}");
        }
        text.push(')');
        Self(text)
    }

    /// Returns the disjunction.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::join('|', parts)
    }

    /// Returns the conjunction.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::join('&', parts)
    }

    fn join(how: char, parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().collect();
        match <[Self; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => {
                Self(format!("({how}{})", parts.into_iter().map(|p| p.0).collect::<String>()))
            }
        }
    }

    /// Returns the filter in the form of RFC 4515.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Escapes the characters that have a meaning in a filter.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'*' | b'(' | b')' | b'\\' | 0 | 0x80.. => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\{byte:02x}");
            }
            _ => text.push(byte as char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_become_syntax() {
        let hostile = "x)(objectClass=*)(cn=\\2a\0é";
        assert_eq!(
            Assertion::equals("mail", hostile).as_str(),
            "(mail=x\\29\\28objectClass=\\2a\\29\\28cn=\\5c2a\\00\\c3\\a9)"
        );
    }

    #[test]
    fn a_guid_is_compared_by_the_bytes_ad_holds() {
        let guid: Guid = "00112233-4455-6677-8899-aabbccddeeff".parse().expect("a GUID");
        assert_eq!(
            Assertion::guid(guid).as_str(),
            "(objectGUID=\\33\\22\\11\\00\\55\\44\\77\\66\\88\\99\\aa\\bb\\cc\\dd\\ee\\ff)"
        );
    }
}
