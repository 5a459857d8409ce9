//! Splits the byte stream of a connection into LDAP messages, and passes only those that are safe
//! for ldap3.
//!
//! The parser of ldap3 recurses without a limit, and waits forever for an inner element longer than
//! its parent. It buffers an endless message, and panics on unknown shapes of results and controls.
//! Therefore a message is passed only if all of it is valid. After a rejected message the
//! connection must be closed.
//!
//! The shape of a SearchResultEntry is *not* checked, because a malformed entry must not end the
//! connection. [`EntryRef`](super::ber::EntryRef) checks it. Entries must never reach
//! `SearchEntry::construct` of ldap3.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::ber::{
    self, BOOLEAN, BerError, CONSTRUCTED, ENUMERATED, Elements, Header, INTEGER, NUMBER,
    OCTET_STRING, SEQUENCE,
};

#[cfg(test)]
mod tests;

/// Most bytes of a message with its header.
///
/// Servers send at most 1,500 values of an attribute at once, or 5,000 with a raised limit. Such a
/// list of DNs has about 2 MB. The rest is for photos and certificates.
pub const MAX_FRAME: usize = 16 << 20;

/// Most bytes of a message other than an entry, with its header.
///
/// ldap3 allocates about fifty bytes for each two-byte element, twice. A response of [`MAX_FRAME`]
/// would take a gigabyte. The largest valid one has a DirSync cookie with 32 bytes for each past or
/// present domain controller.
pub const MAX_RESULT: usize = 256 << 10;

/// Most levels of constructed elements, including the message itself.
///
/// An entry has 5, a control 3, a search request 3 and the depth of its filter.
pub const MAX_DEPTH: usize = 12;

/// Fewest bytes by which the buffer grows: one TLS record.
const CHUNK: usize = 16 << 10;

/// Free bytes below which the buffer grows before a read.
const MIN_ROOM: usize = 4 << 10;

/// `[0]`, constructed: the controls of a message.
const CONTROLS: u8 = 0xa0;
/// `[3]`, constructed: the referral of a result.
const REFERRAL: u8 = 0xa3;
/// `[7]`: the serverSaslCreds of a BindResponse.
const SERVER_SASL_CREDS: u8 = 0x87;
/// `[10]`: the responseName of an ExtendedResponse.
const RESPONSE_NAME: u8 = 0x8a;
/// `[11]`: the responseValue of an ExtendedResponse.
const RESPONSE_VALUE: u8 = 0x8b;
/// `[0]`: the responseName of an IntermediateResponse.
const INTERMEDIATE_NAME: u8 = 0x80;
/// `[1]`: the responseValue of an IntermediateResponse.
const INTERMEDIATE_VALUE: u8 = 0x81;
/// The bits of an identifier octet that hold the class.
const CLASS: u8 = 0xc0;
/// The application class, that of all protocolOps and of no other element.
const APPLICATION: u8 = 0x40;

/// Reason why a message is rejected. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The stream is not, or no longer, LDAP.
    #[error("an LDAP message begins with the byte 0x30, and here is {tag:#04x}")]
    NotAMessage {
        /// The received byte.
        tag: u8,
    },
    /// The message exceeds a limit.
    #[error("LDAP message of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Size with header, in bytes.
        bytes: usize,
        /// [`MAX_FRAME`] or [`MAX_RESULT`].
        limit: usize,
    },
    /// Nesting exceeds [`MAX_DEPTH`].
    #[error("LDAP message nested deeper than the limit of {limit} levels")]
    TooDeep { limit: usize },
    /// The protocolOp is not an operation of LDAP.
    #[error("LDAP message {message_id} has an operation with the identifier {tag:#04x}")]
    NotAnOperation {
        message_id: i32,
        /// The identifier octet that is there.
        tag: u8,
    },
    /// Invalid BER, or not a sequence of messageID, protocolOp and controls.
    #[error("malformed LDAP message")]
    Malformed(#[from] BerError),
    /// The operation does not conform to RFC 4511.
    #[error("malformed {op} in LDAP message {message_id}")]
    MalformedOperation { message_id: i32, op: Op, source: BerError },
}

/// The operation of a message: responses by name, requests by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Tag `[APPLICATION 1]`.
    BindResponse,
    /// Tag `[APPLICATION 4]`.
    SearchResultEntry,
    /// Tag `[APPLICATION 5]`.
    SearchResultDone,
    /// Tag `[APPLICATION 7]`.
    ModifyResponse,
    /// Tag `[APPLICATION 9]`.
    AddResponse,
    /// Tag `[APPLICATION 11]`.
    DelResponse,
    /// Tag `[APPLICATION 13]`.
    ModifyDnResponse,
    /// Tag `[APPLICATION 15]`.
    CompareResponse,
    /// Tag `[APPLICATION 19]`.
    SearchResultReference,
    /// `[APPLICATION 24]`. With message id 0 it is unchecked; see [`Frame::is_notice`].
    ExtendedResponse,
    /// Tag `[APPLICATION 25]`.
    IntermediateResponse,
    /// Any other application tag number, 0 to 30, with unchecked contents.
    Other(u8),
}

impl Op {
    /// Returns the operation of an identifier octet. A response must be constructed.
    fn from_tag(tag: u8) -> Option<Self> {
        if tag & CLASS != APPLICATION {
            return None;
        }
        let op = match tag & NUMBER {
            1 => Self::BindResponse,
            4 => Self::SearchResultEntry,
            5 => Self::SearchResultDone,
            7 => Self::ModifyResponse,
            9 => Self::AddResponse,
            11 => Self::DelResponse,
            13 => Self::ModifyDnResponse,
            15 => Self::CompareResponse,
            19 => Self::SearchResultReference,
            24 => Self::ExtendedResponse,
            25 => Self::IntermediateResponse,
            number => return Some(Self::Other(number)),
        };
        (tag & CONSTRUCTED != 0).then_some(op)
    }

    /// Returns whether this is a valid response to `request`.
    ///
    /// ldap3 panics on an invalid response to a search. It takes any response to another request as
    /// the result, so an IntermediateResponse is valid for searches only.
    pub fn answers(self, request: Self) -> bool {
        match request {
            Self::Other(0) => self == Self::BindResponse,
            Self::Other(3) => {
                matches!(
                    self,
                    Self::SearchResultEntry
                        | Self::SearchResultDone
                        | Self::SearchResultReference
                        | Self::IntermediateResponse
                )
            }
            Self::Other(6) => self == Self::ModifyResponse,
            Self::Other(8) => self == Self::AddResponse,
            Self::Other(10) => self == Self::DelResponse,
            Self::Other(12) => self == Self::ModifyDnResponse,
            Self::Other(14) => self == Self::CompareResponse,
            Self::Other(23) => self == Self::ExtendedResponse,
            _ => false,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BindResponse => "BindResponse",
            Self::SearchResultEntry => "SearchResultEntry",
            Self::SearchResultDone => "SearchResultDone",
            Self::ModifyResponse => "ModifyResponse",
            Self::AddResponse => "AddResponse",
            Self::DelResponse => "DelResponse",
            Self::ModifyDnResponse => "ModifyDNResponse",
            Self::CompareResponse => "CompareResponse",
            Self::SearchResultReference => "SearchResultReference",
            Self::ExtendedResponse => "ExtendedResponse",
            Self::IntermediateResponse => "IntermediateResponse",
            Self::Other(number) => return write!(f, "operation {number}"),
        })
    }
}

/// One checked LDAPMessage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Id of the request, 0 to 2³¹−1; 0 for an unsolicited notification.
    pub message_id: i32,
    pub op: Op,
    /// The whole message with its header.
    pub bytes: Bytes,
}

impl Frame {
    /// Returns whether this is unsolicited, in practice a Notice of Disconnection.
    pub fn is_notice(&self) -> bool {
        self.message_id == 0 && self.op == Op::ExtendedResponse
    }

    /// Returns the LDAPResult of a response; a notice may lack it, because it is unchecked.
    pub fn result(&self) -> Option<ResultRef<'_>> {
        let mut message =
            Elements::new(Elements::new(&self.bytes).expect(SEQUENCE, "LDAPMessage").ok()?);
        message.expect(INTEGER, "messageID").ok()?;
        let op = message.require("protocolOp").ok()?;
        if has_result(self.op) { ResultRef::parse(op.content).ok() } else { None }
    }
}

/// The common fields of results in their received bytes: LDAPResult (RFC 4511, 4.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultRef<'a> {
    /// resultCode; 0 is success.
    pub code: u32,
    pub matched_dn: &'a str,
    /// diagnosticMessage. AD appends a NUL.
    pub diagnostic: &'a str,
    /// serverSaslCreds of a BindResponse.
    pub sasl_credentials: Option<&'a [u8]>,
}

impl<'a> ResultRef<'a> {
    /// Decodes a result and checks all fields that ldap3 relies on.
    fn parse(content: &'a [u8]) -> Result<Self, BerError> {
        let mut parts = Elements::new(content);
        let code = ber::number(parts.expect(ENUMERATED, "resultCode")?, "resultCode")?;
        let matched_dn = text(parts.expect(OCTET_STRING, "matchedDN")?, "matchedDN")?;
        let diagnostic =
            text(parts.expect(OCTET_STRING, "diagnosticMessage")?, "diagnosticMessage")?;
        let mut sasl_credentials = None;
        while let Some(part) = parts.take()? {
            // ldap3 compares the tag number only. It ignores other numbers, as RFC 4511 (section 4)
            // requires.
            match part.tag & NUMBER {
                3 => check_uris(part.of(REFERRAL, "referral")?)?,
                7 => sasl_credentials = Some(part.of(SERVER_SASL_CREDS, "serverSaslCreds")?),
                10 => _ = text(part.of(RESPONSE_NAME, "responseName")?, "responseName")?,
                11 => _ = part.of(RESPONSE_VALUE, "responseValue")?,
                _ => {}
            }
        }
        Ok(Self { code, matched_dn, diagnostic, sasl_credentials })
    }
}

/// Removes one complete message from the front of `buf`; `None` if more bytes are needed.
///
/// A call without a complete message reads the header only, and makes room for the next read. The
/// buffer grows with the received bytes, not with the announced size. An error leaves `buf`
/// unchanged, so that the next call fails, too.
pub fn split(buf: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let size = announced_size(buf)?;
    match size {
        Some(size) if size <= buf.len() => {
            let (message_id, op) = check(&buf[..size])?;
            Ok(Some(Frame { message_id, op, bytes: buf.split_to(size).freeze() }))
        }
        _ => {
            if buf.capacity() - buf.len() < MIN_ROOM {
                let missing = size.map_or(0, |size| size - buf.len());
                buf.reserve(missing.min(buf.len()).max(CHUNK));
            }
            Ok(None)
        }
    }
}

/// Returns the size of the first message with its header; `None` if the header is incomplete.
fn announced_size(buf: &[u8]) -> Result<Option<usize>, FrameError> {
    match buf.first() {
        Some(&tag) if tag != SEQUENCE => return Err(FrameError::NotAMessage { tag }),
        _ => {}
    }
    let Some(Header { tag: _, octets, length }) = Header::read(buf)? else { return Ok(None) };
    let bytes = length.saturating_add(octets);
    if bytes > MAX_FRAME {
        Err(FrameError::TooLarge { bytes, limit: MAX_FRAME })
    } else {
        Ok(Some(bytes))
    }
}

/// Checks one whole message; returns its id and operation.
fn check(frame: &[u8]) -> Result<(i32, Op), FrameError> {
    let mut bytes = Elements::new(frame);
    let message = bytes.expect(SEQUENCE, "LDAPMessage")?;
    bytes.end("LDAPMessage")?;
    check_nesting(message, 1)?;

    let mut parts = Elements::new(message);
    let message_id = ber::number(parts.expect(INTEGER, "messageID")?, "messageID")?.cast_signed();
    let operation = parts.require("protocolOp")?;
    let op = Op::from_tag(operation.tag)
        .ok_or(FrameError::NotAnOperation { message_id, tag: operation.tag })?;
    let is_notice = message_id == 0 && op == Op::ExtendedResponse;

    let limit =
        if matches!(op, Op::SearchResultEntry | Op::Other(_)) { MAX_FRAME } else { MAX_RESULT };
    if frame.len() > limit {
        return Err(FrameError::TooLarge { bytes: frame.len(), limit });
    }
    if let Some(last) = parts.take()? {
        // AD puts the name of a Notice of Disconnection behind the operation, which ldap3 accepts.
        if !(is_notice && last.tag == RESPONSE_NAME) {
            check_controls(last.of(CONTROLS, "controls")?)?;
        }
        parts.end("controls")?;
    }
    // ldap3 drops a message with id 0 unread, so a malformed notice is harmless and is still
    // logged.
    if !is_notice {
        check_operation(op, operation.content)
            .map_err(|source| FrameError::MalformedOperation { message_id, op, source })?;
    }
    Ok((message_id, op))
}

/// Checks that all elements fit their parents exactly, and that nesting is within [`MAX_DEPTH`].
fn check_nesting(content: &[u8], depth: usize) -> Result<(), FrameError> {
    let mut elements = Elements::new(content);
    while let Some(element) = elements.take()? {
        if element.tag & CONSTRUCTED != 0 {
            if depth == MAX_DEPTH {
                return Err(FrameError::TooDeep { limit: MAX_DEPTH });
            }
            check_nesting(element.content, depth + 1)?;
        }
    }
    Ok(())
}

/// Returns whether a response begins with an LDAPResult.
fn has_result(op: Op) -> bool {
    match op {
        Op::BindResponse
        | Op::SearchResultDone
        | Op::ModifyResponse
        | Op::AddResponse
        | Op::DelResponse
        | Op::ModifyDnResponse
        | Op::CompareResponse
        | Op::ExtendedResponse => true,
        Op::SearchResultEntry
        | Op::SearchResultReference
        | Op::IntermediateResponse
        | Op::Other(_) => false,
    }
}

/// Checks the assumptions of ldap3 about the contents of a response.
fn check_operation(op: Op, content: &[u8]) -> Result<(), BerError> {
    match op {
        Op::SearchResultReference => check_uris(content),
        Op::IntermediateResponse => check_intermediate(content),
        _ if has_result(op) => ResultRef::parse(content).map(|_| ()),
        _ => Ok(()),
    }
}

/// Checks a referral or SearchResultReference: one or more URIs.
fn check_uris(content: &[u8]) -> Result<(), BerError> {
    let mut uris = Elements::new(content);
    text(uris.expect(OCTET_STRING, "URI")?, "URI")?;
    while let Some(uri) = uris.take()? {
        text(uri.of(OCTET_STRING, "URI")?, "URI")?;
    }
    Ok(())
}

/// Checks an IntermediateResponse: a name and a value, both optional.
fn check_intermediate(content: &[u8]) -> Result<(), BerError> {
    let mut parts = Elements::new(content);
    let mut part = parts.take()?;
    if let Some(name) = part
        && name.tag == INTERMEDIATE_NAME
    {
        text(name.content, "responseName")?;
        part = parts.take()?;
    }
    if let Some(value) = part {
        value.of(INTERMEDIATE_VALUE, "responseValue")?;
    }
    parts.end("responseValue")
}

/// Checks controls: a name, an optional criticality and an optional value.
fn check_controls(content: &[u8]) -> Result<(), BerError> {
    let mut controls = Elements::new(content);
    while let Some(control) = controls.take()? {
        let mut parts = Elements::new(control.of(SEQUENCE, "Control")?);
        text(parts.expect(OCTET_STRING, "controlType")?, "controlType")?;
        let mut part = parts.take()?;
        if let Some(criticality) = part
            && criticality.tag == BOOLEAN
        {
            if criticality.content.len() != 1 {
                return Err(BerError::Size {
                    what: "criticality",
                    octets: criticality.content.len(),
                });
            }
            part = parts.take()?;
        }
        if let Some(value) = part {
            value.of(OCTET_STRING, "controlValue")?;
        }
        parts.end("controlValue")?;
    }
    Ok(())
}

/// Decodes a UTF-8 string.
fn text<'a>(content: &'a [u8], what: &'static str) -> Result<&'a str, BerError> {
    std::str::from_utf8(content)
        .map_err(|error| BerError::NotUtf8 { what, at: error.valid_up_to() })
}
