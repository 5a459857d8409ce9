//! BER decoding of entries: borrowed from the received bytes, without allocation or recursion.
//!
//! Nearly all received bytes are entries. ldap3 makes a tree of vectors and two maps of strings of
//! each, and panics on malformed ones. Here an entry remains the bytes of its frame, and a reader
//! requests attributes.
//!
//! This module must never panic, and must never present an unreadable element as a missing one. A
//! silently lost value would be a silently lost group membership. Therefore an attribute is
//! returned only if all of its values are readable.

use std::iter::FusedIterator;

#[cfg(test)]
pub(super) mod tests;

/// Identifier of a universal BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// Identifier of a universal INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// Universal OCTET STRING, always primitive in LDAP (RFC 4511, 5.1).
pub(super) const OCTET_STRING: u8 = 0x04;
/// Identifier of a universal ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// Universal SEQUENCE, constructed.
pub(super) const SEQUENCE: u8 = 0x30;
/// Universal SET, constructed.
const SET: u8 = 0x31;
/// `[APPLICATION 4]`, constructed.
const SEARCH_RESULT_ENTRY: u8 = 0x64;
/// Bit of an identifier octet: the contents are elements.
pub(super) const CONSTRUCTED: u8 = 0x20;
/// Bits of an identifier octet with the tag number. All set: the number follows in further octets.
pub(super) const NUMBER: u8 = 0x1f;

/// Reason why bytes are not the expected BER. Elements have the names of RFC 4511.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// The input ends inside an identifier or length.
    #[error("the bytes end inside the header of an element: {left} left")]
    Truncated {
        /// Bytes available for the header.
        left: usize,
    },
    /// The contents exceed the parent element.
    #[error("element {tag:#04x} announces {length} bytes, and {left} are left")]
    Overrun {
        /// The identifier octet.
        tag: u8,
        /// The announced length of the contents, in bytes.
        length: usize,
        /// The bytes that remain in the parent.
        left: usize,
    },
    /// A length of the indefinite form, which LDAP forbids (RFC 4511, 5.1).
    #[error("element {tag:#04x} has an indefinite length")]
    Indefinite {
        /// The identifier octet.
        tag: u8,
    },
    /// A length that takes more than four octets.
    #[error("element {tag:#04x} has a length of {octets} octets; 4 are the limit")]
    LongLength {
        /// The identifier octet.
        tag: u8,
        /// Octets of the length.
        octets: u8,
    },
    /// A tag number above 30. LDAP has none, and ldap3 misreads them.
    #[error("identifier {tag:#04x} announces a tag number of several octets")]
    HighTagNumber {
        /// The identifier octet.
        tag: u8,
    },
    /// The parent ends before a mandatory element.
    #[error("{what} is missing")]
    Missing {
        /// The name of the element.
        what: &'static str,
    },
    /// An element has another identifier than required.
    #[error("{what} must be element {wanted:#04x} and is {tag:#04x}")]
    Unexpected {
        /// The name of the element.
        what: &'static str,
        /// The required identifier octet.
        wanted: u8,
        /// The identifier octet of the element.
        tag: u8,
    },
    /// Bytes follow the last element.
    #[error("{bytes} bytes follow the end of {what}")]
    Trailing {
        /// The name of the last element.
        what: &'static str,
        /// The number of further bytes.
        bytes: usize,
    },
    /// An invalid size of an INTEGER, ENUMERATED or BOOLEAN.
    #[error("{what} cannot have {octets} bytes of contents")]
    Size {
        /// The name of the element.
        what: &'static str,
        /// The size of its contents, in bytes.
        octets: usize,
    },
    /// A negative number where LDAP has none.
    #[error("{what} is negative")]
    Negative {
        /// The name of the element.
        what: &'static str,
    },
    /// A string is not UTF-8.
    #[error("{what} is not UTF-8 from its byte {at} on")]
    NotUtf8 {
        /// The name of the element.
        what: &'static str,
        /// The length of the valid prefix, in bytes.
        at: usize,
    },
    /// An attribute option `range=` without a valid range such as `0-1499` or `0-*`.
    #[error("an attribute's range option of {octets} bytes cannot be read")]
    Range {
        /// The size of the option, in bytes.
        octets: usize,
    },
}

/// The identifier and length octets of an element.
pub(super) struct Header {
    /// The identifier octet.
    pub(super) tag: u8,
    /// Size of the header in octets: 2 to 6.
    pub(super) octets: usize,
    /// The length of the contents, in bytes.
    pub(super) length: usize,
}

impl Header {
    /// Reads the header at the start of `input`; `None` if it is incomplete.
    #[inline]
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, BerError> {
        let &[tag, length, ref rest @ ..] = input else { return Ok(None) };
        if tag & NUMBER == NUMBER {
            return Err(BerError::HighTagNumber { tag });
        }
        match length {
            0..=0x7f => Ok(Some(Self { tag, octets: 2, length: usize::from(length) })),
            0x80 => Err(BerError::Indefinite { tag }),
            // Windows always writes four octets, so leading zeros are valid.
            0x81..=0x84 => {
                let octets = usize::from(length & 0x7f);
                let Some(digits) = rest.get(..octets) else { return Ok(None) };
                let length = match *digits {
                    [a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
                    _ => digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)),
                };
                Ok(Some(Self { tag, octets: 2 + octets, length }))
            }
            _ => Err(BerError::LongLength { tag, octets: length & 0x7f }),
        }
    }
}

/// A BER element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    /// The identifier octet: class, constructed or primitive, tag number.
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Returns the contents if the identifier is `wanted`; `what` names the element in the error.
    #[inline]
    pub(super) fn of(self, wanted: u8, what: &'static str) -> Result<&'a [u8], BerError> {
        let Self { tag, content } = self;
        if tag == wanted { Ok(content) } else { Err(BerError::Unexpected { what, wanted, tag }) }
    }
}

/// A sequence of elements.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the next element; `None` at the end.
    #[inline]
    pub(super) fn take(&mut self) -> Result<Option<Element<'a>>, BerError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some(Header { tag, octets, length }) = Header::read(self.rest)? else {
            return Err(BerError::Truncated { left: self.rest.len() });
        };
        let (_, body) = self.rest.split_at(octets);
        let Some((content, rest)) = body.split_at_checked(length) else {
            return Err(BerError::Overrun { tag, length, left: body.len() });
        };
        self.rest = rest;
        Ok(Some(Element { tag, content }))
    }

    /// Reads the next element; the end is an error.
    #[inline]
    pub(super) fn require(&mut self, what: &'static str) -> Result<Element<'a>, BerError> {
        self.take()?.ok_or(BerError::Missing { what })
    }

    /// Reads the contents of the next element, which must have the identifier `wanted`.
    #[inline]
    pub(super) fn expect(&mut self, wanted: u8, what: &'static str) -> Result<&'a [u8], BerError> {
        self.require(what)?.of(wanted, what)
    }

    /// Fails if an element follows `what`, the last one read.
    #[inline]
    pub(super) fn end(self, what: &'static str) -> Result<(), BerError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(BerError::Trailing { what, bytes }),
        }
    }
}

/// Decodes an INTEGER or ENUMERATED of 0 to 2³¹−1, the range of LDAP.
pub(super) fn number(content: &[u8], what: &'static str) -> Result<u32, BerError> {
    match content {
        [] | [_, _, _, _, _, ..] => Err(BerError::Size { what, octets: content.len() }),
        &[first, ..] if first >= 0x80 => Err(BerError::Negative { what }),
        _ => Ok(content.iter().fold(0, |value, &digit| value << 8 | u32::from(digit))),
    }
}

/// A SearchResultEntry in its received bytes.
#[derive(Debug, Clone, Copy)]
pub struct EntryRef<'a> {
    dn: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// Locates the entry in a whole LDAPMessage. Attributes are decoded on access.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, BerError> {
        let mut bytes = Elements::new(frame);
        let mut message = Elements::new(bytes.expect(SEQUENCE, "LDAPMessage")?);
        bytes.end("LDAPMessage")?;
        message.expect(INTEGER, "messageID")?;
        let mut entry = Elements::new(message.expect(SEARCH_RESULT_ENTRY, "SearchResultEntry")?);
        let dn = entry.expect(OCTET_STRING, "objectName")?;
        let attributes = entry.expect(SEQUENCE, "attributes")?;
        entry.end("attributes")?;
        Ok(Self { dn, attributes })
    }

    /// Returns the DN (RFC 4514) as received, which may be invalid UTF-8.
    pub fn dn(&self) -> &'a [u8] {
        self.dn
    }

    /// Returns the attributes in the received order. An unreadable one is the last item.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { elements: Elements::new(self.attributes) }
    }
}

/// Iterator over the attributes of an entry; see [`EntryRef::attributes`].
#[derive(Clone)]
pub struct Attributes<'a> {
    elements: Elements<'a>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<AttributeRef<'a>, BerError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = match self.elements.take() {
            Ok(element) => element?.of(SEQUENCE, "PartialAttribute").and_then(AttributeRef::parse),
            Err(error) => Err(error),
        };
        if item.is_err() {
            self.elements = Elements::new(&[]);
        }
        Some(item)
    }
}

impl FusedIterator for Attributes<'_> {}

/// An attribute whose values are all readable.
#[derive(Debug, Clone, Copy)]
pub struct AttributeRef<'a> {
    /// The attribute type in the spelling of the server. Compare it with [`is`](Self::is).
    pub name: &'a [u8],
    /// The text after the first semicolon, such as `range=0-1499`; empty without options.
    pub options: &'a [u8],
    range: Option<Range>,
    values: &'a [u8],
    count: usize,
}

impl<'a> AttributeRef<'a> {
    /// Decodes the contents of a PartialAttribute.
    #[inline]
    fn parse(content: &'a [u8]) -> Result<Self, BerError> {
        let mut parts = Elements::new(content);
        let description = parts.expect(OCTET_STRING, "type")?;
        let values = parts.expect(SET, "vals")?;
        parts.end("vals")?;
        let mut count = 0;
        let mut elements = Elements::new(values);
        while let Some(value) = elements.take()? {
            value.of(OCTET_STRING, "AttributeValue")?;
            count += 1;
        }
        let (name, options) = match description.iter().position(|&byte| byte == b';') {
            Some(at) => (&description[..at], &description[at + 1..]),
            None => (description, &[][..]),
        };
        Ok(Self { name, options, range: Range::find(options)?, values, count })
    }

    /// Returns whether the type is `name`, ignoring case and options.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Returns the range of the values; `None` if they are complete.
    pub fn range(&self) -> Option<Range> {
        self.range
    }

    /// Returns the values in the received order.
    #[inline]
    pub fn values(&self) -> Values<'a> {
        Values { elements: Elements::new(self.values), left: self.count }
    }
}

/// Iterator over the values of an attribute; see [`AttributeRef::values`].
#[derive(Clone)]
pub struct Values<'a> {
    elements: Elements<'a>,
    left: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // The error cannot occur, because AttributeRef::parse has read these bytes to the end.
        let value = self.elements.take().ok()??;
        self.left -= 1;
        Some(value.content)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Values<'_> {}
impl FusedIterator for Values<'_> {}

/// Range retrieval: AD sends many values in parts, counted from 0 (MS-ADTS 3.1.1.3.1.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Index of the first value.
    pub low: u32,
    /// Index of the last value; `None` (`*` on the wire) if no values remain.
    pub high: Option<u32>,
}

impl Range {
    /// Returns the range option. An invalid one is an error, because a part would pass for the
    /// whole.
    fn find(options: &[u8]) -> Result<Option<Self>, BerError> {
        const PREFIX: &[u8] = b"range=";
        if options.is_empty() {
            return Ok(None);
        }
        for option in options.split(|&byte| byte == b';') {
            if let Some((prefix, range)) = option.split_at_checked(PREFIX.len())
                && prefix.eq_ignore_ascii_case(PREFIX)
            {
                return Self::parse(range)
                    .map(Some)
                    .ok_or(BerError::Range { octets: option.len() });
            }
        }
        Ok(None)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (low, high) = std::str::from_utf8(text).ok()?.split_once('-')?;
        let low = index(low)?;
        let high = if high == "*" { None } else { Some(index(high)?) };
        high.is_none_or(|high| low <= high).then_some(Self { low, high })
    }
}

/// Parses a decimal number without sign.
fn index(digits: &str) -> Option<u32> {
    if digits.bytes().all(|digit| digit.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The value of the paged results response control (RFC 2696).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagedResults<'a> {
    /// The estimated number of results; AD sends 0 for unknown.
    pub size: u32,
    /// Cookie for the next page; empty after the last one.
    pub cookie: &'a [u8],
}

/// Decodes the value of a paged results control (`1.2.840.113556.1.4.319`).
pub fn paged_results(value: &[u8]) -> Result<PagedResults<'_>, BerError> {
    let mut bytes = Elements::new(value);
    let mut parts = Elements::new(bytes.expect(SEQUENCE, "realSearchControlValue")?);
    bytes.end("realSearchControlValue")?;
    let size = number(parts.expect(INTEGER, "size")?, "size")?;
    let cookie = parts.expect(OCTET_STRING, "cookie")?;
    parts.end("cookie")?;
    Ok(PagedResults { size, cookie })
}

/// The value of the DirSync response control (MS-ADTS 3.1.1.3.4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirSync<'a> {
    /// More changes are available.
    pub has_more: bool,
    /// Cookie for the next changes.
    pub cookie: &'a [u8],
}

/// Decodes the value of a DirSync control (`1.2.840.113556.1.4.841`).
pub fn dirsync(value: &[u8]) -> Result<DirSync<'_>, BerError> {
    let mut bytes = Elements::new(value);
    let mut parts = Elements::new(bytes.expect(SEQUENCE, "DirSyncResponseValue")?);
    bytes.end("DirSyncResponseValue")?;
    let more = parts.expect(INTEGER, "MoreResults")?;
    parts.expect(INTEGER, "unused")?;
    let cookie = parts.expect(OCTET_STRING, "CookieServer")?;
    parts.end("CookieServer")?;
    Ok(DirSync { has_more: more.iter().any(|byte| *byte != 0), cookie })
}
