//! LDAP requests, parsed leniently enough for real clients and strictly enough not to guess.

use crate::ber::{Malformed, Reader, number};
use crate::filter::Filter;

/// The object identifiers that the simulator knows.
pub(crate) mod oid {
    pub(crate) const PAGED: &str = "1.2.840.113556.1.4.319";
    pub(crate) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
    pub(crate) const SHOW_RECYCLED: &str = "1.2.840.113556.1.4.2064";
    pub(crate) const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
    pub(crate) const DIR_SYNC: &str = "1.2.840.113556.1.4.841";
    pub(crate) const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
    pub(crate) const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
    pub(crate) const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
    pub(crate) const BIT_AND: &str = "1.2.840.113556.1.4.803";
    pub(crate) const BIT_OR: &str = "1.2.840.113556.1.4.804";
    pub(crate) const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

    /// The capabilities of a domain controller; the last is that of a read-only one.
    pub(crate) const CAPABILITIES: [&str; 4] = [
        "1.2.840.113556.1.4.800",
        "1.2.840.113556.1.4.1670",
        "1.2.840.113556.1.4.1791",
        "1.2.840.113556.1.4.1920",
    ];
    /// Controls that are honoured or change nothing here.
    pub(crate) const CONTROLS: &[&str] = &[
        PAGED,
        SHOW_DELETED,
        SHOW_RECYCLED,
        DOMAIN_SCOPE,
        DIR_SYNC,
        NOTIFICATION,
        "1.2.840.113556.1.4.801",  // SD flags
        "1.2.840.113556.1.4.1340", // search options
        "1.2.840.113556.1.4.1948", // range retrieval without error
        "1.2.840.113556.1.4.2065", // show deactivated links
    ];
}

/// The scope of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Base,
    One,
    /// The base and everything below it.
    Subtree,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub oid: String,
    /// Whether the request must fail if the control is unknown.
    pub critical: bool,
    pub value: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) request: Request,
    pub(crate) controls: Vec<Control>,
}

#[derive(Debug)]
pub(crate) enum Request {
    Bind {
        name: String,
        password: Option<Vec<u8>>,
    },
    Unbind,
    Search(Search),
    Abandon {
        id: i64,
    },
    Extended {
        oid: String,
    },
    /// An operation that is not offered, with the tag of its answer.
    Other {
        answer: u8,
    },
}

#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) base: String,
    pub(crate) scope: Scope,
    pub(crate) size_limit: usize,
    pub(crate) types_only: bool,
    pub(crate) filter: Filter,
    pub(crate) attributes: Vec<String>,
}

impl Message {
    pub(crate) fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut message = Reader::new(frame).inside(0x30)?;
        let id = message.number(0x02)?;
        let (tag, body) = message.element()?;
        let request = Request::read(tag, body)?;
        let mut controls = Vec::new();
        if message.peek() == Some(0xa0) {
            let mut list = message.inside(0xa0)?;
            while !list.is_empty() {
                controls.push(Control::read(list.inside(0x30)?)?);
            }
        }
        Ok(Self { id, request, controls })
    }
}

impl Control {
    fn read(mut from: Reader<'_>) -> Result<Self, Malformed> {
        let oid = from.text(0x04)?;
        let critical = match from.peek() {
            Some(0x01) => from.expect(0x01)? != [0],
            _ => false,
        };
        let value = match from.peek() {
            Some(0x04) => Some(from.expect(0x04)?.to_vec()),
            _ => None,
        };
        Ok(Self { oid, critical, value })
    }
}

impl Request {
    fn read(tag: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut inner = Reader::new(body);
        Ok(match tag {
            0x60 => {
                inner.number(0x02)?;
                let name = inner.text(0x04)?;
                let password = match inner.element()? {
                    (0x80, password) => Some(password.to_vec()),
                    _ => None,
                };
                Self::Bind { name, password }
            }
            0x42 => Self::Unbind,
            0x50 => Self::Abandon { id: number(body)? },
            0x63 => Self::Search(Search::read(inner)?),
            0x77 => Self::Extended { oid: inner.text(0x80)? },
            0x66 | 0x68 | 0x6c | 0x6e => Self::Other { answer: tag + 1 },
            0x4a => Self::Other { answer: 0x6b },
            _ => return Err(Malformed("no such request")),
        })
    }
}

impl Search {
    fn read(mut from: Reader<'_>) -> Result<Self, Malformed> {
        let base = from.text(0x04)?;
        let scope = match from.number(0x0a)? {
            0 => Scope::Base,
            1 => Scope::One,
            2 => Scope::Subtree,
            _ => return Err(Malformed("no such scope")),
        };
        from.number(0x0a)?;
        let size_limit = usize::try_from(from.number(0x02)?).unwrap_or(0);
        from.number(0x02)?;
        let types_only = from.expect(0x01)? != [0];
        let filter = Filter::read(&mut from)?;
        let mut names = from.inside(0x30)?;
        let mut attributes = Vec::new();
        while !names.is_empty() {
            attributes.push(names.text(0x04)?);
        }
        Ok(Self { base, scope, size_limit, types_only, filter, attributes })
    }
}

/// The request's paging control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) size: usize,
    pub(crate) cookie: Vec<u8>,
}

impl PageRequest {
    pub(crate) fn of(controls: &[Control]) -> Option<Result<Self, Malformed>> {
        let control = controls.iter().find(|control| control.oid == oid::PAGED)?;
        let read = || {
            let value = control.value.as_deref().unwrap_or_default();
            let mut inner = Reader::new(value).inside(0x30)?;
            let size = usize::try_from(inner.number(0x02)?).unwrap_or(0);
            let cookie = inner.expect(0x04)?.to_vec();
            Ok(Self { size, cookie })
        };
        Some(read())
    }
}
