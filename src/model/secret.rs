//! The shape of a secret in a file: one line of text, and nothing around it.
//!
//! AD counts each malformed secret as a wrong password, and locks the account after a few of them.
//! The shape is therefore checked before a secret is sent.

use std::fmt;

/// The reason why the content of a file is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretFault {
    /// The file has no text: a bind with an empty password succeeds as anonymous (RFC 4513, 5.1.2).
    Empty,
    /// The file is UTF-16, as Windows' editors and PowerShell's `>` write it.
    Utf16,
    /// The bytes are no UTF-8.
    NotUtf8,
    /// The file begins with a byte-order mark.
    ByteOrderMark,
    /// The text has a NUL: servers take a password up to the first one.
    Nul,
    /// The text has more than one line, or more than one line end.
    Lines,
    /// The line begins or ends with white space.
    SpaceAround,
    /// The line has a character that is not shown: a control character, or one of no width.
    Invisible(char),
}

impl SecretFault {
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Empty => "write the password into it",
            Self::Utf16 | Self::NotUtf8 | Self::ByteOrderMark => {
                "save it as UTF-8 without a byte-order mark"
            }
            Self::Nul | Self::Lines | Self::SpaceAround | Self::Invisible(_) => {
                "write the password alone into it, on one line: printf %s 'PASSWORD' > FILE"
            }
        }
    }
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Utf16 => f.write_str("is UTF-16 text"),
            Self::NotUtf8 => f.write_str("is not UTF-8 text"),
            Self::ByteOrderMark => f.write_str("begins with a byte-order mark"),
            Self::Nul => f.write_str("has a NUL byte"),
            Self::Lines => f.write_str("has more than one line, or more than one line end"),
            Self::SpaceAround => f.write_str("has white space before or after the password"),
            Self::Invisible(c) => write!(f, "has the invisible character U+{:04X}", u32::from(*c)),
        }
    }
}

/// Returns the secret in the content of a file. Exactly one line end is removed.
pub fn secret_line(content: &[u8]) -> Result<&str, SecretFault> {
    if content.starts_with(&[0xef, 0xbb, 0xbf]) {
        return Err(SecretFault::ByteOrderMark);
    }
    if content.starts_with(&[0xfe, 0xff]) || content.starts_with(&[0xff, 0xfe]) {
        return Err(SecretFault::Utf16);
    }
    if content.contains(&0) {
        return Err(SecretFault::Nul);
    }
    let text = std::str::from_utf8(content).map_err(|_| SecretFault::NotUtf8)?;
    let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
    if line.chars().all(char::is_whitespace) {
        return Err(SecretFault::Empty);
    }
    // A carriage return alone is a line end, too: some editors write it.
    if line.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return Err(SecretFault::Lines);
    }
    if line.starts_with(char::is_whitespace) || line.ends_with(char::is_whitespace) {
        return Err(SecretFault::SpaceAround);
    }
    match line.chars().find(|c| is_invisible(*c)) {
        Some(c) => Err(SecretFault::Invisible(c)),
        None => Ok(line),
    }
}

/// Returns whether a character is a control, or a format character that editors and mail programs
/// leave behind.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_taken_off_a_secret_and_nothing_else() {
        for (content, secret) in [
            (&b"s3cret"[..], "s3cret"),
            (b"s3cret\n", "s3cret"),
            (b"s3cret\r\n", "s3cret"),
            (b"two words\n", "two words"),
            ("pässwörd\n".as_bytes(), "pässwörd"),
            (b"\"quoted\"", "\"quoted\""),
        ] {
            assert_eq!(secret_line(content), Ok(secret));
        }
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused_with_its_fault() {
        use SecretFault::{
            ByteOrderMark, Empty, Invisible, Lines, NotUtf8, Nul, SpaceAround, Utf16,
        };
        let table: [(&[u8], SecretFault); 20] = [
            (b"", Empty),
            (b"\n", Empty),
            (b" \t\n", Empty),
            (b"\n\n", Empty),
            (b"s3cret\n\n", Lines),
            (b"s3cret\r\n\r\n", Lines),
            (b"s3cret\n\r\n", Lines),
            (b"s3cret\r", Lines),
            (b"s3cret\r\r\n", Lines),
            (b"s3cret\nother\n", Lines),
            (b"\ns3cret\n", Lines),
            (b"s3cret \n", SpaceAround),
            (b"s3cret\t", SpaceAround),
            (b" s3cret", SpaceAround),
            ("s3cret\u{a0}".as_bytes(), SpaceAround),
            (b"\xef\xbb\xbfs3cret", ByteOrderMark),
            (b"\xff\xfes\x003\x00", Utf16),
            (b"s3\0cret", Nul),
            (b"s3cr\xe9t", NotUtf8),
            ("s3cret\u{200b}".as_bytes(), Invisible('\u{200b}')),
        ];
        for (content, fault) in table {
            assert_eq!(secret_line(content), Err(fault), "{content:?}");
        }
    }
}
