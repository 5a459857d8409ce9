//! The BER that LDAP needs, for the server and for tests that build frames by hand.
//!
//! Constructed elements have a four-byte length (`84 00 00 00 xx`), as on Windows. The length can
//! be filled in afterwards, and clients meet the form of real servers.

use std::fmt;

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const OCTETS: u8 = 0x04;
pub const ENUMERATED: u8 = 0x0a;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// The reason why bytes are no BER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what) = self;
        write!(f, "malformed BER: {what}")
    }
}

impl std::error::Error for Malformed {}

/// Begins a constructed element. Its result is the argument of [`end`].
pub fn begin(out: &mut Vec<u8>, tag: u8) -> usize {
    out.extend_from_slice(&[tag, 0x84, 0, 0, 0, 0]);
    out.len()
}

/// Fills in the length of the element that [`begin`] began.
pub fn end(out: &mut [u8], begun: usize) {
    let length = (out.len() - begun) as u32;
    out[begun - 4..begun].copy_from_slice(&length.to_be_bytes());
}

pub fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    let length = value.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        out.push(0x84);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
    out.extend_from_slice(value);
}

/// Writes an integer: INTEGER, ENUMERATED or an implicit tag of one of them.
pub fn put_number(out: &mut Vec<u8>, tag: u8, value: i64) {
    let bytes = value.to_be_bytes();
    let mut first = 0;
    while first < 7
        && ((bytes[first] == 0 && bytes[first + 1] & 0x80 == 0)
            || (bytes[first] == 0xff && bytes[first + 1] & 0x80 != 0))
    {
        first += 1;
    }
    put(out, tag, &bytes[first..]);
}

/// Returns the length of the first whole element, or `None` while more bytes are needed.
pub fn whole_frame(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let (Some(&tag), Some(&first)) = (bytes.first(), bytes.get(1)) else {
        return Ok(None);
    };
    if tag != SEQUENCE {
        return Err(Malformed("a message is a SEQUENCE"));
    }
    if first < 0x80 {
        let end = 2 + usize::from(first);
        return Ok((bytes.len() >= end).then_some(end));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed("a length of this form is not taken"));
    }
    let Some(digits) = bytes.get(2..2 + count) else {
        return Ok(None);
    };
    let length = digits.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length > 16 * 1024 * 1024 {
        return Err(Malformed("the message is too long"));
    }
    let end = 2 + count + length;
    Ok((bytes.len() >= end).then_some(end))
}

/// Reads elements one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns whether all elements have been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Returns the tag and the contents of the next element.
    pub fn element(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let [tag, first, rest @ ..] = self.rest else {
            return Err(Malformed("an element is missing"));
        };
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return Err(Malformed("a length of this form is not taken"));
            }
            let (digits, rest) = rest.split_at(count);
            let length = digits.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        };
        if rest.len() < length {
            return Err(Malformed("an element is longer than its parent"));
        }
        let (value, rest) = rest.split_at(length);
        self.rest = rest;
        Ok((*tag, value))
    }

    /// Returns the contents of the next element, which must carry `tag`.
    pub fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.element()? {
            (found, value) if found == tag => Ok(value),
            _ => Err(Malformed("another element was expected")),
        }
    }

    /// Returns the next element as a constructed one.
    pub fn inside(&mut self, tag: u8) -> Result<Reader<'a>, Malformed> {
        Ok(Reader::new(self.expect(tag)?))
    }

    /// Returns the next element as text.
    pub fn text(&mut self, tag: u8) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.expect(tag)?).into_owned())
    }

    /// Returns the next element as an integer.
    pub fn number(&mut self, tag: u8) -> Result<i64, Malformed> {
        number(self.expect(tag)?)
    }
}

/// Returns the contents of an INTEGER or ENUMERATED as a number.
pub fn number(value: &[u8]) -> Result<i64, Malformed> {
    let Some(first) = value.first() else {
        return Err(Malformed("a number has no bytes"));
    };
    if value.len() > 8 {
        return Err(Malformed("a number is too long"));
    }
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(value.iter().fold(start, |sum, byte| sum << 8 | i64::from(*byte)))
}
