//! Distinguished names (RFC 4514), compared in a normal form and never as text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A distinguished name as the server wrote it, with its normal form. Equality and order use the
/// normal form.
#[derive(Clone, Debug)]
pub struct Dn {
    text: String,
    key: String,
}

impl Dn {
    /// Accepts any text. A text that is not RFC 4514 compares by its folded form.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let key = if is_plain(&text) { text.to_ascii_lowercase() } else { normal(&text) };
        Self { text, key }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the normal form: types and values folded, escapes in one form, no optional spaces.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the name one level up; `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        Some(Self {
            text: self.text[split_point(&self.text)? + 1..].to_owned(),
            key: self.key[split_point(&self.key)? + 1..].to_owned(),
        })
    }

    /// Returns whether this is `base` or below it.
    pub fn is_within(&self, base: &Self) -> bool {
        self.key == base.key
            || (self.key.ends_with(&base.key)
                && self.key[..self.key.len() - base.key.len()].ends_with(',')
                && {
                    let cut = self.key.len() - base.key.len() - 1;
                    !ends_in_escape(&self.key[..cut])
                })
    }

    /// Returns the unescaped value of the first RDN.
    pub fn name(&self) -> String {
        let rdn = split_point(&self.text).map_or(self.text.as_str(), |cut| &self.text[..cut]);
        let value = rdn.split_once('=').map_or(rdn, |(_, v)| v);
        unescape(value)
            .map_or_else(|| value.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns whether the text ends in an odd number of backslashes, which escape the next character.
fn ends_in_escape(text: &str) -> bool {
    text.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Returns the position of the first comma that is not escaped.
fn split_point(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Returns whether the normal form is the text in lower case. A full read builds one name per
/// person, and nearly all of them are plain.
fn is_plain(text: &str) -> bool {
    let mut before = b',';
    let mut has_value = false;
    for byte in text.bytes() {
        match byte {
            b'\\' | b'+' | b'"' | b';' | b'<' | b'>' | 0..b' ' | 0x7f.. => return false,
            b' ' if matches!(before, b',' | b'=') => return false,
            b',' | b'=' if before == b' ' => return false,
            b'=' if has_value => return false,
            b'=' => has_value = true,
            b',' => has_value = false,
            _ => {}
        }
        before = byte;
    }
    before != b' '
}

fn normal(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let cut = split_point(rest);
        let rdn = cut.map_or(rest, |at| &rest[..at]);
        // Multi-valued RDNs do not occur in AD; a "+" stays part of the value.
        if let Some((kind, value)) = rdn.split_once('=') {
            key.extend(kind.trim().chars().map(|c| c.to_ascii_lowercase()));
            key.push('=');
            match unescape(value.trim_start()).map(String::from_utf8) {
                Some(Ok(value)) => escape_folded(&value, &mut key),
                _ => key.push_str(&value.to_lowercase()),
            }
        } else {
            key.push_str(&rdn.trim().to_lowercase());
        }
        match cut {
            Some(at) => {
                key.push(',');
                rest = &rest[at + 1..];
            }
            None => return key,
        }
    }
}

fn escape_folded(value: &str, key: &mut String) {
    for c in value.chars().flat_map(char::to_lowercase) {
        if matches!(c, ',' | '\\' | '=' | '+' | '"' | ';' | '<' | '>' | '\0') || c.is_control() {
            use std::fmt::Write as _;
            let mut bytes = [0; 4];
            for b in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(key, "\\{b:02x}");
            }
        } else {
            key.push(c);
        }
    }
}

/// Returns the bytes of a value: RFC 4514 escapes resolved, unescaped trailing spaces dropped.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut keep = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\\' {
            let next = *bytes.get(at + 1)?;
            if let (Some(high), Some(low)) = (hex(next), bytes.get(at + 2).copied().and_then(hex)) {
                out.push(high * 16 + low);
                at += 3;
            } else {
                out.push(next);
                at += 2;
            }
            keep = out.len();
        } else {
            out.push(byte);
            at += 1;
            if byte != b' ' {
                keep = out.len();
            }
        }
    }
    out.truncate(keep);
    Some(out)
}

impl PartialEq for Dn {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Dn {}

impl PartialOrd for Dn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl std::hash::Hash for Dn {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Dn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Dn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_by_rfc_4514_and_not_as_text() {
        let same = [
            ("CN=Bob,OU=Staff,DC=corp", "cn=bob, ou=staff, dc=CORP"),
            ("CN=Smith\\, Bob,DC=corp", "CN=Smith\\2C Bob,DC=corp"),
            ("CN=M\\C3\\BCller,DC=corp", "CN=MÜLLER,DC=corp"),
        ];
        for (a, b) in same {
            assert_eq!(Dn::new(a), Dn::new(b));
        }
        assert_ne!(Dn::new("CN=Bob,OU=Staff,DC=corp"), Dn::new("CN=Bob,DC=corp"));
    }

    proptest::proptest! {
        #[test]
        fn a_plain_name_has_its_normal_form_in_lower_case(text in "[a-cA-C0 ,=\\\\+\"é#]{0,12}") {
            proptest::prop_assert!(!is_plain(&text) || text.to_ascii_lowercase() == normal(&text));
        }
    }

    #[test]
    fn an_escaped_comma_does_not_divide_a_name() {
        let dn = Dn::new("CN=Smith\\, Bob,OU=Staff,DC=corp");
        assert_eq!(dn.parent(), Some(Dn::new("OU=Staff,DC=corp")));
        assert_eq!(dn.name(), "Smith, Bob");
        assert!(dn.is_within(&Dn::new("dc=corp")));
        assert!(!dn.is_within(&Dn::new("CN=Bob,OU=Staff,DC=corp")));
        assert!(!Dn::new("CN=x\\,DC=corp").is_within(&Dn::new("DC=corp")));
        assert!(!Dn::new("OU=NotStaff,DC=corp").is_within(&Dn::new("OU=Staff,DC=corp")));
    }

    #[test]
    fn odd_names_are_taken_as_they_are() {
        for odd in [
            "",
            ",",
            "CN=",
            "\\",
            "CN=x\\",
            "CN=a\\0ADEL:1,CN=Deleted Objects,DC=corp",
            "no equals sign",
            "CN=é\\zz",
        ] {
            let dn = Dn::new(odd);
            let _ = (dn.parent(), dn.name(), dn.is_within(&dn));
            assert_eq!(dn.as_str(), odd);
        }
    }
}
