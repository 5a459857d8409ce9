//! Distinguished names as text: parts, and escaping by RFC 4514.

use std::borrow::Cow;
use std::fmt::Write as _;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rdn {
    /// The attribute type, in lower case.
    pub(crate) kind: String,
    /// The value, unescaped.
    pub(crate) value: String,
}

/// Returns the parts of a name, the entry's own first, or `None` if the text is no name.
pub(crate) fn parse(text: &str) -> Option<Vec<Rdn>> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (kind, after) = rest.split_once('=')?;
        let mut value = Vec::new();
        let mut kept = 0; // bytes up to here may not be trimmed: they were escaped
        let bytes = after.trim_start().as_bytes();
        let mut at = 0;
        while at < bytes.len() && bytes[at] != b',' && bytes[at] != b';' {
            if bytes[at] != b'\\' {
                value.push(bytes[at]);
                at += 1;
                continue;
            }
            let hex = bytes
                .get(at + 1..at + 3)
                .and_then(|two| std::str::from_utf8(two).ok())
                .and_then(|two| u8::from_str_radix(two, 16).ok());
            if let Some(byte) = hex {
                value.push(byte);
                at += 3;
            } else {
                value.push(*bytes.get(at + 1)?);
                at += 2;
            }
            kept = value.len();
        }
        while value.len() > kept && value.last() == Some(&b' ') {
            value.pop();
        }
        parts.push(Rdn {
            kind: kind.trim().to_ascii_lowercase(),
            value: String::from_utf8_lossy(&value).into_owned(),
        });
        rest = std::str::from_utf8(bytes.get(at + 1..).unwrap_or_default()).ok()?.trim_start();
    }
    Some(parts)
}

/// Escapes a value for a name.
pub(crate) fn escape(value: &str) -> Cow<'_, str> {
    let plain = !value.starts_with([' ', '#'])
        && !value.ends_with(' ')
        && !value.bytes().any(|byte| {
            matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=') || byte < 0x20
        });
    if plain {
        return Cow::Borrowed(value);
    }
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len() + 8);
    for (at, letter) in value.chars().enumerate() {
        match letter {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => {
                out.push('\\');
                out.push(letter);
            }
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            '#' if at == 0 => out.push_str("\\#"),
            control if (control as u32) < 0x20 => {
                let _ = write!(out, "\\{:02X}", control as u32);
            }
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{escape, parse};

    #[test]
    fn an_escaped_value_parses_to_the_original() {
        for value in ["Smith, Bob", " lead", "trail ", "#1", "a\nDEL:b", "ü=\\", "plain"] {
            let text = format!("CN={},DC=example", escape(value));
            let parts = parse(&text).expect("a name");
            assert_eq!(parts[0].value, value, "{text}");
            assert_eq!(parts[1].value, "example");
        }
    }

    #[test]
    fn a_tombstones_line_feed_is_escaped_as_two_digits() {
        assert_eq!(escape("Bob\nDEL:1"), "Bob\\0ADEL:1");
    }
}
