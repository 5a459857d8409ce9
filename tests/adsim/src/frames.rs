//! Whole LDAP messages as bytes, for the server and for tests that replace them.

use crate::ber;
use crate::encode::put_attribute;
use crate::request::oid;

pub const BIND_RESPONSE: u8 = 0x61;
pub const SEARCH_DONE: u8 = 0x65;
pub const EXTENDED_RESPONSE: u8 = 0x78;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub code: u32,
    pub matched: String,
    pub text: String,
    /// URLs, with code 10.
    pub referral: Vec<String>,
}

impl Outcome {
    pub fn new(code: u32, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), ..Self::default() }
    }
}

/// A message: its id, the operation's bytes, and an optional control (identifier and value).
pub(crate) fn message(id: i64, operation: &[u8], control: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut out = Vec::with_capacity(operation.len() + 64);
    let begun = ber::begin(&mut out, ber::SEQUENCE);
    ber::put_number(&mut out, ber::INTEGER, id);
    out.extend_from_slice(operation);
    if let Some((oid, value)) = control {
        let controls = ber::begin(&mut out, 0xa0);
        let control = ber::begin(&mut out, ber::SEQUENCE);
        ber::put(&mut out, ber::OCTETS, oid.as_bytes());
        ber::put(&mut out, ber::OCTETS, value);
        ber::end(&mut out, control);
        ber::end(&mut out, controls);
    }
    ber::end(&mut out, begun);
    out
}

/// A response that carries an LDAP result, under its own tag.
pub fn result(id: i64, tag: u8, outcome: &Outcome) -> Vec<u8> {
    message(id, &result_body(tag, outcome, None, None), None)
}

pub fn done(id: i64, code: u32, text: &str) -> Vec<u8> {
    result(id, SEARCH_DONE, &Outcome::new(code, text))
}

/// A SearchResultDone with a paging control. An empty cookie marks the last page.
pub fn done_with_cookie(id: i64, outcome: &Outcome, cookie: &[u8]) -> Vec<u8> {
    done_with(id, outcome, oid::PAGED, &[0], cookie)
}

/// A SearchResultDone with a DirSync control. `more`: the rest is read with the cookie.
pub fn done_with_dirsync(id: i64, outcome: &Outcome, more: bool, cookie: &[u8]) -> Vec<u8> {
    done_with(id, outcome, oid::DIR_SYNC, &[i64::from(more), 0], cookie)
}

/// A SearchResultDone with a control of numbers and a cookie.
fn done_with(id: i64, outcome: &Outcome, oid: &str, numbers: &[i64], cookie: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    let inner = ber::begin(&mut value, ber::SEQUENCE);
    for number in numbers {
        ber::put_number(&mut value, ber::INTEGER, *number);
    }
    ber::put(&mut value, ber::OCTETS, cookie);
    ber::end(&mut value, inner);
    message(id, &result_body(SEARCH_DONE, outcome, None, None), Some((oid, &value)))
}

pub(crate) fn result_body(
    tag: u8,
    outcome: &Outcome,
    name: Option<&str>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let Outcome { code, matched, text, referral } = outcome;
    let mut out = Vec::new();
    let begun = ber::begin(&mut out, tag);
    ber::put_number(&mut out, ber::ENUMERATED, i64::from(*code));
    ber::put(&mut out, ber::OCTETS, matched.as_bytes());
    ber::put(&mut out, ber::OCTETS, text.as_bytes());
    if !referral.is_empty() {
        let urls = ber::begin(&mut out, 0xa3);
        for url in referral {
            ber::put(&mut out, ber::OCTETS, url.as_bytes());
        }
        ber::end(&mut out, urls);
    }
    if let Some(name) = name {
        ber::put(&mut out, 0x8a, name.as_bytes());
    }
    if let Some(value) = value {
        ber::put(&mut out, 0x8b, value);
    }
    ber::end(&mut out, begun);
    out
}

/// A SearchResultEntry with any bytes as its DN, names and values.
pub fn entry(id: i64, dn: &[u8], attributes: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let begun = ber::begin(&mut out, 0x64);
    ber::put(&mut out, ber::OCTETS, dn);
    let list = ber::begin(&mut out, ber::SEQUENCE);
    for (name, values) in attributes {
        put_attribute(&mut out, name, values);
    }
    ber::end(&mut out, list);
    ber::end(&mut out, begun);
    message(id, &out, None)
}

pub fn reference(id: i64, url: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let begun = ber::begin(&mut out, 0x73);
    ber::put(&mut out, ber::OCTETS, url.as_bytes());
    ber::end(&mut out, begun);
    message(id, &out, None)
}

/// An ExtendedResponse, which Samba also sends for an unknown critical control.
pub fn extended(id: i64, outcome: &Outcome) -> Vec<u8> {
    result(id, EXTENDED_RESPONSE, outcome)
}

/// The Notice of Disconnection as AD sends it: its name is wrongly behind the response instead of
/// in it.
pub fn notice_of_disconnection() -> Vec<u8> {
    let text = "00002024: LdapErr: DSID-0C060524, comment: The server is closing the connection, data 0, v4563";
    let mut operation = result_body(EXTENDED_RESPONSE, &Outcome::new(52, text), None, None);
    ber::put(&mut operation, 0x8a, b"1.3.6.1.4.1.1466.20036");
    message(0, &operation, None)
}

/// A message of SEQUENCEs nested this deep: a stack overflow for a careless parser.
pub fn nested(depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let begun: Vec<usize> = (0..depth).map(|_| ber::begin(&mut out, ber::SEQUENCE)).collect();
    for place in begun.into_iter().rev() {
        ber::end(&mut out, place);
    }
    out
}
